"""The detectors of an installation: what a process that was killed says afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from detectors.profiles import PAGE_FLEETS
from monitor.alerting.alerts import Reading
from monitor.alerting.budget import Allowance, Budgets
from monitor.detection import Detection
from monitor.division import TOGETHER
from monitor.profiles import PROFILES
from monitor.slices import Loud, Slices
from monitor.store.decision_rows import Seen
from monitor.store.store import Store
from monitor.stream.series import Dims, Pair
from monitor.stream.signals import default_signals, plan

SIGNAL = "error_rate"
PLAN = plan([one for one in default_signals() if one.name == SIGNAL], bucket_s=600)
BEGIN = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
FEATURES = tuple(f"surface-{number}" for number in range(6))
BORN = 2 * 144
"""The bucket in which one more surface comes, first without a single turn."""
SHOCK = BORN + 40
LAST = SHOCK + 24


GENEROUS, TIGHT = Budgets(Allowance(4.0)), Budgets(Allowance(0.04))


def counts(at: int) -> dict[str, dict[Dims, Pair]]:
    """Six surfaces with 5 % errors, a seventh after two days, and then 1.6 times on all of them."""
    rng = np.random.default_rng([11, at])
    found: dict[Dims, Pair] = {}
    for feature in (*FEATURES, *(("surface-new",) if at >= BORN else ())):
        n = 0 if at == BORN and feature == "surface-new" else int(rng.poisson(200))
        k = int(rng.binomial(n, 0.05 * (1.6 if at >= SHOCK else 1.0)))
        found["prod", feature] = (k, n)
    return {SIGNAL: found}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


def run(
    store: Store,
    kills: frozenset[int],
    budgets: Budgets = GENEROUS,
    *,
    lost: tuple[str, ...] = (),
    damaged: tuple[str, ...] = (),
) -> tuple[list[list[Reading]], list[Seen]]:
    """Readings and points of the whole history, with the process killed before some buckets, and
    these snapshots lost or damaged each time."""
    tiers = {SIGNAL: "page"}
    detection = Detection(PLAN, PROFILES["page"])
    said: list[list[Reading]] = []
    points: list[Seen] = []
    with store.write() as tx:
        for _ in detection.rebuild(lambda: nullcontext(tx), None, budgets):
            pass
        for at in range(LAST):
            bucket = BEGIN + 600 * at
            if at in kills:
                for name in lost:
                    tx.decisions.save_snapshot(name, 0, b"")
                for name in damaged:
                    end, data = tx.decisions.snapshot(name) or (0, b"")
                    tx.decisions.save_snapshot(name, end, data[::-1])
                detection = Detection(PLAN, PROFILES["page"])
                for _ in detection.rebuild(lambda: nullcontext(tx), bucket, budgets):
                    pass
            kept: list[Seen] = []
            said.append(
                detection.step(
                    tx,
                    bucket,
                    counts(at),
                    {},
                    tiers=tiers,
                    budgets=budgets,
                    watched=set(),
                    kept=kept,
                )
            )
            tx.decisions.save_points(kept)
            points += kept
    return said, points


def test_a_killed_process_says_what_an_unkilled_one_says(store: Store, tmp_path: Path) -> None:
    """Killed at a birth, between snapshots and in the middle of a shock on the whole fleet, the
    detectors give the same readings and points, and the fleet's alert is among them."""
    whole, points = run(store, frozenset())
    other = Store(f"sqlite:///{tmp_path / 'y.db'}")
    killed = run(other, frozenset({5, BORN, BORN + 1, BORN + 3, SHOCK + 4, SHOCK + 9}))
    other.close()
    assert killed == (whole, points)
    fleet = [one for readings in whole[SHOCK:] for one in readings if one.firing]
    assert {tuple(one.dimensions) for one in fleet} >= {("environment",)}


@pytest.mark.parametrize("lost", ["rates", "couplings"])
def test_lost_snapshots_change_nothing(store: Store, tmp_path: Path, lost: str) -> None:
    """Without that of the rates all points are replayed, without that of the couplings, which an
    older store never had, only those since the others: what is said is the same."""
    other = Store(f"sqlite:///{tmp_path / 'y.db'}")
    killed = run(other, frozenset({BORN + 1, SHOCK + 4}), lost=(lost,))
    other.close()
    assert killed == run(store, frozenset())


@pytest.mark.parametrize("damaged", ["rates", "fleets", "slices", "seen"])
def test_damaged_snapshots_change_nothing(
    store: Store, tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that cannot be read is warned of and replaced by the points: what is said is the same."""
    other = Store(f"sqlite:///{tmp_path / 'y.db'}")
    killed = run(other, frozenset({SHOCK + 4}), damaged=(damaged,))
    other.close()
    assert "the snapshot is not used" in caplog.text
    assert killed == run(store, frozenset())


def test_a_shock_on_all_surfaces_is_an_alert_of_the_signal(store: Store) -> None:
    """1.6 times the errors on seven surfaces: the whole fires with the fleet's own words."""
    said, _ = run(store, frozenset())
    texts = [one.reason for readings in said[SHOCK:] for one in readings if one.firing]
    assert any("everywhere a little" in text and "over 7 series" in text for text in texts)
    assert not any(one.firing for readings in said[:SHOCK] for one in readings)


def test_a_fleet_keeps_to_its_part_of_the_budget(store: Store, tmp_path: Path) -> None:
    """With a hundredth of the budget the same shock is told later, at as much more evidence as
    that is rarer than what a fleet costs as it ships; a killed process tells the same."""
    said, _ = run(store, frozenset())
    other, third = (Store(f"sqlite:///{tmp_path / name}") for name in ("y.db", "z.db"))
    held, _ = run(other, frozenset(), TIGHT)
    killed, _ = run(third, frozenset({BORN + 3, SHOCK + 4, SHOCK + 9}), TIGHT)
    other.close()
    third.close()
    assert killed == held
    (first, early), (later, late) = (told(found)[0] for found in (said, held))
    assert first < later
    assert early.threshold == PAGE_FLEETS.threshold
    # seven surfaces, none of the whole beside them here, and the fleet itself
    more = math.log(TOGETHER / (0.01 / 8))
    assert late.threshold == pytest.approx(PAGE_FLEETS.threshold + more)
    assert late.score >= late.threshold


def told(said: list[list[Reading]]) -> list[tuple[int, Reading]]:
    """What fired of the whole, with its bucket."""
    return [
        (at, one)
        for at, readings in enumerate(said)
        for one in readings
        if one.firing and tuple(one.dimensions) == ("environment",)
    ]


def test_a_lone_child_keeps_to_its_part_of_the_budget() -> None:
    """One tenant far off speaks for the whole, unless more evidence than it has is wanted; what it
    then says has the threshold that was wanted."""
    found = {more: lone_child(more) for more in (0.0, 2.0, 1e3)}
    assert found[1e3] == []
    (first, early), (later, late) = found[0.0][0], found[2.0][0]
    assert first <= later
    assert late.verdict.threshold == pytest.approx(early.verdict.threshold + 2.0)
    assert late.verdict.score >= late.verdict.threshold
    assert {one.child.value for _, one in found[2.0]} == {"tenant-3"}


def lone_child(more: float) -> list[tuple[int, Loud]]:
    """What the children of eight tenants say, one of which errs twenty times as often at last."""
    made = plan([one for one in default_signals() if one.name == SIGNAL], bucket_s=60)
    slices = Slices(made, PROFILES["loud"])
    slices.demand(SIGNAL, "prod", more)
    rng, found = np.random.default_rng(5), []
    for at in range(10 * 60):
        base: dict[Dims, list[int]] = {}
        for number in range(8):
            names = {"environment": "prod", "feature": "chat", "tenant": f"tenant-{number}"}
            row = [0] * len(made.slots)
            row[made.denominators[SIGNAL]] = 20
            hot = number == 3 and at >= 9 * 60
            row[made.numerators[SIGNAL]] = int(rng.binomial(20, 0.8 if hot else 0.04))
            base[tuple(names.get(name, "") for name in made.dimensions)] = row
        loud = slices.step(BEGIN + 60 * at, base)
        found += [(at, one) for one in loud.values()]
    return found


def test_a_new_surface_begins_with_the_habits_of_the_others(store: Store) -> None:
    """Its first point is judged, not warming: established surfaces have told what is usual."""
    _, points = run(store, frozenset())
    first = next(
        point
        for seen in points
        for point in seen.points
        if point.dims == ("prod", "surface-new") and point.n
    )
    assert first.state == "q"
    assert first.baseline == pytest.approx(0.05, rel=0.2)
