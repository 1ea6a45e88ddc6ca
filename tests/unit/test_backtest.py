"""What a rule would have done: replayed points, folded pages, people's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from monitor.backtest import backtest, replay
from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.detect_views import Backtest
from monitor.incidents.model import Incident, State
from monitor.store.decision_rows import Point, Seen, TierRow
from monitor.store.store import Store
from monitor.views import DeskError, Principal
from tests.making import T0, alert, incident, minutes

CONFIGURED = resolve(Settings(profile="loud"))
PLAN, PROFILE = CONFIGURED.plan, CONFIGURED.profile
SIGNAL = next(one for one in PLAN.rates() if one.name == "refusal_rate")
CHAT, SEARCH = ("prod", "chat"), ("prod", "search")
DAY = 240
"""Minutes of a day of these tests: `loud` is warm within one."""
START = int(T0.timestamp())
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


def run(found: By, incidents: Sequence[Incident] = (), *, days: int = 2) -> Backtest:
    """Replay the last days of these points."""
    end = max(found) + 60
    until = datetime.fromtimestamp(end, UTC)

    def asked(first: int, before: int) -> Mapping[int, Sequence[Point]]:
        return {bucket: row for bucket, row in found.items() if first <= bucket < before}

    since = until - minutes(days * DAY)
    return replay(asked, incidents, PLAN, PROFILE, SIGNAL, since, until)


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
    made = replay(lambda _a, _b: {}, [], PLAN, PROFILE, SIGNAL, T0, until)
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
        assert backtest(tx, PLAN, PROFILE, SIGNAL, made.since, made.until) == made


def test_the_desk_explains_a_firing_series(desk: Desk) -> None:
    """One sentence with figures, since when, what changed and how sure; and the last hours."""
    chat, search = desk.explain(signal="refusal_rate")
    assert (chat.state, chat.tier, chat.incident) == ("firing", "ticket", "INC-0007")
    assert "against a baseline of" in chat.sentence
    assert "since 2026-11-16 20:40 UTC" in chat.sentence
    assert "release v2 was at 20:36 UTC" in chat.sentence
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
    with pytest.raises(DeskError, match="1 to 28 days here"):
        desk.backtest(signal="refusal_rate", days=29)
