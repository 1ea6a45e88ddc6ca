"""What every store keeps of rules and budgets; on PostgreSQL as the daemon's role."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from monitor.alerting.budget import Allowance, Share
from monitor.incidents.model import Origin
from monitor.store.decision_rows import Point, Seen
from monitor.store.rule_rows import Divided, RuleEvent
from monitor.store.store import Store
from tests.making import T0, alert, incident, minutes

MOVE = RuleEvent(
    at=T0,
    rule="refusal_rate",
    kind="tier",
    tier="page",
    was="shadow",
    actor="ada\0",
    via="socket",
    reason="its backtest",
    body='{"pages": 0}',
)


def test_what_happened_to_a_rule_is_kept_in_order(store: Store) -> None:
    """Newest first, by rule and kind; text from outside is made storable."""
    with store.write() as tx:
        tx.rules.log(MOVE)
        tx.rules.log(replace(MOVE, rule="error_rate", at=T0 + minutes(1)))
        tx.rules.log(replace(MOVE, kind="proposal", tier="ticket", was="page", body=""))
    with store.read() as tx:
        assert [(e.rule, e.kind) for e in tx.rules.events()] == [
            ("refusal_rate", "proposal"),
            ("error_rate", "tier"),
            ("refusal_rate", "tier"),
        ]
        assert tx.rules.events(limit=1)[0].tier == "ticket"
        (found,) = tx.rules.events("refusal_rate", kind="tier")
    assert found == replace(MOVE, actor="ada\\x00", id=found.id)
    assert found.id > 0


def test_the_share_in_force_is_the_newest(store: Store) -> None:
    """Each team has its own, with the allowance and the series it had; older ones stay."""
    first = Share("default", Allowance(1.0, 4), {"refusal_rate": 3, "error_rate": 0})
    second = replace(
        first, allowance=Allowance(2.5, 2), rules={"refusal_rate": 4}, fleets={"refusal_rate": 1}
    )
    other = replace(first, team="safety")
    with store.write() as tx:
        tx.rules.divide([Divided(60, first, "first"), Divided(60, other, "first")])
        tx.rules.divide([Divided(120, second, "more")])
        tx.rules.divide([])
    with store.read() as tx:
        shares = tx.rules.shares()
        assert shares == {
            "default": Divided(120, second, "more"),
            "safety": Divided(60, other, "first"),
        }
        assert [row.bucket for row in tx.rules.divisions("default")] == [120, 60]
        assert len(tx.rules.divisions(limit=2)) == 2
    assert shares["default"].share.per_series_week == pytest.approx(2.5 / 2 / 5)


def test_the_daemon_rewrites_neither(postgres_store_url: str) -> None:
    """On a server its role may not change or delete what was promised and who moved what."""
    store = Store(postgres_store_url)
    with store.write() as tx:
        tx.rules.log(MOVE)
        tx.rules.divide([Divided(60, Share("default", Allowance(), {}), "first")])
    for text in (
        "UPDATE rule_log SET actor = 'eve'",
        "DELETE FROM rule_log",
        "UPDATE divisions SET weeks = 52",
        "DELETE FROM divisions",
    ):
        with pytest.raises(sa.exc.ProgrammingError, match="denied"), store.engine.begin() as link:
            link.execute(sa.text(text))
    store.close()


def test_paged_incidents_are_those_with_a_budgeted_cause(store: Store) -> None:
    """By the time of the page, oldest first; never-events and no data are exempt."""
    rows = [
        incident(uuid="a" * 32, number=1, paged_at=T0),
        incident(uuid="b" * 32, number=2, paged_at=T0 - minutes(5), verdict="attack"),
        incident(uuid="c" * 32, number=3, paged_at=T0, origin=Origin.NEVER_EVENT),
        incident(uuid="d" * 32, number=4),
        incident(uuid="e" * 32, number=5, paged_at=T0 - minutes(11)),
    ]
    with store.write() as tx:
        for row in rows:
            tx.incidents.save(row)
    with store.read() as tx:
        found = tx.incidents.paged(T0 - minutes(10))
    assert [one.number for one in found] == [2, 1]
    assert found[0].verdict == "attack"


def test_alerts_since_and_the_first_count(store: Store) -> None:
    """Alerts of every tier by their detection; the first bucket of a rule's points."""
    old = alert(at=T0 - timedelta(days=2), tier="shadow")
    new = alert(signal="error_rate")
    point = Point(("prod", "chat"), 1, 2, None, 0.0, "w")
    with store.write() as tx:
        assert tx.decisions.first_counted("refusal_rate") is None
        tx.incidents.save_alert(old)
        tx.incidents.save_alert(new)
        tx.decisions.save_points([Seen("refusal_rate", at, [point]) for at in (180, 120)])
    with store.read() as tx:
        assert [one.signal for one in tx.incidents.alerts_since(T0 - timedelta(days=3))] == [
            "error_rate",
            "refusal_rate",
        ]
        assert tx.incidents.alerts_since(T0) == [new]
        assert tx.decisions.first_counted("refusal_rate") == 120
