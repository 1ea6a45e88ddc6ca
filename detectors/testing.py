"""The suite every detector passes, ours and yours: `check_detector(MyDetector)`.

Public, so that a detector written elsewhere can be held to the same rules before it is plugged in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from detectors.model import Detector, State, Verdict

Bucket = dict[str, float]

_START = 1_700_000_040  # a Tuesday evening, UTC, on a whole minute
_MINUTES = 400


def quiet_buckets(minutes: int = _MINUTES, *, seed: int = 1) -> list[Bucket]:
    """About 20 interactions a minute, one in ten flagged, with chance and gaps but no move."""
    rng = random.Random(seed)  # noqa: S311 - test traffic, not a secret
    buckets: list[Bucket] = []
    for minute in range(minutes):
        n = 0 if rng.random() < 0.02 else rng.randint(12, 28)
        k = sum(rng.random() < 0.1 for _ in range(n))
        buckets.append({"t": _START + 60 * minute, "k": k, "n": n})
    return buckets


def learn(detector: Detector, buckets: Sequence[Bucket]) -> list[Verdict]:
    """Learn the buckets and return the verdict after each."""
    verdicts = []
    for bucket in buckets:
        detector.learn_one(bucket)
        assert detector.verdict is not None, "a detector has a verdict after its first bucket"
        verdicts.append(detector.verdict)
    return verdicts


def check_speaks_protocol(factory: Callable[[], Detector]) -> None:
    """A detector has every method of the protocol, and no verdict before its first bucket."""
    detector = factory()
    assert isinstance(detector, Detector)
    assert detector.verdict is None


def check_verdicts_are_whole(factory: Callable[[], Detector]) -> None:
    """Every verdict has a reason in one line, a score that is a number, and counts that agree."""
    for verdict in learn(factory(), quiet_buckets()):
        assert verdict.reason
        assert "\n" not in verdict.reason
        assert verdict.score >= 0
        assert 0 <= verdict.k <= verdict.n
        assert abs(verdict.excess - (verdict.k - verdict.expected)) < 1e-6
        assert (verdict.state is not State.FIRING) or verdict.onset is not None


def check_quiet_traffic_is_quiet(factory: Callable[[], Detector]) -> None:
    """Ordinary traffic never fires."""
    states = {verdict.state for verdict in learn(factory(), quiet_buckets())}
    assert State.FIRING not in states


def check_first_verdict_is_warming(factory: Callable[[], Detector]) -> None:
    """A detector that knows nothing yet says so, rather than that all is well."""
    assert learn(factory(), quiet_buckets(1))[0].state is State.WARMING


def check_score_changes_nothing(factory: Callable[[], Detector]) -> None:
    """Scoring a bucket, even a wild one, leaves no trace."""
    asked, left_alone = factory(), factory()
    for bucket in quiet_buckets():
        asked.score_one({**bucket, "k": bucket["n"]})
        asked.score_one(bucket)
        asked.learn_one(bucket)
        left_alone.learn_one(bucket)
    assert asked.verdict == left_alone.verdict
    assert asked.snapshot() == left_alone.snapshot()


def check_score_foretells_verdict(factory: Callable[[], Detector]) -> None:
    """The score of a bucket is the score of the verdict once it is learned."""
    detector = factory()
    for bucket in quiet_buckets():
        foretold = detector.score_one(bucket)
        detector.learn_one(bucket)
        assert detector.verdict is not None
        assert detector.verdict.score == foretold


def check_input_is_left_alone(factory: Callable[[], Detector]) -> None:
    """Neither learning nor scoring writes into the bucket or keeps hold of it."""
    detector, reference = factory(), factory()
    for bucket in quiet_buckets(100):
        given = dict(bucket)
        detector.score_one(given)
        detector.learn_one(given)
        assert given == bucket
        given.clear()
        reference.learn_one(bucket)
    assert detector.snapshot() == reference.snapshot()


def check_same_input_same_verdicts(factory: Callable[[], Detector]) -> None:
    """Two detectors that saw the same buckets say the same."""
    assert learn(factory(), quiet_buckets()) == learn(factory(), quiet_buckets())


def check_snapshot_splits_unseen(factory: Callable[[], Detector]) -> None:
    """A detector stored and restored on the way gives the verdicts of one that never stopped."""
    buckets = quiet_buckets()
    whole = learn(factory(), buckets)
    for cut in (1, 61, 200, 399):
        first = factory()
        learn(first, buckets[:cut])
        second = factory()
        second.restore(first.snapshot())
        assert learn(second, buckets[cut:]) == whole[cut:]


def check_foreign_snapshot_is_refused(factory: Callable[[], Detector]) -> None:
    """What is not a snapshot of this detector raises ValueError, and nothing else."""
    for foreign in (b"", b"PK\x03\x04", b"not a snapshot", factory().snapshot()[:-20]):
        try:
            factory().restore(foreign)
        except ValueError:
            continue
        raise AssertionError(f"{foreign[:10]!r} was taken for a snapshot")


def check_bad_buckets_are_refused(factory: Callable[[], Detector]) -> None:
    """A bucket without its numbers, or out of order, raises ValueError and changes nothing."""
    detector = factory()
    learn(detector, quiet_buckets(100))
    before = detector.snapshot()
    bad: tuple[dict[str, float], ...] = (
        {},
        {"t": _START, "k": 1, "n": 2},
        {"t": 2e9, "n": -1, "k": 0},
    )
    for bucket in bad:
        try:
            detector.learn_one(bucket)
        except ValueError:
            continue
        raise AssertionError(f"{bucket} was learned")
    assert detector.snapshot() == before


CHECKS: tuple[Callable[[Callable[[], Detector]], None], ...] = (
    check_speaks_protocol,
    check_verdicts_are_whole,
    check_quiet_traffic_is_quiet,
    check_first_verdict_is_warming,
    check_score_changes_nothing,
    check_score_foretells_verdict,
    check_input_is_left_alone,
    check_same_input_same_verdicts,
    check_snapshot_splits_unseen,
    check_foreign_snapshot_is_refused,
    check_bad_buckets_are_refused,
)


def check_detector(factory: Callable[[], Detector]) -> None:
    """Run every check. `factory` makes a new detector with the same settings each time.

    Raises:
        AssertionError: with the check that failed in its traceback.
    """
    for check in CHECKS:
        check(factory)
