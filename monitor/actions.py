"""What runbook steps may do here: one HTTP request, or one process of an allowed command.

A request comes rendered and allowed; this module carries it out once, within its deadline, and says
what became of it. It never retries and never raises: an outcome that is not known is said to be
unknown, because the engine must not repeat what may have had an effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.command import Output, Stop, command
from monitor.config.secret import Secret, SecretUnavailableError, mask
from monitor.http_client import HttpClient, NoAnswerError, NotSentError
from monitor.text import vis
from runbooks.events import AttemptFinished, StartAttempt
from runbooks.requests import CommandRequest, HttpRequest, SecretAt


def carry_out(effect: StartAttempt, http: HttpClient, stop: Stop | None = None) -> AttemptFinished:
    """Carry out one attempt; returns when it is over or its time has run out.

    Args:
        effect: what to do.
        http: by which requests go out.
        stop: keeps it from beginning, and ends a command; a request on its way cannot be called
            back, `http.give_up` only ends the waiting.
    """
    try:
        secrets = [_revealed(at) for at in effect.request.secrets]
    except SecretUnavailableError as problem:
        return AttemptFinished(
            step=effect.step, attempt=effect.attempt, ok=False, detail=str(problem)
        )
    if isinstance(effect.request, HttpRequest):
        return _http(effect, effect.request, secrets, http, stop or Stop())
    return _command(effect, effect.request, secrets, stop or Stop())


def not_begun(effect: StartAttempt, why: str) -> AttemptFinished:
    """What is said of an attempt that did not begin, for sure."""
    return AttemptFinished(
        step=effect.step, attempt=effect.attempt, ok=False, detail=f"not carried out: {why}"
    )


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
    effect: StartAttempt, status: int, output: Output, secrets: Sequence[_Revealed]
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
    effect: StartAttempt,
    request: HttpRequest,
    secrets: Sequence[_Revealed],
    http: HttpClient,
    stop: Stop,
) -> AttemptFinished:
    headers = {**request.headers, **_placed(secrets), "Idempotency-Key": effect.key}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    if why := stop.forbids():
        return not_begun(effect, why)
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
    return _finished(effect, response.status, Output(response.body), secrets)


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
    argv = [effect.executable, *request.argv[1:]]
    output = Output()
    ended = command(argv, environment, effect.timeout.total_seconds(), stop, output)
    if ended.status is not None:
        return _finished(effect, ended.status, output, secrets)
    return AttemptFinished(
        step=effect.step,
        attempt=effect.attempt,
        ok=False,
        unknown=not ended.refused,
        detail=ended.refused or f"{ended.why}; {output.count} bytes said",
    )
