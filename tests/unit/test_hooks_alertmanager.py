"""Alertmanager's notifications: taken once, trusted little, and never lost between two of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alertmanager.build import build_hooks
from monitor.alertmanager.webhook import MOST, SHOWN_UNREAD, decode
from monitor.config.secret import Secret
from monitor.config.settings import Settings, resolve
from monitor.inbound.hooks import Hook, LargeHook
from monitor.incidents import actions
from monitor.incidents.actions import Step
from monitor.incidents.model import Incident, State
from monitor.metrics import Metrics
from monitor.notify.alertmanager_settings import AlertmanagerSettings, Basic, Receive
from monitor.notify.channel import Kind
from monitor.paging import Pager
from monitor.store.store import Store
from tests.making import T0, minutes
from tests.statements import asked

JSON = {"content-type": "application/json", "host": "127.0.0.1:9464"}


class Case:
    """A hook on an empty store, and what became of it."""

    def __init__(self, folder: Path, **receive: Any) -> None:
        url = f"sqlite:///{folder / 'x.db'}"
        given = AlertmanagerSettings(receive=Receive(**receive))
        self.store = Store(url)
        self.metrics = Metrics()
        configured = resolve(Settings(store=url, alertmanager=given, http="127.0.0.1:9464"))
        pager = Pager(configured.policy)
        self.hook: Hook = build_hooks(self.store, lambda: configured, self.metrics, pager)[
            "alertmanager"
        ]

    def send(self, note: dict[str, Any], now: datetime = T0) -> int:
        """The status of the answer."""
        return self.hook(json.dumps(note).encode(), JSON, now).status

    def door(self, headers: dict[str, str]) -> int:
        """What a large body of such a caller hears before it is read; 200 if it is let in."""
        assert isinstance(self.hook, LargeHook)
        refused = self.hook.door(headers)
        return 200 if refused is None else refused.status

    def incidents(self) -> list[Incident]:
        """Newest first."""
        with self.store.read() as tx:
            return tx.incidents.search()

    def entries(self, incident: Incident) -> list[tuple[str, str]]:
        """Kind and text of its timeline."""
        with self.store.read() as tx:
            items = tx.incidents.timeline(incident.uuid)
        return [(item.entry.kind, item.entry.text) for item in items]

    def pages(self, incident: Incident) -> list[Kind]:
        """What its receivers are told."""
        with self.store.read() as tx:
            return [queued.message.kind for queued in tx.outbox.of_incident(incident.uuid)]

    def change(self, incident: Incident, **changes: Any) -> None:
        """As if somebody had done something."""
        with self.store.write() as tx:
            tx.incidents.save(replace(incident, **changes))


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """Callers of this machine only, nothing configured."""
    made = Case(tmp_path)
    yield made
    made.store.close()


def one(
    name: str = "a", status: str = "firing", *, start: datetime = T0, **labels: str
) -> dict[str, Any]:
    """One alert; `name` makes its fingerprint."""
    return {
        "status": status,
        "labels": {"alertname": "HighErrors", "severity": "warning", "pod": name, **labels},
        "annotations": {"summary": "Errors are high"},
        "startsAt": start.isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": name.encode().hex(),
    }


def note(*alerts: dict[str, Any], group: str = "{}:{}", **more: Any) -> dict[str, Any]:
    """A notification of these alerts, with fields that nobody here knows."""
    firing = any(each["status"] == "firing" for each in alerts)
    return {
        "version": "4",
        "groupKey": group,
        "truncatedAlerts": 0,
        "status": "firing" if firing else "resolved",
        "receiver": "tocsin",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "routeLabels": {"new": "in 0.34"},
        "alerts": list(alerts),
        **more,
    }


def test_a_repeat_changes_nothing(case: Case) -> None:
    """The same notification again (a retry, another peer) adds neither incident, entry nor page."""
    assert case.send(note(one())) == 200
    (opened,) = case.incidents()
    before = case.entries(opened), case.pages(opened)
    assert case.send(note(one()), T0 + minutes(5)) == 200
    elsewhere = one()
    elsewhere["startsAt"] = "2026-11-16T11:00:00.000000000+02:00"
    assert case.send(note(elsewhere), T0 + minutes(6)) == 200
    assert case.incidents() == [opened]
    assert (case.entries(opened), case.pages(opened)) == before
    assert before[1] == [Kind.TRIGGER]


def test_groups_are_incidents_of_their_own(case: Case) -> None:
    """One incident a group; a later alert of a group joins what is open of it."""
    case.send(note(one("a"), group="{}:{a}"))
    case.send(note(one("b"), group="{}:{b}"))
    case.send(note(one("a"), one("c"), group="{}:{a}"), T0 + minutes(1))
    second, first = case.incidents()
    assert [kind for kind, _ in case.entries(first)] == ["DETECT", "PAGE", "ALERT"]
    assert [kind for kind, _ in case.entries(second)] == ["DETECT", "PAGE"]


def test_a_notification_costs_the_same_however_many_incidents_are_open(case: Case) -> None:
    """Of 300 open incidents it reads as much as of three, and looks for forsaken alerts rarely."""
    costs = []
    for until in (3, 300):
        for number in range(len(case.incidents()), until):
            assert case.send(note(one(f"a{number}"), group=f"g{number}")) == 200
        with asked(case.store) as found:
            assert case.send(note(one(f"of {until}"), group=f"of {until}")) == 200
            assert case.send(note(one(f"b{until}"), one(f"c{until}"), group="g1")) == 200
            assert case.send(note(one(f"b{until}", "resolved"), group="g1")) == 200
        costs.append((found.statements, found.rows))
    assert costs[1][0] <= costs[0][0]
    assert costs[1][1] < costs[0][1] + 10


def test_what_nobody_will_end_is_cleared_once_a_minute(case: Case) -> None:
    """The alerts of an incident that a person has ended, with the news of any group."""
    fire = []
    for name, at in (("a", T0), ("b", T0 + minutes(0.5)), ("c", T0 + minutes(1))):
        assert case.send(note(one(name), group=name), at) == 200
        first = case.incidents()[-1]
        case.change(first, state=State.RESOLVED, resolved_at=T0)
        with case.store.read() as tx:
            fire.append([alert.firing for alert in tx.incidents.alerts_of(first.uuid)])
    assert fire == [[True], [True], [False]]


def test_an_end_clears_and_a_new_start_rings_again(case: Case) -> None:
    """All ended: normal, and told. Firing again with a new start: it rings while nobody took it."""
    case.send(note(one("a"), one("b")))
    case.send(note(one("a", "resolved"), one("b")), T0 + minutes(1))
    assert case.incidents()[0].normal_at is None
    case.send(note(one("b", "resolved")), T0 + minutes(2))
    (quiet,) = case.incidents()
    assert quiet.normal_at == T0 + minutes(2)
    assert case.pages(quiet) == [Kind.TRIGGER, Kind.RESOLVE]
    case.send(note(one("a", start=T0 + minutes(3))), T0 + minutes(3))
    (again,) = case.incidents()
    assert again.normal_at is None
    assert case.pages(again) == [Kind.TRIGGER, Kind.RESOLVE, Kind.TRIGGER]


def test_an_acknowledgement_lapses_when_the_group_had_ended(case: Case) -> None:
    """Six days later it fires again: it rings anew, and the timeline says why."""
    case.send(note(one("a")))
    (first,) = case.incidents()
    step = actions.acknowledge(first, "ana", T0 + minutes(1))
    assert isinstance(step, Step)
    with case.store.write() as tx:
        tx.incidents.apply(step, T0 + minutes(1))
    case.send(note(one("a", "resolved")), T0 + minutes(2))
    case.send(note(one("a", start=T0 + minutes(5))), T0 + minutes(5))
    assert case.pages(first) == [Kind.TRIGGER, Kind.UPDATE, Kind.UPDATE]
    with case.store.read() as tx:
        news = [queued.message.news for queued in tx.outbox.of_incident(first.uuid)]
    assert news == ["", "nothing of it fires now", "fires again"]
    case.send(note(one("a", "resolved", start=T0 + minutes(5))), T0 + minutes(6))
    later = T0 + timedelta(days=6)
    case.send(note(one("a", start=later)), later)
    (again,) = case.incidents()
    assert (again.acknowledged_at, again.paged_at, again.normal_at) == (None, later, None)
    assert case.pages(again)[-2:] == [Kind.RESOLVE, Kind.TRIGGER]
    assert "LAPSED" in [kind for kind, _ in case.entries(again)]


def test_a_resolved_incident_takes_nothing_in(case: Case) -> None:
    """After a person's resolve the next new alert of the group is a new incident."""
    case.send(note(one("a")))
    (first,) = case.incidents()
    step = actions.resolve(first, "true_positive", "done", "ana", T0 + minutes(1))
    assert isinstance(step, Step)
    with case.store.write() as tx:
        tx.incidents.apply(step, T0 + minutes(1))
    case.send(note(one("a"), one("b")), T0 + minutes(2))
    newest, _ = case.incidents()
    assert newest.number == 2
    with case.store.read() as tx:
        assert {each.incident for each in tx.incidents.firing().values()} == {newest.uuid}
    assert case.entries(newest)[0] == ("DETECT", "HighErrors: Errors are high")
    assert [kind for kind, _ in case.entries(newest)] == ["DETECT", "PAGE"]


def test_what_still_fires_after_a_resolve_comes_back(case: Case) -> None:
    """Ended by a person though it fires: the next repeat an hour later is an incident again."""
    case.send(note(one("a"), one("b")))
    (first,) = case.incidents()
    case.change(first, state=State.RESOLVED, resolved_at=T0 + minutes(10))
    case.send(note(one("a"), one("b")), T0 + minutes(60))
    assert len(case.incidents()) == 1
    case.send(note(one("a"), one("b", "resolved")), T0 + minutes(80))
    newest, _ = case.incidents()
    assert newest.state is State.TRIAGE
    assert case.pages(newest) == [Kind.TRIGGER]
    assert ("ALERT", "Alertmanager repeats it: INC-0001 ended too early") in case.entries(newest)
    case.change(newest, state=State.RESOLVED, resolved_at=T0 + minutes(81))
    case.send(note(one("a", "resolved")), T0 + minutes(90))
    case.send(note(one("a"), one("b")), T0 + minutes(200))
    assert len(case.incidents()) == 2


def test_a_late_firing_after_the_end_opens_nothing(case: Case) -> None:
    """A peer that lags sends 'firing' of what has ended: no news (alertmanager#2447)."""
    assert case.send(note(one("a", "resolved"))) == 200
    assert case.send(note(one("a", "firing")), T0 + minutes(1)) == 200
    assert case.incidents() == []


def test_a_rise_in_severity_rings(case: Case) -> None:
    """A graver alert of the group raises the incident and rings under a new key."""
    case.send(note(one("a")))
    case.send(note(one("a"), one("b", severity="critical")), T0 + minutes(1))
    (risen,) = case.incidents()
    assert risen.severity == "SEV2"
    assert case.pages(risen) == [Kind.TRIGGER, Kind.TRIGGER]


@pytest.mark.parametrize(
    ("label", "severity"),
    [("critical", "SEV2"), ("Warning", "SEV3"), ("info", "SEV4"), ("banana", "SEV2"), ("", "SEV2")],
)
def test_severities_are_translated(case: Case, label: str, severity: str) -> None:
    """Words of the configuration; what it does not know is taken for grave."""
    case.send(note(one(severity=label)))
    (opened,) = case.incidents()
    assert opened.severity == severity
    assert case.pages(opened) == ([] if severity == "SEV4" else [Kind.TRIGGER])


def test_only_known_values_are_labels(tmp_path: Path) -> None:
    """A value is trusted if it is listed; anything else is `__other__`, and other names nothing."""
    case = Case(tmp_path, labels={"environment": ("prod",), "team": ("safety",)})
    case.send(note(one(environment="prod", team="<!channel>", feature="chat")))
    (opened,) = case.incidents()
    assert opened.dimensions == {"environment": "prod", "team": "__other__"}
    case.store.close()


def test_hostile_text_is_made_visible(case: Case) -> None:
    """Control characters, line ends and length of a summary do not reach the title."""
    bad = one()
    bad["annotations"]["summary"] = "a\x1b]0;x\x07\nb <!channel> " + "x" * 5000
    case.send(note(bad))
    (opened,) = case.incidents()
    assert opened.title.startswith("a\\x1b]0;x\\x07 b <!channel> xxx")
    assert len(opened.title) < 300
    assert all(len(text) < 700 for _, text in case.entries(opened))


def test_truncation_is_said_and_ends_nothing(case: Case) -> None:
    """Alerts that were cut off may still fire, unless Alertmanager says that all have ended."""
    case.send(note(one("a"), truncatedAlerts=7))
    (opened,) = case.incidents()
    assert "(+7 more)" in opened.title
    assert any("left 7 alerts" in text for _, text in case.entries(opened))
    case.send(note(one("a", "resolved"), truncatedAlerts=7), T0 + minutes(1))
    assert case.incidents()[0].normal_at is None
    ended = note(
        one("a", "resolved", start=T0 + minutes(1)),
        truncatedAlerts=7,
        notification_reason="all alerts resolved",
    )
    case.send(note(one("a", start=T0 + minutes(1)), truncatedAlerts=7), T0 + minutes(2))
    case.send(ended, T0 + minutes(3))
    assert case.incidents()[0].normal_at == T0 + minutes(3)


def test_our_own_alerts_are_passed_over(case: Case) -> None:
    """What carries `tocsin="1"` is ours; beside others, only the others count."""
    assert case.send(note(one("a", tocsin="1"))) == 200
    assert case.incidents() == []
    case.send(note(one("a", tocsin="1"), one("b")))
    (opened,) = case.incidents()
    assert [kind for kind, _ in case.entries(opened)] == ["DETECT", "PAGE"]
    case.send(note(one("a", tocsin="1"), one("b", "resolved")), T0 + minutes(1))
    assert case.incidents()[0].normal_at is not None


def test_a_flood_is_told_in_few_lines(case: Case) -> None:
    """A thousand alerts in one message are one incident, and a timeline that can be read."""
    case.send(note(*(one(str(number)) for number in range(1000))))
    case.send(note(*(one(str(number), "resolved") for number in range(1000))), T0 + minutes(1))
    (opened,) = case.incidents()
    assert opened.normal_at is not None
    assert len(case.entries(opened)) < 60


def test_the_gravest_alert_rings_wherever_it_stands(case: Case) -> None:
    """After 600 warnings, in one message or a later one, a critical one is an alert of its own."""
    warnings = [one(str(number)) for number in range(600)]
    sent = note(*warnings, one("grave", severity="critical"))
    assert case.send(sent) == 200
    (opened,) = case.incidents()
    assert opened.severity == "SEV2"
    entries = case.entries(opened)
    assert entries[0][0] == "DETECT"
    assert ("ALERT", "and 581 more") in entries
    assert any(text.startswith("101 alerts of this group are not kept") for _, text in entries)
    with case.store.read() as tx:
        kept = tx.incidents.alerts_of(opened.uuid)
    assert (len(kept), sum(one.severity == "SEV2" for one in kept)) == (500, 1)
    case.send(sent, T0 + minutes(5))
    assert (case.incidents(), case.entries(opened)) == ([opened], entries)

    case.send(note(*warnings, group="later"))
    later = case.incidents()[0]
    assert (later.severity, case.pages(later)) == ("SEV3", [Kind.TRIGGER])
    worse = note(*warnings, one("grave", severity="critical"), group="later")
    case.send(worse, T0 + minutes(5))
    (risen, _) = case.incidents()
    assert risen.severity == "SEV2"
    assert case.pages(risen) == [Kind.TRIGGER, Kind.TRIGGER]


def test_alerts_that_are_not_kept_end_their_group(case: Case) -> None:
    """While one of them fires the incident is not normal; with the last end it is."""
    storm = [str(number) for number in range(600)]
    case.send(note(*(one(name) for name in storm)))
    ended = [one(name, "resolved") for name in storm[:500]]
    case.send(note(*ended, *(one(name) for name in storm[500:])), T0 + minutes(1))
    assert case.incidents()[0].normal_at is None
    case.send(note(*(one(name, "resolved") for name in storm[500:])), T0 + minutes(2))
    (quiet,) = case.incidents()
    assert quiet.normal_at == T0 + minutes(2)
    assert case.pages(quiet)[-1] is Kind.RESOLVE


def test_a_storm_that_still_fires_after_a_resolve_comes_back_whole(case: Case) -> None:
    """Of a repeat an hour later the gravest sets the severity; what has ended does not count."""
    storm = [one(str(number)) for number in range(600)]
    grave, over = one("grave", severity="critical"), one("over", severity="critical")
    case.send(note(*storm, grave, over))
    case.change(case.incidents()[0], state=State.RESOLVED, resolved_at=T0)
    case.send(note(*storm, grave, over | {"status": "resolved"}), T0 + minutes(1))
    case.send(note(*storm, grave, over), T0 + minutes(70))
    (again, _) = case.incidents()
    assert again.severity == "SEV2"
    assert ("ALERT", "and 581 more") in case.entries(again)


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_absurd_times_do_no_harm(case: Case, start: str) -> None:
    """A start at the ends of the calendar is taken, and pages."""
    odd = one()
    odd["startsAt"] = start
    assert case.send(note(odd)) == 200
    (opened,) = case.incidents()
    assert case.pages(opened) == [Kind.TRIGGER]
    odd["status"] = "resolved"
    assert case.send(note(odd)) == 200
    assert case.incidents()[0].normal_at is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"version":"3"}',
        json.dumps(note(one()) | {"version": "5"}).encode(),
        json.dumps(note(one() | {"status": "odd"})).encode(),
        json.dumps(note(one() | {"fingerprint": "../x"})).encode(),
        json.dumps(note(one() | {"startsAt": "2026-11-16T09:00:00"})).encode(),
        json.dumps(note(one() | {"labels": {"a": 1}})).encode(),
        json.dumps(note(one(), truncatedAlerts=-1)).encode(),
        b'{"a":' * 5000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_notification_is_refused_with_a_reason(case: Case, body: bytes) -> None:
    """400, in words that can be shown; no incident is opened."""
    answer = case.hook(body, JSON, T0)
    assert answer.status == 400
    assert answer.body.decode().isprintable() or answer.body.endswith(b"\n")
    assert case.incidents() == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"status": "odd"}, "$.alerts[1].status"),
        ({"fingerprint": "../x"}, "$.alerts[1].fingerprint"),
        ({"startsAt": "2026-11-16T09:00:00"}, "$.alerts[1].startsAt"),
        ({"labels": {"a": 1}}, "$.alerts[1].labels[...]"),
    ],
)
def test_one_bad_alert_loses_none_of_the_others(
    case: Case, wrong: dict[str, Any], path: str
) -> None:
    """The good ones ring; the bad one is counted, quarantined with its place once, and said."""
    sent = note(one("a"), one("b") | wrong, one("c"))
    for minute in (0, 5):
        assert case.send(sent, T0 + minutes(minute)) == 200
    (opened,) = case.incidents()
    texts = [text for _, text in case.entries(opened)]
    assert "1 alerts of this group cannot be read: tocsin quarantine list" in texts
    with case.store.read() as tx:
        assert len(tx.incidents.alerts_of(opened.uuid)) == 2
        (kept,) = tx.stream.quarantined()
    assert (kept.rule, kept.topic, kept.offset, kept.path) == (
        "alertmanager_alert",
        "alertmanager",
        1,
        path,
    )
    assert case.metrics.value("tocsin_quarantined_total", rule="alertmanager_alert") == 2
    assert case.send(note(one("a", "resolved"), one("b") | wrong, one("c", "resolved"))) == 200
    (still,) = case.incidents()
    assert still.normal_at is None, "what was not read may still fire"


def test_a_notification_of_bad_alerts_only_is_refused_and_kept(case: Case) -> None:
    """Nobody is rung by it, so Alertmanager is told, and the quarantine has it."""
    assert case.send(note(one() | {"status": "odd"})) == 400
    with case.store.read() as tx:
        assert tx.stream.quarantine_counts() == {"alertmanager_alert": 1}


def test_unread_alerts_are_counted_and_few_are_described(case: Case) -> None:
    """A flood of them costs little; the number is that of all."""
    body = json.dumps(note(one("a")) | {"alerts": [one("a"), *[{}] * 5000]}).encode()
    read = decode(body)
    assert (read.unreadable, len(read.unread), len(read.alerts)) == (5000, SHOWN_UNREAD, 1)
    answer = case.hook(body, JSON, T0)
    assert (answer.status, answer.body) == (200, b"5000 alerts not read\n")
    (opened,) = case.incidents()
    said = "5000 alerts of this group cannot be read: tocsin quarantine list"
    assert ("ALERT", said) in case.entries(opened)
    assert case.metrics.value("tocsin_quarantined_total", rule="alertmanager_alert") == 5000
    with case.store.read() as tx:
        assert tx.stream.quarantine_counts() == {"alertmanager_alert": 100}


@pytest.mark.parametrize(
    ("number", "reason"),
    [(MOST + 1, "length <= 100000 - at `$.alerts`"), (20 * MOST, "more than 1600000 commas")],
)
def test_too_many_alerts_are_refused_unlooked_at(case: Case, number: int, reason: str) -> None:
    """400 with the reason, and none of them is a row of the quarantine."""
    body = json.dumps(note(one()) | {"alerts": [{}] * number}).encode()
    answer = case.hook(body, JSON, T0)
    assert answer.status == 400
    assert reason in answer.body.decode()
    with case.store.read() as tx:
        assert tx.stream.quarantine_counts() == {}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_are_decoded_or_refused(body: bytes) -> None:
    """Any bytes: a notification or a `ValueError`, nothing else."""
    try:
        decode(body)
    except ValueError:
        return


def test_callers_say_who_they_are(tmp_path: Path) -> None:
    """With a token or a password configured nothing else will do, on this machine neither."""
    for name in ("token", "password"):
        (tmp_path / name).write_text(f"the-{name}")
    case = Case(
        tmp_path,
        token=Secret(file=str(tmp_path / "token")),
        basic=Basic(user="am", password=Secret(file=str(tmp_path / "password"))),
    )
    body = json.dumps(note(one())).encode()

    def status(authorization: str) -> int:
        headers = {**JSON, "authorization": authorization}
        at_the_door = case.door(headers)
        assert case.hook(body, headers, T0).status == at_the_door
        return at_the_door

    def pair(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    refused = ["", "Bearer", "Bearer wrong", "the-token", "Basic the-token", "Basic ???"]
    refused += [pair("am:wrong"), pair("x:the-password"), pair("am"), "Bearer the-password"]
    assert [status(each) for each in refused] == [401] * len(refused)
    assert case.incidents() == []
    assert status("Bearer the-token") == status("bearer the-token") == 200
    assert status(pair("am:the-password")) == 200
    (tmp_path / "token").unlink()
    assert status("Bearer the-token") == 503
    case.store.close()


def test_a_storm_is_one_incident(tmp_path: Path) -> None:
    """A group of some thousand alerts, over the bound of other hooks, is taken in one piece."""
    case = Case(tmp_path)
    storm = note(*(one(f"a{number}") for number in range(8000)))
    assert len(json.dumps(storm)) > 1024 * 1024
    assert case.send(storm) == 200
    (incident,) = case.incidents()
    assert ("ALERT", "and 7980 more") in case.entries(incident)
    case.store.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:9464"}, 200),
        ({"host": "[::1]:9464"}, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"host": "evil.example:9464"}, 401),
        ({"host": ""}, 401),
        ({"content-type": "text/plain"}, 401),
    ],
)
def test_without_a_secret_a_web_page_cannot_call(
    case: Case, headers: dict[str, str], status: int
) -> None:
    """On a loopback address alone: neither a bent name nor a form of a browser gets through."""
    assert case.hook(json.dumps(note(one())).encode(), {**JSON, **headers}, T0).status == status


def test_without_a_secret_other_machines_cannot_call(tmp_path: Path) -> None:
    """On an address that others can reach, an unguarded hook takes nothing."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    settings = Settings(
        store=url, alertmanager=AlertmanagerSettings(receive=Receive()), http="0.0.0.0:9464"
    )
    store, configured = Store(url), resolve(settings)
    hook = build_hooks(store, lambda: configured, Metrics(), Pager(configured.policy))[
        "alertmanager"
    ]
    assert hook(json.dumps(note(one())).encode(), JSON, T0).status == 401
    store.close()


def test_keys_are_forgotten_in_time(case: Case) -> None:
    """A key that is a week old makes room; the table does not grow for ever."""
    case.send(note(one("a")))
    with case.store.read() as tx:
        assert tx.received.count("alertmanager") == 1
    case.send(note(one("b")), T0 + timedelta(days=8))
    with case.store.read() as tx:
        assert tx.received.count("alertmanager") == 1
