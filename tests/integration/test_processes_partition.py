"""Two machines and a cut cable: an owner that runs, and cannot reach the database others reach."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.integration.process_stage import Tree, rows, wait_for
from tests.integration.test_processes import settings
from tests.servers.relay import Relay
from tui.desk_client import SocketDesk

NIGHT_S = 3
"""After a page the owner of the decisions rings the next rung."""
CUT_S = 26.0
"""Longer than a lease, a stall and the time-outs of TCP, one after another where they add up."""


class Machines:
    """Two daemons that decide, on one PostgreSQL; the first is at the end of a cable."""

    def __init__(self, folder: Path, url: str, cable: Relay) -> None:
        (folder / "key").write_text("k" * 32)
        (folder / "key").chmod(0o600)
        far = sa.make_url(url).set(port=cable.port).render_as_string()
        self.url = url
        self.cable = cable
        self.first = self._daemon(folder / "first", far)
        self.second = self._daemon(folder / "second", url)

    @staticmethod
    def _daemon(folder: Path, url: str) -> Tree:
        log: list[dict[str, Any]] = [{"type": "log", "name": name} for name in ("day", "night")]
        rungs = [{"after": f"{NIGHT_S}s", "receivers": ["night"]}]
        key = {"file": str(folder.parent / "key")}
        paging = {"receivers": log, "route": {"receivers": ["day"]}, "escalation": rungs}
        more = {"store": url, "digest_key": key, "paging": paging}
        made = settings(folder.parent, "127.0.0.1:1", "none", **more)
        return Tree(folder, made, ("--roles", "decide,deliver,runs"))

    def declare(self, title: str) -> None:
        """Somebody at the second's desk declares an incident."""
        (path,) = re.findall(r"desk at (\S+),", self.second.said())
        SocketDesk(Path(path), timeout_s=30).declare(title=title, severity="SEV1")

    def rung(self) -> list[tuple[Any, ...]]:
        """Who was rung, in order, and whether that is done."""
        query = "SELECT receiver, state FROM outbox WHERE kind = 'trigger' ORDER BY id"
        return rows(self.url, query)

    def lease(self) -> tuple[Any, ...]:
        """Whose the decisions are, and in which epoch."""
        (found,) = rows(self.url, "SELECT holder, epoch FROM leases WHERE name = 'decide'")
        return found


@pytest.fixture
def machines(tmp_path: Path, postgres_store_url: str) -> Iterator[Machines]:
    """The first owns, the second stands by."""
    port = sa.make_url(postgres_store_url).port
    assert port is not None
    with ExitStack() as stack:
        cable = stack.enter_context(closing(Relay(port)))
        made = Machines(tmp_path, postgres_store_url, cable)
        for tree in (made.first, made.second):
            stack.callback(tree.close)
        made.first.start()
        wait_for(lambda: "ready: owner" in made.first.health("/readyz"), "the first owns")
        made.second.start()
        wait_for(lambda: "ready: standby" in made.second.health("/readyz"), "the second stands by")
        yield made


def test_an_owner_behind_a_cut_cable_is_followed_and_stands_by(machines: Machines) -> None:
    """The other takes over and pages; the cut-off one lives on, writes nothing and yields."""
    first, second = machines.first, machines.second
    before, child = machines.lease(), first.children()["control"]
    machines.cable.cut()
    began = time.monotonic()
    machines.declare("it burns")
    both = [("day", "sent"), ("night", "sent")]
    wait_for(lambda: machines.rung() == both, "the next rung is rung", 60)
    print(f"rung {time.monotonic() - began:.1f} s after the cut")
    after = machines.lease()
    assert (after[0] != before[0], after[1]) == (True, before[1] + 1)
    wait_for(lambda: "decide was not renewed in time" in first.said(), "the first notices")
    time.sleep(max(0.0, CUT_S - (time.monotonic() - began)))
    assert first.answer("/readyz")[0] == 200, "it serves, whatever the store does"
    assert "ended with status" not in first.said()

    machines.cable.mend()
    mended = time.monotonic()
    wait_for(lambda: "ready: standby" in first.health("/readyz"), "the first stands by")
    print(f"stands by {time.monotonic() - mended:.1f} s after the cable was mended")
    machines.declare("it burns again")
    wait_for(lambda: machines.rung() == both * 2, "each rung is rung once", 60)
    assert machines.lease() == after
    assert "ready: owner" in second.health("/readyz")
    assert first.children()["control"] == child
    assert "is ours in epoch 1" in first.said()
    assert "is ours in epoch 3" not in first.said() + second.said()
