"""No data and lag: who is silent, who is retired, and which empty minutes are walked at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detectors.columns import pack
from monitor.alerting.alerts import Alert, Reading, fingerprint
from monitor.profiles import PROFILES
from monitor.silence import LAG, NO_DATA, SNAPSHOT, Silences, stream_readings
from monitor.store.decision_rows import Seen
from monitor.store.store import Store
from monitor.store.stream_rows import Counts, PartitionRow
from monitor.stream.holes import HOLE_S, beyond, walk
from monitor.stream.signals import default_signals, plan
from tests.making import T0, alert, minutes

PLAN = plan(default_signals())
START = int(T0.timestamp())
QUIET = PROFILES["quiet"]
TIERS = {signal.name: signal.tier for signal in PLAN.signals}


class Watch:
    """Silences over a real store, minute by minute."""

    def __init__(self, store: Store, warm_s: int = 3_600) -> None:
        self.store = store
        self.minute = 0
        self.warm_s = warm_s
        self.silences = Silences(PLAN, warm_s=warm_s)
        self.firing: dict[str, Alert] = {}

    def play(self, count: int, **volumes: int) -> list[Reading]:
        """Minutes with this many turns of each feature; the readings of the last one."""
        found: list[Reading] = []
        for _ in range(count):
            base: dict[tuple[str, ...], list[int]] = {
                ("prod", feature, "m", "", ""): [volume] + [0] * (len(PLAN.slots) - 1)
                for feature, volume in volumes.items()
            }
            kept: list[Seen] = []
            with self.store.write() as tx:
                bucket = START + 60 * self.minute
                found = self.silences.step(tx, bucket, Counts(base, {}), self.firing, TIERS, kept)
                tx.decisions.save_points(kept)
            self.minute += 1
        return found

    def restart(self) -> None:
        """A new process knows what the old one knew."""
        self.silences = Silences(PLAN, warm_s=self.warm_s)
        with self.store.read() as tx:
            self.silences.rebuild(tx, START + 60 * self.minute)

    def known(self) -> dict[Any, tuple[int, bytes]]:
        """Everything it has learned."""
        return {
            dims: (one.seen, one.detector.snapshot())
            for dims, one in self.silences._features.items()
        }


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """An empty store and a detector of silence on it."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield Watch(store)
    store.close()


def test_a_feature_is_silent_when_its_usual_volume_stays_away(watch: Watch) -> None:
    """After a known hour, ten minutes of nothing are told, with the feature and since when."""
    assert watch.play(90, chat=10, search=10) == []
    assert watch.play(8, search=10) == []
    (reading,) = watch.play(3, search=10)
    assert reading.signal == NO_DATA
    assert reading.dimensions == {"environment": "prod", "feature": "chat"}
    assert reading.firing
    assert reading.onset_at == T0 + minutes(90)
    assert (reading.tier, reading.severity) == ("page", "SEV2")


def test_what_is_hardly_known_is_not_missed(watch: Watch) -> None:
    """An hour and a half of traffic and then none: a feature that was tried out is nobody's page,
    before a day is over nobody can say what would be usual."""
    watch = Watch(watch.store, warm_s=QUIET.warm_s)
    watch.play(90, chat=10, search=10)
    assert watch.play(200, search=10) == []


def test_a_feature_that_comes_back_is_told_while_its_alert_fires(watch: Watch) -> None:
    """The alert needs one reading that does not fire to clear."""
    watch.play(90, chat=10, search=10)
    (reading,) = watch.play(12, search=10)
    dims = dict(reading.dimensions)
    one = alert(signal=NO_DATA, dimensions=dims)
    watch.firing = {fingerprint(NO_DATA, dims): one}
    (back,) = watch.play(1, chat=10, search=10)
    assert not back.firing


def test_a_retired_feature_is_forgotten_and_its_alert_ends(watch: Watch) -> None:
    """Two weeks without a turn: it was taken away, and nothing fires for ever."""
    watch.play(90, chat=10, search=10)
    (reading,) = watch.play(12, search=10)
    dims = dict(reading.dimensions)
    watch.firing = {fingerprint(NO_DATA, dims): alert(signal=NO_DATA, dimensions=dims)}
    watch.minute += 14 * 1440
    (last,) = watch.play(1, search=10)
    assert not last.firing
    assert "retired" in last.reason


@pytest.mark.parametrize("cut", [7, 59, 60, 61, 130, 190])
def test_a_restart_knows_the_same(watch: Watch, cut: int) -> None:
    """Whenever the process is built anew, before or after its hourly snapshot, it has learned the
    same, silences included."""
    other = Watch(watch.store)
    for count, volumes in ((100, {"chat": 9, "search": 3}), (40, {"search": 4}), (60, {"chat": 2})):
        for _ in range(count):
            watch.play(1, **volumes)
            if watch.minute == cut:
                other.minute = cut
                other.restart()
            elif watch.minute > cut:
                other.play(1, **volumes)
    assert other.known() == watch.known()


def test_a_snapshot_of_another_release_is_replaced_by_the_stored_volumes(watch: Watch) -> None:
    """What an older detector learned is refused; the volumes are replayed, and nothing is lost."""
    watch.play(100, chat=9, search=3)
    known = watch.known()
    old = pack(("tocsin-absence", 1), {}, {})
    with watch.store.write() as tx:
        data = msgspec.msgpack.encode([(dims, START, old) for dims in known])
        tx.decisions.save_snapshot(SNAPSHOT, START + 3_600, data)
    watch.restart()
    assert watch.known() == known


# -- the stream as a whole --------------------------------------------------------------------


def part(**changes: Any) -> PartitionRow:
    """A partition that was read to its end just now."""
    values: dict[str, Any] = {
        "topic": "interactions",
        "topic_id": "id",
        "number": 0,
        "closed": START,
        "watermark": None,
        "finished": False,
        "position": 5,
        "end": 5,
        "caught_up_at": T0,
        "behind_since": None,
        "seen_at": T0,
        "totals": {},
    }
    return PartitionRow(**{**values, **changes})


def told(parts: list[PartitionRow], after: timedelta, *signals: str) -> dict[str, bool]:
    """Readings of the stream, looked at just now, by signal, with `signals` firing already."""
    return unlooked([replace(one, seen_at=T0 + after) for one in parts], after, *signals)


def unlooked(parts: list[PartitionRow], after: timedelta, *signals: str) -> dict[str, bool]:
    """The same, looked at when its rows say."""
    firing = {name: alert(signal=name, dimensions={"topic": "interactions"}) for name in signals}
    return {r.signal: r.firing for r in stream_readings(parts, firing, T0 + after)}


def test_a_stream_that_is_silent_for_ten_minutes() -> None:
    """All partitions must be; the one that came last counts."""
    assert told([part()], minutes(9)) == {}
    assert told([part()], minutes(10)) == {NO_DATA: True}
    newer = part(number=1, caught_up_at=T0 + minutes(5))
    assert told([part(), newer], minutes(14)) == {}
    reading = part(number=1, caught_up_at=None, behind_since=T0 + minutes(9), end=6)
    assert told([part(), reading], minutes(15)) == {}
    assert told([part(caught_up_at=T0 + minutes(20))], minutes(21), NO_DATA) == {NO_DATA: False}


def test_a_stream_that_lags_for_ten_minutes() -> None:
    """Records wait and are not read up: that is told, until they are."""
    behind = part(caught_up_at=None, behind_since=T0, end=900)
    assert told([behind], minutes(9)) == {}
    assert told([behind], minutes(10)) == {LAG: True}
    assert told([part(caught_up_at=T0 + minutes(11))], minutes(12), LAG) == {LAG: False}


@pytest.mark.parametrize("jump", [minutes(60), -minutes(60)])
def test_a_clock_that_was_set_is_neither_silence_nor_lag(jump: timedelta) -> None:
    """What ingest noted by the clock as it was says nothing by the clock as it is, and ends nothing
    either, until ingest has looked again."""
    rests, lags = part(), part(number=1, caught_up_at=None, behind_since=T0, end=900)
    for parts in ([rests], [lags], [rests, lags]):
        assert unlooked(parts, jump) == {}
        assert unlooked(parts, jump, NO_DATA, LAG) == {}


def test_a_partition_that_nobody_reads_is_not_silent() -> None:
    """Nobody knows what came on it; that another one lags is known all the same."""
    unread = part(number=1)
    silent = part(seen_at=T0 + minutes(20))
    assert unlooked([silent, unread], minutes(20)) == {}
    behind = replace(silent, caught_up_at=None, behind_since=T0, end=900)
    assert unlooked([behind, unread], minutes(20)) == {LAG: True}


def test_a_recording_is_never_silent() -> None:
    """The end of a file is not no data."""
    assert told([part(finished=True)], minutes(500)) == {}
    assert told([], minutes(500)) == {}


# -- holes ------------------------------------------------------------------------------------


def test_a_hole_is_walked_for_three_hours() -> None:
    """Then the rest is passed over, up to the next event; nothing before the first is a hole."""
    assert not beyond(HOLE_S, 0)
    assert beyond(HOLE_S + 60, 0)
    assert not beyond(10**9, None)
    walked = list(walk({0, 10 * HOLE_S}, 0, 10 * HOLE_S + 60, 60))
    assert len(walked) == HOLE_S // 60 + 2
    assert walked[-2:] == [HOLE_S, 10 * HOLE_S]
    assert list(walk(set(), 10 * HOLE_S, 10 * HOLE_S + 60, 60, last=0)) == []
