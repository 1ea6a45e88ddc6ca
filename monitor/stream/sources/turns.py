"""One simulated turn, from what the scenario says of it to the event a gateway would emit."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

from monitor.stream.event import DATASCHEMA, Amend, AmendData, Interaction, InteractionData
from monitor.stream.sections import (
    Actor,
    AttackSignal,
    Coverage,
    Deployment,
    Evidence,
    Feedback,
    GenAI,
    Grounding,
    Named,
    Outcome,
    PolicyCheck,
    Redaction,
    ToolCall,
    Usage,
)
from monitor.stream.sources.scenario import Check, Effect, Feature, Tool
from monitor.stream.vocabulary import CheckAction, OutcomeStatus

_KEY_ID = "k2026q4"
_REDACTION = Redaction(
    status="redacted",
    redactor="presidio-gw",
    redactor_version="v2.2.366",
    policy_id="pii-eu-7",
    content_mode="digest_only",
    residual_self_check="clean",
)
_LEAKS = {
    "email": "maria.keller@example.com",
    "iban": "DE89370400440532013000",
    "card": "4111111111111111",
}
"""Documented examples, nobody's own."""


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation as far as it has come."""

    tenant: str
    rank: int
    """Place of the tenant by size, 0 for the largest."""
    conversation: str
    turn: int

    def next(self) -> Session:
        """The session one turn later."""
        return Session(self.tenant, self.rank, self.conversation, self.turn + 1)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn to be: who, where, when and what befell it."""

    at: float
    """Unix seconds."""
    feature: Feature
    session: Session
    effects: tuple[Effect, ...] = ()

    @property
    def refusal(self) -> float:
        """Probability that the turn ends in a refusal."""
        raised = (effect.refusal for effect in self.effects if effect.refusal is not None)
        return max(raised, default=self.feature.refusal)

    def deployment(self) -> Deployment:
        """Where it ran, under the release that was live."""
        feature = self.feature
        version = feature.service_version
        for effect in self.effects:
            version = effect.service_version or version
        return Deployment(
            environment="prod",
            feature=feature.name,
            region="eu-west-1" if "eu-1" in feature.source else "us-east-1",
            service=f"{feature.name}-bff",
            service_version=version,
            surface=feature.surface,
        )

    def actor(self) -> Actor:
        """Who took part."""
        return Actor(
            tenant=self.session.tenant,
            conversation=self.session.conversation,
            turn=self.session.turn,
            pseudonym_key_id=_KEY_ID,
        )

    def model(self) -> tuple[str, Named]:
        """Model and prompt that were live."""
        feature = self.feature
        model, prompt = feature.model, feature.prompt_version
        for effect in self.effects:
            model = effect.model or model
            prompt = effect.prompt_version or prompt
        return model, Named(name=f"{feature.name}_system", version=prompt)

    def amend(self, event: str, delay_s: float, *, happy: bool, rng: random.Random) -> Amend:
        """A rating that comes `delay_s` seconds after the turn."""
        model, prompt = self.model()
        at = self.at + delay_s
        return Amend(
            id=event_id(at, rng),
            source=self.feature.source,
            time=datetime.fromtimestamp(at, UTC),
            amends=event,
            partitionkey=self.session.tenant,
            data=AmendData(
                deployment=self.deployment(),
                gen_ai=GenAI(request_model=model, provider=self.feature.provider, prompt=prompt),
                actor=self.actor(),
                feedback=Feedback(rating="up" if happy else "down", source="user"),
            ),
        )


def pseudonym(prefix: str, seed: int, number: int) -> str:
    """A stable pseudonym: prefix and 16 hex digits, under a key made of the seed."""
    key = f"tocsin-simulation-{seed}".encode()
    return prefix + blake2b(f"{prefix}{number}".encode(), key=key, digest_size=8).hexdigest()


def event_id(at: float, rng: random.Random) -> str:
    """A UUIDv7: the milliseconds, then chance."""
    text = f"{int(at * 1000):012x}7{rng.getrandbits(12):03x}{0x8000 | rng.getrandbits(14):04x}"
    text += f"{rng.getrandbits(48):012x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def turn_event(turn: Turn, sequence: int, rng: random.Random) -> Interaction:
    """The event of a turn, as a careful gateway would emit it."""
    feature = turn.feature
    checks = _checks(turn, rng)
    tools = _tools(turn, rng)
    model, prompt = turn.model()
    deployment = turn.deployment()
    for effect in turn.effects:
        if effect.leak is not None:
            tools.append(ToolCall(tool=_LEAKS[effect.leak], decision="allowed", status="ok"))
    return Interaction(
        id=event_id(turn.at, rng),
        source=feature.source,
        time=datetime.fromtimestamp(turn.at, UTC),
        subject=f"{feature.surface}/{feature.name}",
        datacontenttype="application/json",
        dataschema=DATASCHEMA,
        partitionkey=turn.session.tenant,
        sequence=f"{sequence:016d}",
        sampledrate=1,
        dataclassification="internal",
        data=InteractionData(
            deployment=deployment,
            actor=turn.actor(),
            gen_ai=GenAI(
                operation="invoke_agent",
                provider=feature.provider,
                request_model=model,
                response_model=model,
                prompt=prompt,
                usage=Usage(
                    input_tokens=int(rng.expovariate(1 / 900)) + 200,
                    output_tokens=int(rng.expovariate(1 / 160)) + 5,
                ),
                duration_ms=int(rng.lognormvariate(7.6, 0.5)),
            ),
            outcome=_outcome(turn, checks, rng),
            policy_checks=tuple(checks),
            tool_calls=tuple(tools),
            attack_signals=_signs(turn),
            grounding=_grounding(feature, rng),
            redaction=_REDACTION,
            evidence=Evidence(trace_id=f"{rng.getrandbits(128):032x}", access_tier="restricted"),
            coverage=_coverage(feature, checks),
        ),
    )


def _signs(turn: Turn) -> tuple[AttackSignal, ...]:
    attacks = (effect.attack for effect in turn.effects if effect.attack is not None)
    return tuple(
        AttackSignal(kind=one.kind, vector=one.vector, signature_id=one.signature_id)
        for one in attacks
    )


def _coverage(feature: Feature, checks: list[PolicyCheck]) -> Coverage:
    missing = (check.check_id for check in checks if check.result == "not_run")
    return Coverage(
        checks_expected=tuple(check.check_id for check in feature.checks),
        checks_missing=tuple(name for name in missing if name is not None),
        dropped_attributes=0,
        sampling_mode="none",
        emitter="tocsin-simulator",
    )


def _checks(turn: Turn, rng: random.Random) -> list[PolicyCheck]:
    """Each guardrail of the feature with its result, as the effects would have it."""
    return [_check(check, turn, rng) for check in turn.feature.checks]


def _check(check: Check, turn: Turn, rng: random.Random) -> PolicyCheck:
    chance, version, result = check.violation, check.version, None
    for effect in turn.effects:
        if effect.detector is not None and effect.detector.check_id == check.check_id:
            chance, version = effect.detector.violation, effect.detector.version
        if effect.violation == check.category:
            chance = 0.85
        if effect.outage is not None and effect.outage.check_id in {None, check.check_id}:
            result = effect.outage.result
    if result is None:
        roll = rng.random()
        result = "violation" if roll < chance else "error" if roll > 1 - check.error else "pass"
    action: CheckAction = "none"
    if result == "violation":
        action = ("block" if check.blocks else "redact") if check.mode == "enforce" else "annotate"
    return PolicyCheck(
        check_id=check.check_id,
        detector_version=version,
        stage=check.stage,
        category=check.category,
        result=result,
        action=action,
        mode=check.mode,
    )


def _tools(turn: Turn, rng: random.Random) -> list[ToolCall]:
    tools = [*turn.feature.tools]
    for effect in turn.effects:
        tools.extend(effect.tools)
    return [_call(tool, rng) for tool in tools if rng.random() < tool.rate]


def _call(tool: Tool, rng: random.Random) -> ToolCall:
    denied = rng.random() < tool.denied
    human = tool.risk_tier in {"financial", "destructive"}
    failed = rng.random() < 0.02
    return ToolCall(
        call_id=f"tc_{rng.getrandbits(30)}",
        tool=tool.tool,
        tool_type="function",
        server=tool.server,
        risk_tier=tool.risk_tier,
        decision="denied" if denied else "confirmed" if human else "allowed",
        decided_by="human" if human and not denied else "policy",
        status="not_executed" if denied else "error" if failed else "ok",
        reason_code="policy_denied" if denied else None,
        in_expected_set=tool.expected,
    )


def _outcome(turn: Turn, checks: list[PolicyCheck], rng: random.Random) -> Outcome:
    blocked = [check for check in checks if check.action == "block"]
    if blocked:
        status: OutcomeStatus = (
            "filtered_input" if blocked[0].stage == "input" else "filtered_output"
        )
        return Outcome(status=status, refusal_category="policy", source="guardrail")
    roll = rng.random()
    if roll < turn.refusal:
        return Outcome(status="refused", refusal_category="policy", source="finish_reason")
    if roll > 1 - turn.feature.error:
        return Outcome(status="error", source="provider_error", error_type="provider_5xx")
    return Outcome(status="answered", source="finish_reason")


def _grounding(feature: Feature, rng: random.Random) -> Grounding:
    if feature.ungrounded is None:
        return Grounding()
    bad = rng.random() < feature.ungrounded
    return Grounding(
        doc_count=5,
        source_id=f"kb_{feature.name}",
        score=round(0.45 + 0.2 * rng.random() if bad else 0.75 + 0.2 * rng.random(), 3),
        threshold=0.7,
        result="violation" if bad else "pass",
    )
