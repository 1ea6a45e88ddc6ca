"""`tocsin run` on files as a stranger writes them: a step is one incident, a quiet file is none."""

from __future__ import annotations

import json
import logging
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.app import main
from monitor.config.options import RunOptions
from monitor.incidents.model import Incident
from monitor.store.store import Store
from monitor.stream.signals import default_signals, plan
from tests.scenario.traffic import BEGIN, Story, event, events, write

TEN = timedelta(minutes=10)
PLAN = plan(default_signals())


@dataclass(frozen=True, slots=True)
class Played:
    """What a recording left in its store."""

    incidents: list[Incident]
    pages: list[dict[str, Any]]
    """What the log channel printed."""
    fates: dict[str, int]


Play = Callable[[list[dict[str, Any]]], Played]


@pytest.fixture
def play(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Play]:
    """Write events to a packed file and let `tocsin run` read it to its end, loudly."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(lines: list[dict[str, Any]]) -> Played:
        file = write(tmp_path / "events.ndjson.gz", lines)
        options = RunOptions(
            store=f"sqlite:///{tmp_path}/x.db",
            source=f"file:{file}",
            profile="loud",
            until_end=True,
            socket=tmp_path / "s",
        )
        assert main(options) == 0
        store = Store(f"sqlite:///{tmp_path}/x.db")
        with store.read() as tx:
            incidents = list(reversed(tx.incidents.search()))
            pipeline = tx.stream.known_pipeline(PLAN)
            assert pipeline is not None
            fates = tx.stream.partitions(pipeline)[0].totals
        store.close()
        printed = [json.loads(s) for s in capsys.readouterr().err.splitlines() if s[:1] == "{"]
        return Played(incidents, [row for row in printed if "schema" in row], fates)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    for number, handler in signals.items():
        signal.signal(number, handler)


def refusals(played: Played) -> Incident:
    """The one incident there is, about refusals."""
    assert [i.signal for i in played.incidents] == ["refusal_rate"]
    return played.incidents[0]


def found_in_time(played: Played, onset: datetime) -> None:
    """One incident, within ten minutes of the onset, and one trigger."""
    incident = refusals(played)
    assert onset < incident.detected_at <= onset + TEN
    assert [page["kind"] for page in played.pages].count("trigger") == 1


@pytest.mark.parametrize(
    ("seed", "rate", "per_minute"),
    [(1, 0.05, 10.0), (2, 0.05, 10.0), (3, 0.1, 10.0), (4, 0.02, 10.0), (5, 0.02, 20.0)],
)
def test_five_times_the_refusals_everywhere_is_one_incident(
    play: Play, seed: int, rate: float, per_minute: float
) -> None:
    """Four features at once: their alerts are one incident, found within ten minutes."""
    story = Story(seed=seed, rate=rate, per_minute=per_minute)
    found_in_time(play(events(story)), story.onset)


@pytest.mark.parametrize(
    ("seed", "rate", "per_minute"),
    [(6, 0.05, 10.0), (7, 0.05, 10.0), (8, 0.1, 10.0), (9, 0.2, 10.0), (10, 0.02, 40.0)],
)
def test_five_times_the_refusals_of_one_feature_is_one_incident(
    play: Play, seed: int, rate: float, per_minute: float
) -> None:
    """One feature of two: it is named, and the other is not touched. 20 % becomes 100 %."""
    story = Story(
        seed=seed,
        rate=rate,
        per_minute=per_minute,
        features=("chat", "search"),
        moved=("search",),
    )
    played = play(events(story))
    found_in_time(played, story.onset)
    assert dict(refusals(played).dimensions) == {"environment": "prod", "feature": "search"}


@pytest.mark.parametrize(("seed", "rate"), [(11, 0.01), (12, 0.02)])
def test_rare_refusals_take_longer(play: Play, seed: int, rate: float) -> None:
    """Below one expected refusal in two minutes chance alone does as much for a while: still one
    incident, within the hour."""
    story = Story(seed=seed, rate=rate)
    played = play(events(story))
    incident = refusals(played)
    assert story.onset < incident.detected_at <= story.onset + timedelta(hours=1)


@pytest.mark.parametrize(("seed", "rate"), [(1, 0.05), (3, 0.1), (13, 0.01), (14, 0.02), (15, 0.2)])
def test_the_same_file_without_the_step_is_quiet(play: Play, seed: int, rate: float) -> None:
    """Seven quiet hours are no incident, whatever the base rate."""
    played = play(events(Story(seed=seed, rate=rate, times=1.0)))
    assert played.incidents == []
    assert played.pages == []
    assert set(played.fates) == {"counted"}


def test_what_comes_after_is_the_same_incident(play: Play) -> None:
    """The step ends: the signal is said to be normal, no fall is found, the incident closes."""
    story = Story(seed=16, rate=0.1, after_hours=3, features=("chat", "search"))
    incident = refusals(play(events(story)))
    assert incident.normal_at is not None
    assert story.onset + timedelta(hours=1) < incident.normal_at
    assert incident.closed_at is not None


def test_one_event_every_six_seconds(play: Play) -> None:
    """A single feature, exactly ten even turns a minute: the step is found, and nothing else."""
    story = Story(seed=17, rate=0.1, features=("chat",), moved=("chat",), even=True)
    found_in_time(play(events(story)), story.onset)


def test_lines_out_of_order(play: Play) -> None:
    """Events a few seconds out of order count as those in order do; none is late."""
    story = Story(seed=18, rate=0.1, features=("chat", "search"))
    rng = random.Random(18)
    keyed = [
        (datetime.fromisoformat(one["time"]).timestamp() + rng.uniform(0, 12), one)
        for one in events(story)
    ]
    played = play([one for _, one in sorted(keyed, key=lambda pair: pair[0])])
    found_in_time(played, story.onset)
    assert set(played.fates) == {"counted"}


def test_optional_fields_change_nothing(play: Play) -> None:
    """Tools, checks, tenants, versions and time zones besides: one incident of refusals."""
    story = Story(seed=19, rate=0.1, features=("chat", "search"))
    rng = random.Random(19)

    def dressed(one: dict[str, Any]) -> dict[str, Any]:
        data = {
            **one["data"],
            "actor": {"tenant": f"t_{rng.randrange(12):08x}", "turn": rng.randrange(1, 6)},
            "policy_checks": [
                {"category": "privacy.pii", "result": "pass", "stage": "output", "score": 0.01}
            ],
            "tool_calls": [{"tool": "kb.search", "risk_tier": "read", "status": "ok"}],
            "coverage": {"checks_expected": ["pii"], "checks_missing": []},
            "evidence": {"trace_id": f"{rng.getrandbits(128):032x}"},
        }
        at = datetime.fromisoformat(one["time"]).astimezone(ROME)
        return {**one, "time": at.isoformat(), "specversion": "1.0", "data": data}

    played = play([dressed(one) for one in events(story)])
    found_in_time(played, story.onset)


ROME = datetime.fromisoformat("2026-11-16T00:00:00+01:00").tzinfo


def test_one_wrong_clock_is_no_incident(play: Play) -> None:
    """Single events years and days off, before and after: no silence, no hole, no false page."""
    lines = events(Story(seed=20, rate=0.05, times=1.0, features=("chat", "search")))
    wrong = [
        event(BEGIN - timedelta(days=9000), 9_000_001),
        event(BEGIN + timedelta(days=30), 9_000_002),
        event(BEGIN + timedelta(days=1), 9_000_003, feature="search"),
    ]
    for place, one in zip((10, 2000, 4000), wrong, strict=True):
        lines.insert(place, one)
    played = play(lines)
    assert [i.title for i in played.incidents] == []


def test_a_recording_from_the_future_pages(play: Play) -> None:
    """A file dated after today is played as any other, its page printed."""
    story = Story(seed=21, rate=0.1, features=("chat",), moved=("chat",))
    years = timedelta(days=3653)

    def later(one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "time": (datetime.fromisoformat(one["time"]) + years).isoformat()}

    found_in_time(play([later(one) for one in events(story)]), story.onset + years)


def test_a_night_without_traffic_is_no_incident(play: Play) -> None:
    """Two hours of traffic, ten hours of nothing, an hour of traffic: a hole in a recording is
    said as no data, once."""
    first = events(Story(seed=22, rate=0.05, times=1.0, features=("chat",), quiet_hours=2))
    second = [
        replace_time(one, timedelta(hours=13), number)
        for number, one in enumerate(first)
        if one["time"] < (BEGIN + timedelta(hours=1)).isoformat()
    ]
    played = play([*first, *second])
    assert [i.signal for i in played.incidents] == ["no_data"]
    assert [page["kind"] for page in played.pages] == ["trigger", "resolve"]


def replace_time(one: dict[str, Any], later: timedelta, number: int) -> dict[str, Any]:
    """The event at another time under another id."""
    at = datetime.fromisoformat(one["time"]) + later
    return {**one, "id": f"again{number}", "time": at.isoformat()}


def test_an_earlier_recording_in_the_same_store_is_said_to_be_unjudged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events before what a store has decided are counted only: it is said, and the end is 1."""
    later, earlier = tmp_path / "later.ndjson", tmp_path / "earlier.ndjson"
    write(later, events(Story(seed=21, rate=0.05, quiet_hours=2, times=1.0)))
    write(earlier, events(Story(seed=22, rate=0.05, quiet_hours=1, times=1.0)))
    options = {"store": f"sqlite:///{tmp_path / 'x.db'}", "profile": "loud", "until_end": True}
    assert main(RunOptions(source=f"file:{later}", **options)) == 0  # type: ignore[arg-type] # a dict of its fields
    assert main(RunOptions(source=f"file:{earlier}", **options)) == 1  # type: ignore[arg-type] # the same
    assert "NOT JUDGED" in capsys.readouterr().err
    assert main(RunOptions(source=f"file:{later}", **options)) == 0  # type: ignore[arg-type] # the same


def test_what_is_to_be_typed_next_names_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording with a bad line says where to read of it, in a command that finds it."""
    file, store = tmp_path / "bad.ndjson", f"sqlite:///{tmp_path / 'x.db'}"
    file.write_text("{}\n")
    assert main(RunOptions(source=f"file:{file}", store=store, until_end=True)) == 0
    assert f"see: tocsin --store {store} quarantine list;" in capsys.readouterr().err
