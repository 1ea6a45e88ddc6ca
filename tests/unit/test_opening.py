"""A burst of never-events is decided in sittings, so that nobody else waits for the store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.config.settings import Settings, resolve
from monitor.metrics import Metrics
from monitor.opening import Certain
from monitor.paging import Pager
from monitor.store.store import Store
from monitor.stream.counting import Emission, Occurrence, Progress

T0 = datetime(2026, 11, 22, tzinfo=UTC)


def occurrence(number: int, source: str) -> Occurrence:
    """A never-event of a source."""
    at = T0 + timedelta(seconds=number)
    return Occurrence("rule", source, int(T0.timestamp()), number, at, {"feature": "chat"}, "e")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With five hundred never-events of their own, and two more of the first source."""
    made = Store(f"sqlite:///{tmp_path / 'x.db'}")
    found = [occurrence(number, f"//{number % 500}") for number in range(502)]
    with made.write() as tx:
        tx.stream.save(1, "t", 0, Emission(Progress(), [], [], found, []))
    yield made
    made.close()


def test_a_sitting_ends_in_time_and_the_next_goes_on(store: Store) -> None:
    """Nothing is decided when there is no time, all of it when there is, each source once."""
    certain = Certain({}, Pager(resolve(Settings()).policy), Metrics())
    with store.write() as tx:
        assert not certain.never_events(tx, T0, seconds=-1.0)
        assert len(tx.stream.open_occurrences()) == 502
        assert certain.never_events(tx, T0)
        assert certain.never_events(tx, T0, seconds=-1.0)
        incidents = tx.incidents.open()
        assert len(incidents) == len({group for one in incidents for group in one.groups}) == 500
        again = [
            e.entry for e in tx.incidents.timeline(incidents[0].uuid) if e.entry.kind == "NEVER"
        ]
    assert [entry.occurred_at for entry in again] == [T0 + timedelta(seconds=500)]
