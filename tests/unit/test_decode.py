"""Records of every kind: events in both CloudEvents modes, and refusals by rule and path."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from monitor.stream.decode import Decoded, Rejected, Skipped, decode
from monitor.stream.event import AMEND_TYPE, INTERACTION_TYPE
from monitor.stream.sources.source import Record

KEY = b"a key of this installation"
FULL = (Path(__file__).parent / "event_full.json").read_bytes()
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
RAW = json.dumps(CORE).encode()
MODEL = "data.gen_ai.request_model"


def read(value: bytes | None, *headers: tuple[str, bytes]) -> Decoded | Rejected | Skipped:
    """One record, decoded."""
    return decode(Record(7, value, None, headers), key=KEY)


def accepted(value: bytes, *headers: tuple[str, bytes]) -> Decoded:
    """One record that must be an event."""
    found = read(value, *headers)
    assert isinstance(found, Decoded), found
    return found


def refused(value: bytes, *headers: tuple[str, bytes]) -> tuple[str, str]:
    """Rule and path of one record that must be refused."""
    found = read(value, *headers)
    assert isinstance(found, Rejected), found
    assert found.length == len(value)
    return found.rule, found.path


def changed(place: str, value: Any) -> bytes:
    """The core event with one field set."""
    document = json.loads(RAW)
    node = document
    *parents, last = place.split(".")
    for step in parents:
        node = node.setdefault(step, {})
    node[last] = value
    return json.dumps(document).encode()


def test_events_are_read_in_any_layout() -> None:
    """Compact, pretty, escaped and with a trailing newline: the same event."""
    compact = json.dumps(CORE, separators=(",", ":")).encode()
    escaped = RAW.replace(b'"chat"', b'"ch\\u0061t"')
    for value in (RAW, compact, json.dumps(CORE, indent=2).encode(), escaped, RAW + b"\n"):
        found = accepted(value)
        assert found.event == accepted(RAW).event
        assert found.quarantine == ()
    assert accepted(FULL).quarantine == ()


CE = (
    ("ce_specversion", b"1.0"),
    ("ce_type", INTERACTION_TYPE.encode()),
    ("ce_id", b"01JCX7Q9V5M3T8ZKQ4R2N6W0YB"),
    ("ce_source", b"//gateway/eu-1/chat"),
    ("ce_time", b"2026-11-16T09:14:03Z"),
)
DATA = json.dumps(CORE["data"]).encode()


def test_binary_mode_reads_headers_and_data() -> None:
    """`ce_*` headers and a value that is `data` make the same event; other headers are ignored."""
    plain = accepted(RAW).event
    assert accepted(DATA, *CE).event == plain
    more = (("content-type", b"application/json"), ("trace", b"\xff\x00"), ("CE_SampledRate", b"3"))
    assert accepted(DATA, *CE, *more).event.sampledrate == 3


def test_binary_mode_reads_amends() -> None:
    """An amendment travels in binary mode too."""
    data = b'{"deployment":{"environment":"p","feature":"f"},"gen_ai":{"request_model":"m"}}'
    headers = [header for header in CE if header[0] != "ce_type"]
    amend = (("ce_type", AMEND_TYPE.encode()), ("ce_amends", b"01JCX"))
    assert accepted(data, *headers, *amend).event.type == AMEND_TYPE


def test_structured_mode_wins_by_content_type() -> None:
    """A cloudevents content type, in any case, means the value is the whole event."""
    header = ("Content-Type", b"Application/CloudEvents+JSON; charset=utf-8")
    assert accepted(RAW, header).event.id == CORE["id"]
    assert accepted(RAW, header, ("ce_id", b"other")).event.id == CORE["id"]
    assert accepted(RAW, ("content-type", b"application/json")).event.id == CORE["id"]


@pytest.mark.parametrize(
    ("headers", "value", "rule"),
    [
        ((("ce_note", b"x"),), DATA, "unknown_field"),
        ((("ce_email", b"x"),), DATA, "banned_key"),
        ((("ce_data", b"x"),), DATA, "unknown_field"),
        ((("ce_id", b"again"),), DATA, "duplicate_key"),
        ((("ce_subject", b"\xff"),), DATA, "envelope"),
        ((("ce_sampledrate", b"many"),), DATA, "schema"),
        ((("ce_sampledrate", b"9" * 5000),), DATA, "schema"),
        ((), DATA + b',"subject":"x"', "not_json"),
        ((), b"", "not_json"),
        ((), b"null", "schema"),
    ],
)
def test_binary_mode_is_closed_too(
    headers: tuple[tuple[str, bytes], ...], value: bytes, rule: str
) -> None:
    """Unknown attributes are refused, and a value cannot add to its envelope."""
    assert refused(value, *CE, *headers)[0] == rule


def test_a_tombstone_is_no_event_and_no_error() -> None:
    """A record without value is skipped, whatever its headers say."""
    assert read(None) == read(None, *CE) == Skipped("tombstone")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"", "not_json"),
        (b" \n\t", "not_json"),
        (b"null", "schema"),
        (b"true", "schema"),
        (b"[]", "schema"),
        (b'"str"', "schema"),
        (b"12", "schema"),
        (b"{}", "missing_field"),
        (RAW + b"x", "not_json"),
        (RAW + RAW, "not_json"),
        (RAW + b"\n" + RAW, "not_json"),
        (b"\xef\xbb\xbf" + RAW, "not_json"),
        (RAW.decode().encode("utf-16"), "not_json"),
        (RAW.replace(b"chat", b"caf\xe9"), "not_json"),
        (RAW.replace(b"chat", b"c\xc0\xafat"), "not_json"),
        (gzip.compress(RAW), "not_json"),
        (b"\x00\x00\x00\x00\x07" + RAW, "not_json"),
        (b"\x08\x96\x01", "not_json"),
        (RAW.replace(b'"refused"', b"NaN"), "not_json"),
        (RAW.replace(b'"refused"', b"-Infinity"), "not_json"),
        (RAW.replace(b"chat", b"ch\\ud800at"), "not_json"),
        (RAW.replace(b"chat", b"ch\x07at"), "not_json"),
        (b"x" * (256 * 1024 + 1), "too_large"),
        (b'{"a":' * 50_000, "too_deep"),
        (b"[" * 100_000, "schema"),
    ],
)
def test_what_is_not_one_json_event_is_refused(value: bytes, rule: str) -> None:
    """Framing, encodings and monsters: one refusal each, and no exception."""
    found = read(value)
    assert isinstance(found, Rejected)
    assert found.rule == rule


def test_an_event_cut_anywhere_is_refused() -> None:
    """No prefix of an event is an event."""
    for length in range(len(RAW)):
        assert refused(RAW[:length])[0] in {"not_json", "missing_field"}


@pytest.mark.parametrize(
    "value",
    [
        RAW.replace(b'"status"', b'"status": "answered", "status"', 1),
        RAW.replace(b'"status"', b'"st\\u0061tus": "answered", "status"', 1),
        RAW.replace(b'{"environment"', b'{"feature": "a\\u003a\\u003a", "environment"'),
        RAW.replace(b'"id"', b'"id": "x", "id"'),
        RAW.replace(b"03Z", b"03+0100").replace(b'"status"', b'"status": "error", "status"', 1),
        RAW.replace(b'"gpt-4o"', b'"gpt-4o", "response_model": null, "response_model": "x"'),
        RAW.replace(b'{"status": "redacted"}', b'{"status": "failed", "status": "redacted"}'),
    ],
)
def test_a_key_that_comes_twice_is_refused(value: bytes) -> None:
    """However it is written, and whatever hides the count of colons."""
    assert refused(value) == ("duplicate_key", "$")


def test_null_means_absent_for_what_is_optional() -> None:
    """Null sections, lists, enums and scalars are left out; a required field is not."""
    plain = accepted(RAW).event
    optional = ("traffic_class", "actor", "policy_checks", "tool_calls", "grounding", "coverage")
    for name in optional:
        assert accepted(changed(f"data.{name}", None)).event == plain
    assert accepted(changed("specversion", None)).event == plain
    assert refused(changed("data.outcome", None)) == ("schema", "$.data.outcome")
    assert refused(changed("data.tool_calls", [None]))[0] == "schema"
    both = json.loads(changed("data.grounding", None))
    for place in ({"note": None}, {"messages": None}, {"tool_calls": None}):
        both["data"]["deployment"] = {"environment": "p", "feature": "f", **place}
        rule, path = refused(json.dumps(both).encode())
        assert rule in {"unknown_field", "banned_key"}
        assert path == "$.data.deployment"
    assert refused(changed("data.redaction.entity_counts", {"X": None}))[0] == "schema"


@pytest.mark.parametrize(
    ("place", "value", "rule", "path"),
    [
        ("messages", [], "banned_key", "$"),
        ("data.prompt", "x", "banned_key", "$.data"),
        ("data.gen_ai.completion", "x", "banned_key", "$.data.gen_ai"),
        ("data.Messages", "x", "banned_key", "$.data"),
        ("data.labels", {}, "banned_key", "$.data"),
        (
            "data.tool_calls",
            [{"tool": "t", "arguments": "{}"}],
            "banned_key",
            "$.data.tool_calls[*]",
        ),
        ("data.whatever", 1, "unknown_field", "$.data"),
        ("__proto__", {}, "unknown_field", "$"),
        ("data.Outcome", {}, "unknown_field", "$.data"),
        ("data.outcome.status", "great", "schema", "$.data.outcome.status"),
        (MODEL, 5, "schema", f"$.{MODEL}"),
        (MODEL, "", "schema", f"$.{MODEL}"),
        (MODEL, "x" * 201, "free_text", f"$.{MODEL}"),
        (
            "data.gen_ai.request_model",
            "one two three four five six",
            "free_text",
            "$.data.gen_ai.request_model",
        ),
        (MODEL, "a\nb", "free_text", f"$.{MODEL}"),
        (MODEL, "a\x00b", "free_text", f"$.{MODEL}"),
        (
            "data.gen_ai.request_model",
            "a\x1b]52;c;x\x07",
            "free_text",
            "$.data.gen_ai.request_model",
        ),
        (MODEL, "\u202eabc", "free_text", f"$.{MODEL}"),
        (MODEL, "a\u200bb", "free_text", f"$.{MODEL}"),
        (MODEL, "\U000e0041", "free_text", f"$.{MODEL}"),
        (MODEL, "__other__", "reserved", f"$.{MODEL}"),
        ("data.deployment.feature", "__redacted__", "reserved", "$.data.deployment.feature"),
        ("id", "a\n/../b", "free_text", "$.id"),
        ("id", "x" * 65536, "free_text", "$.id"),
        ("type", "io.aisafety.interaction.v9", "schema", "$.type"),
        ("type", 4, "schema", "$.type"),
        ("specversion", 1, "schema", "$.specversion"),
    ],
)
def test_what_breaks_the_schema_is_refused_by_rule_and_path(
    place: str, value: Any, rule: str, path: str
) -> None:
    """Each refusal says which rule and where, in names of the schema."""
    found_rule, found_path = refused(changed(place, value))
    assert (found_rule, found_path.replace("[0]", "[*]")) == (rule, path)


@pytest.mark.parametrize(
    "number", ["true", '"1"', "1.5", "-1", "1e999", "9223372036854775808", "9" * 4301, "1e400"]
)
def test_counts_are_whole_numbers_in_bounds(number: str) -> None:
    """Booleans, strings, fractions, negatives and giants are no counts."""
    value = RAW.replace(b'"gpt-4o"', b'"m", "usage": {"input_tokens": %s}' % number.encode())
    assert refused(value) == ("schema", "$.data.gen_ai.usage.input_tokens")


@pytest.mark.parametrize(
    "time",
    [
        "",
        "2026-11-16T09:14:03",
        "2026-11-16T09:14:03+25:00",
        "2026-02-30T09:14:03Z",
        "2026-11-16T09:14:60Z",
        "2026-11-16T24:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-W47-1T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2101-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        1763284443,
        1763284443000,
        -1,
    ],
)
def test_a_time_is_rfc_3339_with_a_zone_in_this_century(time: Any) -> None:
    """Everything else is refused under its own rule."""
    assert refused(changed("time", time)) == ("time", "$.time")


@pytest.mark.parametrize("time", ["2026-11-16t09:14:03z", "2026-11-16T10:14:03+01:00"])
def test_other_spellings_of_a_time_are_the_same_moment(time: str) -> None:
    """Lower case and other zones are fine."""
    assert accepted(changed("time", time)).event.time == accepted(RAW).event.time


def test_somebodys_data_is_taken_out_and_the_event_still_counts() -> None:
    """Valid but leaking: the label is `__redacted__`, and a row for the quarantine says where."""
    value = changed(MODEL, "jo@example.com")
    found = accepted(value)
    assert found.event.data.gen_ai.request_model == "__redacted__"
    (row,) = found.quarantine
    assert (row.rule, row.path) == ("pattern.email", "$.data.gen_ai.request_model")
    assert (row.length, row.verdict, row.confirmed) == (len(value), "violation", False)
    assert "example" not in repr(found)


def test_a_confirmed_secret_is_said_even_of_a_refused_record() -> None:
    """A card in an unknown key is a never-event all the same."""
    found = read(changed("messages", [{"content": "pay with 4111 1111 1111 1111"}]))
    assert isinstance(found, Rejected)
    assert (found.rule, found.confirmed) == ("banned_key", ("pattern.card",))
    assert isinstance(clean := read(changed("messages", [])), Rejected)
    assert clean.confirmed == ()


def test_digests_are_keyed_and_follow_the_id() -> None:
    """The same id gives the same digest under one key, another under another."""

    def digest(value: bytes, key: bytes) -> str:
        found = decode(Record(0, value), key=key)
        assert isinstance(found, Rejected)
        return found.digest

    one, two = changed("data.x", 1), changed("data.y", 2)
    assert digest(one, KEY) == digest(two, KEY) != digest(one, b"other")
    assert digest(b"junk", KEY) != digest(b"other junk", KEY)
    leaking = accepted(changed(MODEL, "jo@example.com"))
    assert leaking.quarantine[0].digest == digest(one, KEY)


def test_the_size_limit_can_be_set() -> None:
    """A smaller limit refuses a larger record before it is read."""
    found = decode(Record(0, RAW), key=KEY, max_bytes=100)
    assert isinstance(found, Rejected)
    assert (found.rule, found.length) == ("too_large", len(RAW))


def test_headers_count_for_the_size() -> None:
    """An envelope of half a megabyte is no smaller for being in headers."""
    found = read(DATA, *CE, ("ce_subject", b"x" * (256 * 1024)))
    assert isinstance(found, Rejected)
    assert (found.rule, found.length > 256 * 1024) == ("too_large", True)


def test_neighbours_of_a_bad_record_are_untouched() -> None:
    """A bad record changes nothing for the ones around it."""
    before = accepted(RAW).event
    for bad in (b"", b"{", RAW[:-1], changed("messages", []), changed("id", "jo@example.com")):
        read(bad)
        assert accepted(RAW).event == before
