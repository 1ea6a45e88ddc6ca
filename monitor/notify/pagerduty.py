"""PagerDuty, Events API v2: trigger, acknowledge, resolve, and change events.

The provider folds repeats by `dedup_key`, so an attempt whose answer was lost is sent again with
the same key. An update is not sent: for an open alert it would show nothing, and for one that
somebody has resolved in PagerDuty it would page anew; nor is a digest, which would ring. A page
that is refused for its content goes out smaller, and smaller again, before it is given up.

Protocol: PagerDuty/developer-docs, events-API-v2: 01 responses, 02 alerts, 03 changes, 05 rates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from monitor.config.secret import SecretUnavailableError, mask
from monitor.http_client import HttpClient, HttpError, NoAnswerError, Response
from monitor.notify.channel import Kind, Link, Message, Outcome, Refused, Retry, Sent, Unknown
from monitor.notify.fit import fit
from monitor.notify.links import sound_links
from monitor.notify.settings import PagerDutySettings
from monitor.text import vis

MAX_BYTES = 512_000
"""Of one event. The documents say 512 KB; Alertmanager counts thousands, and so do we."""
SUMMARY = 1024
_DETAILS = 40
_SEVERITY = {"SEV1": "critical", "SEV2": "error", "SEV3": "warning", "SEV4": "info"}
_ACTION = {
    Kind.TRIGGER: "trigger",
    Kind.TEST: "trigger",
    Kind.ACKNOWLEDGE: "acknowledge",
    Kind.RESOLVE: "resolve",
}

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was changed and is no problem by itself: a release, a flag, a mitigation."""

    summary: str
    source: str
    occurred_at: datetime
    details: Mapping[str, str]
    links: tuple[Link, ...] = ()


class PagerDutyChannel:
    """Pages through one integration key; implements `monitor.notify.channel.Channel`."""

    kind = "pagerduty"

    def __init__(self, settings: PagerDutySettings, http: HttpClient) -> None:
        self.name = settings.name
        self._settings = settings
        self._http = http

    def send(self, message: Message, now: datetime) -> Outcome:  # noqa: ARG002 - the port's shape
        """Send one event; `Sent.receipt` is `{"dedup_key"}`."""
        action = _ACTION.get(message.kind)
        if action is None:
            return Sent(detail=f"nothing sent: PagerDuty takes no {message.kind}")
        key = dedup_key(message)
        event: Event = {"event_action": action, "dedup_key": key}
        sizes = alert_events(message, event) if action == "trigger" else iter([event])
        return self._deliver("/v2/enqueue", sizes, {"dedup_key": key})

    def send_change(self, change: Change, now: datetime) -> Outcome:  # noqa: ARG002 - as `send`
        """Tell PagerDuty of a change, which it shows beside incidents and notifies nobody of."""
        return self._deliver("/v2/change/enqueue", change_events(change), {})

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def _deliver(self, path: str, sizes: Iterator[Event], receipt: Mapping[str, str]) -> Outcome:
        """The first of `sizes`, from full to least, that PagerDuty accepts."""
        try:
            key = self._settings.routing_key.reveal()
        except SecretUnavailableError as error:
            return Retry(str(error), ours=True)
        refused = ""
        outcome: Outcome = Refused(refused)
        for event in sizes:
            body = json.dumps({"routing_key": key, **event}).encode()
            if len(body) > MAX_BYTES:
                refused = refused or f"the event has {len(body)} bytes"
                outcome = Refused(refused)
                continue
            outcome, final = self._post(path, body, key)
            if isinstance(outcome, Sent):
                remark = f"shortened: {refused}" if refused else ""
                return Sent(receipt, remark)
            if final or not isinstance(outcome, Refused | Retry):
                return outcome
            refused = outcome.reason
        return outcome

    def _post(self, path: str, body: bytes, key: str) -> tuple[Outcome, bool]:
        """One call, and whether a smaller event could not do better."""
        try:
            answer = self._http.request(
                "POST",
                self._settings.base_url.rstrip("/") + path,
                body=body,
                headers={"content-type": "application/json"},
                timeout_s=self._settings.timeout_s,
            )
        except NoAnswerError as error:
            return Unknown(str(error)), True
        except HttpError as error:
            return Retry(str(error)), True
        errors = _errors(answer)
        about_content = answer.status in {400, 413} and "routing" not in (errors or "").lower()
        shown = None if errors is None else mask(errors, key)
        return judge(answer, shown), not about_content


def dedup_key(message: Message) -> str:
    """The message's key if PagerDuty can take it, else a digest of it: equal for equal keys."""
    key = vis(message.dedup_key)
    return key if 0 < len(key) <= 255 else hashlib.sha256(key.encode()).hexdigest()


def judge(answer: Response, errors: str | None) -> Outcome:
    """What PagerDuty's answer means for the page.

    Args:
        answer: the HTTP answer.
        errors: PagerDuty's explanation; None: the body is not its own, and somebody else answered.
    """
    why = f"PagerDuty answers {answer.status}" + (f" ({errors})" if errors else "")
    if answer.status == 202:
        return Sent()
    if answer.status in {429, 503}:
        return Retry(why, answer.retry_after())
    if answer.status >= 500:
        return Unknown(why)
    if answer.status < 300 or answer.status == 408:
        # anything but 202 is not PagerDuty speaking; the same key makes another try harmless
        return Unknown(f"{why}, which is not its answer")
    if errors is None or answer.status < 400:
        return Retry(f"{why}, which is not its answer: a proxy on the way?", astray=True)
    return Refused(why)


def alert_events(message: Message, base: Event) -> Iterator[Event]:
    """The page as events, each smaller than the one before it; the last is the least that pages."""
    severity = _SEVERITY.get(message.severity, "critical")  # unsure: the higher one
    head = f"[{vis(message.severity, limit=8)}] {vis(message.incident, limit=40)} "
    if message.kind is Kind.TEST:
        head += "Test page. "
    labels = {vis(name, limit=40): vis(value, limit=200) for name, value in _first(message.labels)}
    where = "/".join(labels[name] for name in ("environment", "feature") if labels.get(name))
    payload = {
        "summary": head + fit(vis, message.title, SUMMARY - len(head)),
        "source": where or "tocsin",
        "severity": severity,
    }
    if message.occurred_at is not None:
        payload["timestamp"] = message.occurred_at.isoformat()
    for field, label in (("component", "feature"), ("group", "environment"), ("class", "signal")):
        if labels.get(label):
            payload[field] = labels[label]
    links = _links(message.links)
    more: Event = {"client": "Tocsin", "links": links} if links else {"client": "Tocsin"}
    details: Event = {
        "what": [fit(vis, line, 1000) for line in message.lines[:10]],
        "state": vis(message.state, limit=40),
        "command": fit(vis, message.command, 300),
        "labels": labels,
    }
    if message.attempt > 1:
        details["attempt"] = message.attempt
    yield {**base, **more, "payload": {**payload, "custom_details": details}}
    yield {**base, **more, "payload": payload}
    least = (head + message.title).encode("ascii", "replace").decode()
    summary = fit(vis, least, 200)
    yield {**base, "payload": {"summary": summary, "source": "tocsin", "severity": severity}}


def change_events(change: Change) -> Iterator[Event]:
    """The change as events, each smaller than the one before it."""
    payload = {
        "summary": fit(vis, change.summary, SUMMARY) or "change",
        "source": fit(vis, change.source, 200) or "tocsin",
        "timestamp": change.occurred_at.isoformat(),
    }
    details = {vis(name, limit=40): fit(vis, text, 1000) for name, text in _first(change.details)}
    links = _links(change.links)
    yield {"payload": {**payload, "custom_details": details}, **({"links": links} if links else {})}
    yield {"payload": payload}


def _first(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    return list(labels.items())[:_DETAILS]


def _links(links: Iterable[Link]) -> list[dict[str, str]]:
    return [{"href": link.href, "text": fit(vis, link.text, 100)} for link in sound_links(links)]


def _errors(answer: Response) -> str | None:
    """PagerDuty's explanation, safe to show and short; None if the body is not in its form.

    That is an object with `errors`, or with `status` and perhaps `message`, or a bare text.
    """
    try:
        data = msgspec.json.decode(answer.body, type=dict[str, Any] | str)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(data, str):
        return vis(data, limit=300)
    errors = data.get("errors")
    if not isinstance(errors, list) and not isinstance(data.get("status"), str):
        return None
    words = errors if isinstance(errors, list) else [data.get("message") or ""]
    return vis("; ".join(str(word) for word in words[:5]), limit=300)
