"""AgentDojo's runs as events: traps are honoured, the truth stays aside, the rates are right."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import msgspec
import pytest

from monitor.stream.decode import Decoded, decode
from monitor.stream.event import Interaction
from monitor.stream.sources.simulate import START
from monitor.stream.sources.source import Record
from tests.bench.agentdojo import attack, model_swap, quiet, rates
from tests.bench.agentdojo_runs import GPT4O, RISK_TIERS, Corpus, Run, find_data

HAIKU = "claude-3-haiku-20240307"


def run(
    name: str,
    pipeline: str,
    tools: str,
    *,
    task: str = "user_task_1",
    attack: str | None = None,
    success: bool | None = None,
    **more: object,
) -> Run:
    """A small run."""
    line = {
        "run": name,
        "pipeline": pipeline,
        "suite": "banking",
        "task": task,
        "tools": [(tool, ("amount",)) for tool in tools.split()],
        "tool_errors": (),
        "tool_chars": 400,
        "assistant_chars": 40,
        "refusal_text": 0,
        "pi_detector_omitted": 0,
        "signatures": ("sig:todo",),
        "duration_s": 1.5,
        "error": False,
    }
    return Run.of({**line, **more}, attack=attack, success=success)


SMALL = Corpus(
    [
        run("a", GPT4O, "get_iban send_money"),
        run("b", HAIKU, "get_iban"),
        run("c", GPT4O, "get_iban update_password", attack="important_instructions", success=True),
        run("d", GPT4O, "get_iban", attack="important_instructions", success=False),
        run("e", GPT4O, "update_password", task="injection_task_3"),
        run("f", f"{GPT4O}-transformers_pi_detector", "get_iban", pi_detector_omitted=2),
        run("g", HAIKU, "get_iban", refusal_text=1, success=True, tool_errors=("ValueError",)),
        run("h", HAIKU, "get_iban", error=True),
    ]
)
BY_NAME = {one.line.run: one for one in SMALL.runs}


def test_success_without_an_attack_is_no_harm() -> None:
    """`attack_success` counts only where somebody attacked."""
    assert [name for name, one in BY_NAME.items() if one.harmful] == ["c"]


def test_an_attackers_goal_as_a_users_task_is_no_benign_load() -> None:
    """Runs of `injection_task_` are neither drawn nor do they widen the expected sets."""
    assert [name for name, one in BY_NAME.items() if one.benign] == ["a", "b", "f", "g", "h"]
    assert SMALL.out_of_set(BY_NAME["c"])


def test_the_expected_set_leaves_the_runs_own_pipeline_out() -> None:
    """A tool is expected when another pipeline used it for the same task."""
    assert not SMALL.expected(BY_NAME["a"], "send_money")
    assert SMALL.expected(BY_NAME["b"], "send_money")
    calls = SMALL.data(BY_NAME["a"]).tool_calls
    assert [(call.tool, call.risk_tier, call.in_expected_set) for call in calls] == [
        ("get_iban", "read", True),
        ("send_money", "financial", False),
    ]


def test_a_run_becomes_an_event_without_its_truth() -> None:
    """Suite, pipeline and task are dimensions; outcome and check are the run's; no label rides."""
    data = SMALL.data(BY_NAME["c"])
    assert data.deployment.feature == "banking"
    assert data.gen_ai.request_model == data.deployment.service_version == GPT4O
    assert data.gen_ai.prompt.name == "banking.user_task_1"
    assert data.attack_signals == ()
    assert SMALL.data(BY_NAME["c"], signals=True).attack_signals[0].signature_id == "sig:todo"
    refused = SMALL.data(BY_NAME["g"])
    assert (refused.outcome.status, refused.outcome.source) == ("refused", "text_classifier")
    assert refused.tool_calls[0].status == "error"
    assert SMALL.data(BY_NAME["h"]).outcome.status == "error"
    (check,) = SMALL.data(BY_NAME["f"]).policy_checks
    assert (check.check_id, check.result) == ("transformers_pi_detector", "violation")


@cache
def corpus() -> Corpus:
    """The real runs, or a skip that says what to do."""
    folder = find_data()
    if folder is None:
        pytest.skip("no AgentDojo data: set DATA to the folder of test data")
    return Corpus.load(folder)


@pytest.mark.data
def test_every_real_run_is_a_valid_clean_event_with_known_tools() -> None:
    """All runs decode without a refusal or a hit, and each tool has a tier."""
    for one in corpus().runs:
        event = Interaction(id="e-1", source="//agentdojo", time=START, data=corpus().data(one))
        found = decode(Record(0, on_the_log(event)), key=b"key")
        assert isinstance(found, Decoded), found
        assert found.quarantine == ()
    assert {tool for one in corpus().runs for tool, _ in one.line.tools} <= set(RISK_TIERS)


def on_the_log(event: Interaction) -> bytes:
    """The event as it would lie on the log."""
    return msgspec.json.encode(event)


@pytest.mark.data
def test_rates_agree_with_what_was_measured() -> None:
    """Out-of-set tools and refusals lie where the study of the full set found them."""
    table = rates(corpus())
    assert table["gpt-4o none"]["out_of_set"] == pytest.approx(0.010, abs=0.005)
    assert table["all none"]["out_of_set"] == pytest.approx(0.028, abs=0.01)
    assert table["gpt-4o important_instructions"]["out_of_set"] == pytest.approx(0.452, abs=0.05)
    assert table["gpt-4o tool_knowledge"]["out_of_set"] == pytest.approx(0.307, abs=0.05)
    assert table["gpt-4o ignore_previous"]["out_of_set"] == pytest.approx(0.060, abs=0.02)
    assert table["gpt-4o none"]["refusal_text"] == pytest.approx(0.010, abs=0.005)
    assert table["gpt-4o none"]["tool_errors"] == pytest.approx(0.06, abs=0.01)


@pytest.mark.data
def test_quiet_weeks_have_the_volume_asked_for_and_no_attack() -> None:
    """Arrivals over whole weeks add up; tenants, features and partitions all take part."""
    replay = quiet(corpus(), seed=1, days=7, per_day=2000)
    emissions = list(replay)
    assert emissions == list(replay)
    assert len(emissions) == pytest.approx(14_000, rel=0.03)
    assert all(a.time <= b.time for a, b in pairwise(emissions))
    assert {one.cause for one in emissions} == {None}
    events = [decode(Record(0, one.value), key=b"key") for one in emissions[:3000]]
    assert all(isinstance(found, Decoded) and not found.quarantine for found in events)
    tenants = Counter(found.event.partitionkey for found in events if isinstance(found, Decoded))
    assert len(tenants) == 12
    assert {one.partition for one in emissions} == {0, 1, 2, 3}


@pytest.mark.data
def test_an_attack_hits_whom_it_aims_at_and_rises() -> None:
    """Nothing before the onset, one tenant and feature, and a growing share."""
    replay = attack(
        corpus(), seed=2, quiet_days=1, days=2, per_day=40_000, ramp=timedelta(hours=20)
    )
    onset = replay.truth.onset
    assert onset is not None
    hit = [one for one in replay if one.cause is not None]
    assert len(hit) > 60
    assert min(one.time for one in hit) >= onset.timestamp()
    assert {one.cause for one in hit} == {"harmful", "attacked"}
    for one in islice(hit, 50):
        found = decode(Record(0, one.value), key=b"key")
        assert isinstance(found, Decoded)
        assert found.event.data.deployment.feature == "banking"
        assert found.event.data.actor.tenant == replay.tenant(0)
        assert found.event.data.attack_signals == ()
    half = onset.timestamp() + 36_000
    assert sum(one.time > half for one in hit) > 1.5 * sum(one.time <= half for one in hit)
    with pytest.raises(KeyError, match="no_such"):
        attack(corpus(), seed=1, attack="no_such")


@pytest.mark.data
def test_a_model_swap_changes_the_release_and_nothing_else() -> None:
    """From the onset on every turn is the other model's, and refusals rise by themselves."""
    replay = model_swap(corpus(), seed=3, quiet_days=1, days=2, per_day=4000)
    refused: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for one in replay:
        found = decode(Record(0, one.value), key=b"key")
        assert isinstance(found, Decoded)
        model = found.event.data.gen_ai.request_model
        assert (model == HAIKU) == (one.cause == "swapped")
        total[model] += 1
        assert found.event.data.outcome is not None
        refused[model] += found.event.data.outcome.status == "refused"
    assert refused[GPT4O] / total[GPT4O] < 0.03
    assert refused[HAIKU] / total[HAIKU] > 0.1


def test_absent_data_is_said_not_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the folder there is None, and the caller skips."""
    monkeypatch.setenv("DATA", str(tmp_path))
    assert find_data() is None
