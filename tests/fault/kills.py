"""SIGKILL the real daemon at its worst moments, on real stores, Apache Kafka and strict receivers.

A round has a store, a topic and receivers of its own. In each of its lives the daemon gets
never-events and dies: at a named point of `monitor.faults`, again and again as the supervisor
starts it anew, or at a random time, a random process of it. Meanwhile people resolve incidents
(`tests.fault.closing`), also while their page is under way: one that came after would ring anew.
After the last life it is given time to work everything off. The journals of the receivers, fsynced
before they answer, are the oracle.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from monitor.views import DeskError
from tests.fault.closing import By, Closers, closing
from tests.fault.events import Feed, feed
from tests.fault.evidence import preserve
from tests.fault.ground import (
    NO_LIMIT,
    Ground,
    Rates,
    Receivers,
    Stuck,
    configuration,
    daemon,
    fell,
    keep,
    receivers,
    too_fast,
    unordered,
    wait_until,
    wait_while_moving,
)
from tests.fault.oracle import Tally, rung_so_far, seen, settle, tally
from tests.integration.process_stage import Tree
from tests.integration.run_stage import BOOK, SCRIPT
from tests.servers.faults import status
from tui.desk_client import Place, connect

ROAD = ("K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9")
"""Points that a never-event passes on its way to a phone."""
RUNBOOK = ("K11", "K12")
MIGRATION = "K13"
RELOAD = "K14"
DRAIN = "K14 drain"
"""The same point, in a daemon that was told to end and has pages under way."""
PASSINGS = {"K1": 3, "K2": 3, "K3": 2, "K4": 2, "K5": 3, "K6": 40, "K7": 40, "K8": 2, "K9": 20}
"""It dies at a passing up to this one, drawn anew for each life."""
HIT_S = 60.0
"""A death that has not come when nothing has rung for so long is counted as missed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One round."""

    points: tuple[str, ...]
    """One life each."""
    deaths: int = 2
    """At its point, in one life; a drain ends a life, in which two processes die at once."""
    randoms: int = 3
    share: int = 100
    """Never-events of one life."""
    rates: Rates = NO_LIMIT
    """Of the receivers."""


@dataclass(slots=True)
class Round:
    """What a round came to."""

    backend: str
    tally: Tally
    at_points: Counter[str] = field(default_factory=Counter)
    at_random: int = 0
    missed: list[str] = field(default_factory=list)
    """Lives in which the point was not reached as often as wanted."""
    steps_twice: int = 0
    """Runbook steps that were carried out more than once."""
    unordered: int = 0
    """Children that ended by themselves, hung, or had to be killed at the end."""
    drain_s: float = 0.0
    """From SIGTERM to the end of the last life, in which nothing is left to do."""
    evidence: Path | None = None
    """Where it lies, if the round is not sound."""
    resolved_by: Counter[By] = field(default_factory=Counter)
    """Incidents that people were told are resolved."""
    refused: int = 0
    """Requests that came too fast for a receiver."""
    seconds: float = 0.0
    worked_off_per_s: float = 0.0

    @property
    def kills(self) -> int:
        """All of them."""
        return sum(self.at_points.values()) + self.at_random


def moment(rng: random.Random) -> float:
    """Seconds until somebody dies who dies at any time; Alertmanager's in `anchor` too."""
    return rng.uniform(0.5, 5.0)


def settings(ground: Ground, paged: Receivers) -> dict[str, object]:
    """The daemon's, with a runbook of one step that leaves a mark."""
    books, script = ground.folder / "books", ground.folder / "mark"
    books.mkdir(exist_ok=True)
    (books / "mark.yaml").write_text(BOOK.replace("FILE", str(ground.folder / "marked")))
    script.write_text(SCRIPT)
    script.chmod(0o755)
    allow = {"commands": [{"path": str(script), "args": [[]], "max_effect": "reversible"}]}
    return configuration(ground, paged, runbooks={"folders": [str(books)], "allow": allow})


class Killing:
    """One round under way."""

    def __init__(self, tree: Tree, ground: Ground, paged: Receivers, feed: Feed, seed: int) -> None:
        self._tree, self._ground, self._paged, self._feed = tree, ground, paged, feed
        self._rng = random.Random(seed)
        self.closers = Closers(ground, paged)
        self._marks: list[Path] = []
        self.at_points: Counter[str] = Counter()
        self.at_random = 0
        self.missed: list[str] = []
        self.drain_s = 0.0

    def migrations(self, count: int) -> None:
        """Kill the first starts within the migration of an empty store, as its owner; who has one
        finishes it as `tocsin store migrate` does, and the daemon has the least rights from then
        on."""
        self._tree.settings["store"] = self._ground.owner or self._ground.store
        for _ in range(count):
            self._start(f"{MIGRATION}:1")
            assert self._tree.process is not None
            with suppress(subprocess.TimeoutExpired):
                self._tree.process.wait(HIT_S)
            if fell(self._tree, MIGRATION) > self.at_points[MIGRATION]:
                self.at_points[MIGRATION] += 1
            else:
                self.missed.append(MIGRATION)
                self._tree.kill()
        self._tree.settings["store"] = self._ground.store
        self._ground.make_schema()

    def at(self, point: str, plan: Plan) -> None:
        """One life that dies at a point, until the supervisor is killed too."""
        passing = self._rng.randint(1, min(PASSINGS.get(point, 1), plan.share))
        before = fell(self._tree, point)
        self._start(f"{point}:{passing}")
        with suppress(Stuck):
            # Until then orphans of the life before, who do not die there, may do the work.
            wait_until(self._stands, "a daemon of this life", HIT_S)
        for death in range(1, plan.deaths + 1):
            if point == "K8":
                self._refuse_some()
            self._feed.send(-(-plan.share // plan.deaths))
            if point in RUNBOOK:
                self._run_step()
            if point == RELOAD:
                self._reload(before + death)
            if not self._died(point, before + death):
                self.missed.append(f"{point}:{passing}")
                break
        self.at_points[point] += fell(self._tree, point) - before
        self._kill_all()

    def in_the_drain(self, plan: Plan) -> None:
        """One life that is told to end with pages under way, and dies of what it does then."""
        before = fell(self._tree, RELOAD)
        self._start(f"{RELOAD}:1")
        sent = self._feed.sent
        self._feed.send(plan.share)
        fresh = self._feed.owed(sent)
        with suppress(Stuck, subprocess.TimeoutExpired):
            # What was queued before rings before ingest reads: then only one would be at work.
            wait_while_moving(
                lambda: fresh & seen(self._paged),
                partial(rung_so_far, self._paged),
                "a page of this life",
                HIT_S,
            )
            self._tree.end()
        died = fell(self._tree, RELOAD) - before
        self.at_points[DRAIN] += died
        if not died:
            self.missed.append(DRAIN)
        self._kill_all()

    def at_any_time(self, plan: Plan) -> None:
        """One life in which a process dies at a random time, then all of it."""
        self._start("")
        self._feed.send(plan.share)
        with suppress(Stuck):
            wait_until(self._tree.children, "a child", 20.0)
        time.sleep(moment(self._rng))
        children = sorted(self._tree.children())
        if children:
            with suppress(KeyError, ProcessLookupError):
                self._tree.kill_child(self._rng.choice(children))
                self.at_random += 1
            time.sleep(self._rng.uniform(0.1, 2.0))
        self._kill_all()

    def finish(self) -> float:
        """Let it work everything off, for as long as it gets on; pages a second."""
        self._paged.pagerduty.recover()
        self._start("")
        wanted, came = self._feed.owed(), sum(rung_so_far(self._paged))
        started = time.monotonic()
        try:
            settle(self._paged, self._ground.store, wanted, self.closers.tried)
        except Stuck as problem:
            # What is lost is counted, not hidden behind a failure of the harness.
            keep(self._ground.folder, self._tree)
            self.missed.append(str(problem))
        spent = time.monotonic() - started
        told = time.monotonic()
        self._tree.end()
        self.drain_s = time.monotonic() - told
        return (sum(rung_so_far(self._paged)) - came) / max(spent, 0.001)

    def steps_twice(self) -> int:
        """Runbook steps carried out more than once."""
        return sum(len(m.read_text().splitlines()) > 1 for m in self._marks if m.exists())

    def _start(self, fault: str) -> None:
        self._tree.env = {"TOCSIN_FAULT": fault}
        self.closers.no_answer()
        self._tree.start()

    def _stands(self) -> bool:
        """Whether the supervisor of this life has the store to itself."""
        return f"supervisor {self._tree.pid}:" in self._tree.said()

    def _died(self, point: str, count: int) -> bool:
        """Whether so many have died there in time."""
        rang = partial(rung_so_far, self._paged)
        try:
            wait_while_moving(lambda: fell(self._tree, point) >= count, rang, "a death", HIT_S)
        except Stuck:
            return False
        return True

    def _refuse_some(self) -> None:
        for server in (self._paged.slack, self._paged.pagerduty):
            server.fail_next(status(503), times=3)

    def _run_step(self) -> None:
        """Somebody declares an incident and runs a step of a runbook."""
        mark = self._ground.folder / f"mark-{len(self._marks)}"
        self._marks.append(mark)
        socket = self._ground.folder / "desk"
        with suppress(Stuck):
            wait_until(lambda: self._stepped(socket, mark), "a desk that takes a step", HIT_S)

    def _reload(self, count: int) -> None:
        """Somebody changes the configuration, until the daemon has died so often."""
        file = self._tree.folder / "tocsin.yaml"
        settings = json.loads(file.read_text())
        settings["paging"]["links"] = {"panel": f"https://panels.example/{count}"}
        file.write_text(json.dumps(settings))
        with suppress(Stuck):
            wait_until(
                lambda: self._reloaded() and fell(self._tree, RELOAD) >= count, "a swap", HIT_S
            )

    def _reloaded(self) -> bool:
        socket = self._ground.folder / "desk"
        if not socket.exists():
            return False
        place = Place(store=self._ground.store, socket=socket)
        with suppress(DeskError):  # it dies before it answers, or does not listen yet
            connect(place, warn=lambda _: None, timeout_s=5.0).reload_config()
        return True

    def _stepped(self, socket: Path, mark: Path) -> bool:
        place = Place(store=self._ground.store, socket=socket)
        if not socket.exists() or not self._tree.children().get("control"):
            return False
        try:
            desk = connect(place, warn=lambda _: None, timeout_s=5.0)
            ref = desk.declare(title="it burns", severity="SEV2").incident
            assert ref is not None
            desk.start_run(ref, runbook="leave-a-mark", params={"file": str(mark)})
        except DeskError:
            return False
        with suppress(DeskError):  # it may die before it answers
            desk.step(ref, number=1, action="run", confirm="y")
        return True

    def _kill_all(self) -> None:
        """SIGKILL: all at once, or the supervisor alone, whose children then leave."""
        assert self._tree.process is not None
        if self._tree.process.poll() is None:
            self.at_random += 1
            if self._rng.random() < 0.2:
                os.kill(self._tree.pid, signal.SIGKILL)
                return
        self._tree.kill()


def round_of(ground: Ground, plan: Plan, *, backend: str, seed: int) -> Round:
    """Publish, kill, let it finish, count.

    Args:
        ground: a topic and a store that are empty, without a schema.
        plan: what to kill.
        backend: its name in the figures.
        seed: of what is random.
    """
    started = time.monotonic()
    with (
        receivers(ground.folder, plan.rates) as paged,
        daemon(ground.folder / "daemon", settings(ground, paged)) as tree,
        feed(ground.bootstrap, ground.topic) as publishing,
    ):
        killing = Killing(tree, ground, paged, publishing, seed)
        with closing(killing.closers):
            _lives(killing, plan, seed)
        speed = killing.finish()
        closers = killing.closers
        counted = tally(
            paged,
            ground.folder,
            ground.store,
            publishing.owed(),
            tried=closers.tried,
            resolved=closers.resolved,
        )
        keep(ground.folder, tree)
        place = None
        if not counted.sound():
            facts = {"resolved_at": closers.resolved, "owed": sorted(publishing.owed())}
            place = preserve(ground, paged, {"tally": asdict(counted), **facts})
    return Round(
        backend=backend,
        evidence=place,
        unordered=unordered(tree),
        drain_s=killing.drain_s,
        tally=counted,
        at_points=killing.at_points,
        at_random=killing.at_random,
        missed=killing.missed,
        steps_twice=killing.steps_twice(),
        resolved_by=closers.by,
        refused=too_fast(paged),
        seconds=time.monotonic() - started,
        worked_off_per_s=speed,
    )


def _lives(killing: Killing, plan: Plan, seed: int) -> None:
    """All lives of a round but the last."""
    killing.migrations(plan.deaths if MIGRATION in plan.points else 0)
    lives: list[str] = [p for p in plan.points if p != MIGRATION] + [""] * plan.randoms
    random.Random(seed).shuffle(lives)
    for point in lives:
        if point == DRAIN:
            killing.in_the_drain(plan)
        elif point:
            killing.at(point, plan)
        else:
            killing.at_any_time(plan)


def by_point(rounds: Iterable[Round]) -> dict[str, int]:
    """Kills at each named point, of all rounds together; K10 is of the part `acks`."""
    points: Counter[str] = sum((one.at_points for one in rounds), Counter())
    return {name: points[name] for name in (*ROAD, *RUNBOOK, MIGRATION, RELOAD, DRAIN)}


def figures(rounds: Iterable[Round]) -> dict[str, object]:
    """The keys of all rounds together."""
    done = list(rounds)
    kills = sum(one.kills for one in done)
    sums = ("incidents", "lost", "incidents_missing", "incidents_twice", "pagerduty_duplicates")
    more = ("timers_missed", "timers_twice", "slack_repeats_unmarked", "chains_broken", "unsent")
    ended = ("decided_twice", "resolved", "left_ringing", "late_triggers")
    dropped = ("overtaken", "overtaken_heard")
    found: dict[str, object] = {"kills": kills}
    found |= {
        name: sum(getattr(one.tally, name) for one in done)
        for name in sums + more + ended + dropped
    }
    repeats = sum(one.tally.slack_repeats for one in done)
    found["slack_repeats_per_kill"] = round(repeats / max(kills, 1), 3)
    found["ended_by_themselves"] = sum(one.unordered for one in done)
    found["drain_s"] = round(max(one.drain_s for one in done), 2)
    found["steps_twice"] = sum(one.steps_twice for one in done)
    resolved: Counter[By] = sum((one.resolved_by for one in done), Counter())
    found["resolved_by"] = dict(resolved)
    found["kills_at"] = by_point(done)
    found["kills_at_random"] = sum(one.at_random for one in done)
    found["kills_by_store"] = {
        name: sum(one.kills for one in done if one.backend == name)
        for name in dict.fromkeys(one.backend for one in done)
    }
    found["points_missed"] = [text for one in done for text in one.missed]
    return found
