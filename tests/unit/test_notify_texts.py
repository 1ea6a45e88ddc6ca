"""What the channels make of any text, without a network."""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.notify.channel import Kind, Link, Message, Retry, Sent
from monitor.notify.fit import fit, units
from monitor.notify.links import sound_links
from monitor.notify.log import MAX_LINE, LogChannel, line
from monitor.notify.loopback import block_kit
from monitor.notify.loopback.phone import pagerduty_notices, slack_notices
from monitor.notify.loopback.slack import SlackMessage
from monitor.notify.pagerduty import MAX_BYTES, SUMMARY, alert_events, dedup_key
from monitor.notify.settings import LogSettings
from monitor.notify.slack_blocks import fallback, headline, reply_blocks, reply_text, root_blocks
from monitor.text import slack, vis
from tests.contract.channel_cases import NOW, digest, hostile, message

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
LONG_TEXT = st.builds(lambda text, times: text * times, ANY_TEXT, st.sampled_from([1, 1, 1, 2, 40]))


@st.composite
def pages(draw: st.DrawFn) -> Message:
    """Messages in which every text is arbitrary."""
    return Message(
        id=draw(ANY_TEXT),
        kind=draw(st.sampled_from(Kind)),
        dedup_key=draw(LONG_TEXT),
        incident=draw(ANY_TEXT),
        severity=draw(ANY_TEXT),
        state=draw(ANY_TEXT),
        title=draw(LONG_TEXT),
        lines=tuple(draw(st.lists(LONG_TEXT, max_size=4))) * draw(st.sampled_from([1, 1, 1, 8])),
        labels=draw(st.dictionaries(ANY_TEXT, LONG_TEXT, max_size=30)),
        links=tuple(draw(st.lists(st.builds(Link, ANY_TEXT, ANY_TEXT), max_size=3))),
        command=draw(LONG_TEXT),
        occurred_at=draw(st.none() | st.datetimes(timezones=st.just(UTC))),
        attempt=draw(st.integers(1, 9)),
    )


@given(text=LONG_TEXT, limit=st.integers(0, 300))
@pytest.mark.parametrize("encode", [vis, slack])
def test_fit_never_passes_its_limit(encode: object, text: str, limit: int) -> None:
    """Whatever encoding adds, the result is within the limit, in the strictest way of counting."""
    encoder = vis if encode is vis else slack
    assert units(fit(encoder, text, limit)) <= limit


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_fit_leaves_short_text_alone(text: str) -> None:
    """What needs no encoding and fits is not touched."""
    assert fit(vis, text, 40) == text


@given(page=pages())
def test_slack_s_limits_hold_for_any_page(page: Message) -> None:
    """No text makes a message that Slack's rules refuse, and no mention survives."""
    blocks = root_blocks(page, maybe_repeat=True)
    assert block_kit.problems(blocks) == []
    assert block_kit.problems(reply_blocks(page)) == []
    assert block_kit.total(blocks) <= 10_000
    texts = [fallback(page), fallback(page, limit=300), reply_text(page), json.dumps(blocks)]
    assert units(texts[0]) <= 1500
    assert units(texts[1]) <= 300
    assert not [text for text in texts if "<!" in text or "<@" in text or "<#" in text]


@given(page=pages())
def test_pagerduty_s_limits_hold_for_any_page(page: Message) -> None:
    """Each event is within the limits, none is larger than the one before, and the key is whole."""
    events = list(alert_events(page, {"event_action": "trigger", "dedup_key": dedup_key(page)}))
    sizes = [len(json.dumps(event)) for event in events]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= MAX_BYTES
    for event in events:
        assert 0 < units(event["payload"]["summary"]) <= SUMMARY
        assert event["payload"]["source"]
        assert 0 < units(event["dedup_key"]) <= 255


@given(one=LONG_TEXT, other=LONG_TEXT)
def test_different_keys_stay_different(one: str, other: str) -> None:
    """Keys too long for PagerDuty are digested, not cut, so two incidents never share one."""
    keys = {dedup_key(message(dedup_key=text)) for text in (one, other)}
    assert len(keys) == len({vis(one), vis(other)})


@given(page=pages())
def test_a_page_is_one_bounded_line_of_ascii(page: Message) -> None:
    """One record in, one line out, at most 8 KiB, in any locale."""
    text = line(page, NOW)
    assert len(text) <= MAX_LINE
    assert text.isascii()
    assert text.isprintable()
    what = "digest" if page.kind is Kind.DIGEST else "page"
    assert json.loads(text)["schema"] == f"tocsin.{what}/v1"


def test_a_log_that_nobody_reads_holds_nobody_up() -> None:
    """A full pipe is another try; the page comes once somebody reads again."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65536)
    os.set_blocking(writing, True)
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        channel = LogChannel(LogSettings(name="log"), stream)
        assert isinstance(channel.send(message(), NOW), Retry)
        reader.read(65536)
        assert isinstance(channel.send(message(), NOW), Sent)


def test_a_log_that_cannot_be_written_is_tried_again() -> None:
    """A closed stream is a Retry, not an exception."""
    stream = io.StringIO()
    stream.close()
    outcome = LogChannel(LogSettings(name="log"), stream).send(message(), NOW)
    assert isinstance(outcome, Retry)


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://user:pass@host/",
        "https://",
        "https://h/\u202e",
        "https://h/a b",
        "//host/x",
        "https://h/" + "x" * 3000,
        "",
    ],
)
def test_a_bad_link_is_left_out(href: str) -> None:
    """What is no plain web address is not sent, and the others are."""
    good = Link("Runbook", "https://tocsin.example/r")
    assert sound_links([Link("x", href), good]) == [good]


def test_a_link_cannot_leave_its_markup() -> None:
    """Bars and brackets in an address are percent-encoded, in a label escaped or replaced."""
    page = message(links=(Link("a|b>c<!here>", "https://h/x|y>z<!channel>?a=1&b=2"),))
    (section,) = [b for b in root_blocks(page) if "https://h/" in json.dumps(b)]
    wanted = "<https://h/x%7Cy%3Ez%3C!channel%3E?a=1&amp;b=2|a/b&gt;c&lt;!here&gt;>"
    assert section["text"]["text"] == wanted


def test_the_headline_says_severity_number_and_title() -> None:
    """The first thing read is what it is, how bad, and its number."""
    text = headline(message())
    assert text.endswith("SEV1 INC-0142: Refusals 4.1x baseline in chat/prod")
    assert "Resolved." in headline(message(kind=Kind.RESOLVE))
    assert "Test page." in headline(message(kind=Kind.TEST))
    assert headline(digest()).endswith("Digest: 2 tickets since 2026-02-28 09:00 UTC")


def test_a_long_title_is_whole_below_the_header() -> None:
    """A header holds 150 characters; a longer title is repeated in full under it."""
    title = "refusals of the coding assistant " * 8
    blocks = root_blocks(message(title=title))
    assert title.strip() in blocks[1]["text"]["text"]


def test_severities_map_to_pagerduty_s() -> None:
    """SEV1..SEV4 are critical, error, warning, info; anything else is taken for the worst."""
    pairs = {
        "SEV1": "critical",
        "SEV2": "error",
        "SEV3": "warning",
        "SEV4": "info",
        "?": "critical",
    }
    for ours, theirs in pairs.items():
        event = next(alert_events(message(severity=ours), {}))
        assert event["payload"]["severity"] == theirs


def test_links_and_client_are_top_level() -> None:
    """PagerDuty reads them beside the payload, not in it."""
    event = next(alert_events(message(), {}))
    assert event["client"] == "Tocsin"
    assert event["links"][0]["text"] == "Runbook"
    assert not {"links", "client"} & event["payload"].keys()


def test_a_phone_shows_what_notifies() -> None:
    """A message and a broadcast reply notify; an edit and a quiet reply do not."""
    root = SlackMessage("C1", "1.0", fallback(hostile("a <b>\x1b[2J")), edits=3)
    quiet = SlackMessage("C1", "2.0", "quiet", thread_ts="1.0")
    loud = SlackMessage("C1", "3.0", "loud", thread_ts="1.0", broadcast=True)
    shown = slack_notices([root, quiet, loud])
    assert [notice.lines[0][-4:] for notice in shown] == ["b[2J", "loud"]
    assert "a <b>\\x1b[2J" in shown[0].lines[0]
    assert pagerduty_notices([]) == ()
    change = "; after release chat_system_prompt v41"
    long = SlackMessage("C1", "4.0", "refusals " * 25 + change)
    assert slack_notices([long])[0].lines[0].endswith(change)


def test_times_are_utc_in_the_log() -> None:
    """The line's own time is the given one."""
    at = datetime(2026, 3, 1, 3, 12, tzinfo=UTC)
    assert json.loads(line(message(), at))["at"] == "2026-03-01T03:12:00+00:00"
