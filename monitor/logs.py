"""Logs: one JSON line a record on standard error, with nothing in it that could forge another."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime

from monitor.text import vis

LONGEST = 8 * 1024


class JsonLines(logging.Formatter):
    """One record, one line, ASCII only."""

    def __init__(self, process: str = "") -> None:
        """Args: `process` is named in each line; empty where there is only one."""
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._process,
            "logger": record.name,
            "text": vis(text, limit=LONGEST),
        }
        return json.dumps(line, ensure_ascii=True)


def configure_logs(level: int = logging.INFO, process: str = "") -> None:
    """Send all records to standard error as JSON lines; libraries only from WARNING on.

    Args:
        level: from which on our own are sent.
        process: is named in each line; empty where there is only one.
    """
    logging.Formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("monitor").setLevel(level)
    # With a dead broker kafka-python complains several times a second; our own line says it once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
