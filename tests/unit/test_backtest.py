"""What a rule would have done: replayed points, folded pages, people's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace as changed

from detectors.calibration import threshold_for
from monitor.alerting.budget import Allowance, Budgets, Share
from monitor.backtest import Learned, Limited, replay
from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.detect_views import Backtest
from monitor.detection import Detection
from monitor.division import Division
from monitor.incidents.model import Incident, State
from monitor.profiles import PROFILES
from monitor.rates import series_id
from monitor.store.decision_rows import Point, Seen, TierRow
from monitor.store.rule_rows import Divided
from monitor.store.store import Store
from monitor.stream.rules import StaticRule, watched
from monitor.stream.series import Dims, Pair
from monitor.stream.signals import default_signals, plan
from monitor.views import DeskError, Principal
from runbooks.durations import Duration
from tests.making import T0, alert, incident, minutes

CONFIGURED = resolve(Settings(profile="loud"))
PLAN, PROFILE = CONFIGURED.plan, CONFIGURED.profile
SIGNAL = next(one for one in PLAN.rates() if one.name == "refusal_rate")
DIVISION = Division(PLAN, PROFILE)
CHAT, SEARCH = ("prod", "chat"), ("prod", "search")
DAY = 240
"""Minutes of a day of these tests: `loud` is warm within one."""
START = int(T0.timestamp())
FIVE = Duration(minutes=5)
By = dict[int, list[Point]]


def points(days: int = 3, *, moved: Mapping[tuple[str, str], int] | None = None) -> By:
    """Points of two features; those named move to five times their rate for an hour."""
    rng = np.random.default_rng(5)
    found: By = {}
    for at in range(days * DAY):
        row = []
        for dims in (CHAT, SEARCH):
            begin = (moved or {}).get(dims)
            hot = begin is not None and begin <= at < begin + 60
            k = int(rng.binomial(40, 0.5 if hot else 0.1))
            row.append(Point(dims, k, 40, None, 0.0, "q"))
        found[START + 60 * at] = row
    return found


def judge() -> Learned:
    """A new one of the rule."""
    return Learned(SIGNAL, PROFILE, PLAN, DIVISION)


def run(found: By, incidents: Sequence[Incident] = (), *, days: int = 2) -> Backtest:
    """Replay the last days of these points."""
    end = max(found) + 60
    until = datetime.fromtimestamp(end, UTC)

    def asked(first: int, before: int) -> Mapping[int, Sequence[Point]]:
        return {bucket: row for bucket, row in found.items() if first <= bucket < before}

    since = until - minutes(days * DAY)
    return replay(asked, incidents, PLAN, PROFILE, judge(), since, until)


def test_a_move_is_an_episode_with_its_figures() -> None:
    """Onset, detection, duration, peak and excess of what moved; nothing of what did not."""
    made = run(points(moved={CHAT: 2 * DAY}))
    (episode,) = made.episodes
    begin = T0 + minutes(2 * DAY)
    assert episode.dimensions == {"environment": "prod", "feature": "chat"}
    assert abs(episode.onset_at - begin) <= minutes(3)
    assert begin < episode.detected_at <= begin + minutes(6)
    assert 40 * 60 < episode.duration_s < 90 * 60
    assert episode.peak_ratio is not None
    assert 3 < episode.peak_ratio < 8
    assert 800 < episode.excess < 1_100
    assert (made.pages, made.true, made.false, made.unjudged) == (1, 0, 0, 1)
    assert (made.series, round(made.weeks, 2)) == (2, 0.05)
    assert made.false_per_week is None


def test_what_fired_before_the_time_that_counts_is_learned_from_only() -> None:
    """An episode of the days before is not in the answer."""
    assert run(points(moved={CHAT: DAY // 2})).episodes == []


def test_series_that_move_together_are_one_page() -> None:
    """Within half an hour the second joins the first; hours later it is its own page."""
    both = run(points(moved={CHAT: 2 * DAY, SEARCH: 2 * DAY + 10}))
    assert [one.page for one in both.episodes] == [True, False]
    assert both.pages == 1
    apart = run(points(moved={CHAT: 2 * DAY, SEARCH: 2 * DAY + 120}))
    assert [one.page for one in apart.episodes] == [True, True]


@pytest.mark.parametrize(
    ("verdict", "counts"),
    [("attack", (1, 0, 0)), ("benign_shift", (0, 1, 0)), (None, (0, 0, 1))],
)
def test_what_people_said_tells_true_from_false(
    verdict: str | None, counts: tuple[int, int, int]
) -> None:
    """An incident of the same place and time lends its verdict; one elsewhere does not."""
    begin = T0 + minutes(2 * DAY)
    here = incident(
        impact_at=begin,
        detected_at=begin + minutes(4),
        resolved_at=begin + minutes(90),
        state=State.RESOLVED,
        verdict=verdict,
        dimensions={"environment": "prod", "feature": "chat"},
    )
    there = replace(here, uuid="u2", number=8, verdict="attack", dimensions={"feature": "search"})
    made = run(points(moved={CHAT: 2 * DAY}), [here, there])
    assert made.episodes[0].incidents == ["INC-0007"]
    assert (made.true, made.false, made.unjudged) == counts


def test_the_answer_survives_json() -> None:
    """It can be attached to a promotion and read again."""
    made = run(points(moved={CHAT: 2 * DAY}))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Backtest) == made


def test_nothing_stored_is_no_error() -> None:
    """A rule without points has no series and no pages."""
    until = T0 + timedelta(days=3)
    made = replay(lambda _a, _b: {}, [], PLAN, PROFILE, judge(), T0, until)
    assert (made.series, made.weeks, made.pages, made.episodes) == (0, 0.0, 0, [])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Three days of points, the last hours with a move that still goes on."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    found = points(moved={CHAT: 3 * DAY - 20})
    with opened.write() as tx:
        pipeline = tx.stream.pipeline(PLAN, T0)
        end = max(found) + 60
        tx.decisions.move(pipeline, end, datetime.fromtimestamp(end, UTC))
        tx.decisions.save_points(Seen(SIGNAL.name, at, row) for at, row in found.items())
        last = [Point(CHAT, 20, 40, 0.1, 9.5, "f"), Point(SEARCH, 4, 40, 0.1, 0.5, "q")]
        tx.decisions.save_points([Seen(SIGNAL.name, end - 60, last)])
        begin = T0 + minutes(3 * DAY - 20)
        tx.incidents.save(incident())
        tx.incidents.save_alert(
            replace(
                alert(incident=incident().uuid),
                dimensions={"environment": "prod", "feature": "chat"},
                onset_at=begin,
            )
        )
        tx.incidents.add_change("release", "v2", begin - minutes(4), {"feature": "chat"}, "ci", T0)
        tx.incidents.add_change("rollback", "v1", begin + minutes(2), {"feature": "chat"}, "ci", T0)
        tx.incidents.add_change("release", "v9", begin, {"feature": "search"}, "ci", T0)
        tx.decisions.set_tier(TierRow(SIGNAL.name, "ticket", "ada", "noisy", T0))
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    """A reader's desk."""
    return Desk(store, CONFIGURED, Shelf(), Principal(name="eve", role="reader"), lambda: T0)


def test_the_desk_replays_what_is_stored(desk: Desk, store: Store) -> None:
    """Asked for a day at a time, it is the same as in one transaction."""
    made = desk.backtest(signal="refusal_rate", days=1)
    assert [one.dimensions["feature"] for one in made.episodes] == ["chat"]
    assert made.episodes[0].ended_at is None
    with store.read() as tx:

        def asked(first: int, end: int) -> Mapping[int, Sequence[Point]]:
            return tx.decisions.points(SIGNAL.name, first, end)

        incidents = tx.incidents.search(limit=10)
        again = replay(asked, incidents, PLAN, PROFILE, judge(), made.since, made.until)
    assert changed(again, without=made.without) == made
    assert made.without == (
        "without tenant, model and release series: no counts of them are stored"
    )
    assert made.meanings == ["the loud profile's own limit, calibrated to no budget"]


def test_a_backtest_that_takes_long_says_how_far_it_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's question waits for a month of minutes: asked again, it is the same one, done; and
    asked once more after that, another."""
    whole = desk.backtest(signal="refusal_rate", days=2)
    monkeypatch.setattr("monitor.desk.detect.WAIT_S", 0.0)
    first = desk.backtest(signal="refusal_rate", days=2)
    assert first.progress < 1
    assert (first.signal, first.series, first.episodes) == ("refusal_rate", 0, [])
    monkeypatch.setattr("monitor.desk.detect.WAIT_S", 60.0)
    assert desk.backtest(signal="refusal_rate", days=2) == whole


def test_the_desk_explains_a_firing_series(desk: Desk) -> None:
    """One sentence with figures, since when, what changed and how sure; and the last hours. What
    came after the onset has not caused it, however near: the page says the same."""
    chat, search = desk.explain(signal="refusal_rate")
    assert (chat.state, chat.tier, chat.incident) == ("firing", "ticket", "INC-0007")
    assert "against a baseline of" in chat.sentence
    assert "since 2026-11-16 20:40 UTC" in chat.sentence
    assert "; release v2 was at 20:36 UTC, 4 min before the onset; " in chat.sentence
    assert chat.sentence.endswith("in nats)")
    assert [change.title for change in chat.changes] == ["v2"]
    assert len(chat.spark) * chat.spark_s == 6 * 3_600
    assert chat.spark[-1] is not None
    assert chat.spark[-1] > 3 * (chat.spark[0] or 1.0)
    assert (search.state, search.onset_at) == ("quiet", None)
    assert "quiet at 10.0 % (4 of 40)" in search.sentence


def test_the_desk_explains_only_what_is_asked_for(desk: Desk) -> None:
    """Dimensions and a limit narrow the answer; an unknown signal or span is refused."""
    only = desk.explain(signal="refusal_rate", dimensions={"feature": "search"})
    assert [one.dimensions["feature"] for one in only] == ["search"]
    assert len(desk.explain(signal="refusal_rate", limit=1)) == 1
    with pytest.raises(DeskError, match="no rate 'nope'"):
        desk.explain(signal="nope")
    with pytest.raises(DeskError, match="no rate and no limit 'nope'") as caught:
        desk.backtest(signal="nope", days=7)
    assert caught.value.hint == "list them: tocsin rule list"
    with pytest.raises(DeskError, match="1 to 28 days here"):
        desk.backtest(signal="refusal_rate", days=29)


def test_a_fixed_limit_is_replayed_like_any_rule() -> None:
    """What people know has a backtest too: the series it watches, and its episodes."""
    rule = StaticRule(
        name="refusals_high", signal=SIGNAL.name, rate=0.3, where={"feature": "chat"}, window=FIVE
    )
    (one,) = watched((rule,), PLAN.signals, bucket_s=60)
    found = points(moved={CHAT: 3 * DAY - 90, SEARCH: 3 * DAY - 90})
    end = max(found) + 60
    until = datetime.fromtimestamp(end, UTC)

    def asked(first: int, before: int) -> Mapping[int, Sequence[Point]]:
        return {bucket: row for bucket, row in found.items() if first <= bucket < before}

    made = replay(asked, (), PLAN, PROFILE, Limited(one, 60), until - minutes(DAY), until)
    assert (made.signal, made.series, made.pages, made.thresholds) == ("refusals_high", 1, 1, [1.0])
    (episode,) = made.episodes
    assert episode.dimensions == {"environment": "prod", "feature": "chat"}
    assert timedelta(0) < episode.detected_at - (until - minutes(90)) <= minutes(5)
    assert made.meanings == ["a limit that people have set: no budget pays for it"]


def capped(store: Store, allowance: Allowance) -> Desk:
    """A desk of the profile that pages, with the rule's budget divided as a daemon does."""
    configured = resolve(Settings(profile="page"))
    policy = replace(configured.policy, budgets=Budgets(allowance))
    made = replace(configured, policy=policy)
    share = Share("default", allowance, {SIGNAL.name: 2}, {SIGNAL.name: 1})
    with store.write() as tx:
        tx.rules.divide([Divided(START, share, "first")])
    return Desk(store, made, Shelf(), Principal(name="eve", role="reader"), lambda: T0)


def test_the_desk_judges_by_the_share_in_force(store: Store) -> None:
    """What is explained and replayed has the threshold that the daemon uses now, and its meaning;
    without a share it is the profile's."""
    desk = capped(store, Allowance(3.0, 4))
    search = desk.explain(signal=SIGNAL.name, dimensions={"feature": "search"})[0]
    assert search.threshold == pytest.approx(threshold_for(1 / 4))
    assert search.meaning == (
        "pages at what a quiet series reaches once in 4.0 weeks: its share of the budget of "
        "team default"
    )
    assert {one.threshold for one in desk.signals()} == {search.threshold}
    made = desk.backtest(signal=SIGNAL.name, days=1)
    assert made.thresholds == [round(threshold_for(1 / 4), 3)]
    assert made.meanings == [search.meaning]
    with store.write() as tx:
        tx.rules.divide([Divided(START + 60, Share("default", Allowance(3.0, 4), {}), "none")])
    again = desk.explain(signal=SIGNAL.name, dimensions={"feature": "search"})[0]
    assert again.threshold == pytest.approx(threshold_for(1 / 120))
    assert "once in 120 weeks: the page profile's own, no budget pays for it" in again.meaning


WIDE = 600
SPELL = plan([one for one in default_signals() if one.name == "error_rate"], bucket_s=WIDE)
BORN = 2 * 144
"""The bucket in which one more surface comes; it moves twenty later, and all of them at last."""
MOVED, SHOCK, LAST = BORN + 20, BORN + 80, BORN + 110


def spell(at: int) -> dict[Dims, Pair]:
    """Six surfaces with 5 % errors and a new one, beside the whole of them."""
    rng = np.random.default_rng([17, at])
    found: dict[Dims, Pair] = {}
    for number in range(7 if at >= BORN else 6):
        moved = number == 6 and MOVED <= at < MOVED + 6
        times = 8.0 if moved else 1.8 if at >= SHOCK else 1.0
        n = int(rng.poisson(60))
        found["prod", f"surface-{number}"] = (int(rng.binomial(n, 0.05 * times)), n)
    return found


def test_a_backtest_fires_when_the_daemon_did(tmp_path: Path) -> None:
    """A new series begins with the habits of its siblings in a replay too, and a weak shock on all
    of them is an episode of the whole, each in the bucket in which the daemon told it."""
    profile, budgets, name = PROFILES["page"], Budgets(Allowance(4.0)), "error_rate"
    detection, told, ringing = Detection(SPELL, profile), dict[Dims, datetime](), set[str]()
    opened = Store(f"sqlite:///{tmp_path / 'y.db'}")
    with opened.write() as tx:
        assert not list(detection.rebuild(lambda: nullcontext(tx), None, budgets))
        for at in range(LAST):
            kept: list[Seen] = []
            readings = detection.step(
                tx,
                START + WIDE * at,
                {name: spell(at)},
                {},
                tiers={name: "page"},
                budgets=budgets,
                watched=ringing,
                kept=kept,
            )
            tx.decisions.save_points(kept)
            firing = [one for one in readings if one.firing]
            ringing = {series_id(name, tuple(one.dimensions.values())) for one in firing}
            for one in firing:
                told.setdefault(tuple(one.dimensions.values()), one.at)
        division = Division(SPELL, profile)
        division.rebuild(tx, budgets)

        def asked(first: int, end: int) -> Mapping[int, Sequence[Point]]:
            return tx.decisions.points(name, first, end)

        since, until = (datetime.fromtimestamp(START + WIDE * at, UTC) for at in (BORN, LAST))
        rule = Learned(SPELL.rates()[0], profile, SPELL, division)
        made = replay(asked, (), SPELL, profile, rule, since, until)
    opened.close()
    assert told.keys() >= {("prod",), ("prod", "surface-6")}
    found = {tuple(one.dimensions.values()): one for one in reversed(made.episodes)}
    assert {dims: one.detected_at for dims, one in found.items()} == told
    assert found["prod", "surface-6"].detected_at <= T0 + timedelta(seconds=WIDE * (MOVED + 4))
    assert "everywhere a little" in found["prod",].reason
    assert made.judged_days >= 1
