from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import checks

from detectors.catalog import CATALOG
from detectors.model import Detector
from detectors.series import RateDetector
from detectors.testing import CHECKS, check_detector, learn, quiet_buckets

Check = Callable[[Any], None]

EXCEPTIONS = {
    # A bucket without k, n or its time is a mistake of the caller; to take it for a nought would
    # make an outage of the counting look like a fall of the rate. (To `first_seen` each name is a
    # value and may come and go; but these score buckets that were learned already.)
    "check_emerging_features": "a bucket needs a number|is not after",
    "check_disappearing_features": "a bucket needs a number|is not after",
    "check_radically_disappearing_features": "a bucket needs a number|is not after",
    # It scores a bucket that was learned already; time goes forward only. That a score leaves its
    # input alone is our own `check_input_is_left_alone`.
    "check_predict_one_pure": "is not after|begins before",
}
"""river's checks that a detector of counts cannot pass by design, and how it refuses."""

ELSEWHERE = {"check_roc_auc"}
"""Needs scikit-learn, which we do not install: `test_anomalies_rank_above_ordinary_buckets`."""

Stream = list[tuple[dict[str, float], bool]]


def stream_of(buckets: int = 120) -> Stream:
    """Ordinary traffic in river's form, features and label."""
    return [(bucket, False) for bucket in quiet_buckets(buckets)]


def rivers_checks(kind: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """All checks river has for this estimator, its own data sets replaced by counts."""
    monkeypatch.setattr(checks, "_yield_datasets", lambda *_a, **_k: iter([stream_of()]))
    return list(checks.yield_checks(kind()))


@pytest.mark.parametrize("name", sorted(CATALOG))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_shipped_detector_keeps_our_contract(
    name: str, check: Callable[[Callable[[], Detector]], None]
) -> None:
    """Each check of the public suite holds for each detector of the catalog."""
    check(CATALOG[name].kind)


@pytest.fixture(scope="module")
def stored() -> dict[str, bytes]:
    """A snapshot of each detector of the catalog."""
    made = {}
    for name, entry in CATALOG.items():
        detector = entry.kind()
        learn(detector, quiet_buckets(100))
        made[name] = detector.snapshot()
    return made


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(CATALOG)), where=st.floats(0, 1, exclude_max=True))
def test_a_wrong_bit_in_a_snapshot_is_refused_or_changes_nothing(
    stored: dict[str, bytes], name: str, where: float
) -> None:
    """A damaged snapshot raises ValueError, so that the daemon replays; none is half believed."""
    bit = int(where * 8 * len(stored[name]))
    damaged = bytearray(stored[name])
    damaged[bit // 8] ^= 1 << bit % 8
    detector = CATALOG[name].kind()
    with contextlib.suppress(ValueError):
        detector.restore(bytes(damaged))
        assert detector.snapshot() == stored[name]


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_rivers_own_checks_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check river has for an estimator passes, those on data sets with streams of counts."""
    kind = CATALOG[name].kind
    passed = set()
    for check in rivers_checks(kind, monkeypatch):
        if check.__name__ not in EXCEPTIONS.keys() | ELSEWHERE:
            check(kind())
            passed.add(check.__name__)
    assert {"check_doc", "check_pickling", "check_bounded_memory_growth"} <= passed
    assert len(passed) >= 21


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_the_exceptions_are_what_their_reason_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of river's that is left out fails by a refusal in words, not by a wrong answer."""
    kind = CATALOG[name].kind
    found = {check.__name__: check for check in rivers_checks(kind, monkeypatch)}
    for check, reason in EXCEPTIONS.items():
        with pytest.raises(ValueError, match=reason):
            found[check](kind())


def moved(minutes: int = 60) -> Stream:
    """Ordinary traffic, then an hour at five times the rate."""
    stream = stream_of(500)
    hot = [({**x, "k": min(x["n"], 5 * x["k"])}, True) for x, _ in stream[-minutes:]]
    return stream[:-minutes] + hot


def silent(minutes: int = 60) -> Stream:
    """Ordinary traffic, then an hour of none."""
    stream = stream_of(500)
    return stream[:-minutes] + [({**x, "k": 0, "n": 0}, True) for x, _ in stream[-minutes:]]


@pytest.mark.parametrize(
    ("name", "stream"), [("rate", moved()), ("level", moved()), ("absence", silent())]
)
def test_anomalies_rank_above_ordinary_buckets(name: str, stream: Stream) -> None:
    """river's `check_roc_auc` on counts, and not by half: the area under the curve is over 0.8."""
    detector = CATALOG[name].kind()
    scores, labels = [], []
    for x, label in stream:
        scores.append(detector.score_one(x))
        detector.learn_one(x)
        labels.append(label)
    hot, calm = (np.array(scores)[np.array(labels) == one] for one in (True, False))
    area = np.mean((hot[:, None] > calm) + 0.5 * (hot[:, None] == calm))
    assert area > 0.8


class Forgetful(RateDetector):
    """A detector that learns when it is only asked."""

    def score_one(self, x: Mapping[Any, float]) -> float:
        self.learn_one(x)
        assert self.verdict is not None
        return self.verdict.score


def test_the_suite_catches_a_detector_that_learns_from_questions() -> None:
    """A score that changes state does not pass."""
    with pytest.raises((AssertionError, ValueError)):
        check_detector(Forgetful)
