"""Webhook: the page as versioned JSON, signed, for a receiver of the user's own.

The receiver checks `X-Tocsin-Signature: v1=<hex>`, the HMAC-SHA256 with the shared secret over
`<X-Tocsin-Timestamp>.<raw body>`, refuses old timestamps, and folds repeats by `id`. Its word is
2xx (it has the page) or one of `FINAL` (it never will); anything else is tried again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from monitor.config.secret import SecretUnavailableError
from monitor.http_client import HttpClient, HttpError, NoAnswerError, Response
from monitor.notify.channel import (
    DIGEST_LINES,
    Kind,
    Message,
    Outcome,
    Refused,
    Retry,
    Sent,
    Unknown,
)
from monitor.notify.fit import fit
from monitor.notify.links import sound_links
from monitor.notify.settings import WebhookSettings
from monitor.text import vis

VERSION = 1
FINAL = frozenset({400, 404, 410, 413, 415, 422})
"""What a receiver says for good. Not 401 and 403: proxies say them too, and a secret or a clock
that is wrong can be put right."""


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Value of the signature header: `v1=` and the hex HMAC-SHA256 of `timestamp.body`."""
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def document(message: Message) -> dict[str, Any]:
    """The page as the receiver gets it; every text is printable, within limits, and in UTF-8."""
    at = message.occurred_at
    most = DIGEST_LINES if message.kind is Kind.DIGEST else 10
    return {
        "version": VERSION,
        "id": message.id,
        "kind": str(message.kind),
        "dedup_key": vis(message.dedup_key, limit=255),
        "incident": vis(message.incident, limit=40),
        "severity": vis(message.severity, limit=8),
        "state": vis(message.state, limit=40),
        "title": fit(vis, message.title, 600),
        "lines": [fit(vis, line, 1000) for line in message.lines[:most]],
        "labels": {
            vis(k, limit=40): vis(v, limit=200) for k, v in list(message.labels.items())[:40]
        },
        "links": [
            {"text": fit(vis, link.text, 100), "href": link.href}
            for link in sound_links(message.links)
        ],
        "command": fit(vis, message.command, 300),
        "occurred_at": at.astimezone(UTC).isoformat() if at else None,
        "attempt": message.attempt,
    }


class WebhookChannel:
    """Posts signed JSON to one address; implements `monitor.notify.channel.Channel`.

    Args:
        settings: where to and with which key.
        http: what carries the call.
        clock: seconds since the epoch. It is the real time even on a replay, since the receiver
            compares the signature's timestamp with its own clock.
    """

    kind = "webhook"

    def __init__(
        self,
        settings: WebhookSettings,
        http: HttpClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._http = http
        self._clock = clock

    def send(self, message: Message, now: datetime) -> Outcome:  # noqa: ARG002 - the port's shape
        """Post once; the receipt is empty, the id is the receiver's handle."""
        try:
            secret = self._settings.secret.reveal()
            address = self._settings.address()
        except SecretUnavailableError as error:
            return Retry(str(error), ours=True)
        except ValueError as error:
            return Refused(f"the secret address of {self.name} is not one: {error}")
        body = json.dumps(document(message), separators=(",", ":")).encode()
        timestamp = str(int(self._clock()))
        headers = {
            "content-type": "application/json",
            "x-tocsin-id": vis(message.id, limit=200).encode("ascii", "replace").decode(),
            "x-tocsin-timestamp": timestamp,
            "x-tocsin-signature": sign(secret, timestamp, body),
        }
        timeout_s = self._settings.timeout_s
        try:
            answer = self._http.request(
                "POST", address, body=body, headers=headers, timeout_s=timeout_s
            )
        except NoAnswerError as error:
            return Unknown(str(error))
        except HttpError as error:
            return Retry(str(error))
        return judge(answer)

    def close(self) -> None:
        """Release connections."""
        self._http.close()


def judge(answer: Response) -> Outcome:
    """What the receiver's status means for the page; its body is not read.

    A failure in HTML is a page for people: a proxy's, or a login on the way.
    """
    why = f"the receiver answers {answer.status}"
    if 200 <= answer.status < 300:
        return Sent()
    if answer.status in {408, 425, 429, 503}:
        return Retry(why, answer.retry_after())
    if answer.status >= 500:
        return Unknown(why)
    if answer.status in FINAL and "html" not in answer.headers.get("content-type", "").lower():
        return Refused(why)
    if 300 <= answer.status < 400:
        why += ": redirects are not followed, configure the final address"
    return Retry(why, astray=True)
