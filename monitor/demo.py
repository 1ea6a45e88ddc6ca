"""`tocsin demo`: the whole road on one machine, without Kafka and without a network.

A simulated product runs at speed; its receivers (Slack, PagerDuty) and its change API are strict
loopback servers, reached through the real clients. After two quiet hours a prompt release makes the
chat refuse; whoever works the runbook rolls it back, and the simulation answers.
"""

from __future__ import annotations

import json
import logging
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from monitor.config.options import DemoOptions, DemoResult
from monitor.config.secret import Secret
from monitor.config.settings import Paging, Runbooks, Settings, resolve
from monitor.daemon import Daemon, build
from monitor.desk.port import DeskPort
from monitor.http import app as http
from monitor.notify.loopback.pagerduty import PagerDutyReceiver
from monitor.notify.loopback.phone import Notice, pagerduty_notices, slack_notices
from monitor.notify.loopback.server import Answer, LoopbackServer, Request
from monitor.notify.loopback.slack import SlackReceiver
from monitor.notify.settings import PagerDutySettings, SlackSettings
from monitor.store.store import Store, owner_lock
from monitor.stream.sources.scenario import load_scenario
from monitor.stream.sources.simulate import Emission, Simulation
from monitor.stream.sources.source import (
    Assigned,
    Chunk,
    Lag,
    Partition,
    Record,
    SourceEvent,
    Topology,
)
from runbooks.allow import AllowedHttp, AllowList
from runbooks.durations import Duration
from runbooks.model import Effect

logger = logging.getLogger(__name__)

TOKEN = "xoxb-demo-token"  # noqa: S105 - of a receiver on this machine that lives for minutes
ROUTING_KEY = "d" * 32
CHANNEL = "C0DEMO0001"
STEP_S = 60
"""Simulated seconds between two rounds."""
LOOK_S = 4.0
"""For so long the phone stands alone, before the terminal takes the screen."""
LONGEST = timedelta(hours=24)
HEADLESS_LIMIT = timedelta(hours=3)
"""Simulated time after the release in which the story must have come to its end."""

Connect = Callable[[Path], DeskPort]
Face = Callable[[DeskPort], int]
Show = Callable[[str], None]


class StorySource:
    """The simulated stream: broken by the release, healthy again once it is rolled back."""

    finite = True

    def __init__(self, seed: int = 1) -> None:
        scenario = load_scenario("demo")
        first = scenario.effects[0]
        lasting = msgspec.structs.replace(first, until=None)
        whole = Duration(seconds=LONGEST.total_seconds())
        self.release_at = first.onset
        sick = msgspec.structs.replace(scenario, duration=whole, effects=(lasting,))
        well = msgspec.structs.replace(scenario, duration=whole, effects=())
        self._sick, self._well = Simulation(sick, seed=seed), Simulation(well, seed=seed)
        self.start_at = self._sick.start
        self.until = self.start_at
        self.announcements = [a for a in self._sick.announcements() if a.at <= self._onset()]
        self._partition = Partition("demo", f"demo/{seed}", 0)
        self._log: Iterator[Emission] = iter(self._sick)
        self._head: Emission | None = None
        self._offset = 0
        self._state = "new"
        self._healed = threading.Event()

    def _onset(self) -> datetime:
        return self.start_at + self.release_at

    def heal(self) -> None:
        """The release was rolled back: from now on the product behaves as before."""
        self._healed.set()

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        """What happened until `until`."""
        del timeout_s  # the story never waits: its time is moved by whoever plays it
        if self._state == "new":
            self._state = "assigned"
            return [Assigned((self._partition,))]
        if self._healed.is_set() and self._state != "healed":
            self._state, self._head = "healed", None
            now = self.until.timestamp()
            self._log = (one for one in self._well if one.time > now)
        records = []
        while True:
            self._head = self._head or next(self._log, None)
            if self._head is None or self._head.time > self.until.timestamp():
                break
            stamp = int(self._head.time * 1000)
            records.append(Record(self._offset, self._head.value, stamp))
            self._offset += 1
            self._head = None
        return [Chunk(self._partition, records, self._offset)] if records else []

    def start(self, partition: Partition, offset: int | None) -> None:
        """It is played once, from its beginning."""

    def pause(self) -> None:
        """Its time stands still anyway."""

    def resume(self) -> None:
        """As `pause`."""

    def lags(self) -> list[Lag]:
        """Read to its end."""
        return [Lag(self._partition, self._offset, self._offset)]

    def topology(self) -> Topology:
        """One partition."""
        return Topology("demo", self._partition.topic_id, (0,))

    @property
    def exhausted(self) -> bool:
        """Never: whoever plays it ends it."""
        return False

    def close(self) -> None:
        """Nothing is held open."""


class ChangeApi:
    """The product's change API, as the shipped runbook expects one."""

    def __init__(self, story: StorySource) -> None:
        self._story = story
        self._current = "v41"

    def answer(self, request: Request) -> Answer:
        """Releases, guardrails, and the rollback that heals the story."""
        path = request.path.partition("?")[0]
        if request.method == "GET" and path == "/releases":
            return _json({"current": self._current, "previous": "v40", "released_at": "01:58"})
        if request.method == "GET" and path == "/guardrails":
            return _json({"policy": "chat-default", "threshold": 0.8, "threshold_before": "0.8"})
        if request.method == "POST" and path == "/rollback":
            self._current = str(json.loads(request.body).get("to", ""))
            if self._current == "v40":
                self._story.heal()
            return _json({"rolled_back_to": self._current})
        if request.method == "POST" and path == "/threshold":
            return _json({"ok": True})
        return Answer(404)


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@dataclass(slots=True)
class Stage:
    """A running demo."""

    story: StorySource
    daemon: Daemon
    slack: SlackReceiver
    pagerduty: PagerDutyReceiver
    socket: Path
    folder: Path

    def round(self, seconds: int = STEP_S) -> None:
        """Let `seconds` pass in the story, and all that follows from them."""
        self.story.until += timedelta(seconds=seconds)
        self.daemon.step_replay()

    def history(self, show: Callable[[float], None]) -> None:
        """Play the quiet time before the release."""
        end = self.story.start_at + self.story.release_at - timedelta(minutes=5)
        whole = (end - self.story.start_at).total_seconds()
        while self.story.until < end:
            self.round(300)
            show((self.story.until - self.story.start_at).total_seconds() / whole)

    def notices(self) -> list[Notice]:
        """What a phone shows."""
        return [
            *pagerduty_notices(self.pagerduty.incidents),
            *slack_notices(self.slack.messages),
        ]


@contextmanager
def stage(store_url: str | None) -> Iterator[Stage]:
    """Build the demo with its servers; everything is gone afterwards but a store that was named."""
    with ExitStack() as stack:
        # Not removed: the review files are in it, and the demo says where.
        folder = Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
        story = StorySource()
        slack = SlackReceiver(token=TOKEN, channels={CHANNEL: ""})
        pagerduty = PagerDutyReceiver(routing_keys=[ROUTING_KEY])
        slack_at = stack.enter_context(LoopbackServer(slack)).url
        pagerduty_at = stack.enter_context(LoopbackServer(pagerduty)).url
        change_at = stack.enter_context(LoopbackServer(ChangeApi(story))).url
        settings = _settings(
            store_url or f"sqlite:///{folder / 'demo.db'}",
            folder,
            slack_at=slack_at,
            pagerduty_at=pagerduty_at,
            change_at=change_at,
        )
        stack.enter_context(owner_lock(settings.store))
        store = Store(settings.store)
        daemon = build(resolve(settings), source=story, store=store)
        stack.callback(daemon.close)
        daemon.announce(story.announcements)
        path = folder / "desk.sock"
        server = http.Server(http.desk_app(daemon.desk_for), http.listen_unix(path), peers=True)
        server.start()
        stack.callback(server.close)
        yield Stage(story, daemon, slack, pagerduty, path, folder)


def _settings(
    store: str, folder: Path, *, slack_at: str, pagerduty_at: str, change_at: str
) -> Settings:
    def secret(name: str, value: str) -> Secret:
        path = folder / name
        path.write_text(value, "utf-8")
        path.chmod(0o600)
        return Secret(file=str(path))

    return Settings(
        store=store,
        profile="loud",
        paging=Paging(
            receivers=(
                SlackSettings(
                    name="slack",
                    token=secret("slack-token", TOKEN),
                    channel=CHANNEL,
                    base_url=f"{slack_at}/api/",
                ),
                PagerDutySettings(
                    name="pagerduty",
                    routing_key=secret("pagerduty-key", ROUTING_KEY),
                    base_url=pagerduty_at,
                ),
            ),
        ),
        runbooks=Runbooks(
            allow=AllowList(
                http=(
                    AllowedHttp(
                        origin=change_at,
                        methods=("GET", "POST"),
                        paths=("/",),
                        max_effect=Effect.REVERSIBLE,
                    ),
                )
            ),
            defaults={"change_api": change_at, "service": "chat"},
        ),
    )


def play(
    options: DemoOptions,
    connect: Connect,
    face: Face | None = None,
    show: Show = lambda _line: None,
) -> DemoResult:
    """Play the demo: headless to its end, or under somebody's hands.

    Args:
        options: the flags.
        connect: opens a desk on the demo's socket, as any client would.
        face: shows the terminal on a desk and returns its exit status; None plays headless.
        show: prints a line for people (progress, the phone).
    """
    with stage(options.store) as here:
        desk = connect(here.socket)
        if face is None:
            here.history(lambda _share: None)
            return DemoResult(0, _headless(here, desk))
        show("two quiet hours of a simulated product ...")
        here.history(lambda _share: None)
        while not here.notices():
            here.round()
        for line in phone(here.notices()):
            show(line)
        show("the terminal opens on it ...")
        time.sleep(LOOK_S)
        with _paced(here, options.speed):
            status = face(desk)
        summary = _summary(here, desk)
        for path in summary["review_files"]:
            show(f"review: {path}")
        return DemoResult(status, None)


@contextmanager
def _paced(here: Stage, speed: float) -> Iterator[None]:
    """Let the story go on in a thread, `speed` times as fast as life."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(STEP_S / speed):
            here.round()

    thread = threading.Thread(target=run, name="story")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def phone(notices: list[Notice], width: int = 60) -> list[str]:
    """A lock screen in plain characters."""
    rule = "+" + "-" * (width - 2) + "+"
    lines = [rule]
    for notice in notices:
        head = f"{notice.app}: {notice.title}"
        for text in (head, *notice.lines):
            lines += [f"| {part:<{width - 4}} |" for part in textwrap.wrap(text, width - 4)]
        lines.append(rule)
    return lines


# -- headless -----------------------------------------------------------------------------


def _headless(here: Stage, desk: DeskPort) -> dict[str, Any]:
    """Work the incident as a newcomer would, through the desk's socket."""
    end = here.story.start_at + here.story.release_at + HEADLESS_LIMIT
    _until(here, end, lambda: bool(desk.incidents(state="open")), "no incident was found")
    ref = desk.incidents(state="open")[0].id
    desk.take(ref)
    here.round()
    book = next(row for row in desk.runbooks(ref) if row.suggested)
    desk.start_run(ref, runbook=book.id, params={})
    _work(here, desk, ref, end)
    desk.mitigate(ref)
    normal = "the signal did not return to normal"
    _until(here, end, lambda: not desk.incident(ref).resolve_lacks, normal)
    desk.note(ref, text="v41 refused ordinary questions; v40 is back")
    desk.resolve(ref, verdict="regression")
    here.daemon.drain()
    return _summary(here, desk)


def _until(here: Stage, end: datetime, done: Callable[[], bool], problem: str) -> None:
    while not done():
        if here.story.until > end:
            raise TimeoutError(problem)
        here.round()


_ANSWERS = {"cause": "release", "evidence": "v41 explains all of the excess"}


def _work(here: Stage, desk: DeskPort, ref: str, end: datetime) -> None:
    """Do each step of the run: look, roll back, wait for the proof."""
    patience = time.monotonic() + 30
    while True:
        run = desk.incident(ref).run
        assert run is not None
        if run.state in {"succeeded", "failed", "aborted"}:
            return
        step = next((s for s in run.steps if s.actions and s.state in {"pending", "failed"}), None)
        if any(s.state == "running" and s.type == "http" for s in run.steps):
            if time.monotonic() > patience:
                raise TimeoutError("the change API does not answer")
            time.sleep(0.02)
            continue
        waits = any(s.state == "running" and s.type == "wait_signal" for s in run.steps)
        if waits or step is None:
            if here.story.until > end:
                raise TimeoutError("the runbook's wait did not end")
            here.round()
            continue
        if step.type == "manual":
            captured = _ANSWERS if step.id == "compare" else {}
            desk.step(ref, number=step.number, action="done", note="done", captured=captured)
        else:
            desk.step(ref, number=step.number, action="run", confirm=step.confirm or "")


def _summary(here: Stage, desk: DeskPort) -> dict[str, Any]:
    rows = desk.incidents()
    if not rows:
        return {"incident": None, "review_files": []}
    row = rows[-1]
    files = []
    for form in ("md", "json"):
        path = here.folder / f"{row.id}.{form}"
        path.write_text(desk.review(row.id, form=form), "utf-8")
        files.append(str(path))
    view = desk.incident(row.id)
    steps = view.run.steps if view.run is not None else []
    return {
        "incident": {
            "id": row.id,
            "state": row.state,
            "title": row.title,
            "severity": row.severity,
            "detected_at": _rfc(row.detected_at),
            "acknowledged_at": _rfc(row.acknowledged_at),
            "mitigated_at": _rfc(row.mitigated_at),
            "resolved_at": _rfc(row.resolved_at),
        },
        "pages_delivered": sum(p.kind == "trigger" and p.state == "sent" for p in view.pages),
        "steps_run": sum(step.state == "succeeded" for step in steps),
        "verified": view.verified,
        "review_files": files,
    }


def _rfc(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
