"""The daily digest: when it is due, and what it says of all that woke nobody. Pure.

One message a day and receiver, at a wall-clock time of its own zone; no message where there is
nothing to say. It asks for nothing at once, so that it must never ring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from monitor.alerting.alerts import Alert
from monitor.alerting.ledger import Proposal, demotion
from monitor.alerting.pages import PAGING_SEVERITIES, strongest, where
from monitor.incidents.model import Incident, Origin

SPAN = timedelta(days=1)
"""The first digest of a receiver looks so far back."""
LONGEST = timedelta(days=7)
"""After a pause no digest looks further back."""
TICKETS = 10
NOTES = 5
PROPOSALS = 5
LINES = TICKETS + NOTES + PROPOSALS + 2
"""Two of them say how many tickets and notes there are besides."""


@dataclass(frozen=True, slots=True)
class Daily:
    """Who gets the digest, and when."""

    receivers: tuple[str, ...]
    at: time
    """On the wall of `zone`."""
    zone: tzinfo = UTC
    tiers: Mapping[str, str] = field(default_factory=dict)
    """The tier of every rule as the configuration has it; people may have moved it."""

    def due(self, now: datetime) -> date | None:
        """The local day whose digest is to be sent at `now`, unless it was; None before its time.

        A time that the clocks jump over is due when they have jumped, though that be on the next
        day; one that they show twice is due from the first time on, and has one day.
        """
        local = now.astimezone(self.zone)
        today = local.date()
        if local.time() >= self.at:
            return today
        before = today - timedelta(days=1)
        met = datetime.combine(before, self.at, self.zone).astimezone(UTC).astimezone(self.zone)
        return before if met.date() == today else None


@dataclass(frozen=True, slots=True)
class Item:
    """A ticket with its alerts."""

    incident: Incident
    alerts: Sequence[Alert] = ()

    @property
    def folded(self) -> bool:
        """It would have paged, had the team not had its pages of the shift."""
        return self.incident.severity in PAGING_SEVERITIES and any(
            alert.tier == "page" for alert in self.alerts
        )


@dataclass(frozen=True, slots=True)
class Note:
    """What changed for good, in words; `fits` is empty where no recorded change does."""

    text: str
    onset_at: datetime
    fits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Everything one digest is about."""

    since: datetime
    until: datetime
    tickets: Sequence[Item] = ()
    notes: Sequence[Note] = ()
    """Newest first."""
    proposals: Sequence[Proposal] = ()
    """Demotions that nobody has decided on."""
    proposed: bool = False
    """Whether any of them is new: the others alone are no reason to write again."""

    @property
    def empty(self) -> bool:
        """Nothing to say."""
        return not (self.tickets or self.notes or self.proposed)

    @property
    def title(self) -> str:
        """How much of what, since when."""
        counts = [
            _count(len(self.tickets), "ticket"),
            _count(len(self.notes), "level change"),
            _count(len(self.proposals), "open proposal"),
        ]
        said = ", ".join(count for count in counts if count)
        return f"{said} since {_stamp(self.since)}; they woke nobody"

    @property
    def lines(self) -> tuple[str, ...]:
        """At most `LINES`: tickets, those first that would have paged, notes, proposals."""
        tickets = sorted(self.tickets, key=_rank)
        return (
            *(_ticket(item) for item in tickets[:TICKETS]),
            *_more(len(tickets) - TICKETS, "ticket", self.command),
            *(_note(note) for note in self.notes[:NOTES]),
            *_more(len(self.notes) - NOTES, "level change", "tocsin signal notes"),
            *(_proposal(one) for one in self.proposals[:PROPOSALS]),
        )

    @property
    def command(self) -> str:
        """What lists all of it."""
        days = -(-(self.until - self.since) // SPAN)
        return "tocsin tickets" if days <= 1 else f"tocsin tickets --days {days}"


def is_ticket(incident: Incident) -> bool:
    """Whether detectors opened it and it woke nobody: what the digest is of."""
    return incident.paged_at is None and incident.origin is Origin.ALERT


def window(last: datetime | None, now: datetime) -> datetime:
    """From when on a digest at `now` looks, after one at `last`; None: there was none."""
    if last is None or last > now:  # the clock was put back
        return now - SPAN
    return max(last, now - LONGEST)


def key(receiver: str, day: date) -> str:
    """One for a receiver and day, so that a repeat is known as one."""
    return f"digest:{receiver}:{day.isoformat()}"


def _rank(item: Item) -> tuple[bool, str, float]:
    return (not item.folded, item.incident.severity, -item.incident.detected_at.timestamp())


def _ticket(item: Item) -> str:
    """Incident, rule, where and since when, then how much against what: channels cut the end."""
    name = f"{item.incident.name} (folded page)" if item.folded else item.incident.name
    if not item.alerts:
        return f"{name}  {item.incident.title}, since {_stamp(item.incident.detected_at)}"
    lead = strongest(item.alerts)
    more = len(item.alerts) - 1
    also = f" (+{_count(more, 'more alert')})" if more else ""
    place = f"{lead.signal}{also}, {where(lead.dimensions)}, since {_stamp(lead.onset_at)}"
    return f"{name}  {place}: {lead.reading.reason}"


def _note(note: Note) -> str:
    fits = note.fits or "no recorded change fits"
    return f"{note.text}, since {_stamp(note.onset_at)}; {fits}"


def _proposal(one: Proposal) -> str:
    return f"demote {one.rule}? {one.reason}: {demotion(one.rule, one.tier)}"


def _more(count: int, what: str, command: str) -> tuple[str, ...]:
    return (f"and {_count(count, f'more {what}')}: {command}",) if count > 0 else ()


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}" if count else ""


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
