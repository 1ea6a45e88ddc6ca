"""What PagerDuty sends when people act in it: web hooks v3, signed, and repeated until answered.

Written from PagerDuty's documents and not from the product's reader, so that the two can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from monitor.http_client import HttpClient, HttpError
from monitor.notify.loopback.pagerduty import PagerDutyIncident
from monitor.notify.loopback.server import Answer, Request
from tests.servers.journal import Journal

HOOK_SECRET = "pd-hook-secret-0123456789abcdef"
_count = itertools.count(1)


def pagerduty_id(incident: PagerDutyIncident) -> str:
    """The id that PagerDuty gives an incident."""
    return f"Q{incident.number:013d}"


def event(
    kind: str,
    incident: PagerDutyIncident,
    user: str = "",
    *,
    content: str = "",
    at: datetime | None = None,
) -> dict[str, Any]:
    """An event of a web hook; `user` empty: our own integration did it."""
    there, number = pagerduty_id(incident), incident.number
    agent = {"id": user, "type": "user_reference"}
    if not user:
        agent = {"id": "PINTEG1", "type": "integration_reference"}
    data: dict[str, Any] = {
        "id": there,
        "type": "incident",
        "html_url": f"https://example.pagerduty.com/incidents/{there}",
        "number": number,
        "status": incident.state,
        "incident_key": incident.dedup_key,
        "title": incident.summary,
        "urgency": "high",
        "service": {"id": "PSERV01", "type": "service_reference", "summary": "AI safety"},
    }
    if kind == "incident.annotated":
        data = {
            "id": f"N{next(_count):06}",
            "type": "incident_note",
            "content": content,
            "trimmed": False,
            "incident": {"id": there, "type": "incident_reference", "summary": incident.summary},
        }
    return {
        "id": uuid.uuid4().hex,
        "event_type": kind,
        "resource_type": "incident",
        "occurred_at": (at or datetime.now(UTC)).isoformat(timespec="milliseconds"),
        "agent": {**agent, "summary": "not to be believed", "html_url": "https://e.invalid"},
        "client": None,
        "data": data,
    }


def signature(body: bytes, secrets: Sequence[str] = (HOOK_SECRET,)) -> str:
    """The header's value: one signature a secret."""
    digests = (hmac.new(s.encode(), body, hashlib.sha256).hexdigest() for s in secrets)
    return ",".join(f"v1={digest}" for digest in digests)


class PagerDutyPost:
    """Delivers web hooks: again after 5xx, 429 and time-outs, never after other 4xx.

    Args:
        url: of the subscription.
        secrets: of the subscription.
        journal: gets a row for each attempt, on disk before the next.
        pause_s: between attempts.
    """

    def __init__(
        self,
        url: str,
        *,
        secrets: Sequence[str] = (HOOK_SECRET,),
        journal: Journal | None = None,
        pause_s: float = 0.2,
        timeout_s: float = 5.0,
    ) -> None:
        self._url, self._secrets = url, tuple(secrets)
        self._journal = journal or Journal()
        self._pause_s, self._timeout_s = pause_s, timeout_s

    def deliver(self, made: dict[str, Any], *, attempts: int = 10) -> list[int]:
        """Statuses of all attempts, 0 for none; the last one says whether it was taken."""
        body = json.dumps({"event": made}).encode()
        statuses: list[int] = []
        while len(statuses) < attempts:
            statuses.append(self.post(body, signature(body, self._secrets), key=made["id"]))
            if 200 <= statuses[-1] < 300 or (400 <= statuses[-1] < 500 and statuses[-1] != 429):
                break
            time.sleep(self._pause_s)
        return statuses

    def post(self, body: bytes, signed: str, *, key: str = "") -> int:
        """One attempt; its status, 0 for none."""
        headers = {"content-type": "application/json", "x-pagerduty-signature": signed}
        try:
            with HttpClient() as client:
                answer = client.request(
                    "POST", self._url, body=body, headers=headers, timeout_s=self._timeout_s
                )
            status = answer.status
        except HttpError:
            status = 0
        request = Request("POST", "/hooks/pagerduty", {}, body)
        self._journal.write(request, Answer(status, key=key, outcome=f"answered {status}"))
        return status
