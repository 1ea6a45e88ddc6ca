"""A running daemon takes another configuration whole, or keeps the one it has and says why."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest
import sqlalchemy as sa

from monitor.clock import WallClock
from monitor.config.options import RunOptions
from monitor.config.reload import Reload
from monitor.config.revisions import keep_start
from monitor.config.settings import Settings, resolve
from monitor.daemon import Control, build_control
from monitor.metrics import Metrics
from monitor.processes.handover import Handover
from monitor.processes.launch import read_settings
from monitor.store.store import Store
from monitor.views import ConfigReloaded, DeskError, Principal
from tests.making import level_note
from tests.servers.faults import status
from tests.servers.webhook_server import SECRET, WebhookServer

ADA = Principal(name="ada", role="admin")
PATIENCE_S = 60.0


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that a loop does."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


@dataclass
class House:
    """A daemon's control process with its loops, a configuration file and two receivers."""

    control: Control
    reload: Reload
    file: Path
    store: str
    servers: dict[str, WebhookServer]
    broken: list[BaseException] = field(default_factory=list)

    def text(self, **parts: object) -> str:
        """A configuration like the one it started with, other in `parts`."""
        return configuration(self.servers, self.store, **parts)

    def write(self, **parts: object) -> None:
        self.file.write_text(self.text(**parts))

    def turn(self, stop: threading.Event, step: Callable[[datetime], object]) -> None:
        while not stop.is_set():
            try:
                step(WallClock().now())
            except BaseException as problem:
                self.broken.append(problem)
                raise
            stop.wait(0.02)

    def declare(self, title: str = "it burns") -> str:
        done = self.control.desk(ADA).declare(title=title, severity="SEV1")
        assert done.incident is not None
        return done.incident

    def rung(self, name: str) -> list[str]:
        """Incidents that a receiver was told to ring for, in order."""
        documents = self.servers[name].documents
        return [d["incident"] for d in documents if d["kind"] == "trigger"]

    def timeline(self, ref: str, kind: str) -> list[str]:
        return [e.text for e in self.control.desk(ADA).timeline(ref) if e.kind == kind]


def configuration(servers: dict[str, WebhookServer], store: str, **parts: object) -> str:
    """A configuration with a receiver for each server; `parts` go under `paging` or to the top."""
    hooks = [
        {"type": "webhook", "name": name, "url": server.hook, "secret": {"env": "HOOK_SECRET"}}
        for name, server in servers.items()
    ]
    top = {key: parts.pop(key) for key in list(parts) if key in {"tiers", "desk"}}
    paging = {"receivers": hooks, "route": {"receivers": ["day"]}, **parts}
    return json.dumps({"version": 1, "store": store, "paging": paging, **top})


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Everything running on a store of its own; ends with the loops still alive."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    file = tmp_path / "tocsin.yaml"
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(WebhookServer()) for name in ("day", "night")}
        url = f"sqlite:///{tmp_path / 'x.db'}"
        file.write_text(configuration(servers, url))
        options = RunOptions(config=file)
        settings, _ = read_settings(options, {})
        store, now = Store(url), WallClock().now
        control = build_control(
            resolve(settings), store=store, clock=WallClock(), metrics=Metrics()
        )
        stack.callback(control.close)
        keep_start(store, settings, now())
        reload = Reload(
            control,
            read=lambda: read_settings(options, {}),
            build=control.channels_of,
            clock=now,
            handover=Handover(tmp_path / "settings"),
        )
        control.reloading = reload.asked_by
        control.parts.append(reload.health)
        made = House(control, reload, file, url, servers)
        stop = threading.Event()
        steps = (
            control.decide.step,
            control.digests.step,
            control.deliver.step,
            control.runs.step,
        )
        threads = [threading.Thread(target=made.turn, args=(stop, step)) for step in steps]
        for thread in threads:
            thread.start()

        def end() -> None:
            stop.set()
            for thread in threads:
                thread.join()

        stack.callback(end)
        yield made
        assert made.broken == []


def refused(done: ConfigReloaded) -> list[tuple[int, str]]:
    """Places and codes of what speaks against a reload."""
    assert not done.taken
    return [(problem.line, problem.code) for problem in done.problems]


def test_the_next_page_goes_where_the_new_route_says(house: House) -> None:
    """A taken route holds for the next incident, and nothing is sent again for the last one."""
    first = house.declare()
    until(lambda: house.rung("day") == [first], "the first page")
    house.write(route={"receivers": ["night"]})
    done = house.control.desk(ADA).reload_config()
    assert (done.taken, done.changed, done.number) == (True, ["paging.route.receivers"], 2)
    second = house.declare()
    until(lambda: house.rung("night") == [second], "the page under the new route")
    assert house.rung("day") == [first]


def test_a_reload_changes_no_timer_and_repeats_no_page(house: House) -> None:
    """An open incident keeps the escalation it began with; ten reloads send nothing twice."""
    house.write(escalation=[{"after": "1s", "receivers": ["night"]}])
    assert house.reload.reload("ada", "socket").taken
    incident = house.declare()
    until(lambda: house.rung("day") == [incident], "the page")
    for turn in range(10):
        house.write(links={"turn": f"https://h/{turn}"})
        assert house.reload.reload("ada", "socket").taken
    until(lambda: house.rung("night") == [incident], "the rung of the policy at the start")
    assert house.rung("day") == [incident]
    later = house.declare("another one")
    until(lambda: later in house.rung("day"), "its page")
    time.sleep(1.5)
    assert later not in house.rung("night")


@pytest.mark.parametrize("fallback", ["", "night"])
def test_a_page_under_way_outlives_its_receiver(house: House, fallback: str) -> None:
    """What waits for a receiver that is gone rings the fallback, else the new route; it says so."""
    house.servers["day"].fail_next(status(503), times=1000)
    incident = house.declare()
    until(lambda: len(house.servers["day"].journal.rows) > 0, "an attempt")
    hook = {
        "type": "webhook",
        "name": "night",
        "url": house.servers["night"].hook,
        "secret": {"env": "HOOK_SECRET"},
    }
    house.write(receivers=[hook], route={"receivers": ["night"]}, fallback=fallback)
    assert house.reload.reload("ada", "socket").taken
    until(lambda: house.rung("night") == [incident], "the page in its place")
    assert any("day is no longer configured" in text for text in house.timeline(incident, "PAGE"))


BROKEN: dict[str, Callable[[str], str]] = {
    "half a file": lambda text: text[: len(text) // 2],
    "nothing": lambda _: "",
    "a receiver that is not there": lambda text: text.replace('["day"]', '["dya"]'),
    "an unknown key": lambda text: text.replace('"version"', '"versoin"'),
    "a secret that is gone": lambda text: text.replace("HOOK_SECRET", "HOOK_SECRT"),
    "another store": lambda text: text.replace("x.db", "y.db"),
    "another bucket": lambda text: text.replace("{", '{"stream": {"bucket": "10s"}, ', 1),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_changes_nothing(house: House, kind: str) -> None:
    """The old one goes on, who asked hears every problem with its place, and a metric tells."""
    before = house.control.configured
    text = house.text(links={"a": "https://h"})
    house.file.write_text(BROKEN[kind](text))
    done = house.control.desk(ADA).reload_config()
    assert refused(done)
    assert all(str(house.file) == problem.file for problem in done.problems)
    assert house.control.configured is before
    rendered = house.control.metrics.render().decode()
    assert "tocsin_config_reload_success 0.0" in rendered
    (part,) = [p for p in house.control.desk(ADA).overview().parts if p.name == "reload"]
    assert (part.state, "tocsin config check" in part.text) == ("warn", True)
    incident = house.declare()
    until(lambda: house.rung("day") == [incident], "a page by the old configuration")
    assert [row.number for row in house.control.desk(ADA).config_history()] == [1]
    house.write(links={"a": "https://h"})
    assert house.control.desk(ADA).reload_config().changed == ["paging.links.a"]
    assert "tocsin_config_reload_success 1.0" in house.control.metrics.render().decode()


def test_a_digest_begins_and_ends_with_a_reload(house: House) -> None:
    """Once it is configured the day's digest goes out, signed, to its own receiver, and rings
    nobody; nothing counts it as a page."""
    with house.control.store.write() as tx:
        now = WallClock().now()
        tx.notes.add(level_note(at=now, onset_at=now))
    house.write(digest={"receivers": ["night"], "at": "00:00", "timezone": "Europe/Paris"})
    assert house.control.desk(ADA).reload_config().changed[0].startswith("paging.digest")
    night = house.servers["night"]
    until(lambda: len(night.documents) == 1, "a digest")
    (document,) = night.documents
    assert (document["kind"], document["incident"], document["severity"]) == ("digest", "", "")
    assert document["id"].startswith("digest:night:")
    assert document["dedup_key"] == f"tocsin:{document['id']}"
    assert document["lines"][0].startswith("Refusals, chat: 2 % to 4 %, since ")
    assert house.rung("day") == house.rung("night") == []

    def through() -> bool:
        with house.control.store.read() as tx:
            return tx.outbox.next_due() is None

    until(through, "the digest is marked as sent")
    with house.control.store.read() as tx:
        assert tx.outbox.counts() == {}
    house.write()
    assert house.control.desk(ADA).reload_config().taken
    assert house.control.pager.policy.digest is None


def test_what_only_a_start_takes_is_all_named(house: House) -> None:
    """Every such key has its place and its reason; what could be taken is not taken either."""
    house.file.write_text(
        f"version: 1\nstore: {house.store}\nstream:\n  bucket: 10s\n"
        "http: 127.0.0.1:0\ntiers: {error_rate: page}\n"
    )
    done = house.reload.reload("ada", "socket")
    assert {(4, "restart"), (5, "restart")} <= set(refused(done))
    assert {p.text.split(":")[0] for p in done.problems} == {"stream.bucket", "http"}
    assert house.control.configured.settings.tiers == {}


def test_only_an_admin_reloads(house: House) -> None:
    """A responder may read what is in force, a reader only that something changed."""
    responder = house.control.desk(Principal(name="bo", role="responder"))
    with pytest.raises(DeskError, match="no admin"):
        responder.reload_config()
    assert responder.config_revision().number == 1
    reader = house.control.desk(Principal(name="cy", role="reader"))
    assert [row.body for row in reader.config_history()] == [""]
    with pytest.raises(DeskError, match="may only read"):
        reader.config_revision()
    with pytest.raises(DeskError, match="no revision r9"):
        responder.config_revision(number=9)


def test_open_incidents_and_the_next_page_name_the_change(house: House) -> None:
    """The timeline and "what changed" name revision, person and keys, and no value."""
    incident = house.declare()
    house.write(tiers={"error_rate": "page"}, links={"canary": "https://canary.example"})
    number = house.reload.reload("ada", "socket").number
    (text,) = house.timeline(incident, "CONFIG")
    assert text == f"configuration r{number} by ada: paging.links.canary, tiers.error_rate changed"
    (change,) = house.control.desk(ADA).changes()
    assert (change.kind, change.actor) == ("config", "ada")
    assert change.title == f"r{number}: paging.links.canary, tiers.error_rate"
    assert "canary.example" not in text + change.title
    tiers = {s.name: s.tier for s in house.control.configured.plan.signals}
    assert tiers["error_rate"] == "page"


def test_people_and_runbooks_change_too(house: House, tmp_path: Path) -> None:
    """Roles, the allow-list and the folder of runbooks hold from the next call on."""
    house.write(desk={"responders": ["bo"]})
    assert house.reload.reload("ada", "socket").changed == ["desk.responders"]
    assert house.control.desk_for("cy", 54321).whoami().role == "reader"
    assert house.control.desk_for("bo", 54321).whoami().role == "responder"


def test_a_signal_asks_too_and_is_named(house: House) -> None:
    """A thread of its own takes the configuration for a SIGHUP that came."""
    stop, signals = threading.Event(), SimpleQueue[str]()
    thread = threading.Thread(target=house.reload.attend, args=(signals, stop))
    thread.start()
    try:
        house.write(links={"a": "https://h"})
        signals.put("SIGHUP")
        until(lambda: len(house.control.desk(ADA).config_history()) == 2, "the revision")
    finally:
        stop.set()
        thread.join()
    newest = house.control.desk(ADA).config_history()[0]
    assert (newest.who, newest.via, newest.note) == ("SIGHUP", "signal", "paging.links.a")


@pytest.mark.parametrize("kind", ["ABORT", "FAIL"])
def test_what_is_not_committed_is_handed_to_nobody(house: House, kind: str) -> None:
    """Whatever goes wrong with the revision, processes that start later have what is in force."""
    folder, before = house.file.parent, house.control.configured
    heirs = Handover(folder / "settings")
    with house.control.store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER no BEFORE INSERT ON revisions BEGIN SELECT RAISE({kind}, 'no'); END"
        )
    house.write(links={"a": "https://h"})
    with pytest.raises(sa.exc.IntegrityError):
        house.reload.reload("ada", "socket")
    assert house.control.configured is before
    assert heirs.in_force(before.settings) is before.settings
    assert not [each for each in folder.iterdir() if each.name.startswith("settings")]
    with house.control.store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER no")
    assert house.reload.reload("ada", "socket").number == 2
    assert heirs.in_force(before.settings) == house.control.configured.settings


def test_a_reload_that_cannot_be_handed_on_is_refused(house: House) -> None:
    """No revision says that something is in force that the next process would not have."""
    (house.file.parent / "settings.new").mkdir()
    house.write(links={"a": "https://h"})
    assert refused(house.reload.reload("ada", "socket"))
    assert len(house.control.desk(ADA).config_history()) == 1
    (house.file.parent / "settings.new").rmdir()
    assert house.reload.reload("ada", "socket").taken


def test_what_cannot_be_put_in_place_is_said_and_settled_by_the_next_start(house: House) -> None:
    """A committed revision is in force; the overview warns of processes that do not have it."""
    place = house.file.parent / "settings"
    place.mkdir()
    house.write(links={"a": "https://h"})
    assert house.reload.reload("ada", "socket").taken
    (part,) = [p for p in house.control.desk(ADA).overview().parts if p.name == "reload"]
    assert (part.state, "restart the daemon" in part.text) == ("warn", True)
    place.rmdir()
    heirs = Handover(place)
    heirs.settle(house.control.store)
    assert heirs.in_force(resolve(Settings()).settings) == house.control.configured.settings


def test_a_start_with_another_configuration_is_a_revision(house: House) -> None:
    """The same configuration makes none; another is told to open incidents as a start's."""
    store, settings = house.control.store, house.control.configured.settings
    now = datetime.now(UTC)
    incident = house.declare()
    assert keep_start(store, settings, now).id == 1
    louder = msgspec.structs.replace(settings, profile="loud")
    assert keep_start(store, louder, now).id == 2
    assert house.timeline(incident, "CONFIG") == ["configuration r2 at a start: profile changed"]
    newest = house.control.desk(ADA).config_history()[0]
    assert (newest.who, newest.note) == ("start", "profile")


def test_no_secret_is_in_what_a_reload_leaves(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither revisions nor answers nor the log hold the value of a secret, used or misplaced."""
    caplog.set_level("DEBUG")
    house.write(fallback="night")
    assert house.reload.reload("ada", "socket").taken
    incident = house.declare()
    until(lambda: house.rung("day") == [incident], "a page with the secret in use")
    reference = '{"env": "HOOK_SECRET"}'
    house.file.write_text(house.text().replace(reference, json.dumps(SECRET), 1))
    answer = house.reload.reload("ada", "socket")
    assert refused(answer)
    with house.control.store.read() as tx:
        bodies = [revision.body for revision in tx.revisions.newest()]
    assert all("HOOK_SECRET" in body for body in bodies)
    left = [*bodies, caplog.text, str(answer), house.control.metrics.render().decode()]
    assert all(SECRET not in each for each in left)


def mutated(source: bytes, chance: random.Random) -> bytes:
    """A configuration with bytes flipped, cut out, doubled or moved."""
    raw = bytearray(source)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(raw))
        until_ = min(len(raw), at + chance.randint(1, 30))
        kind = chance.randrange(5)
        if kind == 0:
            raw[at] = chance.randrange(256)
        elif kind == 1:
            del raw[at:until_]
        elif kind == 2:
            raw[at:at] = raw[at:until_]
        elif kind == 3:
            raw[at:at] = chance.choice([b"{", b"]", b"&a ", b"!!x ", b"\n\t", b"null", b"\xff"])
        else:
            raw = raw[:at] or bytearray(b"{")
    return bytes(raw)


def test_three_hundred_mutations_cause_no_outage(house: House) -> None:
    """Each is taken whole or refused with its places; the desk answers all the while."""
    chance = random.Random(20261122)
    source = house.text(links={"a": "https://h/$signal"}).encode()
    answers: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            started = time.monotonic()
            house.control.desk(ADA).overview()
            answers.append(time.monotonic() - started)
            stop.wait(0.01)

    def enough(turn: int) -> bool:
        return len(answers) * 6 >= turn

    asking = threading.Thread(target=ask)
    asking.start()
    taken = 0
    try:
        for turn in range(300):
            # However fast the reloads are, the desk has its turns between them.
            until(partial(enough, turn), "the desk answers")
            before = house.control.configured
            house.file.write_bytes(mutated(source, chance))
            done = house.reload.reload("chaos", "signal")
            taken += done.taken
            if not done.taken:
                assert done.problems
                assert house.control.configured is before
            assert all(problem.text for problem in done.problems)
    finally:
        stop.set()
        asking.join()
    assert len(answers) >= 49
    assert max(answers) < 20
    assert taken < 150
    house.write()
    assert house.reload.reload("ada", "socket").taken
    incident = house.declare()
    until(lambda: house.rung("day")[-1:] == [incident], "a page after all that")
