"""One record of the log becomes an event, or a row for the quarantine that holds none of it.

Both CloudEvents modes of Kafka are read: *structured* (the whole event is the value; also how files
hold it) and *binary* (`ce_*` headers, the value is `data`). What is refused is described by a rule,
a path and a keyed digest, never by content. An event that is valid but carries somebody's data is
still an event, with the string taken out: nobody blinds the monitor by adding an e-mail address.
"""

from __future__ import annotations

import json
import re
from datetime import UTC
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from monitor.stream import patterns, redaction
from monitor.stream.event import YEARS, Envelope, Event
from monitor.stream.nulls import without_nulls
from monitor.stream.sections import Section
from monitor.stream.sources.source import Record
from monitor.stream.vocabulary import BANNED

MAX_BYTES = 256 * 1024

Rule = Literal[
    "too_large",
    "not_json",
    "too_deep",
    "duplicate_key",
    "envelope",
    "schema",
    "missing_field",
    "unknown_field",
    "banned_key",
    "time",
    "free_text",
    "reserved",
]
"""Why a whole event is refused."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """What the quarantine may know of a string that was found."""

    rule: str
    """A pattern's rule, as `pattern.email`, `secret.aws`, `pseudonym.tenant`."""
    path: str
    """JSONPath of the string."""
    length: int
    """Length of the whole record in bytes."""
    digest: str
    """Keyed digest of the event's id, or of the record where no id could be read."""
    verdict: patterns.Verdict
    confirmed: bool
    """A secret or a card of confirmed form: a never-event."""


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """An event, counted; and what had to be taken out of it, if anything."""

    event: Event
    quarantine: tuple[Row, ...] = ()


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A record that is no event."""

    rule: Rule
    path: str
    """JSONPath of what is wrong, as near as it is known; `$` for the whole."""
    length: int
    """Length of the record in bytes."""
    digest: str
    """Keyed digest of the event's id, or of the record where no id could be read."""
    confirmed: tuple[str, ...] = ()
    """Rules of secrets and cards of confirmed form seen in the record: never-events even so."""


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """A record that is rightly no event."""

    reason: Literal["tombstone"]


class _OnlyId(msgspec.Struct, gc=False):
    id: str


class _Refused(Exception):
    """Carries rule and path up to `decode`; it never leaves this module."""

    def __init__(self, rule: Rule, path: str = "$") -> None:
        super().__init__(rule)
        self.rule: Rule = rule
        self.path = path


_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_id_decoder = msgspec.json.Decoder(_OnlyId)
_untyped = msgspec.json.Decoder()
_document = msgspec.json.Decoder(msgspec.Raw)
_encode = msgspec.json.Encoder().encode
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(
    record: Record, *, key: bytes, max_bytes: int = MAX_BYTES
) -> Decoded | Rejected | Skipped:
    """Read one record.

    Args:
        record: as it lay on the log.
        key: secret of this installation, 1 to 64 bytes, for digests.
        max_bytes: the largest value, headers included, that is looked at.
    """
    value = record.value
    if value is None:
        return Skipped("tombstone")
    size = len(value) + sum(len(content) for _, content in record.headers)
    if size > max_bytes:
        return Rejected("too_large", "$", size, _digest(value[:max_bytes], key))
    try:
        event = _parse(_structured(record.headers, value) if record.headers else value)
        hits = redaction.inspect(event)
        if not hits:
            return Decoded(event)
        _refuse_sentences(hits)
    except _Refused as refused:
        return _reject(refused, value, key)
    digest = _digest(event.id.encode(), key)
    rows = tuple(
        Row(hit.rule, hit.where, len(value), digest, hit.verdict, hit.confirmed) for hit in hits
    )
    return Decoded(redaction.redact(event, hits, key), rows)


def _refuse_sentences(hits: list[redaction.Hit]) -> None:
    """Free text is the leak, not the pattern in it: it refuses the whole event."""
    for hit in hits:
        if hit.rule == "free_text":
            raise _Refused("free_text", hit.where)
        if hit.rule == "reserved":
            raise _Refused("reserved", hit.where)


def _parse(raw: bytes) -> Event:
    try:
        event = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        event = _without_nulls(raw, error)
    except RecursionError:
        raise _Refused("too_deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _Refused("not_json") from None
    # Each key brings a colon, and the event written again holds each once: where the counts agree
    # no key came twice. Explicit defaults and escapes end in the exact check, and so does a zone,
    # whose colon may be written or not.
    if (
        raw.count(b":") != _encode(event).count(b":")
        or b"\\" in raw
        or event.time.tzinfo is not UTC
    ):
        _refuse_duplicates(raw)
    if event.time.year not in YEARS:
        raise _Refused("time", "$.time")
    return event


def _without_nulls(raw: bytes, error: msgspec.ValidationError) -> Event:
    """A null section or list means that it is absent; any other error stays what it was."""
    if b"null" not in raw:
        raise _explain(error) from None
    try:
        return _decoder.decode(_encode(without_nulls(_untyped.decode(raw))))
    except msgspec.ValidationError as second:
        raise _explain(second) from None
    except RecursionError:
        raise _Refused("too_deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _Refused("not_json") from None


def _refuse_duplicates(raw: bytes) -> None:
    if b"\\" not in raw and raw.count(b":") == _encode(_untyped.decode(raw)).count(b":"):
        return

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _Refused("duplicate_key")
        return made

    json.loads(raw, object_pairs_hook=unique)


_PATH = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_STEP = re.compile(r"\.([a-z_]+)|\[(?:\.\.\.|\d+)\]")
_FIELD = re.compile(r"required field `([a-z_]+)`")
_UNKNOWN = re.compile(r"unknown field `(.*?)`", re.DOTALL)


def _explain(error: msgspec.ValidationError) -> _Refused:
    """Rule and path out of msgspec's words; they may quote the record, so only our names pass."""
    words = str(error)
    path = _our_path(words)
    unknown = _UNKNOWN.search(words)
    if unknown and words.startswith("Object contains"):
        banned = unknown[1].lower() in BANNED
        return _Refused("banned_key" if banned else "unknown_field", path)
    missing = _FIELD.search(words)
    if missing and words.startswith("Object missing"):
        return _Refused("missing_field", f"{path}.{missing[1]}")
    if path == "$.time":
        return _Refused("time", path)
    if "Expected `str` of length <=" in words:
        return _Refused("free_text", path)
    return _Refused("schema", path)


_OUR_NAMES = frozenset(
    name
    for struct in (*Section.__subclasses__(), *Envelope.__subclasses__())
    for name in struct.__struct_encode_fields__
) | {"type"}


def _our_path(words: str) -> str:
    """The path at the end of msgspec's message, as long as each of its steps is a name of ours."""
    found = _PATH.search(words)
    if not found:
        return "$"
    path, at = "$", 0
    while step := _STEP.match(found[1], at):
        if step[1] and step[1] not in _OUR_NAMES:
            break
        path += step[0].replace("...", "*")
        at = step.end()
    return path


_ATTRIBUTES = frozenset({"type", "amends", *Envelope.__struct_encode_fields__})


def _structured(headers: tuple[tuple[str, bytes], ...], value: bytes) -> bytes:
    """The whole event as one JSON document, whichever CloudEvents mode the record is in.

    A value is `data` only when `ce_*` headers say so; a content-type of plain JSON alone does not.
    """
    attributes: dict[str, Any] = {}
    for name, content in headers:
        lower = name.lower()
        if lower == "content-type":
            if content.lower().startswith(b"application/cloudevents"):
                return value
        elif lower.startswith("ce_"):
            attribute = lower[3:]
            if attribute in attributes:
                raise _Refused("duplicate_key")
            attributes[attribute] = _attribute(attribute, content)
    if not attributes:
        return value
    try:
        _document.decode(value)  # one whole document, so that it cannot add to the envelope
    except RecursionError:
        raise _Refused("too_deep", "$.data") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _Refused("not_json", "$.data") from None
    return _encode(attributes)[:-1] + b',"data":' + value + b"}"


def _attribute(name: str, content: bytes) -> str | int:
    if name not in _ATTRIBUTES:
        raise _Refused("banned_key" if name in BANNED else "unknown_field")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _Refused("envelope", f"$.{name}") from None
    if name == "sampledrate" and text.isascii() and text.isdigit():
        return int(text[:20])
    return text


def _digest(what: bytes, key: bytes) -> str:
    return blake2b(what, key=key, digest_size=16).hexdigest()


def _reject(refused: _Refused, value: bytes, key: bytes) -> Rejected:
    """Describe a record that is refused; a confirmed secret in it is a never-event all the same."""
    try:
        named = _id_decoder.decode(value).id.encode()
    except _MALFORMED:
        named = value
    confirmed = sorted(patterns.confirmed(value.decode("ascii", "replace")))
    return Rejected(refused.rule, refused.path, len(value), _digest(named, key), tuple(confirmed))
