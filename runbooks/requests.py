"""What a step asks the world to do, rendered: an argument list or an HTTP request, without secrets.

A request names its secrets; whoever carries it out fetches them at the last moment. So a request
can be shown, compared by digest, stored and put on a timeline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from urllib.parse import urlencode

import msgspec

from runbooks.model import Command, CommandUndo, Effect, Http, HttpUndo, Secret
from runbooks.references import Reference, Value, reference, spelled
from runbooks.urls import plain_url, segment

LookUp = Callable[[Reference], Value]
SecretOf = Callable[[str], Secret]


class RenderError(ValueError):
    """A step whose values are not there yet or do not fit where they go."""


class SecretAt(msgspec.Struct, frozen=True):
    """A secret and the place it goes to."""

    place: str
    """The header or environment variable."""
    source: str
    """env or file."""
    name: str
    prefix: str = ""


class CommandRequest(msgspec.Struct, frozen=True, tag="command", tag_field="type"):
    """A process to run: no shell, and no environment but this one."""

    argv: tuple[str, ...]
    effect: Effect
    env: dict[str, str] = {}
    secrets: tuple[SecretAt, ...] = ()
    """For the environment."""
    expect: tuple[int, ...] = (0,)
    """Exit codes that mean success."""

    @property
    def shown(self) -> str:
        """The request for a person to read before they confirm; the sink still encodes it."""
        return " ".join(map(_quoted, self.argv))


class HttpRequest(msgspec.Struct, frozen=True, tag="http", tag_field="type"):
    """An HTTP request to send: no redirects, no proxy from the environment."""

    method: str
    url: str
    effect: Effect
    headers: dict[str, str] = {}
    secrets: tuple[SecretAt, ...] = ()
    """For the headers."""
    body: str | None = None
    """JSON text."""
    expect: tuple[int, ...] = (200, 201, 202, 204)
    """Statuses that mean success."""

    @property
    def shown(self) -> str:
        """The request for a person to read before they confirm; the sink still encodes it."""
        return f"{self.method} {self.url}" + (f" {self.body}" if self.body is not None else "")


Request = CommandRequest | HttpRequest


def digest(request: Request) -> str:
    """SHA-256 over everything in the request: what a person confirmed is what runs."""
    return hashlib.sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()


def _quoted(argument: str) -> str:
    plain = argument.replace("'", "'\\''")
    safe = bool(argument) and all(c.isalnum() or c in "-_./:=,@%+" for c in argument)
    return argument if safe else f"'{plain}'"


def render(
    call: Http | HttpUndo | Command | CommandUndo, look_up: LookUp, secret: SecretOf
) -> Request:
    """The request of a step or rollback.

    Args:
        call: the step.
        look_up: the value of a reference; None when it has none.
        secret: the definition of a secret by its name in the runbook.

    Raises:
        RenderError: a value is missing, or does not fit where it goes.
    """
    if isinstance(call, (Http, HttpUndo)):
        return _http(call, look_up, secret)
    env, secrets = _split(call.env.items(), look_up, secret)
    argv = tuple(_text(element, look_up) for element in call.argv)
    return CommandRequest(argv, call.effect, env, secrets, call.expect.exit)


def _http(call: Http | HttpUndo, look_up: LookUp, secret: SecretOf) -> HttpRequest:
    base = _text(call.base, look_up)
    try:
        plain_url(base)
        path = (
            call.path
            if isinstance(call.path, str)
            else "".join(f"/{segment(_text(part, look_up))}" for part in call.path)
        )
    except ValueError as error:
        raise RenderError(str(error)) from None
    query = urlencode([(name, _text(value, look_up)) for name, value in call.query.items()])
    headers, secrets = _split(call.headers.items(), look_up, secret)
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise RenderError(f"the header {name} holds a character that cannot be sent")
    body = None
    if call.json is not None:
        values = {name: _json_value(value, look_up) for name, value in call.json.items()}
        body = msgspec.json.encode(values, order="deterministic").decode()
        headers.setdefault("Content-Type", "application/json")
    url = base.rstrip("/") + path + (f"?{query}" if query else "")
    return HttpRequest(call.method, url, call.effect, headers, secrets, body, call.expect.status)


def _text(element: str, look_up: LookUp) -> str:
    return spelled(_value(element, look_up))


def _json_value(value: object, look_up: LookUp) -> object:
    return _value(value, look_up) if isinstance(value, str) else value


def _value(element: str, look_up: LookUp) -> Value:
    found = reference(element)
    if found is None:
        return element
    value = look_up(found)
    if value is None:
        raise RenderError(f"{found} has no value yet")
    return value


def _split(
    elements: Iterable[tuple[str, str]], look_up: LookUp, secret: SecretOf
) -> tuple[dict[str, str], tuple[SecretAt, ...]]:
    """Plain values here, secrets there."""
    plain: dict[str, str] = {}
    secrets: list[SecretAt] = []
    for name, element in elements:
        found = reference(element)
        if found is not None and found.space == "secrets":
            known = secret(found.name)
            secrets.append(SecretAt(name, known.source, known.name, known.prefix))
        else:
            plain[name] = _text(element, look_up)
    return plain, tuple(secrets)
