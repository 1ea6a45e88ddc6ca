"""Points at which a test may kill the process, to learn what survives.

    TOCSIN_FAULT=K5:3 tocsin run ...

kills the process that passes K5 for the third time, with SIGKILL, at that very place, after one
line on its standard error that says so; `K5:3:stall` makes it stand there for ever. Without the
variable a point costs one look at a flag.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading

POINTS = {
    "K1": "after the source was polled, before anything of it is decoded (ingest)",
    "K2": "after a chunk was decoded and counted, before it is written (ingest)",
    "K3": "within the transaction of cells and progress (ingest)",
    "K4": "after that commit, before Kafka hears of it (ingest)",
    "K5": "after pages were claimed, before any is sent (deliver)",
    "K6": "the request is out, no answer was read (the HTTP client)",
    "K7": "accepted, and not yet marked as sent (deliver)",
    "K8": "a page was put back to be tried later (deliver)",
    "K9": "a timer is due, its page is decided and not committed (decide)",
    "K10": "what somebody clicked in Slack is received, before its commit (inbound)",
    "K11": "a runbook step is written down as begun and about to be carried out (runs)",
    "K12": "a runbook step is done and not yet recorded (runs)",
    "K13": "within a migration of the schema (store)",
    "K14": "a reload is committed, nothing is in place yet; or told to end, work under way (drain)",
}


def armed(text: str) -> tuple[str, int, bool]:
    """The point, the passing that counts, and whether to stand there instead of dying.

    Raises:
        ValueError: no such point, or not a count from 1 on.
    """
    point, _, rest = text.partition(":")
    count, _, how = rest.partition(":")
    if point not in POINTS or not count.isdigit() or int(count) < 1 or how not in {"", "stall"}:
        names = ", ".join(POINTS)
        raise ValueError(f"TOCSIN_FAULT={text}: write POINT:N or POINT:N:stall, of {names}")
    return point, int(count), how == "stall"


_FAULT = os.environ.get("TOCSIN_FAULT", "")
ACTIVE = bool(_FAULT)
_POINT, _FATAL, _STALL = armed(_FAULT) if _FAULT else ("", 0, False)
_passed = itertools.count(1)


def fault_point(point: str) -> None:
    """Die here, if a test has asked for it."""
    if not ACTIVE or point != _POINT or next(_passed) != _FATAL:
        return
    if _STALL:
        threading.Event().wait()
    # No logger: its lock may be held by a thread that never gets to run again.
    os.write(2, f"fault point {point}: pid {os.getpid()} dies here\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
