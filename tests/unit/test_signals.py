"""The default signals, each on events made by hand, and the checks of a file of signals."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from monitor.stream.event import Amend
from monitor.stream.series import dimension_names, dims_of, expand, named, volumes
from monitor.stream.signals import (
    Signal,
    default_signals,
    default_text,
    parse_signals,
    plan,
    reader,
    schema,
)
from monitor.stream.tally import Tally
from monitor.stream.vocabulary import RiskTier
from runbooks.expressions import parse
from runbooks.problems import Problems
from runbooks.yaml import load_yaml
from tests.making import amend, document, event

PLAN = plan(default_signals())
TALLY = Tally(PLAN)


def counted(made: dict[str, Any], signal: str) -> tuple[int, int] | dict[str, tuple[int, int]]:
    """(k, n) of one event in a signal; by value for a signal with `each`."""
    one = event(made)
    kind = "amend" if isinstance(one, Amend) else "interaction"
    known = next(s for s in PLAN.signals if s.name == signal)
    if known.each is not None:
        return {
            value: (k, n) for name, _, value, k, n in TALLY.narrow(kind, one.data) if name == signal
        }
    slots = TALLY.base(kind, one.data)
    return (
        int(PLAN.numerators[signal] in slots),
        int(PLAN.denominators[signal] in slots),
    )


def broken(made: dict[str, Any]) -> list[str]:
    """Names of the never-events of an event."""
    data = event(made).data
    return [name for name, on, breaks in TALLY.never if on == "interaction" and breaks(data)]


def check(category: str = "content.hate", **changes: Any) -> dict[str, Any]:
    """A policy check that passed."""
    return {"category": category, "result": "pass", **changes}


def checks(*found: dict[str, Any]) -> dict[str, Any]:
    """An event with these policy checks."""
    return document(policy_checks=list(found))


def tools(*calls: dict[str, Any]) -> dict[str, Any]:
    """An event with these tool calls."""
    return document(tool_calls=[{"tool": "orders.lookup", **call} for call in calls])


def test_the_default_set_loads_quietly() -> None:
    """The shipped set parses; every rate starts in shadow and every never-event pages."""
    signals = default_signals()
    assert len(signals) == 23
    assert {s.tier for s in signals if s.kind == "rate"} == {"shadow"}
    assert {s.tier for s in signals if s.kind in ("never", "volume")} == {"page"}
    assert {s.tier for s in signals if s.kind == "first_seen"} == {"ticket"}
    assert {s.name for s in signals if s.offered} == {
        "refusal_rate",
        "violations_delivered",
        "guardrail_outage",
        "tool_misuse",
        "acting_tool_misuse",
    }
    assert parse_signals(load_yaml(default_text(), "copy.yaml")) == signals


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("answered", (0, 1)),
        ("partial", (0, 1)),
        ("refused", (1, 1)),
        ("filtered_input", (1, 1)),
        ("filtered_output", (1, 1)),
        ("escalated", (0, 1)),
        ("tool_blocked", (0, 1)),
        ("error", (0, 0)),
        ("timeout", (0, 0)),
        ("abandoned", (0, 0)),
    ],
)
def test_refusals_are_of_turns_that_ended(status: str, expected: tuple[int, int]) -> None:
    """A refusal or filter counts; errors, time-outs and abandoned turns are not in n."""
    assert counted(document(status=status), "refusal_rate") == expected


def test_errors_are_of_all_turns() -> None:
    """Errors and time-outs count in k, every turn in n."""
    assert counted(document(status="error"), "error_rate") == (1, 1)
    assert counted(document(status="timeout"), "error_rate") == (1, 1)
    assert counted(document(status="refused"), "error_rate") == (0, 1)


def test_a_violation_counts_by_what_was_done_about_it() -> None:
    """Nothing, a note or an escalation let it through; a redaction, block or retry stopped it."""
    for action in ("none", "annotate", "escalate"):
        made = checks(check(result="violation", action=action))
        assert counted(made, "violations_delivered") == {"content.hate": (1, 1)}
        assert counted(made, "violations_blocked") == {"content.hate": (0, 1)}
    for action in ("redact", "modify", "block", "regenerate"):
        made = checks(check(result="violation", action=action))
        assert counted(made, "violations_delivered") == {"content.hate": (0, 1)}
        assert counted(made, "violations_blocked") == {"content.hate": (1, 1)}


def test_a_check_that_did_not_judge_is_no_denominator() -> None:
    """`error`, `not_run` and `skipped` are no judgement: not in n of violations."""
    for result in ("error", "not_run", "skipped"):
        assert counted(checks(check(result=result)), "violations_delivered") == {}


def test_an_interaction_counts_once_a_category() -> None:
    """Two violations of one category are one interaction; another category has its own n."""
    made = checks(
        check(result="violation"),
        check(result="violation"),
        check(),
        check("privacy.pii"),
    )
    expected = {"content.hate": (1, 1), "privacy.pii": (0, 1)}
    assert counted(made, "violations_delivered") == expected


def test_a_guardrail_outage_is_an_enforced_check_without_a_result() -> None:
    """Failed or not run counts when enforced, or when an expected check is missing."""
    assert counted(document(), "guardrail_outage") == (0, 0)
    assert counted(checks(check()), "guardrail_outage") == (0, 1)
    for result in ("error", "not_run"):
        assert counted(checks(check(result=result)), "guardrail_outage") == (1, 1)
        shadow = checks(check(result=result, mode="shadow"))
        assert counted(shadow, "guardrail_outage") == (0, 1)
    assert counted(checks(check(result="skipped")), "guardrail_outage") == (0, 1)
    expected = {"checks_expected": ["pii"], "checks_missing": ["pii"]}
    assert counted(document(coverage=expected), "guardrail_outage") == (1, 1)
    assert counted(document(coverage={"checks_expected": ["pii"]}), "guardrail_outage") == (0, 1)


def test_a_missing_check_was_expected() -> None:
    """An event that names only what is missing should have been checked: it counts in k and n."""
    made = document(coverage={"checks_missing": ["pii"]})
    assert counted(made, "guardrail_outage") == (1, 1)


def test_tool_misuse_is_denied_or_unexpected() -> None:
    """A denied call or one outside the expected set counts; an unknown set does not."""
    assert counted(document(), "tool_misuse") == (0, 1)
    assert counted(tools({"decision": "allowed"}), "tool_misuse") == (0, 1)
    assert counted(tools({"decision": "denied"}), "tool_misuse") == (1, 1)
    assert counted(tools({"in_expected_set": False}), "tool_misuse") == (1, 1)
    assert counted(tools({"in_expected_set": True}), "tool_misuse") == (0, 1)
    by_tier = tools(
        {"risk_tier": "read"}, {"risk_tier": "write", "decision": "denied"}, {"decision": "denied"}
    )
    assert counted(by_tier, "tool_misuse_by_tier") == {"read": (0, 1), "write": (1, 1)}
    assert counted(by_tier, "acting_tool_misuse") == (1, 1)


@pytest.mark.parametrize("tier", get_args(RiskTier))
def test_only_tools_that_act_are_acting(tier: str) -> None:
    """Every tier but `read` counts when out of place; reads and tools of no tier do not."""
    stray = tools({"risk_tier": tier, "in_expected_set": False})
    assert counted(stray, "acting_tool_misuse") == (int(tier != "read"), 1)
    expected = tools({"risk_tier": tier, "in_expected_set": True})
    assert counted(expected, "acting_tool_misuse") == (0, 1)
    assert counted(tools({"in_expected_set": False}), "acting_tool_misuse") == (0, 1)
    torn = tools({"risk_tier": tier}, {"in_expected_set": False})
    assert counted(torn, "acting_tool_misuse") == (0, 1)


def test_attack_signals_are_told_apart() -> None:
    """Injection and jailbreak have their own signals; a jailbreak check that hits counts too."""
    injection = document(attack_signals=[{"kind": "prompt_injection"}])
    assert counted(injection, "injection_signals") == (1, 1)
    assert counted(injection, "jailbreak_signals") == (0, 1)
    jailbreak = document(attack_signals=[{"kind": "jailbreak"}])
    assert counted(jailbreak, "jailbreak_signals") == (1, 1)
    hit = checks(check("security.jailbreak", result="violation", action="block"))
    assert counted(hit, "jailbreak_signals") == (1, 1)
    assert counted(hit, "injection_signals") == (0, 1)


def test_leakage_is_personal_data_that_left() -> None:
    """Only an output check that found personal data and let it pass counts."""
    out = {"stage": "output", "result": "violation"}
    leaked = checks(check("privacy.pii", **out))
    assert counted(leaked, "sensitive_data_leakage") == (1, 1)
    masked = checks(check("privacy.secret", **out, action="redact"))
    assert counted(masked, "sensitive_data_leakage") == (0, 1)
    inbound = checks(check("privacy.pii", stage="input", result="violation"))
    assert counted(inbound, "sensitive_data_leakage") == (0, 0)


def test_late_facts_count_in_their_own_signals() -> None:
    """Grounding and feedback are read from turns and amendments alike; turns' signals are not."""
    for result, expected in (("violation", (1, 1)), ("pass", (0, 1)), ("error", (0, 0))):
        late = amend(grounding={"result": result})
        assert counted(late, "grounding_errors") == expected
        assert counted(document(grounding={"result": result}), "grounding_errors") == expected
    for rating, expected in (
        ("down", (1, 1)),
        ("report", (1, 1)),
        ("up", (0, 1)),
        ("none", (0, 0)),
    ):
        assert counted(amend(feedback={"rating": rating}), "negative_feedback") == expected
    refused = amend(outcome={"status": "refused"}, policy_checks=[check(result="violation")])
    assert counted(refused, "refusal_rate") == (0, 0)
    assert counted(refused, "violations_delivered") == {}
    assert counted(document(), "grounding_errors") == (0, 0)


def test_an_amendment_is_no_interaction() -> None:
    """Volume counts turns: an amendment does not add to it."""
    assert 0 in TALLY.base("interaction", event(document()).data)
    assert 0 not in TALLY.base("amend", event(amend(feedback={"rating": "up"})).data)


def test_redaction_and_evidence_have_signals() -> None:
    """A failed redactor, a suspect second look, missing checks and dropped attributes count."""
    failed = document(redaction={"status": "failed"})
    assert counted(failed, "redaction_failures") == (1, 1)
    suspect = document(redaction={"residual_self_check": "suspect"})
    assert counted(suspect, "redaction_failures") == (1, 1)
    assert counted(document(), "redaction_failures") == (0, 1)
    assert counted(document(coverage={"dropped_attributes": 2}), "evidence_incomplete") == (1, 1)
    assert counted(document(coverage={"dropped_attributes": 0}), "evidence_incomplete") == (0, 1)
    missing = document(coverage={"checks_missing": ["pii"]})
    assert counted(missing, "evidence_incomplete") == (1, 1)


def test_never_events() -> None:
    """A denied or rejected call that went through, and a grave call that nobody decided."""
    assert broken(document()) == []
    assert broken(tools({"decision": "denied", "status": "ok"})) == ["denied_tool_ran"]
    assert broken(tools({"decision": "user_rejected", "status": "ok"})) == ["denied_tool_ran"]
    assert broken(tools({"decision": "denied", "status": "not_executed"})) == []
    for tier in ("financial", "destructive"):
        call = {"risk_tier": tier, "status": "ok", "decided_by": "none"}
        assert broken(tools(call)) == ["unapproved_action"]
        assert broken(tools({**call, "decided_by": "policy"})) == []
        assert broken(tools({**call, "status": "error"})) == []
    write = {"risk_tier": "write", "status": "ok", "decided_by": "none"}
    assert broken(tools(write)) == []


def test_k_counts_within_n() -> None:
    """k also asks for n's condition, so that no signal can count more than all."""
    loose = Signal(name="loose", title="Loose", k=parse("true"), n=parse("count(tool_calls) > 0"))
    tally = Tally(plan([loose]))
    own = tally.plan
    slots = tally.base("interaction", event(document()).data)
    assert own.numerators["loose"] not in slots
    assert own.denominators["loose"] not in slots


def test_equal_conditions_share_a_counter() -> None:
    """Two signals with one condition need one slot; two with one name are refused."""
    first = Signal(name="a", title="A", k=parse("outcome.status == 'error'"))
    second = Signal(name="b", title="B", k=parse("outcome.status == 'error'"))
    own = plan([first, second])
    assert own.numerators["a"] == own.numerators["b"]
    assert own.denominators == {"a": 0, "b": 0}
    with pytest.raises(ValueError, match="two signals are named 'a'"):
        plan([first, first])


def test_dimensions_are_read_from_the_first_field_that_is_there() -> None:
    """The release is the prompt's version, else the service's; absent it is empty."""
    assert reader("release")(event(document()).data) == ""
    service = document(deployment={"service_version": "s1"})
    assert reader("release")(event(service).data) == "s1"
    both = document(deployment={"service_version": "s1"}, gen_ai={"prompt": {"version": "v4"}})
    assert reader("release")(event(both).data) == "v4"
    assert reader("tenant")(event(document(actor={"tenant": "t_0a1b2c3d"})).data) == "t_0a1b2c3d"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("each: policy_checks", "`each` and `value` go together"),
        ("n_each: result == 'pass'", "`n_each` needs `each`"),
        ("by: [environment, nation]", "unknown dimension 'nation'"),
        ("by: [environment, feature, model, tenant]", "at most three dimensions"),
        ("tier: loud", "loud"),
        ("colour: red", "colour"),
        ("k2: 1", "k2"),
    ],
)
def test_a_bad_signal_is_refused_with_its_place(line: str, said: str) -> None:
    """Each mistake is named with the line it is on."""
    text = f"version: 1\nsignals:\n  - name: x\n    title: X\n    k: 'true'\n    {line}\n"
    with pytest.raises(Problems) as caught:
        parse_signals(load_yaml(text, "mine.yaml"))
    assert said in str(caught.value)
    assert "mine.yaml:" in str(caught.value)


def test_the_schema_names_every_field() -> None:
    """The published schema describes a signal and refuses unknown keys."""
    made = schema()
    signal = made["$defs"]["Signal"]
    assert set(signal["properties"]) == {*Signal.__struct_fields__}
    assert signal["additionalProperties"] is False


def base_key(feature: str, model: str) -> tuple[str, ...]:
    """A key of the base cuboid."""
    return ("prod", feature, model, "", "")


def test_series_are_sums_over_the_other_dimensions() -> None:
    """Counts of two models of a feature are one series; the whole environment is another."""
    k, n = PLAN.numerators["refusal_rate"], PLAN.denominators["refusal_rate"]
    one, two = [0] * len(PLAN.slots), [0] * len(PLAN.slots)
    one[0], one[k], one[n] = 10, 1, 9
    two[0], two[k], two[n] = 5, 2, 5
    base = {base_key("chat", "a"): one, base_key("chat", "b"): two, base_key("search", "a"): two}
    series = expand(PLAN, base, {})["refusal_rate"]
    assert series["prod", "chat"] == (3, 14)
    assert series["prod", "search"] == (2, 5)
    assert series["prod",] == (5, 19)
    assert volumes(PLAN, base, ("environment", "feature")) == {
        ("prod", "chat"): 15,
        ("prod", "search"): 5,
    }


def test_items_count_against_the_whole_or_their_own() -> None:
    """Without `n_each` the denominator is the feature's turns; with it, the judged items' turns."""
    counts = [0] * len(PLAN.slots)
    counts[0] = 40
    base = {base_key("chat", "a"): counts}
    narrow: dict[tuple[str, tuple[str, ...], str], list[int]] = {
        ("tool_misuse_by_tier", ("prod", "chat"), "write"): [2, 7],
        ("violations_delivered", ("prod", "chat"), "content.hate"): [1, 30],
    }
    series = expand(PLAN, base, narrow)
    assert series["tool_misuse_by_tier"] == {("prod", "chat", "write"): (2, 40)}
    assert series["violations_delivered"] == {("prod", "chat", "content.hate"): (1, 30)}


def test_dimension_values_keep_the_signal_s_order() -> None:
    """A mapping in any order gives the values in the order of the signal."""
    signal = next(s for s in PLAN.signals if s.name == "tool_misuse_by_tier")
    assert dimension_names(signal) == ("environment", "feature", "risk_tier")
    mixed = {"risk_tier": "write", "feature": "chat", "environment": "prod"}
    assert dims_of(signal, mixed) == ("prod", "chat", "write")
    assert named(signal, ("prod", "chat", "write")) == mixed
    assert named(signal, ("prod",)) == {"environment": "prod"}
    assert dims_of(signal, {"environment": "prod"}) == ("prod",)
