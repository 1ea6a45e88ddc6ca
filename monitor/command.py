"""Carries out one command through a warden, within its time, and says what is known of its end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor import warden

KEPT = 64 * 1024
"""Bytes of an output's beginning that are kept for captures; all of it is hashed and counted."""
GRACE_S = 2.0
"""For what others than the command itself still say after its end."""
ENDING_S = 2 * warden.GRACE_S + 1.0
"""A warden that was told to end and has not by then is ended itself."""
_PROGRAM = Path(warden.__file__)
_LIBRARIES = ("LD_LIBRARY_PATH",)
"""What an interpreter may need to start at all."""


class Stop:
    """Keeps one attempt from beginning, or ends its command, and says why."""

    def __init__(self, latest: float = math.inf) -> None:
        """Args: `latest` is the `uptime` after which it may not begin any more."""
        self.latest = latest
        self.why = ""
        self._told = threading.Event()

    def tell(self, why: str) -> None:
        """End it; `why` as in "ended after 3 s, because WHY"."""
        self.why = why
        self._told.set()

    def is_told(self) -> bool:
        """Whether it is to end."""
        return self._told.is_set()

    def forbids(self) -> str:
        """Why it may not begin now; empty when it may. Asked right before."""
        if self.is_told():
            return self.why
        return LATE if warden.uptime() > self.latest else ""


RUNNING = "what it started may still be running"
LATE = "too long after it was looked whether it may: others may have repeated it by now"


class Output:
    """What a command said: its beginning, its length, and a digest of all of it."""

    def __init__(self, said: bytes = b"") -> None:
        self.kept = bytearray()
        self.count = 0
        self._digest = hashlib.sha256()
        self.take(said)

    def take(self, data: bytes) -> None:
        """Add what was said next."""
        self.count += len(data)
        self._digest.update(data)
        self.kept += data[: max(0, KEPT - len(self.kept))]

    @property
    def sha256(self) -> str:
        """Of all of it, in hexadecimal."""
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of a command's end; one of the first two is set, or its outcome is unknown."""

    status: int | None = None
    """It ended by itself: its exit code, or a signal's number below zero."""
    refused: str = ""
    """It was not started, for sure, and why."""
    why: str = ""
    """It was ended, after how long and why, and whether all of it is gone."""


def command(
    argv: Sequence[str], environment: Mapping[str, str], seconds: float, stop: Stop, output: Output
) -> Ended:
    """Carry out a command; returns when it is over, at most a few seconds after its time is.

    Args:
        argv: of an absolute path, as the allow-list names it.
        environment: all of it.
        seconds: its time.
        stop: keeps it from beginning, or ends it.
        output: takes what it says, errors included.
    """
    asked = {
        "argv": list(argv),
        "env": dict(environment),
        "seconds": seconds + 1.0,  # ours counts; the warden's is for a daemon that stands still
        "latest": None if math.isinf(stop.latest) else stop.latest,
    }
    if why := stop.forbids():
        return Ended(refused=f"not carried out: {why}")
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program, and the interpreter we run in
            [sys.executable, "-I", "-S", "-X", "utf8", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _LIBRARIES if name in os.environ},
            cwd="/",
            start_new_session=True,
        )
    except OSError as problem:
        return Ended(refused=f"cannot start {argv[0]}: its warden: {problem.strerror}")
    assert process.stdin is not None
    began = time.monotonic()
    with contextlib.suppress(OSError):  # a warden that has died says no more than that
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
    said = _heard(process, output, began + seconds, stop)
    process.wait()
    return _known(said, argv[0], time.monotonic() - began, stop.why or "its time was up")


def _known(said: bytes, executable: str, lasted: float, why: str) -> Ended:
    """What the warden's report means."""
    try:
        report = json.loads(said)
    except ValueError:  # it was killed, and the command itself with it
        return Ended(why=f"its warden died after {lasted:.0f} s: {RUNNING}")
    if "late" in report:
        return Ended(refused=f"not carried out: {LATE}")
    if "error" in report:
        return Ended(refused=f"cannot start {executable}: {report['error']}")
    if "status" in report:
        return Ended(status=report["status"])
    ended = f"ended after {lasted:.0f} s, because {why}"
    return Ended(why=f"{ended}, but {RUNNING}" if report["left"] else ended)


def _heard(process: subprocess.Popen[bytes], output: Output, deadline: float, stop: Stop) -> bytes:
    """Read until the warden has ended, and order it to when the time is up; its report.

    What outlives the command may hold its output open, and talk, for ever: after the command's own
    end little more than what is in the pipe is read.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    report = bytearray()
    takers = {process.stdout.fileno(): output.take, process.stderr.fileno(): report.extend}
    until = math.inf
    with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
        for descriptor in takers:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        while process.stderr.fileno() in selector.get_map():
            if not process.stdin.closed and (stop.is_told() or time.monotonic() >= deadline):
                until = time.monotonic() + ENDING_S
                _order(process)
            if time.monotonic() > until:
                process.kill()
            _read(selector, takers, 0.1)
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until and _read(selector, takers, 0):
            pass
    _order(process)
    return bytes(report)


def _order(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # what could not be written is written again
        process.stdin.close()


def _read(
    selector: selectors.BaseSelector, takers: Mapping[int, Callable[[bytes], None]], wait_s: float
) -> bool:
    """Read what is there, and no more from what has ended; whether there was anything."""
    ready = selector.select(wait_s) if selector.get_map() else []
    for key, _ in ready:
        data = os.read(key.fd, 65536)
        takers[key.fd](data)
        if not data:
            selector.unregister(key.fd)
    return bool(ready)
