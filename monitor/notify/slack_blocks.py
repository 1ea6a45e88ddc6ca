"""A page as Slack shows it: text for the notification, blocks for the channel, no markup of data.

Words from events go into `plain_text` objects, where Slack neither formats nor links; the escaping
of `monitor.text.slack` holds on top. Only links and the command, made of configuration and ids, use
mrkdwn. Limits are Slack's (block reference; the total of about 13,200 characters for all blocks is
undocumented, slackapi/bolt-js#2509), and each part is cut to its own so that their sum stays below
10,000.
"""

from __future__ import annotations

from typing import Any

from monitor.notify.channel import DIGEST_LINES, Kind, Link, Message
from monitor.notify.fit import fit, units
from monitor.notify.links import sound_links
from monitor.notify.slack_buttons import Buttons
from monitor.text import slack, vis

Block = dict[str, Any]

HEADER = 150
TITLE = 600
LINES = 2400
CONTEXT = 900
LINKS = 2800
COMMAND = 300
NEWS = 300
DIGEST_LINE = 300
DIGEST = 4500
"""All lines of a digest: with what stands around them, within the total of all blocks."""

_MARK = {
    Kind.TRIGGER: "\N{POLICE CARS REVOLVING LIGHT}",
    Kind.UPDATE: "\N{MEMO}",
    Kind.ACKNOWLEDGE: "\N{EYES}",
    Kind.RESOLVE: "\N{WHITE HEAVY CHECK MARK}",
    Kind.TEST: "\N{BELL}",
    Kind.DIGEST: "\N{NEWSPAPER}",
}
_WORD = {
    Kind.TRIGGER: "Paged",
    Kind.UPDATE: "Update",
    Kind.ACKNOWLEDGE: "Acknowledged",
    Kind.RESOLVE: "Resolved",
    Kind.TEST: "Test page",
    Kind.DIGEST: "Digest",
}


def one_line(text: str, *, limit: int) -> str:
    """`text` for Slack without line breaks."""
    return slack(vis(text, limit=limit), limit=limit * 12)


def headline(message: Message, limit: int = HEADER) -> str:
    """`SEV1 INC-0142: title` with its mark, escaped, at most `limit` units."""
    if message.kind is Kind.DIGEST:
        head = f"{_MARK[message.kind]} {_WORD[message.kind]}: "
        return head + fit(one_line, message.title, limit - units(head))
    head = f"{_MARK[message.kind]} {fit(one_line, message.severity, 12)} "
    head += f"{fit(one_line, message.incident, 40)}: "
    if message.kind in {Kind.RESOLVE, Kind.TEST}:
        head += f"{_WORD[message.kind]}. "
    return head + fit(one_line, message.title, limit - units(head))


def fallback(message: Message, *, limit: int = 1500) -> str:
    """What a phone's notification shows and a screen reader reads: headline and lines."""
    head = headline(message, 300)
    if said := [fit(one_line, text, NEWS) for text in _news(message)]:
        head += "\n" + "\n".join(said)
    return f"{head}\n{fit(slack, _joined(message), max(0, limit - units(head) - 1))}".rstrip()


def root_blocks(
    message: Message, *, maybe_repeat: bool = False, buttons: Buttons | None = None
) -> list[Block]:
    """The incident's message in the channel, edited in place as the incident goes on.

    Args:
        message: the whole present picture of the incident.
        maybe_repeat: say that it may stand there twice.
        buttons: makes the buttons; None where nobody listens for clicks.
    """
    blocks: list[Block] = [{"type": "header", "text": _plain(headline(message))}]
    if headline(message, TITLE) != headline(message):
        blocks.append(_section(fit(one_line, message.title, TITLE)))
    blocks += _lines(message)
    blocks.append(_context(fit(one_line, _facts(message), CONTEXT)))
    if links := _links(message.links):
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": links}})
    if message.command:
        command = fit(one_line, message.command.replace("`", "'"), COMMAND)
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"`{command}`"}})
    blocks += [_context(fit(one_line, text, NEWS)) for text in _news(message)]
    if buttons is not None:
        blocks += buttons.block(message)
    if maybe_repeat:
        what = "digest" if message.kind is Kind.DIGEST else "page"
        again = f"Attempt {message.attempt}: this may repeat a {what} already sent."
        blocks.append(_context(again))
    return blocks


def reply_text(message: Message) -> str:
    """The text of a follow-up in the incident's thread."""
    head = _reply_head(message)
    return f"{head}\n{fit(slack, _joined(message), LINES)}".rstrip()


def reply_blocks(message: Message) -> list[Block]:
    """One follow-up in the incident's thread."""
    return [_section(_reply_head(message)), *_lines(message)]


def metadata(message: Message) -> dict[str, Any]:
    """What lets a later attempt recognise this message in the channel's history."""
    return {
        "event_type": "tocsin_digest" if message.kind is Kind.DIGEST else "tocsin_page",
        "event_payload": {
            "id": message.id,
            "kind": str(message.kind),
            "incident": vis(message.incident, limit=40),
        },
    }


def _reply_head(message: Message) -> str:
    """What happened: what somebody did where that is the news, else the kind of message."""
    word = _WORD[message.kind]
    done = message.acknowledged if message.kind is Kind.ACKNOWLEDGE else message.news
    if done:
        word = fit(one_line, done[:1].upper() + done[1:], NEWS)
    return f"{_MARK[message.kind]} {word}: {fit(one_line, message.title, 300)}"


def _news(message: Message) -> list[str]:
    """Who acknowledged, and what somebody just did, as sentences."""
    said = [text for text in (message.acknowledged, message.news) if text]
    return [text[:1].upper() + text[1:] for text in said]


def _joined(message: Message) -> str:
    return "\n".join(vis(line, limit=1000) for line in message.lines if line)


def _lines(message: Message) -> list[Block]:
    if message.kind is Kind.DIGEST:
        return _parts(message)
    text = fit(slack, _joined(message), LINES)
    return [_section(text)] if text else []


def _parts(message: Message) -> list[Block]:
    """Each line whole or cut by itself, as many to a section as it takes."""
    parts: list[str] = []
    left = DIGEST
    for line in message.lines[:DIGEST_LINES]:
        text = fit(one_line, line, min(DIGEST_LINE, left))
        left -= units(text) + 1
        if not text or left < 0:
            continue
        if parts and units(parts[-1]) + units(text) < LINES:
            parts[-1] += f"\n{text}"
        else:
            parts.append(text)
    return [_section(part) for part in parts]


def _facts(message: Message) -> str:
    facts = [f"state {message.state}"] if message.state else []
    facts += [f"{name} {value}" for name, value in message.labels.items()]
    if message.occurred_at is not None:
        word = "until" if message.kind is Kind.DIGEST else "since"
        facts.append(f"{word} {message.occurred_at:%Y-%m-%d %H:%M} UTC")
    return " \N{MIDDLE DOT} ".join(facts) or message.incident or "Tocsin"


def _links(links: tuple[Link, ...]) -> str:
    out = ""
    for link in sound_links(links):
        label = fit(one_line, link.text.replace("|", "/") or "link", 75)
        part = f"<{link.href.replace('&', '&amp;')}|{label}>"
        if len(out) + len(part) + 3 > LINKS:
            break
        out += (" \N{MIDDLE DOT} " if out else "") + part
    return out


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}


def _section(text: str) -> Block:
    return {"type": "section", "text": _plain(text)}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_plain(text)]}
