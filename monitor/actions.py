"""What runbook steps may do here: one HTTP request, or one process of an allowed command.

A request comes rendered and allowed; this module carries it out once, within its deadline, and says
what became of it. It never retries and never raises: an outcome that is not known is said to be
unknown, because the engine must not repeat what may have had an effect.
"""

from __future__ import annotations

import hashlib
import os
import resource
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field

from monitor.http_client import HttpClient, NoAnswerError, NotSentError
from monitor.secret import Secret, SecretUnavailableError, mask
from monitor.text import vis
from runbooks.events import AttemptFinished, StartAttempt
from runbooks.requests import CommandRequest, HttpRequest, SecretAt

KEPT = 64 * 1024
"""Bytes of an output's beginning that are kept for captures; all of it is hashed and counted."""
GRACE_S = 2.0
"""Between asking a process group to end and ending it."""


@dataclass(slots=True)
class _Output:
    kept: bytearray = field(default_factory=bytearray)
    count: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, data: bytes) -> None:
        self.count += len(data)
        self.digest.update(data)
        self.kept += data[: max(0, KEPT - len(self.kept))]


def carry_out(effect: StartAttempt, http: HttpClient) -> AttemptFinished:
    """Carry out one attempt; returns when it is over or its time has run out."""
    try:
        secrets = {at.place: _reveal(at) for at in effect.request.secrets}
    except SecretUnavailableError as problem:
        return AttemptFinished(
            step=effect.step, attempt=effect.attempt, ok=False, detail=str(problem)
        )
    if isinstance(effect.request, HttpRequest):
        return _http(effect, effect.request, secrets, http)
    return _command(effect, effect.request, secrets)


def _reveal(at: SecretAt) -> str:
    where = Secret(env=at.name) if at.source == "env" else Secret(file=at.name)
    return at.prefix + where.reveal()


def _finished(effect: StartAttempt, status: int, output: bytes, *secrets: str) -> AttemptFinished:
    text = mask(output.decode("utf-8", "replace"), *secrets)
    return AttemptFinished(
        step=effect.step,
        attempt=effect.attempt,
        ok=True,
        status=status,
        output=text,
        output_sha256=hashlib.sha256(output).hexdigest(),
        detail=vis(text, limit=200),
    )


def _http(
    effect: StartAttempt, request: HttpRequest, secrets: dict[str, str], http: HttpClient
) -> AttemptFinished:
    headers = {**request.headers, **secrets, "Idempotency-Key": effect.key}
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
    return _finished(effect, response.status, response.body, *secrets.values())


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _command(
    effect: StartAttempt, request: CommandRequest, secrets: dict[str, str]
) -> AttemptFinished:
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **request.env,
        **secrets,
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
            preexec_fn=_limits,  # noqa: PLW1509 - no lock is taken between fork and exec
        )
    except OSError as problem:
        return AttemptFinished(
            step=effect.step,
            attempt=effect.attempt,
            ok=False,
            detail=f"cannot start {effect.executable}: {problem.strerror}",
        )
    output = _Output()
    ended = _read_until(process, output, time.monotonic() + effect.timeout.total_seconds())
    if not ended:
        _end(process)
        return AttemptFinished(
            step=effect.step,
            attempt=effect.attempt,
            ok=False,
            unknown=True,
            detail=f"ended after {effect.timeout.total_seconds():.0f} s; {output.count} bytes said",
        )
    return _finished(effect, process.returncode, bytes(output.kept), *secrets.values())


def _read_until(process: subprocess.Popen[bytes], output: _Output, deadline: float) -> bool:
    """Read until the process has ended; False when its time ran out.

    A grandchild may hold the pipe open for ever: the process's own end is what counts.
    """
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    with selectors.DefaultSelector() as selector, process.stdout:
        selector.register(descriptor, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            over = process.poll() is not None
            if selector.select(0 if over else 0.1):
                data = os.read(descriptor, 65536)
                output.take(data)
                if data:
                    continue
            if over:
                return True
            if process.poll() is None and not selector.get_map():
                time.sleep(0.05)
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
