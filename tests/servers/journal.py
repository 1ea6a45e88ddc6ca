"""What a test server saw: one fsynced line of JSON a request, so that a killed test has it ."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from monitor.notify.loopback.server import Answer, Request


class Journal:
    """Appends to a file; without a path it only remembers."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._rows: list[dict[str, Any]] = []
        self._file = path.open("ab", buffering=0) if path is not None else None

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """Everything written by this process, in order."""
        with self._lock:
            return tuple(self._rows)

    def write(self, request: Request, answer: Answer, *, fault: str = "") -> None:
        """Record a request and its outcome; on disk when this returns."""
        row = {
            "at": time.monotonic(),
            "method": request.method,
            "path": request.path,
            "key": answer.key,
            "body_sha256": hashlib.sha256(request.body).hexdigest(),
            "status": answer.status,
            "outcome": answer.outcome,
            "fault": fault,
        }
        with self._lock:
            self._rows.append(row)
            if self._file is not None:
                self._file.write(json.dumps(row).encode() + b"\n")
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Rows of a journal, written by another process; a torn last line is left out."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
