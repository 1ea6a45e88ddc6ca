"""What the strict Slack and PagerDuty hold after a replay, against what a page must say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.bench.replay_daemon import Receivers

_ABOUT_ONE_EVENT = re.compile(r"\bc_[0-9a-f]{16}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-|user_task")
"""A conversation, an event's id, a prompt: things of one interaction, which no page may name."""
LINES = 3


def page_lines(paged: Receivers) -> list[str]:
    """The lines of the first page as PagerDuty got them."""
    incidents = paged.pagerduty.incidents
    return list(incidents[0].custom_details["what"]) if incidents else []


def page_problems(paged: Receivers, *, rule: str, feature: str) -> list[str]:
    """What is wrong with the one page of one incident; empty when all is well.

    Args:
        paged: after the daemon has ended.
        rule: the title of the rule that fired.
        feature: that the page must name.
    """
    return [*_slack(paged, rule, feature), *_pagerduty(paged, rule, feature)]


def _slack(paged: Receivers, rule: str, feature: str) -> Iterator[str]:
    roots = [message for message in paged.slack.messages if not message.thread_ts]
    if len(roots) != 1:
        yield f"Slack holds {len(roots)} messages outside threads, not 1"
    for root in roots[:1]:
        said = "\n".join([root.text, *_texts(root.blocks)])
        yield from _said("Slack", said, rule, feature)
        body = [text for text in _texts(root.blocks) if text.count("\n") == LINES - 1]
        if not body:
            yield f"Slack's message has no block of {LINES} lines"


def _pagerduty(paged: Receivers, rule: str, feature: str) -> Iterator[str]:
    incidents = paged.pagerduty.incidents
    if len(incidents) != 1:
        yield f"PagerDuty holds {len(incidents)} incidents, not 1"
    for one in incidents[:1]:
        lines = page_lines(paged)
        if len(lines) != LINES:
            yield f"PagerDuty's page has {len(lines)} lines, not {LINES}"
        yield from _said("PagerDuty", "\n".join([one.summary, one.source, *lines]), rule, feature)


def _said(where: str, text: str, rule: str, feature: str) -> Iterator[str]:
    for wanted in (rule, feature):
        if wanted not in text:
            yield f"{where}'s page does not say {wanted!r}"
    if found := _ABOUT_ONE_EVENT.search(text):
        yield f"{where}'s page carries {found.group()!r} of an event"


def _texts(blocks: object) -> list[str]:
    """Every text of Slack blocks, in order."""
    if isinstance(blocks, dict):
        own = [blocks["text"]] if isinstance(blocks.get("text"), str) else []
        return own + [text for value in blocks.values() for text in _texts(value)]
    if isinstance(blocks, list | tuple):
        return [text for one in blocks for text in _texts(one)]
    return []
