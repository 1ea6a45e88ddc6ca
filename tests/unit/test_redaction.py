"""The tripwire: it finds what it should, and leaves identifiers alone."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from monitor.stream import event as events
from monitor.stream import redaction
from monitor.stream.event import AMEND_TYPE, INTERACTION_TYPE, Event
from monitor.stream.patterns import scan
from monitor.stream.redaction import inspect, redact

KEY = b"key"


def interaction(**sections: Any) -> Any:
    """A small event with the sections given."""
    data = {
        "deployment": {"environment": "prod", "feature": "chat"},
        "gen_ai": {"request_model": "gpt-4o"},
        "outcome": {"status": "answered"},
        "redaction": {"status": "redacted"},
    }
    envelope = {"id": "e-1", "source": "//app", "time": datetime(2026, 11, 16, tzinfo=UTC)}
    return msgspec.convert(
        {"type": INTERACTION_TYPE, **envelope, "data": {**data, **sections}}, Event
    )


@pytest.mark.parametrize(
    ("text", "rule", "verdict", "confirmed"),
    [
        ("jo.doe+x@mail.example.com", "pattern.email", "violation", False),
        ("4111111111111111", "pattern.card", "violation", True),
        ("5500-0000-0000-0004", "pattern.card", "violation", True),
        ("3400 000000 00009", "pattern.card", "violation", True),
        ("+49 151 2345 6789", "pattern.phone", "violation", False),
        ("+1-555-010-4477", "pattern.phone", "violation", False),
        ("+4915123456789", "pattern.phone", "violation", False),
        ("DE89370400440532013000", "pattern.iban", "violation", False),
        ("GB82 WEST 1234 5698 7654 32", "pattern.iban", "violation", False),
        ("DE88370400440532013000", "pattern.iban", "suspect", False),
        ("8.8.8.8", "pattern.ip", "violation", False),
        ("host-10.1.2.3", "pattern.ip", "suspect", False),
        ("2a00:1450:4001:82a::200e", "pattern.ip", "violation", False),
        ("AKIAIOSFODNN7EXAMPLE", "secret.aws", "violation", True),
        ("ghp_" + "aB3" * 12, "secret.github", "violation", True),
        ("glpat-" + "x1" * 10, "secret.gitlab", "violation", True),
        ("xoxb-1234567890-abc", "secret.slack", "violation", True),
        ("AIza" + "Sy0" * 11 + "ab", "secret.google", "violation", True),
        ("sk-proj-AbCdEf1234567890abcd", "secret.api_key", "violation", True),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.sig", "secret.jwt", "violation", True),
        ("-----BEGIN RSA PRIVATE KEY", "secret.private_key", "violation", True),
        ("postgres://u:p4ss@db/x", "secret.url_password", "violation", True),
        ("Bearer abcdefghijklmnop12", "secret.bearer", "violation", False),
    ],
)
def test_each_rule_finds_its_kind(text: str, rule: str, verdict: str, confirmed: bool) -> None:
    """A planted value trips its rule, alone or inside a label."""
    for written in (text, f"x={text}"):
        found = scan(written)
        assert [(one.rule, one.verdict, one.confirmed) for one in found] == [
            (rule, verdict, confirmed)
        ], written


IDENTIFIERS: dict[str, Callable[[random.Random], str]] = {
    "uuid4": lambda r: str(uuid.UUID(int=r.getrandbits(128), version=4)),
    "sha256": lambda r: hashlib.sha256(r.randbytes(8)).hexdigest(),
    "ulid": lambda r: "".join(r.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=26)),
    "epoch ms": lambda r: str(r.randrange(1_500_000_000_000, 1_900_000_000_000)),
    "epoch us": lambda r: str(r.randrange(1_500_000_000_000_000, 1_900_000_000_000_000)),
    "snowflake": lambda r: str(r.randrange(10**17, 2 * 10**18)),
    "padded sequence": lambda r: f"{r.randrange(10**9):016d}",
    "timestamp": lambda r: datetime.fromtimestamp(r.randrange(10**9), UTC).isoformat(),
    "version": lambda r: ".".join(str(r.randrange(300)) for _ in range(3)),
    "image tag": lambda r: (
        f"v{r.randrange(9)}.{r.randrange(99)}.{r.randrange(99)}+{r.randrange(10**8)}"
    ),
    "simhash": lambda r: f"simhash64:{r.getrandbits(64):016x}",
    "slug": lambda r: "-".join(r.choices(["sk", "task", "risk", "gh", "card", "eu", "42"], k=5)),
    "traceparent": lambda r: f"00-{r.getrandbits(128):032x}-{r.getrandbits(64):016x}-01",
}


@pytest.mark.parametrize("kind", IDENTIFIERS)
def test_identifiers_are_left_alone(kind: str) -> None:
    """Of thousands of identifiers of each kind, next to none looks like personal data."""
    rng = random.Random(4)
    flagged = [text for text in (IDENTIFIERS[kind](rng) for _ in range(4000)) if scan(text)]
    assert len(flagged) <= 2, flagged


def test_a_version_of_four_parts_is_no_address() -> None:
    """The address rule does not apply to version fields."""
    assert scan("10.2.3.4", version=True) == []
    event = interaction(
        deployment={"environment": "p", "feature": "f", "service_version": "8.8.8.8"}
    )
    assert inspect(event) == []
    assert inspect(interaction(gen_ai={"request_model": "8.8.8.8"})) != []


def test_pseudonyms_need_their_prefix() -> None:
    """A tenant, user or conversation that is no keyed pseudonym is suspect."""
    event = interaction(actor={"tenant": "acme-corp", "user": "c_0a1b", "conversation": "c_0a1b"})
    hits = inspect(event)
    assert [(hit.rule, hit.where, hit.verdict) for hit in hits] == [
        ("pseudonym.tenant", "$.data.actor.tenant", "suspect"),
        ("pseudonym.user", "$.data.actor.user", "suspect"),
    ]
    assert inspect(interaction(actor={"tenant": "t_4111111111111111"})) == []


def test_a_hit_says_where_and_never_what() -> None:
    """Rule, path and verdict, in the order of the fields; map keys are not repeated."""
    event = interaction(
        tool_calls=[{"tool": "a"}, {"tool": "b", "arg_keys": ["ok", "jo@example.com"]}],
        redaction={"status": "redacted", "entity_counts": {"DE89370400440532013000": 1}},
    )
    hits = inspect(event)
    assert {hit.where for hit in hits} == {
        "$.data.tool_calls[1].arg_keys[1]",
        "$.data.redaction.entity_counts.*",
    }


def test_redacting_keeps_the_event_and_takes_out_the_string() -> None:
    """Labels become `__redacted__`, map entries go, identifiers become a keyed digest."""
    event = interaction(
        gen_ai={"request_model": "jo@example.com"},
        redaction={"status": "redacted", "entity_counts": {"DE89370400440532013000": 1, "X": 2}},
    )
    event = msgspec.structs.replace(event, id="jo@example.com")
    hits = inspect(event)
    clean = redact(event, hits, KEY)
    assert clean.data.gen_ai.request_model == "__redacted__"
    assert clean.data.redaction is not None
    assert clean.data.redaction.entity_counts == {"X": 2}
    assert clean.id == redact(event, hits, KEY).id != redact(event, hits, b"other").id
    assert "example.com" not in repr(clean)
    assert clean.data.outcome == event.data.outcome


def test_what_was_clean_once_is_clean_again_and_what_was_not_is_not() -> None:
    """Remembering labels changes no answer."""
    dirty = interaction(gen_ai={"request_model": "jo@example.com"})
    for _ in range(3):
        assert inspect(interaction()) == []
        assert [hit.rule for hit in inspect(dirty)] == ["pattern.email"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of ever new labels cannot grow the memory beyond its bound."""
    monkeypatch.setattr(redaction, "_REMEMBERED", 50)
    for number in range(300):
        inspect(interaction(gen_ai={"request_model": f"model-{number}"}))
        assert len(redaction._clean_labels) <= 51


def open_strings(struct: type, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of an event that takes an open string, by the structs' own types."""
    found: list[tuple[Any, ...]] = []
    for name, hint in get_type_hints(struct, include_extras=False).items():
        if name not in struct.__struct_fields__:  # type: ignore[attr-defined] # a msgspec Struct
            continue
        for option in (get_args(hint) if get_origin(hint) not in {tuple, dict} else ()) or (hint,):
            at = (*path, name)
            if option is str:
                found.append(at)
            elif get_origin(option) is tuple:
                inner = get_args(option)[0]
                found += [(*at, 0)] if inner is str else open_strings(inner, (*at, 0))
            elif get_origin(option) is dict:
                found.append((*at, "*"))
            elif isinstance(option, type) and issubclass(option, msgspec.Struct):
                found += open_strings(option, at)
    return found


NEEDED = {
    "policy_checks": {"category": "privacy.pii", "result": "pass"},
    "tool_calls": {"tool": "t"},
    "attack_signals": {"kind": "jailbreak"},
    "outcome": {"status": "answered"},
    "redaction": {"status": "redacted"},
}
"""What a section or a list item must have besides the string under test."""


def with_string(kind: str, path: tuple[Any, ...], text: str) -> dict[str, Any]:
    """A small event of that kind with one string in one place."""
    document: dict[str, Any] = msgspec.to_builtins(interaction())
    if kind == AMEND_TYPE:
        document |= {"type": kind, "amends": "e-0"}
        document["data"] = {key: document["data"][key] for key in ("deployment", "gen_ai")}
    made: dict[str, Any] = merged(document, path, text)
    return made


def merged(node: Any, path: tuple[Any, ...], text: str, section: str = "") -> Any:
    """`node` with `text` at `path`, and whatever has to be on the way."""
    if not path:
        return text
    step, *rest = path
    if step == 0:
        return [merged(dict(NEEDED.get(section, {})), tuple(rest), text)]
    if step == "*":
        return {text: 1}
    fresh = dict(NEEDED.get(step, {}))
    return {**node, step: merged(node.get(step) or fresh, tuple(rest), text, step)}


@pytest.mark.parametrize("kind", [INTERACTION_TYPE, AMEND_TYPE])
def test_no_string_of_an_event_escapes_the_tripwire(kind: str) -> None:
    """A secret in any open string of any field is found there."""
    struct = events.Interaction if kind == INTERACTION_TYPE else events.Amend
    paths = open_strings(struct)
    assert len(paths) > 30
    for path in paths:
        text = "DE89370400440532013000"
        event = msgspec.convert(with_string(kind, path, text), Event)
        hits = inspect(event)
        assert [hit.rule for hit in hits] == ["pattern.iban"], path
        assert text not in repr(redact(event, hits, KEY)), path
