"""What another set of signals takes over from the one before it, on every store."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from monitor.completeness import IDLE, complete_until
from monitor.store.heir_rows import Inherited
from monitor.store.store import Store, Tx
from monitor.stream.cells import Admission, Bucket, Emission, Progress
from monitor.stream.signals import Plan, default_signals, plan
from tests.making import T0

PLAN = plan(default_signals())
REFUSALS = next(one for one in default_signals() if one.name == "refusal_rate")
ADDED = msgspec.structs.replace(REFUSALS, name="mine", k=PLAN.signals[1].k)
MORE = plan((ADDED, *default_signals()))
"""Another layout: the slots of the new rate come first."""
KEY = ("prod", "chat", "m", "", "")
TIERS = ("tool_misuse_by_tier", ("prod", "chat"), "write")


def counts(chosen: Plan, every: int, refused: int) -> list[int]:
    """The base cell of `every` turns, some of them refused."""
    found = [0] * len(chosen.slots)
    found[0] = every
    found[chosen.numerators["refusal_rate"]] = refused
    return found


def save(tx: Tx, pipeline: int, chosen: Plan, number: int, hi: int, *starts: int) -> None:
    """Partition `number`, read to `hi`; buckets of 5 turns, the last one open."""
    made = []
    for start in starts:
        bucket = Bucket(start, 0)
        bucket.base[KEY] = counts(chosen, 5, 2)
        bucket.narrow[TIERS] = [1, 2]
        made.append(bucket)
    progress = Progress(low_water=hi - 5, hi=hi, closed=max(starts), watermark=max(starts) + 1.0)
    words = [Admission("model", "m", min(starts))]
    tx.stream.save(pipeline, "t", number, Emission(progress, made, [], [], words))


def decided(tx: Tx, pipeline: int, bucket: int) -> None:
    tx.decisions.move(pipeline, bucket, T0)


def test_a_partition_goes_on_where_the_signals_before_stood(store: Store) -> None:
    """Progress, labels and position; what was closed and is not judged comes along, in the layout
    of the new signals."""
    with store.write() as tx:
        old, new = tx.stream.pipeline(PLAN, T0), tx.stream.pipeline(MORE, T0)
        save(tx, old, PLAN, 0, 40, 600, 660, 720)
        decided(tx, old, 660)
        assert tx.heirs.inherit(MORE, new, "t", 0) == Inherited(old, 35, 0)
        assert tx.stream.progress(new, "t", 0) == tx.stream.progress(old, "t", 0)
        assert tx.stream.words(new, "t", 0) == {"model": {"m"}}
        assert tx.decisions.position(new) == 660
        assert tx.decisions.event_now(new) == T0
        found = tx.stream.counts(new, 0, 10_000)
        assert sorted(found) == [660, 720]
        assert found[660].base == {KEY: counts(MORE, 5, 2)}
        assert found[660].narrow == {TIERS: [1, 2]}
        assert tx.heirs.mixed_until(new) == 720, "the open bucket is counted anew"
        assert tx.heirs.inherit(MORE, new, "t", 0) is None, "once"


def test_nothing_is_taken_over_without_a_change(store: Store) -> None:
    """The same signals, another topic, or a partition that nobody has read."""
    with store.write() as tx:
        old, new = tx.stream.pipeline(PLAN, T0), tx.stream.pipeline(MORE, T0)
        save(tx, old, PLAN, 0, 40, 600)
        decided(tx, old, 600)
        assert tx.heirs.inherit(PLAN, old, "t", 0) is None
        assert tx.heirs.inherit(MORE, new, "another", 0) is None
        assert tx.heirs.inherit(MORE, new, "t", 1) is None
        assert tx.heirs.position(new, 60) is None, "it has read nothing of this topic"
        assert tx.heirs.mixed_until(new) == 0


def test_back_to_signals_of_before_goes_back_to_nothing_judged(store: Store) -> None:
    """Their own progress and position are old: the newest of all counts."""
    with store.write() as tx:
        old, new = tx.stream.pipeline(PLAN, T0), tx.stream.pipeline(MORE, T0)
        save(tx, old, PLAN, 0, 40, 600, 660)
        decided(tx, old, 660)
        tx.heirs.inherit(MORE, new, "t", 0)
        save(tx, new, MORE, 0, 90, 660, 720, 780)
        decided(tx, new, 720)
        assert tx.heirs.inherit(PLAN, old, "t", 0) == Inherited(new, 85, 0)
        assert tx.decisions.position(old) == 720
        assert tx.stream.counts(old, 720, 780)[720].base == {KEY: counts(PLAN, 5, 2)}
        progress = tx.stream.progress(old, "t", 0)
        assert progress is not None
        assert (progress.hi, progress.closed) == (90, 780)
        assert tx.stream.last_bucket(old, before=720) == 660


def test_another_length_of_buckets_begins_with_a_whole_one(store: Store) -> None:
    """Cells of 10 s are none of 60 s: what they held and nobody judged is passed over, and said."""
    short = plan(default_signals(), bucket_s=10)
    with store.write() as tx:
        old, new = tx.stream.pipeline(short, T0), tx.stream.pipeline(MORE, T0)
        save(tx, old, short, 0, 40, 600, 610, 650)
        save(tx, old, short, 1, 40, 640)
        decided(tx, old, 610)
        assert tx.heirs.inherit(MORE, new, "t", 0) == Inherited(old, 35, 0)
        assert tx.heirs.inherit(MORE, new, "t", 1) == Inherited(old, 35, 0)
        assert tx.decisions.position(new) == 660
        progress = tx.stream.progress(new, "t", 1)
        assert progress is not None
        assert progress.closed == 660
        assert tx.stream.counts(new, 0, 10_000) == {}
        again = tx.stream.pipeline(short, T0)
        save(tx, new, MORE, 0, 90, 720, 780, 840)
        decided(tx, new, 720)
        assert tx.heirs.inherit(short, again, "t", 0) == Inherited(new, 85, 120)
        assert tx.decisions.position(again) == 840


@pytest.mark.parametrize("handed_over", [False, True])
def test_no_bucket_is_complete_until_all_count_alike(store: Store, handed_over: bool) -> None:
    """While one machine still counts by the old signals, its partition is at rest for nobody who
    judges by the new ones, nor the other way round; a log cut off takes nobody's word for it."""
    with store.write() as tx:
        old, new = tx.stream.pipeline(PLAN, T0), tx.stream.pipeline(MORE, T0)
        tx.stream.known("topic", "t", [0, 1], T0)
        for number in (0, 1):
            save(tx, old, PLAN, number, 40, 600)
        tx.heirs.inherit(MORE, new, "t", 1)
        save(tx, new, MORE, 1, 60, 660, 720)
        if handed_over:
            tx.heirs.inherit(MORE, new, "t", 0)
        then = T0 - IDLE - timedelta(seconds=1)
        for at in (then, then + IDLE / 2, T0):
            tx.stream.liveness("topic", "t", [(0, 40, 40), (1, 60, 60)], at)
        ends = [complete_until(tx.stream.partitions(one), T0) for one in (old, new)]
        assert ends == [600, 720 if handed_over else None]
        tx.stream.rewind("t", 1, 20)
        assert not any(part.outrun for part in tx.stream.partitions(old))


def test_what_is_read_again_is_not_at_rest(store: Store) -> None:
    """A partition that was idle must be read by the new signals before it is idle for them."""
    with store.write() as tx:
        old, new = tx.stream.pipeline(PLAN, T0), tx.stream.pipeline(MORE, T0)
        tx.stream.known("topic", "t", [0], T0)
        save(tx, old, PLAN, 0, 40, 600)
        then = T0 - IDLE
        for at in (then, T0):
            tx.stream.liveness("topic", "t", [(0, 40, 40)], at)
        assert tx.stream.partitions(old)[0].caught_up_at == then
        tx.heirs.inherit(MORE, new, "t", 0)
        assert tx.stream.partitions(new)[0].caught_up_at is None


def test_cells_that_are_only_read_again_are_not_late(store: Store) -> None:
    """An idle partition was decided without closing its bucket: its cells come along, so that only
    what they grow by is late."""
    with store.write() as tx:
        old, new = tx.stream.pipeline(PLAN, T0), tx.stream.pipeline(MORE, T0)
        save(tx, old, PLAN, 0, 40, 600)
        decided(tx, old, 660)
        tx.heirs.inherit(MORE, new, "t", 0)
        bucket = Bucket(600, 35)
        for every, late in ((5, {}), (7, {600: 2}), (7, {600: 2})):
            bucket.base[KEY] = counts(MORE, every, 2)
            emission = Emission(Progress(hi=40 + every, closed=600), [bucket], [], [], [])
            tx.stream.save(new, "t", 0, emission)
            assert tx.stream.late_by_bucket(new, 0, 10_000) == late
