"""A reload that dies midway: the store decides what the processes after it have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from monitor.config.revisions import keep, keep_start
from monitor.config.settings import Settings
from monitor.processes.handover import Handover
from monitor.store.store import Store

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = Settings()
LOUD = msgspec.structs.replace(START, profile="loud")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With the revision of a start."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    keep_start(opened, START, T0)
    yield opened
    opened.close()


def commit(store: Store, settings: Settings) -> int:
    """Ada's reload, as far as the store; the number of its revision."""
    with store.write() as tx:
        return keep(tx, settings, ["profile"], who="ada", via="socket", now=T0).id


def test_a_death_after_the_commit_leaves_the_new_one_in_force(store: Store, tmp_path: Path) -> None:
    """Nobody has it before it is settled; then all have, and its revision still names Ada."""
    heirs = Handover(tmp_path / "settings")
    heirs.stage(LOUD, commit(store, LOUD))
    assert heirs.in_force(START) is START
    Handover(tmp_path / "settings").settle(store)
    assert heirs.in_force(START) == LOUD
    assert keep_start(store, heirs.in_force(START), T0).who == "ada"


def test_a_death_before_the_commit_leaves_the_old_one_in_force(
    store: Store, tmp_path: Path
) -> None:
    """What is staged is dropped, also when somebody else has got the number since."""
    heirs = Handover(tmp_path / "settings")
    heirs.stage(LOUD, 2)
    heirs.settle(store)
    assert heirs.in_force(START) is START
    heirs.stage(LOUD, 2)
    assert commit(store, msgspec.structs.replace(START, tiers={"error_rate": "page"})) == 2
    heirs.settle(store)
    assert heirs.in_force(START) is START
    assert [path.name for path in tmp_path.glob("settings*")] == []


def test_a_death_while_it_is_written_leaves_nothing_to_settle(store: Store, tmp_path: Path) -> None:
    """Half a file is under a name that nobody reads, and the next reload writes over it."""
    heirs = Handover(tmp_path / "settings")
    (tmp_path / "settings.new").write_bytes(b"\x80")
    heirs.settle(store)
    assert heirs.in_force(START) is START
    heirs.stage(LOUD, commit(store, LOUD))
    heirs.adopt()
    heirs.settle(store)
    assert heirs.in_force(START) == LOUD


def test_a_recording_has_no_heirs(store: Store) -> None:
    """Where no other process is ever started there is nothing to hand on."""
    nobody = Handover(None)
    nobody.stage(LOUD, commit(store, LOUD))
    nobody.adopt()
    nobody.drop()
    nobody.settle(store)
    assert nobody.in_force(START) is START
