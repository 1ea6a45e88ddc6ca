"""The tripwire: does a record that claims to be redacted still carry somebody's data?

Producers redact; this only looks, and says where and by which rule, never what. The clean path must
cost a few microseconds an event. Labels come from small vocabularies, so a label that was judged
clean once is remembered and costs one hash; identifiers have anchored forms and cost one match.
Only an event with something new or odd is walked field by field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from monitor.stream.event import Amend, Event, InteractionData
from monitor.stream.patterns import Verdict, scan
from monitor.stream.sections import LABEL_PATTERN
from monitor.stream.vocabulary import REDACTED, RESERVED

Path = tuple[str | int, ...]

_REMEMBERED = 50_000
_clean_labels: set[str | None] = {None}
_clean_versions: set[str | None] = {None}

_LABEL = re.compile(LABEL_PATTERN)
_IDENTIFIER = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?=\d{0,63}[a-f])[0-9a-f]{2,64}"
    r"|0\d{0,31}"  # a padded sequence
    r"|[0-9A-HJKMNP-TV-Z]{26}"  # ULID
    r"|(?:[a-z]{1,16}[_-]?)?\d{1,11}"  # a counter
    r"|(?:[a-z][a-z0-9-]{0,15}:){1,2}(?:[0-9a-f]{2,64}|[0-9A-HJKMNP-TV-Z]{1,12})"
    r"|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"  # traceparent
    r"|[tcu]_[0-9a-f]{2,64}"
)
"""Forms that cannot be a sentence, nor more than by chance match a pattern; others are scanned."""
_ANCHORED: dict[Path, re.Pattern[str]] = {
    ("data", "actor", "tenant"): re.compile(r"t_[0-9a-f]{2,64}"),
    ("data", "actor", "conversation"): re.compile(r"c_[0-9a-f]{2,64}"),
    ("data", "actor", "user"): re.compile(r"u_[0-9a-f]{2,64}"),
    ("data", "evidence", "span_id"): re.compile(r"[0-9a-f]{16}"),
}
"""Fields with one form. One in two thousand of these is all digits, and some of those would pass
for a card: what has the form is not scanned."""
_IDENTIFIERS = frozenset(
    {
        "id", "amends", "partitionkey", "traceparent", "sequence", "trace_id", "ref", "call_id",
        "args_digest", "content_fingerprint",
    }
)  # fmt: skip
_TENANT, _CONVERSATION, _USER, _SPAN = (one.fullmatch for one in _ANCHORED.values())
_NO_LABEL = frozenset({"id", "source", "amends", "partitionkey"})
"""Strings that identify: taken out, they are replaced by a keyed digest, so that they still do."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One rule that tripped in one string; the string itself is nowhere in it."""

    rule: str
    """`pattern.email`, `secret.aws`, `pseudonym.tenant`, ...; `free_text` and `reserved` refuse."""
    path: Path
    """Keys and indexes from the root; `where` writes it as JSONPath."""
    verdict: Verdict
    """`violation`, or `suspect` where the check that would confirm it says no or cannot say."""
    confirmed: bool = False
    """A secret of a known form or a valid card number: a never-event."""

    @property
    def where(self) -> str:
        """`path` as JSONPath; keys of a map are somebody else's words, so they are written `*`."""
        out = "$"
        for at, step in enumerate(self.path):
            if isinstance(step, int):
                out += f"[{step}]"
            else:
                out += ".*" if at and self.path[at - 1] == "entity_counts" else f".{step}"
        return out


def inspect(event: Event) -> list[Hit]:
    """Everything in `event` that should not be there; empty for a clean one.

    The verdict of an event is the worst of its hits. Hits of one string come together, in the
    order of the fields.
    """
    if _is_clean(event):
        return []
    tree = msgspec.to_builtins(event, builtin_types=(datetime,))
    return [hit for path, text in _strings(tree, ()) for hit in _judge(text, path)]


def redact(event: Event, hits: list[Hit], key: bytes) -> Event:
    """`event` with each string that was hit replaced by `__redacted__`, so that it still counts.

    Identifiers become a digest under `key` instead, or duplicates could no longer be told. Where a
    hit is sure, the redactor's own second look is overruled: the event counts as a redaction
    failure, whatever its producer believed.
    """
    tree = msgspec.json.decode(msgspec.json.encode(event))
    if any(hit.verdict == "violation" for hit in hits) and "redaction" in tree["data"]:
        tree["data"]["redaction"]["residual_self_check"] = "suspect"
    for path in {hit.path for hit in hits}:
        *parents, last = path
        node: Any = tree
        for step in parents:
            node = node[step]
        if parents and parents[-1] == "entity_counts":
            node.pop(last, None)
        elif last in _NO_LABEL:
            node[last] = blake2b(node[last].encode(), key=key, digest_size=16).hexdigest()
        else:
            node[last] = REDACTED
    redacted: Event = msgspec.convert(tree, Event)
    return redacted


def _judge(text: str, path: Path) -> list[Hit]:
    anchored = _ANCHORED.get(path)
    if anchored is not None and anchored.fullmatch(text):
        return []
    if path[-1] in _IDENTIFIERS and (_IDENTIFIER.fullmatch(text) or text.isdigit()):
        return []
    if text in RESERVED:
        return [Hit("reserved", path, "violation")]
    version = _is_version(path)
    if anchored is None and text in (_clean_versions if version else _clean_labels):
        return []
    hits = [
        Hit(found.rule, path, found.verdict, found.confirmed)
        for found in scan(text, version=version)
    ]
    if not _LABEL.search(text):
        hits.append(Hit("free_text", path, "violation"))
    elif anchored is not None and path[1] == "actor" and not hits:
        hits.append(Hit(f"pseudonym.{path[-1]}", path, "suspect"))
    return hits


def _is_version(path: Path) -> bool:
    """Whether four numbers with dots mean no address here: a version, or a host that emits."""
    return path == ("source",) or str(path[-1]).endswith("version")


def _strings(node: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            if path and path[-1] == "entity_counts":
                yield (*path, key), key
            else:
                yield from _strings(value, (*path, key))
    elif isinstance(node, list | tuple):
        for at, value in enumerate(node):
            yield from _strings(value, (*path, at))


def _is_clean(event: Event) -> bool:
    """Whether every string is known or has a harmless form; False means only: look closer."""
    labels, versions, identifiers = _texts(event)
    if not _clean_labels.issuperset(labels) and not _learn(labels, _clean_labels):
        return False
    if not _clean_versions.issuperset(versions) and not _learn(
        versions, _clean_versions, version=True
    ):
        return False
    return _are_harmless(identifiers) and _are_anchored(event)


def _learn(texts: list[str | None], memory: set[str | None], *, version: bool = False) -> bool:
    """Judge the strings that are new and remember the clean ones; False if one is not."""
    for text in texts:
        if text is None or text in memory:
            continue
        if text in RESERVED or not _LABEL.search(text) or scan(text, version=version):
            return False
        if len(memory) >= _REMEMBERED:
            memory.clear()
            memory.add(None)
        memory.add(text)
    return True


def _are_harmless(identifiers: list[str | None]) -> bool:
    match = _IDENTIFIER.fullmatch
    for text in identifiers:
        if text is None or match(text):
            continue
        if text in RESERVED or not _LABEL.search(text) or scan(text):
            return False
    return True


def _are_anchored(event: Event) -> bool:
    actor = event.data.actor
    tenant, conversation, user = actor.tenant, actor.conversation, actor.user
    span = event.data.evidence.span_id
    return (
        (tenant is None or _TENANT(tenant) is not None)
        and (conversation is None or _CONVERSATION(conversation) is not None)
        and (user is None or _USER(user) is not None)
        and (span is None or _SPAN(span) is not None)
    )


def _texts(event: Event) -> tuple[list[str | None], list[str | None], list[str | None]]:
    """Every open string of `event`: labels, versions (and the source), identifiers.

    A test walks the structs' fields and fails when one is missing here.
    """
    data = event.data
    place, gen_ai, actor = data.deployment, data.gen_ai, data.actor
    labels: list[str | None] = [
        event.subject, event.dataschema, place.environment, place.feature, place.region,
        place.service, place.surface, *place.flags, gen_ai.request_model, gen_ai.response_model,
        gen_ai.provider, gen_ai.agent.name, gen_ai.prompt.name, *gen_ai.finish_reasons,
        actor.pseudonym_key_id, actor.language, data.grounding.source_id,
        data.feedback.reason_code,
    ]  # fmt: skip
    versions: list[str | None] = [
        event.source, place.service_version, gen_ai.agent.version, gen_ai.prompt.version,
    ]  # fmt: skip
    identifiers: list[str | None] = [
        event.id, event.partitionkey, event.traceparent, event.sequence,
    ]  # fmt: skip
    if data.outcome is not None:
        labels.append(data.outcome.error_type)
    if data.redaction is not None:
        redaction = data.redaction
        labels += (redaction.redactor, redaction.policy_id, *redaction.entity_counts)
        versions.append(redaction.redactor_version)
    for check in data.policy_checks:
        labels += (check.category, check.check_id)
        if check.entity_counts:
            labels += check.entity_counts
        versions.append(check.detector_version)
    if isinstance(event, Amend):
        identifiers.append(event.amends)
    else:
        _more_texts(event.data, labels, identifiers)
    return labels, versions, identifiers


def _more_texts(
    data: InteractionData, labels: list[str | None], identifiers: list[str | None]
) -> None:
    """What only an interaction carries."""
    evidence, coverage = data.evidence, data.coverage
    labels += (evidence.access_tier, coverage.emitter)
    labels += coverage.checks_expected
    labels += coverage.checks_missing
    identifiers += (evidence.trace_id, evidence.ref)
    for call in data.tool_calls:
        labels += (call.tool, call.reason_code, call.server, call.scope, *call.arg_keys)
        identifiers += (call.call_id, call.args_digest)
    for attack in data.attack_signals:
        labels += (attack.signature_id, attack.atlas, attack.owasp_llm)
        identifiers.append(attack.content_fingerprint)
