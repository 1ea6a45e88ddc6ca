"""Which starts make a revision of the configuration, and what open incidents are told of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from monitor.clock import WallClock
from monitor.config.effective import body, plain
from monitor.config.options import RunOptions
from monitor.config.revisions import keep_owners, keep_start
from monitor.config.settings import Settings, resolve
from monitor.daemon import Control, build_control
from monitor.metrics import Metrics
from monitor.processes.control import steps
from monitor.processes.launch import settings_for
from monitor.processes.loops import Step
from monitor.processes.posts import LEASE, Post
from monitor.store.lease_rows import Fenced
from monitor.store.store import Store
from monitor.views import Principal

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
ADA = Principal(name="ada", role="admin", via="socket")
FLAGS: tuple[dict[str, object], ...] = (
    {"roles": "decide,deliver,runs"},
    {"roles": "ingest", "workers": 1},
    {"roles": "ingest", "workers": 4},
    {},
)
"""Of the pods of one installation."""
OLD, NEW = {"profile": "quiet"}, {"profile": "loud"}
TO_NEW = "configuration r2 at a start: profile changed"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


def machine(folder: Path, file: dict[str, str], **flags: object) -> Settings:
    """What a pod with this file and these flags starts with."""
    path = folder / "tocsin.yaml"
    path.write_text(json.dumps({"version": 1, **file}))
    return settings_for(msgspec.convert({**flags, "config": path}, RunOptions), {})


class House:
    """The machines of one store, and an open incident."""

    def __init__(self, store: Store, folder: Path, stack: ExitStack) -> None:
        self.store, self._folder, self._stack = store, folder, stack
        self.control(OLD).desk(ADA).declare(title="x", severity="SEV1")

    def control(self, file: dict[str, str], *posts: Post) -> Control:
        """The rooms of a control process."""
        settings = msgspec.structs.replace(
            machine(self._folder, file), store=f"sqlite:///{self._folder / 'x.db'}"
        )
        made = build_control(
            resolve(settings),
            store=self.store,
            clock=WallClock(),
            metrics=Metrics(),
            posts=list(posts),
        )
        self._stack.callback(made.close)
        return made

    def deciding(self, file: dict[str, str], name: str) -> tuple[Post, Step, Control]:
        """A machine that decides, or stands by to: started, not yet looked at the lease."""
        post = Post(self.store, "decide", name)
        made = self.control(file, post)
        keep_start(self.store, made.configured.settings, T0)
        return post, steps(made, ("decide",))["decide"], made

    def told(self) -> list[str]:
        """What its timeline says of configurations."""
        with self.store.read() as tx:
            found = tx.incidents.latest()
            assert found is not None
            entries = [each.entry for each in tx.incidents.timeline(found.uuid)]
        return [entry.text for entry in entries if entry.kind == "CONFIG"]

    def kept(self) -> list[str]:
        """The profile of each revision, the oldest first."""
        with self.store.read() as tx:
            found = tx.revisions.newest(50)
        return [json.loads(each.body)["profile"] for each in reversed(found)]


@pytest.fixture
def house(store: Store, tmp_path: Path) -> Iterator[House]:
    """Closed afterwards."""
    with ExitStack() as stack:
        yield House(store, tmp_path, stack)


def test_what_part_of_the_daemon_a_pod_does_is_no_revision(house: House, tmp_path: Path) -> None:
    """Pods of one file, whatever their flags and in whatever order, are one configuration."""
    for flags in (*FLAGS, *reversed(FLAGS)):
        assert keep_start(house.store, machine(tmp_path, OLD, **flags), T0).id == 1
    assert house.told() == []


@pytest.mark.parametrize("first", range(len(FLAGS)))
def test_a_change_of_the_file_is_told_once_wherever_it_starts_first(
    house: House, tmp_path: Path, first: int
) -> None:
    """One that only reads, or only decides: the others bring nothing new."""
    keep_start(house.store, machine(tmp_path, OLD), T0)
    for flags in (FLAGS[first], *FLAGS):
        assert keep_start(house.store, machine(tmp_path, NEW, **flags), T0).id == 2
    assert house.told() == [TO_NEW]


@examples(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from([OLD, NEW]), st.sampled_from(FLAGS)), max_size=12))
def test_starts_of_old_and_new_files_are_two_revisions_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    starts: list[tuple[dict[str, str], dict[str, object]]],
) -> None:
    """A rolling upgrade of pods that come again and again keeps each file once."""
    folder = tmp_path_factory.mktemp("x")
    store = Store(f"sqlite:///{folder / 'x.db'}")
    try:
        for file, flags in starts:
            keep_start(store, machine(folder, file, **flags), T0)
        with store.read() as tx:
            kept = [json.loads(each.body)["profile"] for each in tx.revisions.newest(50)]
        assert sorted(kept) == sorted({file["profile"] for file, _ in starts})
    finally:
        store.close()


def test_a_rolling_upgrade_tells_by_which_file_is_decided(house: House) -> None:
    """Old pods that come again say nothing; an old one that takes over says what is in force."""
    old, decide_old, _ = house.deciding(OLD, "old")
    old.look(T0)
    decide_old(T0)
    new, decide_new, _ = house.deciding(NEW, "new")
    new.look(T0)
    decide_new(T0)
    assert (old.held, house.told()) == (True, [TO_NEW])
    house.deciding(OLD, "old, its control process again")
    assert house.told() == [TO_NEW]
    old.let_go()
    new.look(T0)
    decide_new(T0)
    assert (new.held, house.told()) == (True, [TO_NEW])
    new.let_go()
    old.look(T0)
    decide_old(T0)
    decide_old(T0)
    back = "configuration r3 (r1 again) of who decides now: profile changed"
    assert house.told() == [TO_NEW, back]
    assert house.kept() == ["quiet", "loud", "quiet"]


def test_a_file_that_is_put_back_is_a_revision(house: House) -> None:
    """A rollback changes what is in force, although it is known."""
    for number, file in enumerate((OLD, NEW, OLD)):
        post, decide, _ = house.deciding(file, f"start {number}")
        post.look(T0 + number * 2 * LEASE)
        decide(T0)
    assert house.kept() == ["quiet", "loud", "quiet"]
    assert house.told()[1:] == ["configuration r3 (r1 again) of who decides now: profile changed"]


def test_who_has_lost_the_decisions_writes_no_revision(house: House) -> None:
    """An owner that was frozen before its first step stands by, and says nothing."""
    frozen, decide, made = house.deciding(OLD, "frozen")
    frozen.look(T0)
    house.deciding(NEW, "other")[0].look(T0 + LEASE + timedelta(seconds=1))
    assert decide(T0) is False
    assert (frozen.held, house.kept(), house.told()) == (False, ["quiet", "loud"], [TO_NEW])
    with pytest.raises(Fenced):
        keep_owners(house.store, made.configured.settings, T0, frozen.guard)


def test_a_revision_of_the_release_before_is_known(house: House, tmp_path: Path) -> None:
    """Its digest was of roles and workers, too: an upgrade of Tocsin alone changes nothing."""
    whole = body(plain(machine(tmp_path, OLD, roles="ingest")))
    mark = hashlib.sha256(whole.encode()).hexdigest()
    with house.store.write() as tx:
        tx.revisions.add(who="start", via="", digest=mark, body=whole, note="n", now=T0)
    settings = machine(tmp_path, OLD)
    assert keep_start(house.store, settings, T0).id == 1
    assert keep_owners(house.store, settings, T0).id == 1


def test_the_desk_says_whether_it_runs_with_the_last_revision(house: House) -> None:
    """Other roles are no other configuration; another file is."""
    (_, _, one), (_, _, other) = (house.deciding(file, file["profile"]) for file in (OLD, NEW))
    assert other.desk(ADA).config_revision().number == 2
    found = one.desk(ADA).config_revision()
    assert (found.number, json.loads(found.body)["profile"]) == (0, "quiet")
    settings = other.configured.settings
    roles = msgspec.structs.replace(settings.processes, roles=("deliver",))
    other.configured = resolve(msgspec.structs.replace(settings, processes=roles))
    assert other.desk(ADA).config_revision().number == 2
