"""The event: its core profile, its bounds, and what a signal's predicate may rely on."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # it ships no type information
import msgspec
import pytest

from monitor.stream.event import (
    AMEND_TYPE,
    INTERACTION_TYPE,
    PROFILE_CORE,
    Amend,
    Event,
    Interaction,
    completeness,
    schema,
)

FULL = json.loads((Path(__file__).parent / "event_full.json").read_bytes())
CORE = {
    "type": INTERACTION_TYPE,
    "id": "01JCX7Q9V5M3T8ZKQ4R2N6W0YB",
    "source": "//gateway/eu-1/chat",
    "time": "2026-11-16T09:14:03Z",
    "data": {
        "deployment": {"environment": "prod", "feature": "chat"},
        "gen_ai": {"request_model": "gpt-4o"},
        "outcome": {"status": "refused"},
        "redaction": {"status": "redacted"},
    },
}
AMEND = {
    "type": AMEND_TYPE,
    "id": "a-1",
    "source": "//gateway/eu-1/chat",
    "time": "2026-11-16T09:20:03Z",
    "amends": "01JCX7Q9V5M3T8ZKQ4R2N6W0YB",
    "data": {
        "deployment": {"environment": "prod", "feature": "chat"},
        "gen_ai": {"request_model": "gpt-4o"},
        "feedback": {"rating": "down"},
    },
}


def read(document: Any) -> Interaction | Amend:
    """The document as an event."""
    event: Interaction | Amend = msgspec.json.decode(msgspec.json.encode(document), type=Event)
    return event


def without(document: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy of the document that lacks one field."""
    made = copy.deepcopy(document)
    node = made
    *parents, last = path.split(".")
    for step in parents:
        node = node[step]
    del node[last]
    return made


def test_the_core_profile_is_an_event() -> None:
    """Nine fields make an event; all else is absent, and still there to ask."""
    event = read(CORE)
    assert isinstance(event, Interaction)
    assert event.type == INTERACTION_TYPE
    data = event.data
    assert data.outcome.status == "refused"
    assert data.traffic_class == "user"
    assert not data.tool_calls
    assert not data.policy_checks
    assert not data.attack_signals
    assert data.actor.tenant is None
    assert data.feedback.rating is None
    assert data.grounding.result is None
    assert data.coverage.checks_missing == ()


@pytest.mark.parametrize("path", PROFILE_CORE)
def test_each_core_field_is_required(path: str) -> None:
    """Without one field of the core profile there is no event."""
    with pytest.raises(msgspec.ValidationError, match=path.rsplit(".", 1)[-1]):
        read(without(CORE, path))


def test_the_core_profile_is_exactly_what_the_schema_requires() -> None:
    """`PROFILE_CORE` and the schema's `required` are the same list."""
    definitions = schema()["$defs"]

    def required(name: str, path: str) -> list[str]:
        found = []
        for field in definitions[name]["required"]:
            target = definitions[name]["properties"][field].get("$ref", "").rsplit("/", 1)[-1]
            nested = target in definitions and "properties" in definitions[target]
            found += required(target, f"{path}{field}.") if nested else [f"{path}{field}"]
        return found

    assert sorted(required("Interaction", "")) == sorted(PROFILE_CORE)


def test_the_full_example_is_an_event() -> None:
    """Every section of the full example arrives."""
    event = read(FULL)
    assert isinstance(event, Interaction)
    assert event.data.tool_calls[1].decision == "denied"
    assert event.data.tool_calls[1].in_expected_set is False
    assert event.data.policy_checks[2].entity_counts == {"EMAIL_ADDRESS": 1}
    assert event.data.coverage.checks_missing == ("llama_guard.out",)
    assert json.loads(msgspec.json.encode(event))["data"]["actor"] == {
        key: value for key, value in FULL["data"]["actor"].items() if value is not None
    }


def test_an_amend_carries_late_facts_with_their_dimensions() -> None:
    """An amend needs what it amends and its dimensions, but no outcome and no redaction."""
    event = read(AMEND)
    assert isinstance(event, Amend)
    assert (event.amends, event.data.feedback.rating) == (CORE["id"], "down")
    assert event.data.outcome is None
    assert event.data.tool_calls == ()
    for path in ("amends", "data.deployment.feature", "data.gen_ai.request_model"):
        with pytest.raises(msgspec.ValidationError):
            read(without(AMEND, path))


def test_an_amend_cannot_carry_what_is_not_late() -> None:
    """Tool calls belong to the interaction; an interaction amends nothing."""
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        read({**AMEND, "data": {**AMEND["data"], "tool_calls": []}})  # type: ignore[dict-item] # test data
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        read({**CORE, "amends": "x"})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("specversion",), "0.3"),
        (("dataclassification",), "restricted"),
        (("sampledrate",), 0),
        (("sampledrate",), True),
        (("id",), ""),
        (("id",), "x" * 129),
        (("source",), "x" * 501),
        (("time",), "2026-11-16T09:14:03"),
        (("time",), 1763284443),
        (("data", "traffic_class"), "robot"),
        (("data", "outcome", "status"), "great"),
        (("data", "outcome", "confidence"), 1.5),
        (("data", "gen_ai", "usage"), {"input_tokens": -1}),
        (("data", "gen_ai", "usage"), {"input_tokens": "12"}),
        (("data", "gen_ai", "usage"), {"input_tokens": 12.5}),
        (("data", "gen_ai", "finish_reasons"), ["stop"] * 9),
        (("data", "deployment", "flags"), ["a:b"] * 17),
        (("data", "deployment", "canary"), 1),
        (("data", "tool_calls"), [{"tool": "x"}] * 65),
        (("data", "tool_calls"), [{}]),
        (("data", "policy_checks"), [{"category": "privacy.pii"}]),
        (("data", "policy_checks"), [{"category": "privacy.pii", "result": "pass"}] * 33),
        (("data", "attack_signals"), [{"kind": "jailbreak"}] * 17),
        (("data", "redaction", "entity_counts"), {"jo@example.com": 1}),
        (("data", "redaction", "content_mode"), "full"),
    ],
)
def test_bounds_hold(place: tuple[str, ...], value: Any) -> None:
    """A value outside its bounds is refused."""
    document: dict[str, Any] = copy.deepcopy(CORE)
    node = document
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    with pytest.raises(msgspec.ValidationError):
        read(document)


def test_list_items_need_only_what_makes_them_meaningful() -> None:
    """A check is a category and a result, a tool call is a tool; the rest has defaults."""
    event = read(
        {
            **CORE,
            "data": {
                **CORE["data"],  # type: ignore[dict-item] # test data
                "policy_checks": [{"category": "business.new_thing", "result": "violation"}],
                "tool_calls": [{"tool": "orders.lookup"}],
            },
        }
    )
    assert event.data.policy_checks[0].action == "none"
    assert event.data.policy_checks[0].mode == "enforce"
    assert event.data.tool_calls[0].decision == "not_evaluated"
    assert event.data.tool_calls[0].in_expected_set is None


def test_an_event_cannot_be_changed() -> None:
    """Events are values."""
    event = read(CORE)
    with pytest.raises(AttributeError):
        event.id = "y"  # type: ignore[misc] # that is the point


def test_completeness_names_what_is_absent() -> None:
    """A full event lacks nothing of the evidence; the core profile lacks it all."""
    assert completeness(read(FULL)) == ()
    absent = completeness(read(CORE))
    assert {"actor.tenant", "policy_checks", "gen_ai.prompt.version", "sequence"} <= set(absent)
    assert len(absent) == len(set(absent)) == 14


def test_the_schema_is_a_valid_closed_and_described_schema() -> None:
    """JSON Schema 2020-12, every object closed, every field described, optional ones nullable."""
    published = schema()
    jsonschema.Draft202012Validator.check_schema(published)
    assert published["$schema"].endswith("2020-12/schema")
    assert published["$id"]
    for name, definition in published["$defs"].items():
        if name == "Text":
            continue
        assert definition["additionalProperties"] is False, name
        assert "\n" not in definition["description"], name
        for field, one in definition["properties"].items():
            assert one["description"], f"{name}.{field}"
            optional = field not in definition.get("required", ())
            assert ({"type": "null"} in one.get("anyOf", ())) == optional, f"{name}.{field}"


@pytest.mark.parametrize("document", [FULL, CORE, AMEND], ids=["full", "core", "amend"])
def test_the_schema_accepts_the_examples(document: Any) -> None:
    """What we show, the schema allows."""
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid(document)
    assert not validator.is_valid({**document, "messages": []})
