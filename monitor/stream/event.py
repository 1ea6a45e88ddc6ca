"""The event: one redacted interaction between a person and the product, as it lies on the stream.

`Interaction` is the record of a turn; `Amend` carries facts that came later (a slow judge, a
thumbs-down) with their own time and their own dimensions. Both are CloudEvents 1.0 envelopes around
`data`. The schema is closed: what is not named here is refused, because an unknown key is where
free text hides. Only the core profile (`PROFILE_CORE`) is required; what else is absent lowers
`completeness` and never rejects. Dotted names in signal definitions resolve from `event.data`, and
absent sections are empty ones, so that `data.feedback.rating` is always legal.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from monitor.stream.sections import (
    LABEL_PATTERN,
    LABEL_SCHEMA,
    Actor,
    Address,
    AttackSignal,
    Coverage,
    Deployment,
    Evidence,
    Feedback,
    GenAI,
    Grounding,
    Id,
    Label,
    Outcome,
    PolicyCheck,
    Redaction,
    Section,
    ToolCall,
    Word,
)
from monitor.stream.vocabulary import CATEGORIES, DataClassification, TrafficClass

INTERACTION_TYPE = "io.aisafety.interaction.v1"
AMEND_TYPE = "io.aisafety.interaction.amend.v1"
DATASCHEMA = "urn:aisafety:interaction:1.0"
SCHEMA_ID = "https://aisafety.io/schemas/interaction-event-1.0.json"
"""A name, not a place to fetch from; an URN would be one too, but many tools cannot resolve `#/...`
against it."""
YEARS = range(2000, 2101)
"""Years an event's time may lie in (UTC)."""

PROFILE_CORE = (
    "id",
    "source",
    "time",
    "type",
    "data.deployment.environment",
    "data.deployment.feature",
    "data.gen_ai.request_model",
    "data.outcome.status",
    "data.redaction.status",
)
"""What every interaction must carry; an amend needs no outcome and no redaction, but `amends`."""


class InteractionData(Section, frozen=True, gc=False):
    """One turn between a person and the product, without a word of what was said.

    Attributes:
        deployment: Where the product ran.
        gen_ai: Which model and prompt.
        outcome: What the person got.
        redaction: Who took content out.
        traffic_class: Whose traffic it is; rates count `user` only.
        actor: Who took part.
        policy_checks: What the guardrails said.
        tool_calls: Which tools were called.
        attack_signals: Signs of an attack.
        grounding: Health of retrieval.
        feedback: What a person said of it.
        evidence: Pointers into the restricted store.
        coverage: How complete the record is.
    """

    deployment: Deployment
    gen_ai: GenAI
    outcome: Outcome
    redaction: Redaction
    traffic_class: TrafficClass = "user"
    actor: Actor = Actor()
    policy_checks: Annotated[tuple[PolicyCheck, ...], msgspec.Meta(max_length=32)] = ()
    tool_calls: Annotated[tuple[ToolCall, ...], msgspec.Meta(max_length=64)] = ()
    attack_signals: Annotated[tuple[AttackSignal, ...], msgspec.Meta(max_length=16)] = ()
    grounding: Grounding = Grounding()
    feedback: Feedback = Feedback()
    evidence: Evidence = Evidence()
    coverage: Coverage = Coverage()


class AmendData(Section, frozen=True, gc=False):
    """Facts that came late, with the dimensions of their interaction repeated.

    Attributes:
        deployment: Where the product ran.
        gen_ai: Which model and prompt.
        traffic_class: Whose traffic it is; rates count `user` only.
        actor: Who took part.
        policy_checks: Late judgements.
        grounding: Late judgement on retrieval.
        feedback: What a person said of it.
        outcome: The outcome, if it is known better now.
        redaction: Who took content out of this record.
    """

    deployment: Deployment
    gen_ai: GenAI
    traffic_class: TrafficClass = "user"
    actor: Actor = Actor()
    policy_checks: Annotated[tuple[PolicyCheck, ...], msgspec.Meta(max_length=32)] = ()
    grounding: Grounding = Grounding()
    feedback: Feedback = Feedback()
    outcome: Outcome | None = None
    redaction: Redaction | None = None

    # An amend has none of these, but the same predicates are evaluated on it.
    tool_calls: ClassVar[tuple[ToolCall, ...]] = ()
    attack_signals: ClassVar[tuple[AttackSignal, ...]] = ()
    evidence: ClassVar[Evidence] = Evidence()
    coverage: ClassVar[Coverage] = Coverage()


class Envelope(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    gc=False,
    tag_field="type",
):
    """The CloudEvents 1.0 attributes that both kinds of event carry."""

    id: Id
    source: Address
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    specversion: Literal["1.0"] = "1.0"
    subject: Label | None = None
    datacontenttype: Literal["application/json"] | None = None
    dataschema: Label | None = None
    partitionkey: Label | None = None
    traceparent: Word | None = None
    sequence: Word | None = None
    sampledrate: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] | None = None
    dataclassification: DataClassification | None = None


class Interaction(Envelope, frozen=True, gc=False, tag=INTERACTION_TYPE):
    """One redacted turn between a person and the product.

    Attributes:
        id: Unique within `source`, as a ULID or UUIDv7; duplicates are found by both.
        source: Who emitted it, as a URI reference.
        time: Event time in RFC 3339, zone required, year 2000 to 2100.
        specversion: CloudEvents version.
        subject: surface/feature.
        datacontenttype: Media type of `data`.
        dataschema: Identifier of this schema.
        partitionkey: Tenant pseudonym; Kafka's key.
        traceparent: W3C trace context.
        sequence: Contiguous per source, zero-padded; a gap is a lost event.
        sampledrate: How many events this one stands for (head sampling only).
        dataclassification: At most internal.
        type: Kind of event.
        data: The interaction.
    """

    data: InteractionData
    type: ClassVar[str] = INTERACTION_TYPE


class Amend(Envelope, frozen=True, gc=False, tag=AMEND_TYPE):
    """Facts about an earlier interaction; they count at their own time in their own signals.

    Attributes:
        amends: `id` of the interaction, of the same source.
        id: Unique within `source`.
        source: Who emitted it, as a URI reference.
        time: When the late fact was known; RFC 3339, zone required, year 2000 to 2100.
        specversion: CloudEvents version.
        subject: surface/feature.
        datacontenttype: Media type of `data`.
        dataschema: Identifier of this schema.
        partitionkey: Tenant pseudonym; Kafka's key.
        traceparent: W3C trace context.
        sequence: Contiguous per source, zero-padded; a gap is a lost event.
        sampledrate: How many events this one stands for (head sampling only).
        dataclassification: At most internal.
        type: Kind of event.
        data: The late facts.
    """

    amends: Id
    data: AmendData
    type: ClassVar[str] = AMEND_TYPE


Event = Interaction | Amend


def completeness(event: Event) -> tuple[str, ...]:
    """Names of the optional evidence that `event` does not carry, in a fixed order.

    Each name is a field that a default signal or dimension needs; a source that never brings one
    has those signals switched off, with a line in `tocsin doctor`. Lists that may rightly be empty
    (`tool_calls`, `attack_signals`) are not judged by one event.
    """
    data = event.data
    deployment, gen_ai = data.deployment, data.gen_ai
    outcome, redaction = data.outcome, data.redaction
    absent = [
        name
        for name, value in (
            ("sequence", event.sequence),
            ("deployment.surface", deployment.surface),
            ("deployment.service_version", deployment.service_version),
            ("actor.tenant", data.actor.tenant),
            ("actor.turn", data.actor.turn),
            ("gen_ai.provider", gen_ai.provider),
            ("gen_ai.response_model", gen_ai.response_model),
            ("gen_ai.prompt.version", gen_ai.prompt.version),
            ("outcome.source", outcome and outcome.source),
            ("policy_checks", data.policy_checks or None),
            ("grounding.result", data.grounding.result),
            (
                "redaction.residual_self_check",
                redaction and redaction.residual_self_check,
            ),
            ("coverage.checks_expected", data.coverage.checks_expected or None),
            ("coverage.sampling_mode", data.coverage.sampling_mode),
        )
        if value is None
    ]
    return tuple(absent)


def schema() -> dict[str, Any]:
    """The published JSON Schema (2020-12) of one event, as `tocsin config schema event` prints it.

    It says exactly what `decode` accepts, but for what JSON Schema cannot say: the year of `time`
    (`YEARS`), duplicated keys, integers written with a fraction (`1.0`) and a record's size.
    """
    made = msgspec.json.schema(Event)
    definitions = made["$defs"]
    for definition in definitions.values():
        summary, descriptions = _describe(definition["description"])
        definition["description"] = summary
        required = definition.get("required", ())
        for name, one in definition["properties"].items():
            one |= {"description": descriptions[name]}
            definition["properties"][name] = one if name in required else _nullable(one)
    definitions["PolicyCheck"]["properties"]["category"]["examples"] = list(CATEGORIES)
    _name_labels(made)
    definitions["Text"] = {
        "description": "A name, not a sentence: nothing hidden, at most four spaces.",
        "type": "string",
        **LABEL_SCHEMA,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Interaction event v1",
        "description": "One redacted interaction, or an amendment to one, in a CloudEvents 1.0 "
        "envelope. An optional field may be null, which means absent. Years 2000 to 2100.",
        **made,
    }


def _describe(docstring: str) -> tuple[str, dict[str, str]]:
    """First line of a docstring, and its `Attributes:` by name."""
    summary = docstring.split("\n", 1)[0]
    return summary, dict(re.findall(r"^\s+(\w+): (.+)$", docstring, re.MULTILINE))


def _nullable(one: dict[str, Any]) -> dict[str, Any]:
    """`one`, with null allowed as another way to leave the field out."""
    if {"type": "null"} in one.get("anyOf", ()):
        return one
    about: dict[str, Any] = {key: one[key] for key in ("default", "description") if key in one}
    rest = {key: value for key, value in one.items() if key not in about}
    return {"anyOf": [rest, {"type": "null"}], **about}


def _name_labels(node: Any) -> None:
    """Say the long pattern of a label once, by reference, instead of eighty times."""
    if isinstance(node, dict):
        if node.get("pattern") == LABEL_PATTERN:
            for key in ("pattern", "not", "type"):
                del node[key]
            node["$ref"] = "#/$defs/Text"
        for value in node.values():
            _name_labels(value)
    elif isinstance(node, list):
        for value in node:
            _name_labels(value)
