"""An upgrade under running daemons: those of the release before go on, restarts included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store.engine import open_engine
from monitor.store.schema import head, revision
from tests.integration.process_stage import Tree, wait_for
from tests.integration.test_processes import settings
from tests.next_schema import ADDS, next_name, upgrade
from tests.servers.postgres_server import DAEMON, OWNER

READY = "ready: owner"


@pytest.fixture
def tree(tmp_path: Path, postgres_store_url: str) -> Iterator[Tree]:
    """A daemon on PostgreSQL with the least rights; its Kafka does not answer. Not started."""
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "key").chmod(0o600)
    common = settings(tmp_path, "127.0.0.1:1", "none", store=postgres_store_url)
    common["digest_key"] = {"file": str(tmp_path / "key")}
    made = Tree(tmp_path / "a", common, ("--roles", "decide,deliver,runs"))
    yield made
    made.close()


def test_a_child_restarts_on_a_newer_schema(
    tree: Tree, postgres_store_url: str, tmp_path: Path
) -> None:
    """After an upgrade that only adds a killed control process comes again and owns its jobs."""
    tree.start()
    wait_for(lambda: READY in tree.health("/readyz"), "it owns")
    owner = open_engine(postgres_store_url.replace(f"{DAEMON}@", f"{OWNER}@"))
    upgrade(owner, tmp_path, ADDS, head())
    killed = tree.kill_child("control")
    tree.wait_for_another("control", killed)
    wait_for(lambda: READY in tree.health("/readyz"), "the next control process owns")
    assert tree.end() == 0
    assert revision(owner) == next_name()
    assert f"newer than our {head()}" in tree.said()
    owner.dispose()
