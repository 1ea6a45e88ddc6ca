"""What a dashboard reads is what was counted and what is there now, and goes back to nought."""

from __future__ import annotations

import pytest

from monitor import scoreboard
from monitor.metrics import Metrics
from monitor.store.stream_rows import Counts
from monitor.stream.signals import Plan, default_signals, plan
from monitor.stream.vocabulary import OTHER
from tests.making import T0, alert


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of a daemon that has done nothing."""
    return Metrics()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample; None where there is none."""
    return metrics.registry.get_sample_value(name, labels)


def row(counted: Plan, interactions: int, **slots: int) -> list[int]:
    """One row of cells: `n_SIGNAL` and `k_SIGNAL` are set, all else is nought."""
    cells = [0] * len(counted.slots)
    cells[0] = interactions
    for name, count in slots.items():
        half, signal = name.split("_", 1)
        chosen = counted.numerators if half == "k" else counted.denominators
        cells[chosen[signal]] = count
    return cells


def test_a_bucket_is_added_up(metrics: Metrics) -> None:
    """K and n of a signal are summed over features; what was folded is told apart."""
    counted = plan(default_signals())
    width = len(counted.dimensions)
    base = {
        ("prod", "chat", *[""] * (width - 2)): row(
            counted, 100, n_refusal_rate=90, k_refusal_rate=9
        ),
        ("prod", "mail", *[OTHER] * (width - 2)): row(
            counted, 50, n_refusal_rate=50, k_refusal_rate=1
        ),
    }
    for _ in range(2):
        scoreboard.bucket(metrics, counted, Counts(base, {}))
    assert value(metrics, "tocsin_interactions_total") == 300
    assert value(metrics, "tocsin_folded_interactions_total") == 100
    assert value(metrics, "tocsin_signal_hits_total", signal="refusal_rate") == 20
    assert value(metrics, "tocsin_signal_base_total", signal="refusal_rate") == 280


def test_items_are_counted_once(metrics: Metrics) -> None:
    """A signal over a list is summed over its values, and not again for the whole environment."""
    counted = plan(default_signals())
    signal = next(s for s in counted.rates() if s.name == "violations_delivered")
    by = ("prod", "chat")
    assert len(by) == len(signal.by)
    base = {("prod", "chat", *[""] * (len(counted.dimensions) - 2)): row(counted, 10)}
    narrow = {
        (signal.name, by, "violence"): [2, 10],
        (signal.name, by, "fraud"): [1, 8],
        (signal.name, by[:1], "violence"): [2, 10],
    }
    scoreboard.bucket(metrics, counted, Counts(base, narrow))
    assert value(metrics, "tocsin_signal_hits_total", signal=signal.name) == 3
    assert value(metrics, "tocsin_signal_base_total", signal=signal.name) == 18


def test_an_empty_bucket_adds_nothing(metrics: Metrics) -> None:
    """A minute without traffic is no error."""
    scoreboard.bucket(metrics, plan(default_signals()), Counts({}, {}))
    assert value(metrics, "tocsin_interactions_total") == 0


def test_gauges_of_people_go_back_to_nought(metrics: Metrics) -> None:
    """An incident that is acknowledged, or ended, is no longer shown as waiting, or as open."""
    scoreboard.people(metrics, [("SEV1", False, 1), ("SEV1", True, 1)])
    assert value(metrics, "tocsin_incidents_open", severity="SEV1") == 2
    assert value(metrics, "tocsin_incidents_unacknowledged", severity="SEV1") == 1
    assert value(metrics, "tocsin_incidents_open", severity="SEV4") == 0
    scoreboard.people(metrics, [])
    assert value(metrics, "tocsin_incidents_open", severity="SEV1") == 0
    assert value(metrics, "tocsin_incidents_unacknowledged", severity="SEV1") == 0


def test_gauges_of_alerts_go_back_to_nought(metrics: Metrics) -> None:
    """An alert that clears leaves its gauge at nought; lag and no data have gauges, too."""
    counted = plan(default_signals())
    scoreboard.firing(metrics, counted, [alert(), alert()])
    assert value(metrics, "tocsin_alerts_firing", signal="refusal_rate", tier="page") == 2
    assert value(metrics, "tocsin_alerts_firing", signal="lag", tier="page") == 0
    scoreboard.firing(metrics, counted, [])
    assert value(metrics, "tocsin_alerts_firing", signal="refusal_rate", tier="page") == 0


def test_an_alert_from_outside_makes_no_series(metrics: Metrics) -> None:
    """A signal that this configuration does not know is not a label."""
    scoreboard.firing(metrics, plan(default_signals()), [alert(signal="strange")])
    assert value(metrics, "tocsin_alerts_firing", signal="strange", tier="page") is None


def test_the_outbox_goes_back_to_nought(metrics: Metrics) -> None:
    """A state without pages is nought, and so is the age when nothing waits."""
    scoreboard.outbox(metrics, {"new": 2, "dead": 1}, T0)
    assert value(metrics, "tocsin_outbox_pages", state="new") == 2
    assert value(metrics, "tocsin_outbox_oldest_timestamp_seconds") == T0.timestamp()
    scoreboard.outbox(metrics, {"sent": 2}, None)
    assert value(metrics, "tocsin_outbox_pages", state="new") == 0
    assert value(metrics, "tocsin_outbox_pages", state="dead") == 0
    assert value(metrics, "tocsin_outbox_oldest_timestamp_seconds") == 0


def test_a_receiver_begins_at_nought(metrics: Metrics) -> None:
    """A rate sees the first refusal of a receiver."""
    scoreboard.receivers(metrics, ["slack"])
    for outcome in scoreboard.OUTCOMES:
        labels = {"receiver": "slack", "outcome": outcome}
        assert value(metrics, "tocsin_page_attempts_total", **labels) == 0
