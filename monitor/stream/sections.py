"""The sections of an event's `data`, each a closed, immutable struct with its bounds.

A field is a count, a code of a closed list, or a label: a short name from a vocabulary, never a
sentence. What the docstrings say of attributes is published as descriptions (`event.schema`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from monitor.stream.vocabulary import (
    RESERVED,
    AttackKind,
    AttackVector,
    CheckAction,
    CheckMode,
    CheckResult,
    CheckSeverity,
    CheckStage,
    DecidedBy,
    Operation,
    OutcomeSource,
    OutcomeStatus,
    Rating,
    RedactionStatus,
    RefusalCategory,
    RiskTier,
    SamplingMode,
    SelfCheck,
    ToolDecision,
    ToolStatus,
    ToolType,
)

HIDDEN = (
    "\\u0000-\\u001f\\u007f-\\u00a0\\u00ad\\u061c\\u1680\\u180e\\u2000-\\u200f\\u2028-\\u202f"
    "\\u205f-\\u206f\\u3000\\ud800-\\udfff\\ufeff\\ufff0-\\uffff"
    f"{chr(0xE0000)}-{chr(0xE0FFF)}"
)
"""Controls, formats, surrogates, non-characters and every space but U+0020, as a regex class."""
LABEL_PATTERN = rf"^[^{HIDDEN} ]*( [^{HIDDEN} ]*){{0,4}}$(?!\n)"
"""A label is a name, not a sentence: nothing hidden, at most four spaces. `decode` enforces it."""

LABEL_SCHEMA = {"pattern": LABEL_PATTERN, "not": {"enum": sorted(RESERVED)}}
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64, extra_json_schema=LABEL_SCHEMA)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=200, extra_json_schema=LABEL_SCHEMA)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, extra_json_schema=LABEL_SCHEMA)]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=500, extra_json_schema=LABEL_SCHEMA)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Millis = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)]
JUDGE = "\x1f"
"""Between the parts of `PolicyCheck.judge`."""
EntityType = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{0,63}$(?!\n)")]
EntityCounts = Annotated[dict[EntityType, Count], msgspec.Meta(max_length=60)]


class Section(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    gc=False,
):
    """A closed, immutable part of an event; it cannot be part of a cycle, so the GC may skip it."""


class Deployment(Section, frozen=True, gc=False):
    """Where the product ran, and what of it.

    Attributes:
        environment: prod, staging, ...
        feature: Product feature, the unit that people own.
        region: Cloud region.
        service: Emitting application.
        service_version: Build of the emitting application.
        surface: Where the person met it: web_chat, api, voice, ...
        canary: Whether this arm is a canary of a rollout.
        flags: Feature flags as `flag:variant`.
    """

    environment: Word
    feature: Label
    region: Word | None = None
    service: Label | None = None
    service_version: Label | None = None
    surface: Word | None = None
    canary: bool | None = None
    flags: Annotated[tuple[Label, ...], msgspec.Meta(max_length=16)] = ()


class Actor(Section, frozen=True, gc=False):
    """Who took part, as keyed pseudonyms only.

    Attributes:
        tenant: `t_` and hex digits (HMAC under `pseudonym_key_id`), else counted as `__redacted__`.
        conversation: `c_` and hex digits, else taken out.
        turn: Index of the turn; 1 starts a session.
        user: `u_` and hex digits, salted per tenant, else taken out; best not sent.
        pseudonym_key_id: Which key made the pseudonyms; rotation breaks joins knowingly.
        language: Primary BCP 47 language.
    """

    tenant: Label | None = None
    conversation: Label | None = None
    turn: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    user: Label | None = None
    pseudonym_key_id: Word | None = None
    language: Word | None = None


class Named(Section, frozen=True, gc=False):
    """A named and versioned thing: an agent, or a prompt template (never its text).

    Attributes:
        name: Its name in your registry.
        version: Its released version.
    """

    name: Label | None = None
    version: Label | None = None


class Usage(Section, frozen=True, gc=False):
    """Token counts.

    Attributes:
        input_tokens: Tokens read by the model.
        output_tokens: Tokens written by the model.
        reasoning_tokens: Tokens spent on reasoning.
    """

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class GenAI(Section, frozen=True, gc=False):
    """Which model answered, with which prompt release.

    Attributes:
        request_model: Model that was asked for.
        response_model: Model that served; differs after a silent upgrade.
        operation: Kind of operation.
        provider: Provider, as in OpenTelemetry's `gen_ai.provider.name`.
        agent: Agent and its version.
        prompt: Prompt template and its version.
        finish_reasons: Finish reasons as the provider gave them.
        usage: Token counts.
        duration_ms: Whole duration in milliseconds.
        ttfc_ms: Time to the first chunk in milliseconds.
    """

    request_model: Label
    response_model: Label | None = None
    operation: Operation | None = None
    provider: Word | None = None
    agent: Named = Named()
    prompt: Named = Named()
    finish_reasons: Annotated[tuple[Word, ...], msgspec.Meta(max_length=8)] = ()
    usage: Usage = Usage()
    duration_ms: Millis | None = None
    ttfc_ms: Millis | None = None


class Outcome(Section, frozen=True, gc=False):
    """What the person got.

    Attributes:
        status: The outcome, normalised.
        refusal_category: Why it was refused or filtered.
        source: How the status is known.
        confidence: Confidence in the status, 0 to 1.
        error_type: Low-cardinality class of the error.
    """

    status: OutcomeStatus
    refusal_category: RefusalCategory | None = None
    source: OutcomeSource | None = None
    confidence: Share | None = None
    error_type: Label | None = None


class PolicyCheck(Section, frozen=True, gc=False):
    """One guardrail's judgement. `error` and `not_run` are results of their own: an outage.

    Attributes:
        category: Category of the canonical taxonomy, as `security.jailbreak`.
        result: pass, violation, error, skipped or not_run.
        check_id: The detector.
        detector_version: Its version; a judge's drift shows here.
        stage: What it looked at.
        action: What was done about it.
        mode: Whether the action counts (enforce) or is only noted (shadow).
        score: Score, 0 to 1.
        threshold: Threshold of the score, 0 to 1.
        severity: Severity of the finding.
        latency_ms: How long the check took, in milliseconds.
        entity_counts: Entities found: type to count, never a value.
    """

    category: Word
    result: CheckResult
    check_id: Label | None = None
    detector_version: Label | None = None
    stage: CheckStage | None = None
    action: CheckAction = "none"
    mode: CheckMode = "enforce"
    score: Share | None = None
    threshold: Share | None = None
    severity: CheckSeverity | None = None
    latency_ms: Millis | None = None
    entity_counts: EntityCounts = {}

    @property
    def judge(self) -> str | None:
        """Category, check and its version, joined by a character that labels do not hold."""
        if self.detector_version is None:
            return None
        return JUDGE.join((self.category, self.check_id or "", self.detector_version))


class ToolCall(Section, frozen=True, gc=False):
    """One call of a tool: what was decided and what happened, never its arguments.

    Attributes:
        tool: Name of the tool in your registry.
        risk_tier: What the tool can do to the world.
        decision: Whether it was allowed.
        decided_by: Who decided.
        status: How the call ended.
        reason_code: Code of the reason, never a sentence.
        in_expected_set: Whether the feature is expected to use this tool.
        call_id: Identifier of the call.
        tool_type: Kind of tool.
        server: Server that offers it, as `mcp:orders`.
        scope: Scope the call needed.
        args_digest: Keyed digest of the canonical arguments.
        arg_keys: Names of the arguments.
    """

    tool: Label
    risk_tier: RiskTier | None = None
    decision: ToolDecision = "not_evaluated"
    decided_by: DecidedBy | None = None
    status: ToolStatus | None = None
    reason_code: Word | None = None
    in_expected_set: bool | None = None
    call_id: Label | None = None
    tool_type: ToolType | None = None
    server: Label | None = None
    scope: Label | None = None
    args_digest: Label | None = None
    arg_keys: Annotated[tuple[Word, ...], msgspec.Meta(max_length=32)] = ()


class AttackSignal(Section, frozen=True, gc=False):
    """A sign of an attack, named by rule or fingerprint.

    Attributes:
        kind: Kind of attack.
        vector: The way it came in.
        signature_id: Rule that matched.
        content_fingerprint: Similarity hash, to cluster a campaign.
        atlas: MITRE ATLAS technique, as `AML.T0051.001`.
        owasp_llm: OWASP LLM entry with its year, as `2025:LLM01`.
    """

    kind: AttackKind
    vector: AttackVector | None = None
    signature_id: Label | None = None
    content_fingerprint: Label | None = None
    atlas: Word | None = None
    owasp_llm: Word | None = None


class Grounding(Section, frozen=True, gc=False):
    """Health of retrieval.

    Attributes:
        doc_count: Documents retrieved.
        source_id: Knowledge base.
        score: Groundedness, 0 to 1.
        threshold: Threshold of the score, 0 to 1.
        result: Judgement on the answer.
        citations: Citations in the answer.
    """

    doc_count: Count | None = None
    source_id: Label | None = None
    score: Share | None = None
    threshold: Share | None = None
    result: CheckResult | None = None
    citations: Count | None = None


class Feedback(Section, frozen=True, gc=False):
    """What a person said of the answer, as a code.

    Attributes:
        rating: The rating.
        reason_code: Code of the reason, never a sentence.
        source: Who rated.
    """

    rating: Rating | None = None
    reason_code: Word | None = None
    source: Literal["user", "reviewer"] | None = None


class Redaction(Section, frozen=True, gc=False):
    """Who took content out of this event, and how sure they are.

    Attributes:
        status: What the redactor did.
        redactor: The redactor.
        redactor_version: Its version.
        policy_id: Its rules.
        content_mode: What of the content is left; never content itself.
        entity_counts: Entities taken out: type to count, never a value.
        residual_self_check: The redactor's own second look.
    """

    status: RedactionStatus
    redactor: Label | None = None
    redactor_version: Label | None = None
    policy_id: Label | None = None
    content_mode: Literal["no_content", "digest_only"] | None = None
    entity_counts: EntityCounts = {}
    residual_self_check: SelfCheck | None = None


class Evidence(Section, frozen=True, gc=False):
    """Pointers into the restricted store; never content.

    Attributes:
        trace_id: W3C trace id.
        span_id: W3C span id.
        ref: Reference in the restricted store.
        access_tier: Who may follow the reference.
    """

    trace_id: Word | None = None
    span_id: Word | None = None
    ref: Label | None = None
    access_tier: Word | None = None


class Coverage(Section, frozen=True, gc=False):
    """How complete this record is.

    Attributes:
        checks_expected: Checks that should have reported.
        checks_missing: Checks that did not report.
        dropped_attributes: Attributes lost on the way.
        emitter: Who assembled this event.
        sampling_mode: How events were sampled; outcome_biased ones are left out of rates.
    """

    checks_expected: Annotated[tuple[Label, ...], msgspec.Meta(max_length=64)] = ()
    checks_missing: Annotated[tuple[Label, ...], msgspec.Meta(max_length=64)] = ()
    dropped_attributes: Count | None = None
    emitter: Label | None = None
    sampling_mode: SamplingMode | None = None
