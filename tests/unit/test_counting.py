"""Counting one partition: lateness, duplicates, clamps, jumps, labels, never-events, and replay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.stream import counting
from monitor.stream.cells import Emission, Progress
from monitor.stream.counting import OTHER, Counter
from monitor.stream.signals import DIMENSION_LIMITS, default_signals, plan
from monitor.stream.tally import Tally
from tests.making import T0, amend, arrival, document

TALLY = Tally(plan(default_signals()))
START = int(T0.timestamp())


def at(seconds: float) -> datetime:
    """A time after the beginning."""
    return T0 + timedelta(seconds=seconds)


def fresh(progress: Progress | None = None) -> Counter:
    """A counter of one partition."""
    return Counter(TALLY, progress or Progress())


def volume(emission: Emission) -> dict[int, int]:
    """Interactions by bucket, in minutes after the beginning."""
    return {
        (bucket.start - START) // 60: sum(counts[0] for counts in bucket.base.values())
        for bucket in emission.buckets
    }


def test_a_bucket_closes_by_its_own_log() -> None:
    """The end of a bucket plus the lateness, in event time, closes it; nothing else does."""
    counter = fresh()
    counter.add(arrival(0, document(at(1), key="a")))
    counter.add(arrival(1, document(at(60 + 14), key="b")))
    assert counter.progress().closed == START
    counter.add(arrival(2, document(at(60 + 15), key="c")))
    progress = counter.progress()
    assert progress.closed == START + 60
    assert progress.low_water == 1
    assert progress.hi == 3
    assert volume(counter.take()) == {0: 1, 1: 2}


def test_a_straggler_counts_within_the_lateness_and_is_late_after() -> None:
    """An event of an open bucket counts, whatever came before it; of a closed one it is late."""
    counter = fresh()
    counter.add(arrival(0, document(at(74), key="a")))
    counter.add(arrival(1, document(at(59), key="b")))
    counter.add(arrival(2, document(at(75), key="c")))
    counter.add(arrival(3, document(at(59), key="d")))
    emission = counter.take()
    assert volume(emission) == {0: 1, 1: 2}
    assert emission.late == [(3, START)]
    assert emission.progress.totals == {"counted": 3, "late": 1}


def test_a_copy_counts_once_and_a_conflict_is_told() -> None:
    """The first event of an id wins; a copy is a duplicate, another body a conflict."""
    counter = fresh()
    counter.add(arrival(0, document(key="a")))
    counter.add(arrival(1, document(key="a")))
    counter.add(arrival(2, document(key="a", status="refused")))
    counter.add(arrival(3, document(key="a", source="//other")))
    emission = counter.take()
    assert volume(emission) == {0: 2}
    assert emission.progress.totals == {"counted": 2, "duplicate": 1, "conflict": 1}


def test_traffic_that_is_no_user_s_is_left_out_and_shown() -> None:
    """Evaluations and outcome-sampled events are in no rate, and counted by class."""
    counter = fresh()
    counter.add(arrival(0, document(key="a", traffic_class="eval")))
    counter.add(arrival(1, document(key="b", coverage={"sampling_mode": "outcome_biased"})))
    counter.add(arrival(2, document(key="c", coverage={"sampling_mode": "uniform"})))
    emission = counter.take()
    assert volume(emission) == {0: 1}
    assert emission.progress.totals == {
        "excluded_eval": 1,
        "excluded_outcome_sampled": 1,
        "counted": 1,
    }


def test_the_future_is_clamped_to_the_record_s_time() -> None:
    """An event over a minute ahead of its record counts at the record's time."""
    counter = fresh()
    counter.add(arrival(0, document(at(0), key="a"), stamp=at(0)))
    counter.add(arrival(1, document(at(86_400), key="b"), stamp=at(61)))
    emission = counter.take()
    assert volume(emission) == {0: 1, 1: 1}
    assert emission.progress.totals == {"counted": 2, "clamped": 1}


def test_a_jump_in_a_file_is_doubted_until_many_agree() -> None:
    """One wrong clock does not close the minutes of all others; a hundred that agree do."""
    counter = fresh()
    counter.add(arrival(0, document(at(0), key="a")))
    counter.add(arrival(1, document(at(86_400), key="wrong")))
    counter.add(arrival(2, document(at(30), key="b")))
    assert counter.progress().closed == START
    for number in range(99):
        counter.add(arrival(3 + number, document(at(90_000 + number), key=f"n{number}")))
    assert counter.progress().closed == START
    counter.add(arrival(102, document(at(90_000), key="last")))
    assert counter.progress().closed == START + 90_000 - 60
    emission = counter.take()
    assert emission.progress.totals == {"counted": 103}


def test_the_end_of_a_recording_closes_what_is_believed() -> None:
    """All buckets close but those of a clock that the rest of the log refuted."""
    counter = fresh()
    counter.add(arrival(0, document(at(0), key="a")))
    counter.add(arrival(1, document(at(86_400), key="wrong")))
    counter.add(arrival(2, document(at(61), key="b")))
    counter.finish()
    progress = counter.take().progress
    assert progress.finished
    assert progress.closed == START + 120


def test_a_recording_with_holes_is_counted_to_its_end() -> None:
    """The log's last word is believed when nothing refutes it, though it is far from the rest."""
    counter = fresh()
    for number in range(5):
        counter.add(arrival(number, document(at(7200 * number), key=f"n{number}")))
    counter.finish()
    emission = counter.take()
    assert emission.progress.closed == START + 4 * 7200 + 60
    assert volume(emission) == {120 * number: 1 for number in range(5)}


def test_labels_beyond_the_limit_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first values of a dimension keep their names; what comes after is `__other__`."""
    monkeypatch.setitem(DIMENSION_LIMITS, "feature", 2)
    counter = fresh()
    for number, feature in enumerate(["chat", "search", "orders", "chat", "travel"]):
        counter.add(arrival(number, document(key=f"n{number}", feature=feature)))
    emission = counter.take()
    found = {key[1]: counts[0] for key, counts in emission.buckets[0].base.items()}
    assert found == {"chat": 2, "search": 1, OTHER: 2}
    admitted = [a.value for a in emission.admissions if a.dimension == "feature"]
    assert admitted == ["chat", "search"]


def test_tuples_beyond_the_limit_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many combinations in one bucket lose their last dimensions, not their counts."""
    monkeypatch.setattr(counting, "TUPLES_PER_BUCKET", 2)
    counter = fresh()
    for number in range(6):
        made = document(key=f"n{number}", gen_ai={"request_model": f"m{number}"})
        counter.add(arrival(number, made))
    base = counter.take().buckets[0].base
    assert sorted(key[2] for key in base) == [OTHER, "m0", "m1"]
    assert sum(counts[0] for counts in base.values()) == 6


def never(key: str, **changes: Any) -> dict[str, Any]:
    """An event with a denied call that ran."""
    call = {"tool": "refunds.create", "decision": "denied", "status": "ok"}
    return document(key=key, tool_calls=[call], **changes)


def test_a_never_event_is_told_once_a_bucket_and_source() -> None:
    """Repeats within a bucket are folded by source; its labels and id go with it."""
    counter = fresh()
    counter.add(arrival(0, never("a")))
    counter.add(arrival(1, never("b")))
    counter.add(arrival(2, never("c", source="//other")))
    counter.add(arrival(3, document(at(70), key="d")))
    found = counter.take().occurrences
    assert [(o.rule, o.source, o.offset, o.event_id) for o in found] == [
        ("denied_tool_ran", "//gateway/chat", 0, "a"),
        ("denied_tool_ran", "//other", 2, "c"),
    ]
    assert found[0].dimensions["feature"] == "chat"


def test_a_late_never_event_is_told_too() -> None:
    """What must never happen is told though its bucket is closed; a drill is not."""
    counter = fresh()
    counter.add(arrival(0, document(at(300), key="a")))
    counter.add(arrival(1, never("b")))
    counter.add(arrival(2, never("c", traffic_class="redteam")))
    assert [o.event_id for o in counter.take().occurrences] == ["b"]


def test_flags_of_decoding_are_never_events() -> None:
    """A confirmed secret in an event is told with its event."""
    counter = fresh()
    counter.add(arrival(0, document(key="a"), flags=("confirmed_leak",)))
    assert [o.rule for o in counter.take().occurrences] == ["confirmed_leak"]


def test_a_leak_in_an_unreadable_record_is_told_once_a_bucket() -> None:
    """It lies where its record's time, or the log's, puts it; a restart does not tell it again."""
    counter = fresh()
    counter.leak("confirmed_leak", 0, int(T0.timestamp() * 1000))
    counter.skip(0, "quarantined")
    counter.leak("confirmed_leak", 1, int(T0.timestamp() * 1000) + 1)
    counter.skip(1, "quarantined")
    first = counter.take()
    assert [(o.offset, o.bucket) for o in first.occurrences] == [(0, START)]
    again = fresh(first.progress)
    again.leak("confirmed_leak", 2, int(T0.timestamp() * 1000) + 2)
    assert again.take().occurrences == []


def test_an_amendment_counts_at_its_own_time() -> None:
    """A late rating adds to feedback in its own minute and not to the volume."""
    counter = fresh()
    counter.add(arrival(0, document(key="a")))
    counter.add(arrival(1, amend(at(60), feedback={"rating": "down"})))
    emission = counter.take()
    assert volume(emission) == {0: 1, 1: 0}
    k = TALLY.plan.numerators["negative_feedback"]
    late = next(b for b in emission.buckets if b.start == START + 60)
    assert sum(counts[k] for counts in late.base.values()) == 1


def test_take_tells_only_what_changed() -> None:
    """Counts are absolute; a bucket without news is not told again."""
    counter = fresh()
    counter.add(arrival(0, document(key="a")))
    assert volume(counter.take()) == {0: 1}
    assert counter.take().buckets == []
    counter.add(arrival(1, document(key="b")))
    assert volume(counter.take()) == {0: 2}


def test_a_replay_from_low_water_rebuilds_open_buckets_only() -> None:
    """After a crash the open minutes come back whole; closed ones and totals are left alone."""
    made = [document(at(20 * number), key=f"n{number}") for number in range(6)]
    counter = fresh()
    for offset, one in enumerate(made):
        counter.add(arrival(offset, one))
    stored = counter.take().progress
    again = fresh(stored)
    assert again.next_offset == stored.low_water == 3
    for offset in range(stored.low_water, 6):
        again.add(arrival(offset, made[offset]))
    emission = again.take()
    assert volume(emission) == {1: 3}
    assert emission.progress == stored


def test_a_cut_off_log_begins_anew() -> None:
    """After a rewind the same offsets are new records, and what lay there is forgotten: open
    buckets are those that a new process would build."""
    log = [document(at(offset), key=f"old{offset}") for offset in range(4)]
    counter = fresh()
    for offset, one in enumerate(log):
        counter.add(arrival(offset, one))
    stored = counter.take().progress
    restarted = fresh(replace(stored, hi=2))
    counter.rewind(2)
    log[2:] = [document(at(5), key="old3")]
    for reader in (counter, restarted):
        assert reader.next_offset == 0
        for offset, one in enumerate(log):
            reader.add(arrival(offset, one))
    emission = counter.take()
    assert volume(emission) == {0: 3}
    assert emission.progress.hi == 3
    assert emission.progress.totals == {"counted": 5}
    assert restarted.take().progress == emission.progress


def test_what_is_passed_over_is_no_replay() -> None:
    """Where a log begins late, or lost a range at its end, progress lies behind it."""
    counter = fresh()
    counter.pass_over(5000)
    progress = counter.take().progress
    assert (progress.low_water, progress.hi, progress.totals) == (5000, 5000, {})
    counter.add(arrival(5000, document(key="a")))
    counter.pass_over(6000)
    progress = counter.take().progress
    assert (progress.low_water, progress.hi) == (5000, 6000)
    again = fresh(progress)
    again.add(arrival(5000, document(key="a")))
    again.pass_over(6000)
    assert again.take().progress == progress


@pytest.mark.parametrize("stamp_ms", [-1, 0, -(2**60), 946_684_799_999, 4_133_980_800_000, 2**62])
def test_a_record_s_time_outside_the_century_is_none(stamp_ms: int) -> None:
    """A clock of no time or of the year 9999 moves nothing and breaks nothing: as in a file."""
    odd, none = fresh(), fresh()
    for number in range(50):
        made = arrival(number, document(at(60 * number), key=f"n{number}"))
        odd.add(replace(made, timestamp_ms=stamp_ms))
        none.add(made)
    odd.leak("confirmed_leak", 50, stamp_ms)
    none.leak("confirmed_leak", 50, None)
    found, expected = odd.take(), none.take()
    assert volume(found) == volume(expected)
    assert found.progress == expected.progress
    assert found.progress.totals == {"counted": 50}
    assert [o.at for o in found.occurrences] == [at(60 * 49)]


@pytest.mark.parametrize("stamp_ms", [946_684_800_000, 4_133_980_799_999])
def test_the_first_and_the_last_moment_of_the_century_are_times(stamp_ms: int) -> None:
    """From 2000 to 2100 a record's time is believed."""
    counter = fresh()
    counter.leak("confirmed_leak", 0, stamp_ms)
    (found,) = counter.take().occurrences
    assert found.at == datetime.fromtimestamp(stamp_ms / 1000, UTC)


def test_two_emissions_are_one() -> None:
    """What was told twice and not written is written once: of each bucket its last counts."""
    counter, whole = fresh(), fresh()
    log = [never("a"), document(at(20), key="b"), document(at(80), key="c"), never("d")]
    told = None
    for offset, one in enumerate(log):
        for each in (counter, whole):
            each.add(arrival(offset, one))
        new = counter.take()
        told = new if told is None else told.then(new)
    expected = whole.take()
    assert told is not None
    assert volume(told) == volume(expected) == {0: 2, 1: 1}
    assert len(told.buckets) == 2
    assert told.progress == expected.progress
    assert told.late == expected.late == [(3, START)]
    assert [o.event_id for o in told.occurrences] == ["a", "d"]
    assert told.admissions == expected.admissions
