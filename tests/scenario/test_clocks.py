"""Producers with wrong clocks on a topic where they write the times of records (CreateTime)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.incidents.model import Origin
from monitor.watch import ordinary, times
from monitor.watch.checks import OVERDUE
from monitor.watch.facts import Memory, first_memory, gather, remember
from tests.making import T0, document
from tests.scenario.stage import Stage

CALM, SPIKE = 0.03, 0.6
HOURS = timedelta(hours=6)


class Gateways:
    """Three gateways that each write every two seconds, and the auditor that looks each minute."""

    def __init__(self, path: Path, fast: timedelta) -> None:
        self.stage = Stage(path, T0)
        self.ahead = {"//gw/1": timedelta(), "//gw/2": fast, "//gw/3": timedelta()}
        self._rng = random.Random(1)
        self.memory: Memory = first_memory(T0)

    def minutes(self, count: int, refused: float) -> None:
        """Let minutes pass."""
        for _ in range(count):
            for second in range(0, 60, 2):
                for source, ahead in self.ahead.items():
                    at = self.stage.now + timedelta(seconds=second) + ahead
                    status = "refused" if self._rng.random() < refused else "answered"
                    key = f"{len(self.stage.tape.records)}"
                    made = document(at, key=key, source=source, status=status)
                    self.stage.tape.put(made, stamp=at)
            self.stage.advance()
            self._audit()

    def _audit(self) -> None:
        now = self.stage.now
        with self.stage.store.write() as tx:
            facts = gather(tx, self.stage.configured.plan, now, OVERDUE, timedelta(minutes=30))
            self.memory = remember(self.memory, facts)
            ordinary.tell(tx, self.stage.pager, list(times.audit(facts, self.memory)), now)


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[list[Gateways]]:
    """One installation in order, and one with a gateway that is six hours ahead."""
    made = [
        Gateways(tmp_path / f"{number}.db", fast)
        for number, fast in enumerate((timedelta(), HOURS))
    ]
    yield made
    for each in made:
        each.stage.close()


def test_one_fast_gateway_of_three_blinds_nobody(gateways: list[Gateways]) -> None:
    """The same refusals are found in the same minute, and the gateway is named."""
    found: list[datetime] = []
    titles: list[str] = []
    for each in gateways:
        each.minutes(120, CALM)
        each.minutes(8, SPIKE)
        for one in each.stage.incidents():
            if one.origin is Origin.ALERT:
                found.append(one.detected_at)
            else:
                titles.append(one.title)
    assert len(found) == 2
    assert found[0] == found[1]
    (title,) = titles
    assert title.startswith(
        "Tocsin: 33% of the events of interactions-0 came late or lay far ahead"
    )
    assert "//gw/2 writes times 6 h ahead" in title


def test_a_clock_that_is_set_right_ends_it(gateways: list[Gateways]) -> None:
    """The finding is over, and nothing was late for anybody."""
    _, each = gateways
    each.minutes(12, CALM)
    each.ahead["//gw/2"] = timedelta()
    each.minutes(12, CALM)
    (one,) = each.stage.incidents()
    assert one.normal_at is not None
    with each.stage.store.read() as tx:
        pipeline = tx.stream.known_pipeline(each.stage.configured.plan)
        assert pipeline is not None
        (part,) = tx.stream.partitions(pipeline)
    assert part.totals == {"counted": 24 * 90, "clamped": 12 * 30}
