"""Whether the times of the events can be right: each finding names the partition and the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from monitor.text import vis
from monitor.watch.checks import NAMED, Finding, span
from monitor.watch.facts import Facts, Memory
from monitor.watch.marks import WINDOW

AHEAD = timedelta(minutes=5)
ASTRAY_SHARE = 0.1
ASTRAY_LEAST = 20
"""Events of a window; fewer may be one retry after a short break."""
_CURE = (
    "see to the clock of that producer, or to what holds its events up; with "
    "message.timestamp.type=LogAppendTime on the topic no producer can move Tocsin's clock"
)


def audit(facts: Facts, memory: Memory) -> Iterator[Finding]:
    """Events astray, partitions ahead of our clock, and decisions that are."""
    if any(part.finished for part in facts.parts):
        return
    yield from _astray(facts, memory)
    yield from _ahead(facts)
    yield from _decided(facts)


def _astray(facts: Facts, memory: Memory) -> Iterator[Finding]:
    events = astray = 0
    names, sources, seconds = [], Counter[str](), dict[str, int]()
    for part in facts.parts:
        known = memory.marks.get((part.topic_id, part.number))
        if known is None:
            continue
        drift = known.drift
        if drift.astray < max(ASTRAY_LEAST, ASTRAY_SHARE * drift.events):
            continue
        names.append(f"{part.topic}-{part.number}")
        events, astray = events + drift.events, astray + drift.astray
        for source, stray in drift.sources.items():
            sources[source] += stray.events
            seconds[source] = stray.seconds
    if not names:
        return
    whose = ", ".join(
        f"{vis(source, limit=60)} writes times {_off(seconds[source])}"
        for source, _ in sources.most_common(NAMED)
    )
    yield Finding(
        check="time",
        key="time:astray",
        level="warn",
        severity="SEV3",
        since=facts.now - WINDOW,
        text=f"{astray / events:.0%} of the events of {_some(names)} came late or lay far ahead "
        f"for {span(WINDOW)}: {whose or 'of many sources'}",
        cure=_CURE,
    )


def _ahead(facts: Facts) -> Iterator[Finding]:
    limit = (facts.now + AHEAD).timestamp()
    ahead = [part for part in facts.parts if (part.watermark or 0) > limit]
    if not ahead:
        return
    furthest = max(part.watermark or 0 for part in ahead) - facts.now.timestamp()
    leaders = sorted({source for part in ahead for source in part.leaders})[:NAMED]
    whose = ", ".join(vis(source, limit=60) for source in leaders)
    yield Finding(
        check="time",
        key="time:ahead",
        level="warn",
        severity="SEV2",
        since=facts.now,
        text=f"the events of {_some([f'{part.topic}-{part.number}' for part in ahead])} are "
        f"{span(timedelta(seconds=furthest))} ahead of this machine's clock, by "
        f"{whose or 'their producers'}: new ones are judged when it is that late",
        cure=_CURE,
    )


def _decided(facts: Facts) -> Iterator[Finding]:
    if facts.decided is None or facts.decided <= (facts.now + AHEAD).timestamp():
        return
    if any((part.closed or 0) >= facts.decided for part in facts.parts):
        return  # the log is that far itself, and is judged on: then it is our clock that is behind
    until = datetime.fromtimestamp(facts.decided, UTC)
    yield Finding(
        check="time",
        key="time:decided",
        level="bad",
        severity="SEV1",
        since=facts.now,
        text=f"everything up to {until:%Y-%m-%d %H:%M} UTC is decided, and it is not that late: "
        "what comes with earlier times is counted as late, and not judged",
        cure="see to this machine's clock; if it is right, begin with a new store",
    )


def _off(seconds: int) -> str:
    return f"{span(timedelta(seconds=abs(seconds)))} {'ahead' if seconds > 0 else 'behind'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
