"""The operator's allow-list: nothing runs until it is named here.

It lives apart from the runbooks, in a file of the operator's, because whoever may edit a runbook
must not thereby decide what a production machine executes. It names commands by absolute path and
first arguments, HTTP by origin, method and path, and the secrets that may be handed out; each with
the most harmful effect it may be used for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from runbooks.model import EFFECT_ORDER, Effect, Method
from runbooks.problems import visible
from runbooks.requests import CommandRequest, HttpRequest, Request, SecretAt
from runbooks.urls import check_path, plain_url


class AllowedCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One executable and how it may be called.

    Attributes:
        path: Absolute path of the executable.
        name: What runbooks call it; empty: the last part of the path.
        args: First arguments, any of them; an empty one allows everything, none only the bare
            command.
        max_effect: The most harmful effect that a step with it may have.
    """

    path: Annotated[str, msgspec.Meta(pattern=r"^/[^\x00-\x1f]*[^/\x00-\x1f]$", max_length=500)]
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.+-]*$")] = ""
    args: tuple[tuple[str, ...], ...] = ()
    max_effect: Effect = Effect.READ_ONLY

    @property
    def called(self) -> str:
        return self.name or self.path.rsplit("/", 1)[-1]


class AllowedHttp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One origin and what may be asked of it.

    Attributes:
        origin: As https://change.example.com:8443; compared as it is written, never looked up.
        methods: HTTP methods.
        paths: Path prefixes, whole segments; / allows all, none allows nothing.
        max_effect: The most harmful effect that a step with it may have.
    """

    origin: str
    methods: tuple[Method, ...] = ("GET",)
    paths: tuple[str, ...] = ()
    max_effect: Effect = Effect.READ_ONLY

    def __post_init__(self) -> None:
        if plain_url(self.origin).path not in {"", "/"}:
            raise ValueError(f"{self.origin!r} has a path; paths have their own field")
        for path in self.paths:
            if not path.startswith("/"):
                raise ValueError(f"the path {path!r} does not start with /")
            check_path(path)


class AllowList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that runbooks may do on this installation.

    Attributes:
        api_version: Of this list's format.
        commands: Executables that may be called.
        http: Origins that may be asked.
        secrets: Environment variables and absolute file paths that a step may be handed.
    """

    api_version: Literal["allow/v1"] = msgspec.field(default="allow/v1", name="apiVersion")
    commands: tuple[AllowedCommand, ...] = ()
    http: tuple[AllowedHttp, ...] = ()
    secrets: tuple[str, ...] = ()


NOTHING = AllowList()
"""The list of an installation that has none: manual steps and waits only."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may run, and why."""

    allowed: bool
    reason: str
    executable: str = ""
    """For a command: the absolute path to start."""


def allowed(request: Request, allow: AllowList) -> Decision:
    """Whether the allow-list names this request, with everything in it."""
    for secret in request.secrets:
        if secret.name not in allow.secrets:
            return Decision(False, f"the secret {_shown(secret)} is not on the allow-list")
    if isinstance(request, CommandRequest):
        return _command(request, allow)
    return _http(request, allow)


def _shown(secret: SecretAt) -> str:
    return visible(f"{secret.source} {secret.name}", limit=120)


def _command(request: CommandRequest, allow: AllowList) -> Decision:
    wanted = request.argv[0]
    same = [c for c in allow.commands if wanted in {c.path, c.called}]
    shown = visible(wanted, limit=120)
    if not same:
        return Decision(False, f"the command {shown} is not on the allow-list")
    fitting = [c for c in same if _arguments_fit(request.argv[1:], c)]
    if not fitting:
        return Decision(False, f"the allow-list does not name these arguments of {shown}")
    strong = [c for c in fitting if _within(request.effect, c.max_effect)]
    if not strong:
        return Decision(False, f"the allow-list does not let {shown} be {request.effect}")
    return Decision(True, f"named by the allow-list as {strong[0].path}", strong[0].path)


def _arguments_fit(arguments: tuple[str, ...], command: AllowedCommand) -> bool:
    if not command.args:
        return not arguments
    return any(arguments[: len(prefix)] == prefix for prefix in command.args)


def _within(effect: Effect, most: Effect) -> bool:
    return EFFECT_ORDER.index(effect) <= EFFECT_ORDER.index(most)


def _http(request: HttpRequest, allow: AllowList) -> Decision:
    plain, _, _ = request.url.partition("?")
    url = _parsed(plain)
    if url is None:
        return Decision(False, f"{visible(plain, limit=200)} is not a plain URL")
    origin, path = url
    same = [h for h in allow.http if plain_url(h.origin).origin == origin]
    if not same:
        return Decision(False, f"{origin} is not on the allow-list")
    fitting = [h for h in same if request.method in h.methods and _path_fits(path, h)]
    shown = visible(f"{request.method} {path or '/'}", limit=200)
    if not fitting:
        return Decision(False, f"the allow-list does not name {shown} on {origin}")
    if not any(_within(request.effect, h.max_effect) for h in fitting):
        return Decision(False, f"the allow-list does not let {shown} be {request.effect}")
    return Decision(True, f"named by the allow-list: {shown} on {origin}")


def _parsed(url: str) -> tuple[str, str] | None:
    """Origin and path; the path may hold escapes, but none that a server could walk by."""
    head, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    lowered = path.lower()
    if any(escape in lowered for escape in ("%2e", "%2f", "%5c", "%00", "%25")):
        return None
    try:
        origin = plain_url(f"{head}://{host}").origin
        check_path(slash + path.replace("%", "x"))
    except ValueError:
        return None
    return origin, slash + path


def _path_fits(path: str, allowed_http: AllowedHttp) -> bool:
    for prefix in allowed_http.paths:
        bare = prefix.rstrip("/")
        if path.rstrip("/") == bare or path.startswith(bare + "/"):
            return True
    return False
