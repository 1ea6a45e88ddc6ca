"""What Tocsin says of its own parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config.settings import Settings, resolve
from monitor.health import overview
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Store, Tx
from tests.making import T0, minutes

CONFIGURED = resolve(Settings())
NAMES = [signal.name for signal in CONFIGURED.plan.rates()]
END = int(T0.timestamp())


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    """An empty store."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with store.write() as opened:
        yield opened
    store.close()


def signals(tx: Tx) -> tuple[str, str] | None:
    """State and text of the part about signals."""
    parts = overview(tx, CONFIGURED, T0, "ada", live=True).parts
    return next(((p.state, p.text) for p in parts if p.name == "signals"), None)


def count(tx: Tx, names: list[str], bucket: int, n: int = 5) -> None:
    """Points of these signals."""
    point = Point(("prod", "chat"), 0, n, None, 0.0, "q")
    tx.decisions.save_points(Seen(name, bucket, [point]) for name in names)


def test_signals_that_nothing_was_counted_for_are_named(tx: Tx) -> None:
    """Only n of the last decided hour keeps a signal on; nothing is said before a verdict."""
    assert signals(tx) is None
    pipeline = tx.stream.pipeline(CONFIGURED.plan, T0)
    assert signals(tx) is None
    tx.decisions.move(pipeline, END, T0)
    assert signals(tx) == ("warn", "nothing was counted in the last hour")
    absent = ["grounding_errors", "negative_feedback"]
    count(tx, [name for name in NAMES if name not in absent], END - 60)
    count(tx, absent[:1], END - 3660)
    count(tx, absent[1:], END - 60, n=0)
    assert signals(tx) == ("warn", "nothing to count for: grounding_errors, negative_feedback")
    count(tx, absent, END - 3600)
    assert signals(tx) == ("ok", f"each of {len(NAMES)} was counted in the last hour")
    tx.decisions.move(pipeline, END + 7200, T0 + minutes(120))
    assert signals(tx) == ("warn", "nothing was counted in the last hour")
