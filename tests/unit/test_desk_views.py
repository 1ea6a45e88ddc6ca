"""What the desk shows: rows, charts and series, from values in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.alerting.alerts import Cause
from monitor.config.settings import Settings, resolve
from monitor.desk import charting
from monitor.desk import reading as desk_views
from monitor.incidents.model import State
from monitor.notify.channel import Kind, Message, Retry
from monitor.store.decision_rows import Point, Seen, TierRow
from monitor.store.store import Store, Tx
from tests.making import T0, alert, incident, minutes

CONFIGURED = resolve(Settings(profile="loud"))
CHAT = ("prod", "chat")


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    """A store with two hours of one series, decided until half an hour after T0."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with store.write() as opened:
        pipeline = opened.stream.pipeline(CONFIGURED.plan, T0)
        opened.decisions.move(pipeline, int((T0 + minutes(30)).timestamp()), T0 + minutes(30))
        opened.decisions.save_points(
            Seen(
                "refusal_rate",
                int((T0 + minutes(number)).timestamp()),
                [
                    Point(CHAT, 2, 20, 0.1, 1.0, "q"),
                    Point(("prod", "search"), 9, 10, 0.2, 8.0, "f"),
                ],
            )
            for number in range(-90, 30)
            if number != 5
        )
        yield opened
    store.close()


def test_a_row_is_what_a_list_shows(tx: Tx) -> None:
    """Names, times, owner, whether it fires, and a line of its last hour with its hole."""
    one = incident(acknowledged_at=T0, acknowledged_by="ada", paged_at=T0)
    row = desk_views.incident_row(tx, CONFIGURED, one, T0 + minutes(30))
    assert (row.id, row.state, row.severity, row.signal) == (
        "INC-0007",
        "triage",
        "SEV2",
        "refusal_rate",
    )
    assert (row.owner, row.paged, row.firing) == ("ada", True, True)
    assert len(row.spark) == 60
    assert row.spark.count(None) == 1
    assert {rate for rate in row.spark if rate is not None} == {0.1}
    normal = replace(one, normal_at=T0, commander="bob")
    shown = desk_views.incident_row(tx, CONFIGURED, normal, T0, spark=False)
    assert (shown.firing, shown.owner, shown.spark) == (False, "bob", [])


def test_a_row_ends_with_its_incident(tx: Tx) -> None:
    """The line of a resolved incident shows its own last hour, not the present."""
    over = incident(state=State.RESOLVED, resolved_at=T0 - minutes(20))
    row = desk_views.incident_row(tx, CONFIGURED, over, T0 + minutes(500))
    assert len(row.spark) == 60
    assert None not in row.spark


def test_a_chart_ends_where_the_verdicts_do(tx: Tx) -> None:
    """Points up to the last decided minute, with baseline, volume, holes and marks in order."""
    one = incident(acknowledged_at=T0 + minutes(2))
    tx.incidents.add_change("release", "v2", T0 - minutes(10), {"feature": "chat"}, "ada", T0)
    tx.incidents.add_change("release", "v3", T0 - minutes(10), {"feature": "search"}, "ada", T0)
    made = charting.chart(tx, CONFIGURED, one, T0 + minutes(90), 60)
    assert len(made.points) == 60
    assert made.points[-1].at == T0 + minutes(29)
    hole = next(p for p in made.points if p.at == T0 + minutes(5))
    assert (hole.rate, hole.baseline, hole.n) == (None, None, 0)
    full = made.points[-1]
    assert (full.rate, full.baseline, full.n) == (0.1, 0.1, 20)
    assert [(mark.kind, mark.text) for mark in made.marks] == [
        ("change", "release v2"),
        ("onset", "onset"),
        ("detected", "detected"),
        ("acknowledged", "acknowledged"),
    ]


def test_a_signal_that_is_no_more_has_no_points(tx: Tx) -> None:
    """An incident of a signal that was taken out, or of none, has an empty chart."""
    for signal in ("gone", None):
        one = incident(signal=signal)
        assert charting.chart(tx, CONFIGURED, one, T0, 60).points == []


def test_every_series_now(tx: Tx) -> None:
    """State, rate, baseline and threshold of the last bucket; a person's tier wins."""
    tx.decisions.set_tier(TierRow("refusal_rate", "ticket", "ada", "noisy", T0))
    chat, search = desk_views.signals_now(tx, CONFIGURED)
    assert (chat.state, chat.rate, chat.baseline, chat.tier) == ("quiet", 0.1, 0.1, "ticket")
    assert chat.dimensions == {"environment": "prod", "feature": "chat"}
    assert (search.state, search.rate) == ("firing", 0.9)
    assert search.threshold > 0


def test_an_incident_view_has_everything(tx: Tx) -> None:
    """Facts as in the page, alerts, causes, near changes, pages and what is missing to resolve."""
    one = incident()
    cause = Cause(dimensions={"model": "m2"}, share=0.8)
    tx.incidents.save(one)
    tx.incidents.save_alert(replace(alert(incident=one.uuid), causes=(cause,)))
    cleared = alert(incident=one.uuid, signal="error_rate", at=T0 + minutes(1))
    tx.incidents.save_alert(replace(cleared, cleared_at=T0 + minutes(2)))
    tx.incidents.add_change("flag", "off", T0 - minutes(6), {}, "ada", T0)
    view = desk_views.incident_view(tx, CONFIGURED, one, T0 + minutes(5), None)
    assert len(view.facts) == 3
    assert view.facts[2] == "flag off 1 min before the onset"
    assert [(a.signal, a.state) for a in view.alerts] == [
        ("refusal_rate", "firing"),
        ("error_rate", "cleared"),
    ]
    assert [(c.dimensions, c.share) for c in view.causes] == [({"model": "m2"}, 0.8)]
    assert [(c.id, c.kind) for c in view.changes] == [("CHG-1", "flag")]
    assert len(view.resolve_lacks) == 2
    assert not view.verified


def test_the_state_of_a_page_in_words(tx: Tx) -> None:
    """Waiting before and during the first try, retrying after it, sent or dead at the end."""
    page = Message("k", Kind.TRIGGER, "d", "INC-0007", "SEV2", "triage", "t", ())
    tx.outbox.put("i", "oncall", page, T0)

    def state() -> str:
        return desk_views.page_view(tx.outbox.of_incident("i")[0]).state

    assert state() == "waiting"
    (claimed,) = tx.outbox.claim("me", T0)
    assert state() == "waiting"
    tx.outbox.again(claimed, "me", T0, Retry("503").reason)
    assert state() in {"waiting", "retrying"}
    (claimed,) = tx.outbox.claim("me", T0)
    assert state() == "retrying"
    tx.outbox.sent(claimed, "me", {}, "ok", T0)
    assert state() == "sent"
