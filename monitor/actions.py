"""What runbook steps may do here: one HTTP request, or one process of an allowed command.

A request comes rendered and allowed; this module carries it out once, within its deadline, and says
what became of it. It never retries and never raises: an outcome that is not known is said to be
unknown, because the engine must not repeat what may have had an effect.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from monitor.config.secret import Secret, SecretUnavailableError, mask
from monitor.http_client import HttpClient, NoAnswerError, NotSentError
from monitor.text import vis
from runbooks.events import AttemptFinished, StartAttempt
from runbooks.requests import CommandRequest, HttpRequest, SecretAt

_PR_SET_PDEATHSIG = 1
# PyDLL: between fork and exec nobody may wait for the interpreter's lock.
_prctl = getattr(ctypes.PyDLL(None), "prctl", None)
KEPT = 64 * 1024
"""Bytes of an output's beginning that are kept for captures; all of it is hashed and counted."""
GRACE_S = 2.0
"""Between asking a process group to end and ending it."""


class Stop:
    """Tells one command to end, and why."""

    def __init__(self) -> None:
        self.why = ""
        self._told = threading.Event()

    def tell(self, why: str) -> None:
        """End it; `why` as in "ended after 3 s, WHY"."""
        self.why = why
        self._told.set()

    def is_told(self) -> bool:
        """Whether it is to end."""
        return self._told.is_set()


class _Output:
    """What a command said: its beginning, its length, and a digest of all of it."""

    def __init__(self, said: bytes = b"") -> None:
        self.kept = bytearray()
        self.count = 0
        self._digest = hashlib.sha256()
        self.take(said)

    def take(self, data: bytes) -> None:
        self.count += len(data)
        self._digest.update(data)
        self.kept += data[: max(0, KEPT - len(self.kept))]

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def carry_out(effect: StartAttempt, http: HttpClient, stop: Stop | None = None) -> AttemptFinished:
    """Carry out one attempt; returns when it is over or its time has run out.

    Args:
        effect: what to do.
        http: by which requests go out.
        stop: ends a command; a request on its way cannot be called back, `http.give_up` only ends
            the waiting.
    """
    try:
        secrets = [_revealed(at) for at in effect.request.secrets]
    except SecretUnavailableError as problem:
        return AttemptFinished(
            step=effect.step, attempt=effect.attempt, ok=False, detail=str(problem)
        )
    if isinstance(effect.request, HttpRequest):
        return _http(effect, effect.request, secrets, http)
    return _command(effect, effect.request, secrets, stop or Stop())


@dataclass(frozen=True, slots=True)
class _Revealed:
    """A secret for as long as one attempt takes; its bare value is what an answer may echo."""

    at: SecretAt
    value: str


def _revealed(at: SecretAt) -> _Revealed:
    where = Secret(env=at.name) if at.source == "env" else Secret(file=at.name)
    return _Revealed(at, where.reveal())


def _placed(secrets: Sequence[_Revealed]) -> dict[str, str]:
    return {one.at.place: one.at.prefix + one.value for one in secrets}


def _finished(
    effect: StartAttempt, status: int, output: _Output, secrets: Sequence[_Revealed]
) -> AttemptFinished:
    said = output.kept.decode("utf-8", "replace")
    text = mask(said, *(one.value for one in secrets))
    return AttemptFinished(
        step=effect.step,
        attempt=effect.attempt,
        ok=True,
        status=status,
        output=text,
        output_sha256=output.sha256,
        detail=vis(text, limit=200),
    )


def _http(
    effect: StartAttempt, request: HttpRequest, secrets: Sequence[_Revealed], http: HttpClient
) -> AttemptFinished:
    headers = {**request.headers, **_placed(secrets), "Idempotency-Key": effect.key}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    try:
        response = http.request(
            request.method,
            request.url,
            headers=headers,
            body=b"" if request.body is None else request.body.encode(),
            timeout_s=effect.timeout.total_seconds(),
        )
    except NotSentError as problem:
        return AttemptFinished(
            step=effect.step, attempt=effect.attempt, ok=False, detail=str(problem)
        )
    except NoAnswerError as problem:
        return AttemptFinished(
            step=effect.step, attempt=effect.attempt, ok=False, unknown=True, detail=str(problem)
        )
    return _finished(effect, response.status, _Output(response.body), secrets)


def _tied(parent: int) -> None:
    """In the child, before it becomes the command: it does not outlive us, whatever ends us."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _command(
    effect: StartAttempt,
    request: CommandRequest,
    secrets: Sequence[_Revealed],
    stop: Stop,
) -> AttemptFinished:
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **request.env,
        **_placed(secrets),
        "TOCSIN_IDEMPOTENCY_KEY": effect.key,
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - an argv list of an allowed absolute path, no shell
            [effect.executable, *request.argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
            preexec_fn=partial(_tied, os.getpid()),  # noqa: PLW1509 - no lock is taken between fork and exec
        )
    except OSError as problem:
        return AttemptFinished(
            step=effect.step,
            attempt=effect.attempt,
            ok=False,
            detail=f"cannot start {effect.executable}: {problem.strerror}",
        )
    output = _Output()
    began = time.monotonic()
    ended = _read_until(process, output, began + effect.timeout.total_seconds(), stop)
    if not ended:
        lasted = time.monotonic() - began
        why = stop.why or "as its time was up"
        _end(process)
        return AttemptFinished(
            step=effect.step,
            attempt=effect.attempt,
            ok=False,
            unknown=True,
            detail=f"ended after {lasted:.0f} s, {why}; {output.count} bytes said",
        )
    return _finished(effect, process.returncode, output, secrets)


def _read_until(
    process: subprocess.Popen[bytes], output: _Output, deadline: float, stop: Stop
) -> bool:
    """Read until the process has ended; False when its time ran out, or it is to stop.

    A grandchild may hold the pipe open, and talk, for ever: the process's own end is what counts,
    and what is in the pipe by then.
    """
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    talk_until: float | None = None
    with selectors.DefaultSelector() as selector, process.stdout:
        selector.register(descriptor, selectors.EVENT_READ)
        while time.monotonic() < deadline and not stop.is_told():
            over = process.poll() is not None
            if over and talk_until is None:
                talk_until = time.monotonic() + GRACE_S
            if talk_until is not None and time.monotonic() > talk_until:
                return True
            if not selector.get_map():
                if over:
                    return True
                time.sleep(0.02)
            elif selector.select(0 if over else 0.1):
                data = os.read(descriptor, 65536)
                output.take(data)
                if not data:
                    selector.unregister(descriptor)
            elif over:
                return True
        # Asked before the pipe is closed: what talks into a closed one dies of that.
        return process.poll() is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
