"""PagerDuty's Events API v2 with its sizes, schema, rates, and what it does with alerts.

An incident opens on a trigger whose key has none open; a further trigger is appended to an open one
and notifies nobody; after a resolve the same key opens a new one. An acknowledge or resolve without
an open incident is accepted and dropped without a word, as there; `events` says so.

Stricter than PagerDuty in one point: a field that its documents do not know is refused.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from monitor.notify.fit import units
from monitor.notify.loopback.server import Answer, Request

MAX_BYTES = 512_000
SUMMARY = 1024
DEDUP_KEY = 255
ROUTING_KEY = 32

_TOP = {
    "routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"
}  # fmt: skip
_PAYLOAD = {
    "summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"
}  # fmt: skip
_SEVERITIES = {"critical", "error", "warning", "info"}
_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class PagerDutyIncident:
    """One incident: what wakes somebody up, once."""

    number: int
    dedup_key: str
    summary: str
    severity: str
    source: str
    state: Literal["triggered", "acknowledged", "resolved"]
    triggers: int = 1
    """Trigger events it got; only the first notified."""
    links: tuple[dict[str, str], ...] = ()
    custom_details: Any = None


@dataclass(frozen=True, slots=True)
class PagerDutyEvent:
    """One accepted event and what came of it."""

    action: str
    dedup_key: str
    effect: str
    """`opened`, `appended`, `appended while acknowledged`, `acknowledged`, `resolved`, `dropped`,
    `opened again after resolve`, `change`."""


class PagerDutyReceiver:
    """One account.

    Args:
        routing_keys: valid integration keys, 32 characters each.
        per_minute: events that one key takes in 60 seconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        routing_keys: Collection[str],
        per_minute: int = 120,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = frozenset(routing_keys)
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: dict[str, deque[float]] = {}
        self._incidents: list[PagerDutyIncident] = []
        self._owners: list[str] = []
        self._events: list[PagerDutyEvent] = []
        self._changes: list[dict[str, Any]] = []

    @property
    def incidents(self) -> tuple[PagerDutyIncident, ...]:
        """Every incident ever opened, in order."""
        with self._lock:
            return tuple(self._incidents)

    @property
    def events(self) -> tuple[PagerDutyEvent, ...]:
        """Every accepted event, in order."""
        with self._lock:
            return tuple(self._events)

    @property
    def changes(self) -> tuple[dict[str, Any], ...]:
        """Payloads of the accepted change events."""
        with self._lock:
            return tuple(self._changes)

    def press(self, number: int, state: Literal["acknowledged", "resolved"]) -> None:
        """Somebody presses the button on the phone."""
        with self._lock:
            self._incidents[number - 1] = replace(self._incidents[number - 1], state=state)

    def answer(self, request: Request) -> Answer:
        """Take one event."""
        check = {"/v2/enqueue": _alert_errors, "/v2/change/enqueue": _change_errors}.get(
            request.path
        )
        if check is None or request.method != "POST":
            return Answer(404, outcome="refused: no such address")
        try:
            event = json.loads(request.body)
            json.dumps(event, ensure_ascii=False).encode()  # fails on lone surrogates
        except (ValueError, RecursionError):
            return _invalid("", ["JSON is not valid"])
        key = str(event.get("dedup_key") or "") if isinstance(event, dict) else ""
        if len(request.body) > MAX_BYTES:
            return _invalid(key, [f"Event is larger than {MAX_BYTES} bytes"])
        errors = check(event)
        if not errors and event["routing_key"] not in self._keys:
            return Answer(400, b'"Invalid routing key"', _HEADERS, key, "refused: routing key")
        if errors:
            return _invalid(key, errors)
        with self._lock:
            if not self._admit(event["routing_key"]):
                body = {"status": "throttle exceeded", "message": "Too many requests"}
                return Answer(429, json.dumps(body).encode(), _HEADERS, key, "refused: rate")
            key = key or f"generated-{len(self._events)}"
            effect = self._change(event) if "change" in request.path else self._apply(event, key)
            self._events.append(PagerDutyEvent(event.get("event_action", "change"), key, effect))
        body = {"status": "success", "message": "Event processed", "dedup_key": key}
        return Answer(202, json.dumps(body).encode(), _HEADERS, key, f"accepted: {effect}")

    def _admit(self, routing_key: str) -> bool:
        now = self._clock()
        taken = self._taken.setdefault(routing_key, deque())
        while taken and taken[0] <= now - 60.0:
            taken.popleft()
        if len(taken) >= self._per_minute:
            return False
        taken.append(now)
        return True

    def _change(self, event: dict[str, Any]) -> str:
        self._changes.append(event["payload"])
        return "change"

    def _apply(self, event: dict[str, Any], key: str) -> str:
        known = [
            place
            for place, incident in enumerate(self._incidents)
            if incident.dedup_key == key and self._owners[place] == event["routing_key"]
        ]
        place = known[-1] if known else -1
        latest = self._incidents[place] if known else None
        if event["event_action"] != "trigger":
            if latest is None or latest.state == "resolved":
                return "dropped"
            acknowledged = event["event_action"] == "acknowledge"
            state: Literal["acknowledged", "resolved"] = (
                "acknowledged" if acknowledged else "resolved"
            )
            self._incidents[place] = replace(latest, state=state)
            return state
        if latest is not None and latest.state != "resolved":
            self._incidents[place] = replace(latest, triggers=latest.triggers + 1)
            quiet = latest.state == "acknowledged"
            return "appended while acknowledged" if quiet else "appended"
        payload = event["payload"]
        self._owners.append(event["routing_key"])
        self._incidents.append(
            PagerDutyIncident(
                len(self._incidents) + 1,
                key,
                payload["summary"],
                payload["severity"],
                payload["source"],
                "triggered",
                links=tuple(event.get("links", ())),
                custom_details=payload.get("custom_details"),
            )
        )
        return "opened again after resolve" if latest else "opened"


def _invalid(key: str, errors: list[str]) -> Answer:
    body = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
    return Answer(400, json.dumps(body).encode(), _HEADERS, key, f"refused: {errors[0]}")


def _alert_errors(event: object) -> list[str]:
    """What is wrong with an alert event, everything at once."""
    if not isinstance(event, dict):
        return ["Event is not an object"]
    errors = _common_errors(event)
    action = event.get("event_action")
    if action not in {"trigger", "acknowledge", "resolve"}:
        errors.append("'event_action' is missing or invalid")
    key = event.get("dedup_key", "")
    if not isinstance(key, str) or units(key) > DEDUP_KEY:
        errors.append(f"'dedup_key' is not a string of at most {DEDUP_KEY} characters")
    if action in {"acknowledge", "resolve"}:
        return errors if key else [*errors, "'dedup_key' is missing or blank"]
    payload = event.get("payload")
    if not isinstance(payload, dict):
        return [*errors, "'payload' is missing"]
    if payload.get("severity") not in _SEVERITIES:
        errors.append("'payload.severity' is invalid (must be critical, error, warning or info)")
    if not isinstance(payload.get("source"), str) or not payload["source"]:
        errors.append("'payload.source' is missing or blank")
    return errors + _payload_errors(payload)


def _change_errors(event: object) -> list[str]:
    """What is wrong with a change event, everything at once."""
    if not isinstance(event, dict):
        return ["Event is not an object"]
    payload = event.get("payload")
    if not isinstance(payload, dict):
        return [*_common_errors(event), "'payload' is missing"]
    return _common_errors(event) + _payload_errors(payload)


def _common_errors(event: dict[str, Any]) -> list[str]:
    errors = [f"unknown field '{name}'" for name in sorted(event.keys() - _TOP)]
    key = event.get("routing_key")
    if not isinstance(key, str) or len(key) != ROUTING_KEY:
        errors.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    elif not re.fullmatch("[A-Za-z0-9]+", key):
        errors.append("'routing_key' cannot contain non-alphanumeric characters.")
    links = event.get("links", [])
    if not isinstance(links, list) or not all(_is_link(link) for link in links):
        errors.append("'links' is not a list of {href, text} with web addresses")
    return errors + _not_strings(event, "", ("client", "client_url"))


def _is_link(link: object) -> bool:
    if not isinstance(link, dict) or not link.keys() <= {"href", "text"}:
        return False
    href = link.get("href")
    return isinstance(href, str) and href.startswith(("https://", "http://"))


def _not_strings(holder: dict[str, Any], where: str, names: tuple[str, ...]) -> list[str]:
    wrong = (name for name in names if not isinstance(holder.get(name, ""), str))
    return [f"'{where}{name}' is not a string" for name in wrong]


def _payload_errors(payload: dict[str, Any]) -> list[str]:
    errors = [f"unknown field 'payload.{name}'" for name in sorted(payload.keys() - _PAYLOAD)]
    summary = payload.get("summary")
    if not isinstance(summary, str) or not summary.strip():
        errors.append("'payload.summary' is missing or blank")
    elif units(summary) > SUMMARY:
        errors.append(f"'payload.summary' is longer than {SUMMARY} characters")
    errors += _not_strings(payload, "payload.", ("component", "group", "class", "source"))
    try:
        datetime.fromisoformat(payload.get("timestamp", "2000-01-01T00:00:00Z"))
    except (ValueError, TypeError):
        errors.append("'payload.timestamp' is not ISO 8601")
    return errors
