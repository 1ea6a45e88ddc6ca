"""The bench on agent runs counts as the road does, keeps its halves apart, and pages in time."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import msgspec
import numpy as np
import pytest

from monitor.stream.cells import Arrival, Progress
from monitor.stream.counting import Counter
from monitor.stream.event import DATASCHEMA, Interaction
from monitor.stream.sections import Actor
from monitor.stream.series import expand
from monitor.stream.signals import default_signals, plan
from monitor.stream.tally import Tally
from tests.bench.agentdojo_counts import Counts, Pool
from tests.bench.agentdojo_runs import GPT4O, Corpus, find_data
from tests.bench.agentdojo_singly import STUDY_BUDGET, Single, calibrated, cusum
from tests.bench.bench_agentdojo_detect import GOALS, Size, paging, road

DATA = find_data()
needs_data = pytest.mark.skipif(
    DATA is None, reason="no agentdojo data: set DATA to the folder of test data"
)


@cache
def corpus() -> Corpus:
    """All runs, read once."""
    assert DATA is not None
    return Corpus.load(DATA)


@needs_data
def test_a_bucket_has_the_counts_that_the_road_makes_of_it() -> None:
    """Sums over drawn runs are what counting their events as a partition's log comes to."""
    pool = Pool.of(corpus(), "all")
    laid_out = plan(default_signals())
    rates = laid_out.rates()
    counts = Counts(corpus(), pool, laid_out, rates)
    rng = np.random.default_rng(3)
    bucket = np.repeat(np.arange(20), 7)
    drawn = pool.draw(rng, len(bucket), rng.random(len(bucket)) < 0.5)
    k, n = counts.sums(drawn, bucket, 20)

    counter = Counter(Tally(laid_out), Progress())
    for offset, (place, at) in enumerate(zip(drawn, bucket, strict=True)):
        data = corpus().data(pool.runs[place])
        actor = Actor(tenant="t_0", conversation="c_0", turn=1, pseudonym_key_id="k")
        event = Interaction(
            id=str(offset),
            source="//agentdojo",
            time=datetime.fromtimestamp(1_700_000_040 + 60 * int(at), UTC),
            dataschema=DATASCHEMA,
            partitionkey="t_0",
            sequence=f"{offset:016d}",
            data=msgspec.structs.replace(data, actor=actor),
        )
        counter.add(Arrival(offset, None, "interaction", event, b"%d" % offset))
    counter.finish()
    found = {(one.start - 1_700_000_040) // 60: one for one in counter.take().buckets}
    for minute in range(20):
        series = expand(laid_out, found[minute].base, found[minute].narrow)
        for column, (name, dims) in enumerate(counts.names):
            pair = series[name].get(dims, (0, 0))
            assert (k[minute, column], n[minute, column]) == pair, (minute, name, dims)


@needs_data
def test_no_task_is_in_both_halves() -> None:
    """Settings are chosen on other tasks than they are reported on; attacks are gpt-4o's."""
    halves = [Pool.of(corpus(), part) for part in ("chosen", "held_out")]
    tasks = [{(run.line.suite, run.line.task) for run in pool.runs} for pool in halves]
    assert tasks[0].isdisjoint(tasks[1])
    whole = Pool.of(corpus(), "all")
    assert sum(len(pool.runs) for pool in halves) == len(whole.runs)
    for pool in (*halves, whole):
        assert all(run.benign for run in pool.runs[: pool.benign])
        attacked = pool.runs[pool.benign :]
        assert attacked
        assert {run.line.pipeline for run in attacked} == {GPT4O}


@needs_data
def test_a_calibrated_cusum_keeps_its_budget() -> None:
    """On fresh draws the CUSUM gives a false alarm about as often as it was set to."""
    pool = Pool.of(corpus(), "all")
    hits = np.array([corpus().out_of_set(run) for run in pool.runs])
    quiet = float(hits[: pool.benign].mean())
    step = cusum(quiet, quiet * 0.08 / 0.028)
    threshold, _ = calibrated(Single(step, 1, 0.0), hits, pool, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    s, alarms, steps, worlds = np.zeros((1, 1_000)), 0, 700, 1_000
    for _ in range(steps):
        s = step(s, hits[pool.draw(rng, worlds)])
        over = s[0] >= threshold
        alarms += int(over.sum())
        s[:, over] = 0.0
    assert 0.3 < alarms * STUDY_BUDGET / (steps * worlds) < 2.0


@needs_data
def test_an_attack_is_paged_in_fewer_interactions_than_the_study_s_cusum() -> None:
    """The shipped profile, on tasks nothing was chosen on: under 196 / 92 / 29, within budget."""
    size = Size(worlds=6, quiet_weeks=1, forks=6)
    outcome = road(corpus(), Pool.of(corpus(), "held_out"), size, (0.0,), seed=31)[0]
    assert all(at < goal for at, goal in zip(outcome.medians, GOALS, strict=True)), outcome.medians
    assert outcome.interactions > 2.5 * STUDY_BUDGET
    assert outcome.pages * STUDY_BUDGET <= outcome.interactions


@needs_data
def test_only_parents_page() -> None:
    """The series that may wake a team are about thirty, environment and features together."""
    laid_out = plan(default_signals())
    pool = Pool.of(corpus(), "all")
    names = Counts(corpus(), pool, laid_out, paging(60)).names
    assert ("acting_tool_misuse", ("prod",)) in names
    assert ("acting_tool_misuse", ("prod", "banking")) in names
    assert len(names) <= 30
