"""Episodes of the emergency road, as the spool tells them: what is owed, and what is the story."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.incidents.model import Incident, Origin, State
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Kind, Message
from monitor.opening import incident_uuid
from monitor.watch.spool import Closed, Filed, Noted, Opened, Record, Tried

ENDS = {
    Kind.TRIGGER: frozenset({"sent", "overtaken"}),
    Kind.RESOLVE: frozenset({"sent", "refused", "overtaken"}),
}
"""Outcomes after which a message is not tried again.

A page is owed while its trouble lasts, to who refused it, too: a proxy may have spoken, or a token
be renewed, and there may be no other road left.
"""


@dataclass(slots=True)
class Episode:
    """One trouble, from its first page to the store's timeline."""

    opened: Opened
    closed: Closed | None = None
    tried: dict[str, Tried] = field(default_factory=dict)
    """The last outcome of each message, by its id."""
    notes: list[Noted] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What receivers key on."""
        return self.opened.id

    def outcome(self, message: str) -> str:
        """The last outcome; empty before the first."""
        last = self.tried.get(message)
        return "" if last is None else last.outcome

    def message_id(self, receiver: str, kind: Kind) -> str:
        """Stable over restarts: the receiver folds repeats by it."""
        return f"{self.id}:{receiver}:{kind}"

    def reached(self) -> list[str]:
        """Receivers that have taken the page."""
        return [
            receiver
            for receiver in self.opened.receivers
            if self.outcome(self.message_id(receiver, Kind.TRIGGER)) == "sent"
        ]

    def owed(self) -> list[Message]:
        """Messages that are still to be sent, in the order of each receiver.

        A page that no receiver took before the end is overtaken by it: nobody is woken for what is
        over, and everybody who was told hears the end.
        """
        kind = Kind.TRIGGER if self.closed is None else Kind.RESOLVE
        return [
            self.message(receiver, kind)
            for receiver in self.opened.receivers
            if self.outcome(self.message_id(receiver, kind)) not in ENDS[kind]
        ]

    def message(self, receiver: str, kind: Kind) -> Message:
        """The page, or its end."""
        first = self.tried.get(self.message_id(receiver, Kind.TRIGGER))
        lines = self.opened.lines
        if self.closed is not None:
            lines = (self.closed.text, *lines)
        return Message(
            id=self.message_id(receiver, kind),
            kind=kind,
            dedup_key=self.opened.dedup or self.id,
            incident="TOCSIN",
            severity=self.opened.severity,
            state="open" if kind is Kind.TRIGGER else "resolved",
            title=self.opened.title,
            lines=lines[:3],
            labels={"signal": f"watch_{self.opened.check}", "severity": self.opened.severity},
            command="tocsin doctor",
            occurred_at=self.opened.since,
            receipt={} if first is None else first.receipt,
        )


def fold(records: Iterable[Record]) -> dict[str, Episode]:
    """The episodes that are not in the store yet, by id, oldest first."""
    found: dict[str, Episode] = {}
    for record in records:
        match record:
            case Opened(id=name):
                found.setdefault(name, Episode(record))
            case Filed(episode=name):
                found.pop(name, None)
            case Tried(episode=name) if name in found:
                found[name].tried[record.message] = record
            case Noted(episode=name) if name in found:
                found[name].notes.append(record)
            case Closed(episode=name) if name in found:
                found[name].closed = record
            case _:
                # Of an episode that is filed, or whose beginning was damaged.
                continue
    return found


def incident_of(episode: Episode, number: int) -> Incident:
    """The incident that the store gets, closed: people were told by the emergency road."""
    opened, closed = episode.opened, episode.closed
    ended = None if closed is None else closed.at
    return Incident(
        uuid=incident_uuid(f"watch:{episode.id}", opened.since),
        number=number,
        title=opened.title,
        severity=opened.severity,
        origin=Origin.TOCSIN,
        detected_at=opened.at,
        impact_at=opened.since,
        state=State.ACTIVE if ended is None else State.CLOSED,
        groups=frozenset({f"watch:{opened.key}"}),
        normal_at=ended,
        resolved_at=ended,
        closed_at=ended,
        paged_at=opened.at,
    )


def entries_of(episode: Episode) -> list[Entry]:
    """The whole story, in the order in which it happened; each entry has a key of its own."""
    opened, closed = episode.opened, episode.closed
    told = [
        Entry(
            kind="DETECT",
            text=". ".join((opened.title, *opened.lines)),
            actor="auditor",
            occurred_at=opened.at,
            key="watch:opened",
        ),
        Entry(
            kind="PAGE",
            text=f"{', '.join(opened.receivers) or 'nobody'}: by the emergency road, without the "
            "store",
            actor="auditor",
            occurred_at=opened.at,
            key="watch:page",
        ),
    ]
    told += [
        _entry("NOTE", note.text, note.at, f"watch:note:{number}")
        for number, note in enumerate(episode.notes)
    ]
    told += [_sending(episode, one) for one in episode.tried.values()]
    if closed is not None:
        told.append(_entry("NORMAL", closed.text, closed.at, "watch:normal"))
        text = "closed by the auditor: it is over, and people were told"
        told.append(_entry("CLOSED", text, closed.at, "watch:closed"))
    return sorted(told, key=lambda entry: entry.occurred_at)


def _sending(episode: Episode, one: Tried) -> Entry:
    words: Mapping[str, str] = {
        "sent": "accepted",
        "refused": "will not take",
        "overtaken": "was not told any more of",
    }
    receiver, _, kind = one.message.removeprefix(episode.id + ":").rpartition(":")
    text = f"{receiver} {words.get(one.outcome, 'did not take')} the {kind}"
    detail = f": {one.detail}" if one.detail else ""
    kinds = {"sent": "SENT", "refused": "DEAD"}
    return _entry(kinds.get(one.outcome, "NOTE"), text + detail, one.at, f"watch:{one.message}")


def _entry(kind: str, text: str, at: datetime, key: str) -> Entry:
    return Entry(kind=kind, text=text, actor="auditor", occurred_at=at, key=key)
