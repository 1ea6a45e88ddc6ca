"""Values made by hand for tests: events, arrivals, readings, alerts, incidents. Times are UTC."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.alerting.alerts import Alert, Reading, advance
from monitor.incidents.model import Incident, Origin
from monitor.notify.channel import Kind, Message
from monitor.store.note_rows import NoteRow
from monitor.store.outbox import Queued
from monitor.stream.cells import Arrival
from monitor.stream.decode import Decoded, decode
from monitor.stream.event import Amend, Event
from monitor.stream.sources.source import Record

KEY = b"the key of a test installation"
T0 = datetime(2026, 11, 16, 9, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    """A span."""
    return timedelta(minutes=count)


def document(
    at: datetime = T0,
    *,
    key: str = "e1",
    feature: str = "chat",
    status: str = "answered",
    source: str = "",
    **data: Any,
) -> dict[str, Any]:
    """One interaction of the core profile as JSON values; `data` adds or replaces sections."""
    sections: dict[str, Any] = {
        "deployment": {"environment": "prod", "feature": feature},
        "gen_ai": {"request_model": "gpt-4o"},
        "outcome": {"status": status},
        "redaction": {"status": "redacted"},
    }
    for name, value in data.items():
        old = sections.get(name)
        merge = isinstance(old, dict) and isinstance(value, dict)
        sections[name] = {**old, **value} if merge else value  # type: ignore[dict-item] # both dicts
    return {
        "type": "io.aisafety.interaction.v1",
        "id": key,
        "source": source or f"//gateway/{feature}",
        "time": at.isoformat(),
        "data": sections,
    }


def amend(
    at: datetime = T0, *, key: str = "a1", feature: str = "chat", **data: Any
) -> dict[str, Any]:
    """One late fact."""
    made = document(at, key=key, feature=feature, **data)
    for section in ("outcome", "redaction"):
        if section not in data:
            del made["data"][section]
    return {**made, "type": "io.aisafety.interaction.amend.v1", "amends": "e1"}


def event(made: dict[str, Any]) -> Event:
    """The decoded event."""
    found = decode(Record(0, json.dumps(made).encode()), key=KEY)
    assert isinstance(found, Decoded), found
    return found.event


def arrival(
    offset: int, made: dict[str, Any], *, stamp: datetime | None = None, flags: tuple[str, ...] = ()
) -> Arrival:
    """A decoded event as it comes from the log."""
    decoded = event(made)
    kind = "amend" if isinstance(decoded, Amend) else "interaction"
    stamp_ms = None if stamp is None else int(stamp.timestamp() * 1000)
    return Arrival(offset, stamp_ms, kind, decoded, json.dumps(made).encode(), flags)


def reading(**changes: Any) -> Reading:
    """A firing reading of refusals in chat."""
    base = Reading(
        signal="refusal_rate",
        dimensions={"environment": "prod", "feature": "chat"},
        tier="page",
        severity="SEV2",
        firing=True,
        at=T0,
        onset_at=T0 - minutes(5),
        k=50,
        n=100,
        rate=0.5,
        baseline=0.1,
        excess=40.0,
        score=12.0,
        threshold=7.0,
        reason="Refusals: rate 50.0 % against a baseline of 10.0 %",
    )
    return replace(base, **changes)


def alert(*, incident: str | None = None, **changes: Any) -> Alert:
    """An alert that has just opened."""
    made = advance(None, reading(**changes)).alert
    assert made is not None
    return replace(made, incident=incident)


def incident(**changes: Any) -> Incident:
    """An incident that an alert opened."""
    base = Incident(
        uuid="0" * 31 + "1",
        number=7,
        title="Refusals 5.0x base: chat in prod",
        severity="SEV2",
        origin=Origin.ALERT,
        detected_at=T0,
        impact_at=T0 - minutes(5),
        signal="refusal_rate",
        dimensions={"environment": "prod", "feature": "chat"},
        groups=frozenset({'{environment="prod", feature="chat"}'}),
    )
    return replace(base, **changes)


def level_note(**changes: Any) -> NoteRow:
    """A level that changed at T0."""
    row = NoteRow(
        kind="level",
        signal="refusal_rate",
        dimensions={"feature": "chat"},
        at=T0,
        onset_at=T0,
        before=0.02,
        after=0.04,
        text="Refusals, chat: 2 % to 4 %",
        fits="",
        key="level:chat",
    )
    return replace(row, **changes)


def queued(number: int) -> Queued:
    """A claimed page to the receiver `r`."""
    text = f"p{number}"
    return Queued(
        id=number,
        incident="i",
        receiver="r",
        message=Message(
            id=text,
            kind=Kind.TRIGGER,
            dedup_key=text,
            incident="INC-0001",
            severity="SEV1",
            state="triage",
            title=text,
            lines=(),
        ),
        state="claimed",
        attempts=1,
        created_at=T0,
        next_at=T0,
        sent_at=None,
        detail="",
    )
