"""How soon a twin reads and pages in place of another machine that did everything.

Two daemons without any `--roles`, as the README has several machines, share a PostgreSQL store and
a consumer group. The one that decides and reads half of the partitions or more is killed, or frozen
whole (SIGSTOP) and woken up later. A never-event on each of its partitions, published at that
moment, tells when the other one has read them, decided and paged.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fault.events import Feed, feed
from tests.fault.ground import (
    Ground,
    Receivers,
    Stuck,
    configuration,
    daemon,
    receivers,
    unordered,
    wait_until,
)
from tests.fault.history import DAYS, remember
from tests.fault.oracle import Tally, seen, settle, tally
from tests.integration.process_stage import Tree, rows

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

OWNER = "SELECT holder FROM leases WHERE name = 'decide'"
FIRST = 8
"""Never-events over all partitions before anything happens, and in the end."""
CALM_S = 120.0
"""Two machines share the work out anew within this time, on a busy machine too."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of the work of the killed and the frozen."""

    killed_s: tuple[float, ...]
    """From SIGKILL of the owner until a never-event on a partition of its own is paged."""
    frozen_s: tuple[float, ...]
    """The same from SIGSTOP."""
    all_s: tuple[float, ...]
    """Until there is a page of each of its partitions, of both."""
    tally: Tally
    unordered: int
    """Children that ended by themselves, hung, or had to be killed at the end."""


@dataclass(frozen=True, slots=True)
class Group:
    """The consumer group, as its broker knows it."""

    admin: KafkaAdminClient
    name: str
    topic: str

    def members(self) -> dict[str, tuple[int, ...]]:
        """The partitions by member; none while they are shared out."""
        from kafka.errors import KafkaError

        try:
            found: dict[str, Any] = self.admin.describe_groups([self.name])[self.name]
        except KafkaError:  # nobody has asked for the group yet
            return {}
        if found["group_state"] != "Stable":
            return {}
        return {
            member["group_instance_id"]: tuple(
                number
                for assigned in member["member_assignment"]["assigned_partitions"]
                if assigned["topic"] == self.topic
                for number in assigned["partitions"]
            )
            for member in found["members"]
        }


@dataclass(frozen=True, slots=True)
class Twins:
    """Both machines."""

    trees: tuple[Tree, Tree]
    store: str
    group: Group

    def at_work(self) -> tuple[Tree, tuple[int, ...]]:
        """The one that decides and reads at least half, once the other does what is left; and its
        partitions.

        Raises:
            Stuck: there is none.
        """
        found: list[tuple[Tree, tuple[int, ...]]] = []

        def calm() -> bool:
            found[:] = [one for one in map(self._reading, self.trees) if one is not None]
            ready = [tree.health("/readyz").strip() for tree in self.trees]
            return bool(found) and sorted(ready) == ["ready: owner", "ready: standby"]

        wait_until(calm, "one that decides and reads half", CALM_S)
        return found[0]

    def _reading(self, tree: Tree) -> tuple[Tree, tuple[int, ...]] | None:
        """Of the owner, if it reads half or more, and somebody the rest: its partitions."""
        for (holder,) in rows(self.store, OWNER):
            place, _, process = str(holder).rpartition("/")
            if int(process.partition("-")[0]) != tree.children().get("control"):
                continue
            member, shares = "tocsin-" + place.replace("/", "-"), self.group.members()
            ours = [n for name, share in shares.items() if name.startswith(member) for n in share]
            every = sum(map(len, shares.values()))
            if 0 < every <= 2 * len(ours) < 2 * every:
                return tree, tuple(ours)
        return None


def follow(ground: Ground, *, rounds: int, days: int = DAYS) -> Followed:
    """Kill the machine that does the work, then freeze the one that does it next, `rounds` times.

    Args:
        ground: a topic and an empty PostgreSQL store.
        rounds: of one kill and one freeze.
        days: of history.

    Raises:
        Stuck: nobody took over.
    """
    killed: list[float] = []
    frozen: list[float] = []
    every: list[float] = []
    with (
        receivers(ground.folder) as paged,
        _twins(ground, paged) as twins,
        feed(ground.bootstrap, ground.topic) as publishing,
    ):
        remember(ground, twins.trees[0].settings, days=days)
        for tree in twins.trees:
            tree.start()
        publishing.send(FIRST)
        for _ in range(rounds):
            owner, places = twins.at_work()
            os.killpg(owner.pid, signal.SIGKILL)
            first, last = _paged(publishing, paged, places)
            killed.append(first)
            every.append(last)
            owner.kill()
            owner.start()
            owner, places = twins.at_work()
            os.killpg(owner.pid, signal.SIGSTOP)
            first, last = _paged(publishing, paged, places)
            frozen.append(first)
            every.append(last)
            os.killpg(owner.pid, signal.SIGCONT)
        twins.at_work()
        publishing.send(FIRST)
        wanted = publishing.owed()
        with suppress(Stuck):
            settle(paged, ground.store, wanted)
        for tree in twins.trees:
            tree.end()
        counted = tally(paged, ground.folder, ground.store, wanted)
    return Followed(
        tuple(killed),
        tuple(frozen),
        tuple(every),
        counted,
        sum(unordered(tree) for tree in twins.trees),
    )


@contextmanager
def _twins(ground: Ground, paged: Receivers) -> Iterator[Twins]:
    """The same configuration twice, but for the desk's socket: they are on one machine here."""
    # Here and not above: importing kafka-python costs every test run 0.3 s and a warning.
    from kafka import KafkaAdminClient

    group = f"g-{ground.topic}"
    with ExitStack() as stack:

        def one(name: str) -> Tree:
            desk = {"socket": str(ground.folder / f"desk-{name}")}
            made = configuration(ground, paged, desk=desk)
            made["source"]["group"] = group
            return stack.enter_context(daemon(ground.folder / name, made))

        admin = KafkaAdminClient(bootstrap_servers=ground.bootstrap)
        stack.callback(admin.close)
        yield Twins((one("one"), one("other")), ground.store, Group(admin, group, ground.topic))


def _paged(publishing: Feed, paged: Receivers, places: Sequence[int]) -> tuple[float, float]:
    """Publish to each of the partitions; seconds until the first of it, and all of it, is paged."""
    sent, started = publishing.sent, time.monotonic()
    for place in places:
        publishing.send(1, partition=place)
    wanted = publishing.owed(sent)
    wait_until(lambda: wanted & seen(paged), "a page", 90.0)
    first = time.monotonic() - started
    wait_until(lambda: wanted <= seen(paged), "all pages", 90.0)
    return first, time.monotonic() - started
