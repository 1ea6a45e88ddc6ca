"""Real agent runs through Apache Kafka, the real daemon and strict receivers: a slice of the bench.

`make bench-replay` plays all of it; this is scenario S1 on two features, with two kills.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.bench.agentdojo import Replay
from tests.bench.agentdojo_runs import Corpus, find_data
from tests.bench.bench_replay import FEATURE, OPEN_END, RULE, Size, kill_times, rising_attack
from tests.bench.replay_daemon import Installation, Log, publish, receivers
from tests.bench.replay_pages import page_problems
from tests.bench.replay_store import Findings, read_findings
from tests.bench.replay_table import harm_until
from tests.servers.kafka_server import KafkaServer

pytestmark = [pytest.mark.kafka, pytest.mark.data]

PATIENCE_S = 120.0
SLICE = Size(lead_in_days=1.15, per_day=50_000, attack_hours=3, ramp=timedelta(hours=1))


@pytest.fixture(scope="module")
def replay() -> Replay:
    folder = find_data()
    if folder is None:
        pytest.skip("needs the agentdojo data: set DATA to the folder of test data")
    return replace(rising_attack(Corpus.load(folder), SLICE), features=(FEATURE, "slack"))


@pytest.fixture(scope="module")
def log(kafka_server: KafkaServer, replay: Replay) -> Log:
    return publish(kafka_server, replay)


@pytest.fixture(scope="module")
def unkilled(log: Log, replay: Replay, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """What a daemon that nobody disturbs comes to, its pages checked."""
    with receivers() as paged:
        daemon = Installation(tmp_path_factory.mktemp("unkilled"), log, profile="page", paged=paged)
        daemon.play(replay.end - OPEN_END, PATIENCE_S)
        assert page_problems(paged, rule=RULE, feature=FEATURE) == []
    return read_findings(daemon.store_url)


def test_a_rising_attack_is_one_incident_and_one_page(unkilled: Findings, replay: Replay) -> None:
    """Behaviour alone tells: one incident of the attacked feature, paged within its three hours."""
    assert [found.incident.signal for found in unkilled.incidents] == ["acting_tool_misuse"]
    incident = unkilled.incidents[0].incident
    assert unkilled.rings() == 1
    assert replay.truth.onset is not None
    assert incident.detected_at > replay.truth.onset
    harm = harm_until(replay, incident.detected_at)
    assert 0 < harm.harmful < harm.interactions
    assert unkilled.totals == {"counted": sum(1 for _ in replay)}


def test_a_killed_daemon_comes_to_the_same(
    unkilled: Findings, log: Log, replay: Replay, tmp_path: Path
) -> None:
    """Two SIGKILLs on the way: the same incidents, the same counts, and nobody is woken twice."""
    with receivers() as paged:
        daemon = Installation(tmp_path / "killed", log, profile="page", paged=paged)
        kills = kill_times(replay, 2, seed=2)
        daemon.play(replay.end - OPEN_END, PATIENCE_S, kills=kills)
        assert len(paged.pagerduty.incidents) == 1
    killed = read_findings(daemon.store_url)
    assert killed.keys == unkilled.keys
    assert killed.same_counts(unkilled)
