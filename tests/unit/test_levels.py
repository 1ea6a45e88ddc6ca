"""Levels that changed for good: what fits, what a restart knows, what stays out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from monitor.alerting.fitting import ChangeFact, best_fit
from monitor.noticing.levels import Levels
from monitor.store.decision_rows import Point, Seen
from monitor.store.note_rows import NoteRow
from monitor.store.store import Store
from monitor.stream.cells import Admission, Emission, Progress
from monitor.stream.sections import JUDGE
from monitor.stream.signals import default_signals, plan
from tests.making import T0, level_note, minutes

PLAN = plan(default_signals(), bucket_s=300)
START = int(T0.timestamp()) // 3600 * 3600
CHAT = ("prod", "chat")
RELEASE = START + 30 * 3600


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    made = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield made
    made.close()


def play(
    store: Store, *, signal: str = "error_rate", restart_every: int | None = None
) -> list[NoteRow]:
    """44 hours of errors in one feature, 5 % before the release and 12 % after it."""
    rng = np.random.default_rng(4)
    levels = Levels(PLAN)
    for number in range(44 * 12):
        bucket = START + 300 * number
        if restart_every is not None and number % restart_every == 7:
            levels = Levels(PLAN)
            with store.read() as tx:
                levels.rebuild(tx, bucket)
        k = int(rng.binomial(150, 0.12 if bucket >= RELEASE else 0.05))
        with store.write() as tx:
            levels.step(tx, 1, bucket, {signal: {CHAT: (k, 150)}})
            point = Point(CHAT, k, 150, None, 0.0, "q")
            tx.decisions.save_points([Seen(signal, bucket, [point])])
    with store.read() as tx:
        return tx.notes.since()


def add_changes(store: Store) -> None:
    """The release, and what happened besides."""
    at = datetime.fromtimestamp(RELEASE, UTC)
    with store.write() as tx:
        found: tuple[tuple[str, datetime, dict[str, str]], ...] = (
            ("safety-prompt v41", at - minutes(4), {"feature": "chat"}),
            ("search v9", at - minutes(1), {"feature": "search"}),
            ("dark mode", at - timedelta(hours=5), {}),
        )
        for title, when, dims in found:
            tx.incidents.add_change("release", title, when, dims, "ci", at)


def test_a_new_level_is_noted_with_the_release_that_fits(store: Store) -> None:
    """One note: what was, what is, since when, and the change of the same feature beside it."""
    add_changes(store)
    (note,) = play(store)
    assert (note.kind, note.signal) == ("level", "error_rate")
    assert note.dimensions == {"environment": "prod", "feature": "chat"}
    assert note.text.startswith("Errors, chat in prod: level changed from 5.")
    assert note.before == pytest.approx(0.05, abs=0.01)
    assert note.after == pytest.approx(0.12, abs=0.02)
    assert abs(note.onset_at.timestamp() - RELEASE) <= 1800
    assert "release safety-prompt v41 fits" in note.fits
    assert note.at - note.onset_at < timedelta(hours=8)
    with store.read() as tx:  # it is there to be read: it opens nothing and rings nobody
        assert tx.incidents.search() == []
        assert tx.outbox.counts() == {}


def test_a_level_that_another_judge_fits_is_a_note_of_that_kind(store: Store) -> None:
    """A check's new version at the onset, and no release: who judges changed; what no check decides
    is a level, whatever was judged anew then."""
    admit_judges(store)
    (note,) = play(store, signal="sensitive_data_leakage")
    assert (note.kind, note.signal) == ("judge", "sensitive_data_leakage")
    assert note.fits.startswith("judge pii 2.1 fits")
    (other,) = [one for one in play(store) if one.signal == "error_rate"]
    assert (other.kind, other.fits) == ("level", "")


def admit_judges(store: Store) -> None:
    """One version from the first bucket on, another from the release on."""
    versions = (("2.0", START), ("2.1", RELEASE))
    found = [
        Admission("judge_versions", JUDGE.join(("privacy.pii", "pii", version)), bucket)
        for version, bucket in versions
    ]
    with store.write() as tx:
        tx.stream.save(1, "t", 0, Emission(Progress(), [], [], [], found))


def test_a_restart_changes_nothing(store: Store, tmp_path: Path) -> None:
    """Killed every few hours, at any minute, it notes the same, once."""
    other = Store(f"sqlite:///{tmp_path / 'y.db'}")
    assert play(store, restart_every=43) == play(other)
    other.close()


def test_a_note_is_kept_once_and_only_so_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay writes no second row; the oldest go."""
    monkeypatch.setattr("monitor.store.note_rows.NOTES_KEPT", 3)
    for number in (0, 1, 1, 2, 3, 4):
        at = T0 + minutes(number)
        row = level_note(at=at, onset_at=at, text=f"\0{number}", key=f"k{number}")
        with store.write() as tx:
            tx.notes.add(row)
    with store.read() as tx:
        assert [row.key for row in tx.notes.since()] == ["k4", "k3", "k2"]
        assert [row.key for row in tx.notes.since(T0 + minutes(3), T0 + minutes(3))] == ["k3"]


def fact(title: str, before: float, **dims: str) -> ChangeFact:
    """A change so many minutes before the onset."""
    return ChangeFact("release", title, T0 - minutes(before), dims)


def test_the_nearest_change_that_could_be_it_fits() -> None:
    """Near in time wins; a shared dimension is worth an advantage; another's feature is out."""
    where = {"environment": "prod", "feature": "chat"}

    def fits(*facts: ChangeFact) -> str | None:
        fit = best_fit(facts, T0, where, slack=minutes(5))
        return None if fit is None else fit.change.title

    assert fits() is None
    assert fits(fact("old", 361), fact("later", -6)) is None
    assert fits(fact("a", 50), fact("b", 10)) == "b"
    assert fits(fact("a", 20, feature="chat"), fact("b", 10)) == "a"
    assert fits(fact("a", 20, feature="search")) is None
    assert fits(fact("after", -5), fact("a", 60)) == "after"
    found = best_fit([fact("v2", 4)], T0, where)
    assert found is not None
    assert found.reason == "release v2 fits, 4 min before"
