"""A receiver of signed webhooks, written from the published rules and not from the sender's code.

`python -m tests.servers.webhook_server` serves it as a program.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import threading
import time
from pathlib import Path
from typing import Any

from monitor.notify.loopback.server import Answer, Request
from tests.servers.faults import FaultyServer, serve_until_killed

SECRET = "whsec-loopback-1234567890"
PATH = "/hooks/tocsin"
_OLD_S = 300


class WebhookReceiver:
    """Checks signature, age and form; folds repeats by id."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._documents: dict[str, dict[str, Any]] = {}

    @property
    def documents(self) -> tuple[dict[str, Any], ...]:
        """Each accepted message once, in order of arrival."""
        with self._lock:
            return tuple(self._documents.values())

    def answer(self, request: Request) -> Answer:
        if request.path != PATH or request.method != "POST":
            return Answer(404, outcome="refused: no such address")
        headers = request.headers
        stamp = headers.get("x-tocsin-timestamp", "")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > _OLD_S:
            return Answer(401, outcome="refused: timestamp")
        mac = hmac.new(self._secret.encode(), f"{stamp}.".encode() + request.body, hashlib.sha256)
        if not hmac.compare_digest(headers.get("x-tocsin-signature", ""), "v1=" + mac.hexdigest()):
            return Answer(401, outcome="refused: signature")
        if headers.get("content-type") != "application/json":
            return Answer(415, outcome="refused: content type")
        document = json.loads(request.body)
        json.dumps(document, ensure_ascii=False).encode()  # fails on lone surrogates
        if document["version"] != 1 or document["id"] != headers.get("x-tocsin-id"):
            return Answer(400, outcome="refused: version or id")
        with self._lock:
            repeat = document["id"] in self._documents
            self._documents.setdefault(document["id"], document)
        outcome = "accepted: repeat" if repeat else "accepted: new"
        return Answer(204, key=document["id"], outcome=outcome)


class WebhookServer(FaultyServer):
    """One receiver at one address."""

    def __init__(
        self,
        *,
        port: int = 0,
        log: Path | None = None,
        unstable: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.receiver = WebhookReceiver(SECRET)
        super().__init__(self.receiver, port=port, log=log, unstable=unstable, seed=seed)

    @property
    def hook(self) -> str:
        """What a channel is configured with."""
        return self.url + PATH

    @property
    def documents(self) -> tuple[dict[str, Any], ...]:
        """Each accepted message once."""
        return self.receiver.documents


def main() -> None:
    """Serve from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--unstable", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    serve_until_killed(
        WebhookServer(port=given.port, log=given.log, unstable=given.unstable, seed=given.seed)
    )


if __name__ == "__main__":
    main()
