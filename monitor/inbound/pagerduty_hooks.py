"""Web hooks v3 of PagerDuty: what people do there is done, or told, here.

Acknowledged there is acknowledged here, by the mapped person. Resolved there ends nothing here: an
incident of ours ends with a verdict and a verification, so it is acknowledged and a note says so.
What our own integration or a service does in PagerDuty is our own echo and is passed over.

Protocol: PagerDuty/developer-docs, webhooks v3: overview, event payloads, verifying signatures.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from monitor.config.secret import Secret, SecretUnavailableError
from monitor.inbound.answers import Action, Answer, Answers
from monitor.inbound.hooks import Answer as HookAnswer
from monitor.inbound.people import People
from monitor.inbound.signatures import pagerduty_flaw
from monitor.incidents.timeline import Entry
from monitor.text import vis

logger = logging.getLogger(__name__)

OLDEST = timedelta(days=3)
"""PagerDuty repeats for 48 hours; what is older is a copy that somebody kept."""
AHEAD = timedelta(days=1)
"""A time further in the future is nobody's clock, and may not even have a place in UTC."""
NOTE = 4000
_OURS = re.compile(r"tocsin:([^:]{1,80}):sev[1-4](?::[0-9]{1,9})?")
_ID = re.compile(r"[A-Za-z0-9]{1,40}")


class _Ref(msgspec.Struct, frozen=True):
    id: str = ""
    type: str = ""


class _Data(msgspec.Struct, frozen=True):
    """An incident, or what hangs on one."""

    id: str = ""
    number: int | None = None
    incident_key: str | None = None
    incident: _Ref | None = None
    content: str | None = None


class _Event(msgspec.Struct, frozen=True):
    id: str
    event_type: str
    occurred_at: datetime
    agent: _Ref | None = None
    data: _Data = _Data()


class _Body(msgspec.Struct, frozen=True):
    event: _Event


_KNOWN = {
    "incident.triggered",
    "incident.acknowledged",
    "incident.unacknowledged",
    "incident.resolved",
    "incident.annotated",
}


class PagerDutyHooks:
    """`POST /hooks/pagerduty`."""

    def __init__(
        self, secrets: Sequence[Secret], people: Callable[[], People], answers: Answers
    ) -> None:
        """Args: `people` are those of the configuration as it is now."""
        self._secrets = secrets
        self._people = people
        self._answers = answers

    def hook(self, body: bytes, headers: Mapping[str, str], now: datetime) -> HookAnswer:
        """One web hook; implements `monitor.inbound.hooks.Hook`.

        Raises:
            StoreUnavailable: answered with 503, PagerDuty comes again.
        """
        try:
            secrets = [secret.reveal() for secret in self._secrets]
        except SecretUnavailableError as problem:
            # 5xx, so that it comes again when the secret is there
            return HookAnswer.of(503, str(problem))
        if flaw := pagerduty_flaw(secrets, headers, body):
            logger.warning("pagerduty: a request was refused: %s", flaw)
            return HookAnswer.of(401, "not signed as it must be")
        try:
            event = msgspec.json.decode(body, type=_Body).event
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return HookAnswer.of(400, "not an event of web hooks v3")
        answer = read_answer(event, self._people(), now)
        if answer is None:
            return HookAnswer.of(202, "nothing to do")
        reply = self._answers.in_time(answer)
        return HookAnswer.of(202 if reply.outcome == "repeat" else 200, reply.outcome)


def read_answer(event: _Event, people: People, now: datetime) -> Answer | None:
    """What an event asks of us; None for nothing. Pure."""
    data = event.data
    there = data.incident.id if data.incident is not None else data.id
    ours = _OURS.fullmatch(data.incident_key or "")
    if event.event_type not in _KNOWN or not _ID.fullmatch(there):
        return None
    if event.occurred_at.tzinfo is None or not -AHEAD <= now - event.occurred_at <= OLDEST:
        return None
    agent = event.agent or _Ref()
    person = agent.type.startswith("user")
    told = event.event_type.removeprefix("incident.")
    if told != "triggered" and not person:
        return None
    if ours is None and told != "annotated":
        return None
    action: Action = "acknowledge" if told in {"acknowledged", "resolved"} else "none"
    return Answer(
        source="pagerduty",
        keys=(f"pagerduty:{vis(event.id, limit=80)}",),
        account=vis(agent.id or "-", limit=40),
        who=people.of_pagerduty(agent.id) if person else None,
        action=action,
        occurred_at=event.occurred_at,
        incident=ours[1] if ours is not None else "",
        entry="" if ours is not None else _key(there),
        note=_note(told, data),
        link=None if ours is None else _link(data, there, event.occurred_at),
        lost=_lost(told, agent.id),
    )


def _key(there: str) -> str:
    return f"pagerduty:{there}"


def _link(data: _Data, there: str, at: datetime) -> Entry:
    number = "" if data.number is None else f" #{data.number}"
    text = f"is incident{number} in PagerDuty"
    key, when = _key(there), at.astimezone(UTC)
    return Entry(kind="PAGERDUTY", text=text, actor="pagerduty", occurred_at=when, key=key)


def _note(told: str, data: _Data) -> str:
    """The note that goes on the timeline for an event; empty for none."""
    match told:
        case "resolved":
            return "resolved in PagerDuty; here it stays open until it has a verdict"
        case "unacknowledged":
            return "the acknowledgement in PagerDuty ended; here it holds"
        case "annotated":
            content = (data.content or "").strip()
            return f"in PagerDuty: {content[:NOTE]}" if content else ""
        case _:
            return ""


def _lost(told: str, account: str) -> str:
    """What the timeline says when somebody we do not know did it there."""
    if told not in {"acknowledged", "resolved"}:
        return ""
    return (
        f"{told} in PagerDuty by {vis(account, limit=40)}, who is nobody here (inbound.people); "
        "the escalation goes on"
    )
