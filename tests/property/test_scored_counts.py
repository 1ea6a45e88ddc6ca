from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.columns import Bools, Ints
from detectors.counts import STATES, Counts, Scored, by_time, repeated, score
from tests.property.test_rate_bank import CONFIG

SERIES = 4


def some_counts(seed: int, buckets: int = 60, *, missing: float = 0.1) -> Counts:
    """Series of different volume with gaps, silent buckets and a move, in order of time."""
    rng = np.random.default_rng(seed)
    bucket, series = (one.ravel() for one in np.mgrid[:buckets, :SERIES])
    kept = rng.random(len(bucket)) >= missing
    bucket, series = bucket[kept], series[kept]
    n = rng.poisson(np.array([0.5, 5, 50, 500])[series])
    rate = np.where(bucket > buckets * 2 // 3, 0.6, 0.1)
    k = rng.binomial(n, rate)
    return Counts(series.astype(np.int32), bucket.astype(np.int64) + 9_000, k, n)


def rows_of(counts: Counts, which: Ints | Bools) -> Counts:
    return Counts(counts.series[which], counts.bucket[which], counts.k[which], counts.n[which])


def same(one: Scored, other: Scored) -> bool:
    return bool(
        np.array_equal(one.state, other.state) and np.allclose(one.score, other.score, atol=1e-9)
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_shuffled_file_gets_the_same_scores(seed: int) -> None:
    """A row's answer does not depend on where in the file it stands."""
    counts = some_counts(seed)
    whole = score(counts, CONFIG)
    mixed = np.random.default_rng(seed).permutation(len(counts.k))
    other = score(rows_of(counts, mixed), CONFIG)
    assert same(other, Scored(whole.score[mixed], whole.state[mixed]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_no_score_looks_ahead(seed: int, until: int) -> None:
    """What comes later in time changes nothing of what was said before."""
    counts = some_counts(seed)
    early = counts.bucket < 9_000 + until
    whole = score(counts, CONFIG)
    other = score(rows_of(counts, early), CONFIG)
    assert same(other, Scored(whole.score[early], whole.state[early]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, SERIES - 1))
def test_a_series_is_judged_by_itself(seed: int, one: int) -> None:
    """Taking the other series out of the file changes nothing."""
    counts = some_counts(seed)
    mine = counts.series == one
    whole = score(counts, CONFIG)
    other = score(rows_of(counts, mine), CONFIG)
    assert same(other, Scored(whole.score[mine], whole.state[mine]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.9))
def test_a_gap_is_no_evidence(seed: int, missing: float) -> None:
    """Rows that are missing and rows that say "no traffic" are the same to the rows around."""
    counts = some_counts(seed, missing=0.0)
    gone = np.random.default_rng(seed).random(len(counts.k)) < missing
    silent = replace(counts, k=np.where(gone, 0, counts.k), n=np.where(gone, 0, counts.n))
    with_silence = score(silent, CONFIG)
    with_gaps = score(rows_of(counts, ~gone), CONFIG)
    assert same(with_gaps, Scored(with_silence.score[~gone], with_silence.state[~gone]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 10**6, 10**12]), st.integers(1, 2_000))
def test_scores_are_numbers_whatever_comes(seed: int, times: int, apart: int) -> None:
    """Wild counts and buckets far apart give a finite score of at least 0 and a known state."""
    counts = some_counts(seed)
    wild = replace(counts, bucket=counts.bucket * apart, k=counts.k * times, n=counts.n * times)
    scored = score(wild, CONFIG, bucket_s=10)
    assert np.isfinite(scored.score).all()
    assert (scored.score >= 0).all()
    assert (scored.state < len(STATES)).all()


def test_a_move_fires_and_the_words_of_the_states_are_right() -> None:
    """The loud series warms up, is quiet, and fires after its rate has moved."""
    counts = some_counts(5, missing=0.0)
    state = score(counts, CONFIG).state[counts.series == 3]
    assert [str(STATES[one]) for one in (state[0], state[35], state[-1])] == [
        "warming",
        "quiet",
        "firing",
    ]


def test_progress_adds_up() -> None:
    """Each row is told once."""
    counts = some_counts(1)
    told: list[int] = []
    score(counts, CONFIG, told=told.append)
    assert sum(told) == len(counts.k)


def test_no_rows_no_answers() -> None:
    """An empty file is judged, too."""
    nothing = rows_of(some_counts(1), np.zeros(0, np.int64))
    assert len(score(nothing, CONFIG).score) == 0
    assert repeated(nothing, by_time(nothing)) is None


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(30, 60))
@settings(max_examples=25, deadline=None)
def test_the_first_row_that_repeats_another_is_found(seed: int, first: int, at: int) -> None:
    """Both rows are named, in their order in the file."""
    counts = some_counts(seed)
    assert repeated(counts, by_time(counts)) is None
    shuffled = rows_of(counts, np.random.default_rng(seed).permutation(len(counts.k)))
    order = np.insert(np.arange(len(counts.k)), at, first)
    twice = rows_of(shuffled, order)
    assert repeated(twice, by_time(twice)) == (first, at)
    with pytest.raises(ValueError, match="twice"):
        score(twice, CONFIG)
