"""Alertmanager's API v2, the way out: one peer, and what it takes of a set of alerts.

Identity is the label set alone, so figures and times are annotations. A 400 is partial: the peer
has taken the valid alerts of the batch, so the batch is halved until the offender stands alone, is
named and is not sent to it again. Everything here repeats safely: an alert that is sent again
renews its lease.

Protocol: prometheus/alertmanager, docs/alerts_api.md, api/v2/openapi.yaml, api/v2/api.go.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitor.config.secret import SecretUnavailableError, mask
from monitor.http_client import HttpClient, HttpError, Response
from monitor.notify.alertmanager_settings import AlertmanagerSettings
from monitor.text import vis
from monitor.url import origin

BATCH_BYTES = 64 * 1024
BATCH = 200
MOST_REFUSED = 20
"""After so many refused alerts the rest of a push waits: halving costs requests."""
PATIENCE_S = 10.0
"""One push to one peer; what is left then waits for the next."""
SEVERITY = {"SEV1": "critical", "SEV2": "critical", "SEV3": "warning", "SEV4": "info"}

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One alert as the API takes it. `labels` are its identity; all text is safe to show."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ended_at: datetime | None = None
    """None while it fires."""
    generator: str = ""
    incident: str = ""
    """uuid of the incident it belongs to."""

    @property
    def key(self) -> str:
        """Its identity."""
        return json.dumps(sorted(self.labels.items()), separators=(",", ":"))

    def encode(self, now: datetime, lease: timedelta) -> bytes:
        """JSON of the API; while it fires it ends a lease from now, on the real clock."""
        ends = now + lease if self.ended_at is None else min(self.ended_at, now)
        starts = min(self.starts_at, ends)
        document: dict[str, object] = {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": _rfc3339(starts),
            "endsAt": _rfc3339(ends),
        }
        if self.generator:
            document["generatorURL"] = self.generator
        return json.dumps(document, separators=(",", ":")).encode()


Batch = list[tuple[Posted, bytes]]
"""Alerts with their JSON."""


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def label_set(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that every Alertmanager takes: known names, visible values, none empty."""
    return {
        name: vis(value, limit=200)
        for name, value in sorted(labels.items())
        if value and _NAME.fullmatch(name) and not name.startswith("__")
    }


@dataclass(frozen=True, slots=True)
class Offender:
    """An alert that the peer refuses for good, and why in its words."""

    alert: Posted
    reason: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of a push: `problem` is empty when the peer has taken all that it can take."""

    problem: str
    offenders: tuple[Offender, ...] = ()
    taken: tuple[Posted, ...] = ()
    """What it has taken; where there is a problem, the rest it has not."""


class _Stopped(Exception):
    """The peer cannot be spoken to now; the message says why."""


class Peer:
    """One Alertmanager."""

    def __init__(
        self,
        url: str,
        settings: AlertmanagerSettings,
        http: HttpClient,
        *,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = origin(url)
        """What may be shown of its address."""
        self._url = url.rstrip("/")
        self._settings = settings
        self._http = http
        self._steady = steady

    def push(self, alerts: Sequence[Posted], now: datetime, lease: timedelta) -> Pushed:
        """Send all of `alerts`; never raises for what the peer does.

        Args:
            alerts: the first are sent first, and those of a slow peer's turn may be all it takes.
            now: the real time.
            lease: how long a firing alert lives unless it is sent again.
        """
        offenders: list[Offender] = []
        taken: list[Posted] = []
        patient_until = self._steady() + PATIENCE_S
        waiting = list(batches([(alert, alert.encode(now, lease)) for alert in alerts]))[::-1]
        problem = ""
        try:
            while waiting and not problem:
                batch = waiting.pop()
                refused = len(offenders)
                again = self._taken(batch, offenders)
                if not again and len(offenders) == refused:
                    taken += [alert for alert, _ in batch]
                waiting += again
                if waiting and self._steady() > patient_until:
                    problem = "it takes too long: the rest waits"
        except (_Stopped, HttpError, SecretUnavailableError) as stopped:
            problem = str(stopped)
        if offenders and (why := self._refuses_all()):
            # A proxy before it, or its own trouble: that says nothing of any one alert.
            return Pushed(why)
        return Pushed(problem, tuple(offenders[:MOST_REFUSED]), tuple(taken))

    def _refuses_all(self) -> str:
        """Why it does not even take an empty list; empty if it does."""
        try:
            status, why = self._posted([])
        except (HttpError, SecretUnavailableError) as problem:
            return str(problem)
        return "" if 200 <= status < 300 else why

    def _posted(self, batch: Batch) -> tuple[int, str]:
        """Send one batch: the status of the answer, and its words."""
        headers, secrets = self._headers()
        answer = self._http.request(
            "POST",
            f"{self._url}/api/v2/alerts",
            body=b"[" + b",".join(body for _, body in batch) + b"]",
            headers={"content-type": "application/json", **headers},
            timeout_s=self._settings.timeout_s,
        )
        return answer.status, f"it answers {answer.status}: {_words(answer, secrets)}"

    def _taken(self, batch: Batch, offenders: list[Offender]) -> list[Batch]:
        """Send one batch; its halves where it must be tried again."""
        status, why = self._posted(batch)
        if 200 <= status < 300:
            return []
        if status not in {400, 413, 422}:
            raise _Stopped(why)
        if len(batch) > 1:
            half = len(batch) // 2
            return [batch[half:], batch[:half]]
        offenders.append(Offender(batch[0][0], why))
        if len(offenders) > MOST_REFUSED:
            raise _Stopped(why)
        return []

    def ready(self) -> str:
        """Ask whether it is there (`GET /-/ready`): empty if so, else why not."""
        try:
            headers, secrets = self._headers()
            answer = self._http.request(
                "GET", f"{self._url}/-/ready", headers=headers, timeout_s=self._settings.timeout_s
            )
        except (HttpError, SecretUnavailableError) as problem:
            return str(problem)
        if answer.status == 200:
            return ""
        return f"it answers {answer.status}: {_words(answer, secrets)}"

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def _headers(self) -> tuple[dict[str, str], list[str]]:
        """The headers that say who we are, and the secrets in them."""
        headers = {name: secret.reveal() for name, secret in self._settings.headers.items()}
        secrets = list(headers.values())
        if self._settings.token is not None:
            secrets.append(self._settings.token.reveal())
            headers["authorization"] = f"Bearer {secrets[-1]}"
        elif self._settings.basic is not None:
            given = self._settings.basic
            secrets.append(given.password.reveal())
            pair = base64.b64encode(f"{given.user}:{secrets[-1]}".encode()).decode()
            headers["authorization"] = f"Basic {pair}"
            secrets.append(pair)
        return headers, secrets


def batches(encoded: Iterable[tuple[Posted, bytes]]) -> Iterator[Batch]:
    """Split into batches of at most `BATCH` alerts and about `BATCH_BYTES`."""
    batch: Batch = []
    size = 0
    for alert, body in encoded:
        if batch and (len(batch) == BATCH or size + len(body) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((alert, body))
        size += len(body) + 1
    if batch:
        yield batch


def _words(answer: Response, secrets: Iterable[str]) -> str:
    return vis(mask(answer.body.decode(errors="replace").strip(), *secrets), limit=200)
