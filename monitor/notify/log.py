"""Log: one page, one line of JSON on a text stream, whatever the page contains."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TextIO

from monitor.logs import Stream
from monitor.notify.channel import DIGEST_LINES, Kind, Message, Outcome, Retry, Sent
from monitor.notify.fit import fit
from monitor.notify.links import sound_links
from monitor.notify.settings import LogSettings
from monitor.text import vis

MAX_LINE = 8 * 1024
"""Bytes; longer lines are split or dropped by common log collectors."""
PATIENCE_S = 5.0
"""For a reader that stands still: other receivers are not to wait for it."""


def line(message: Message, now: datetime, *, text_limit: int = 1000) -> str:
    """The page as one line of ASCII JSON of at most `MAX_LINE` bytes, without the line end."""
    at = message.occurred_at
    schema, most = "tocsin.page/v1", 3
    if message.kind is Kind.DIGEST:
        schema, most = "tocsin.digest/v1", DIGEST_LINES
    record = {
        "schema": schema,
        "at": now.astimezone(UTC).isoformat(),
        "id": fit(vis, message.id, 100),
        "kind": str(message.kind),
        "incident": fit(vis, message.incident, 40),
        "severity": fit(vis, message.severity, 20),
        "state": fit(vis, message.state, 40),
        "title": fit(vis, message.title, min(text_limit, 300)),
        "lines": [fit(vis, text, text_limit) for text in message.lines[:most]],
        "labels": {
            fit(vis, name, 40): fit(vis, value, min(text_limit, 100))
            for name, value in list(message.labels.items())[:20]
        },
        "links": [
            link.href for link in sound_links(message.links)[:2] if len(link.href) <= text_limit
        ],
        "command": fit(vis, message.command, min(text_limit, 200)),
        "occurred_at": at.astimezone(UTC).isoformat() if at else None,
        "attempt": message.attempt,
    }
    text = json.dumps(record, ensure_ascii=True)
    # characters beyond ASCII grow sixfold and more in JSON, so the limit is found by trying
    return text if len(text) <= MAX_LINE else line(message, now, text_limit=text_limit // 2)


class LogChannel:
    """Writes pages to a stream; implements `monitor.notify.channel.Channel`."""

    kind = "log"

    def __init__(self, settings: LogSettings, stream: TextIO) -> None:
        self.name = settings.name
        self._stream = stream
        self._reader = Stream(stream)
        self._lock = threading.Lock()

    def send(self, message: Message, now: datetime) -> Outcome:
        """Write and flush one line; a stream that is full, closed or not read is tried again."""
        try:
            with self._lock:
                if not self._reader.ready(PATIENCE_S):
                    return Retry("nobody reads the log")
                self._stream.write(line(message, now) + "\n")
                self._stream.flush()
        except (OSError, ValueError) as error:
            return Retry(f"cannot write the log: {type(error).__name__}")
        return Sent()

    def close(self) -> None:
        """Leave the stream to its owner."""
