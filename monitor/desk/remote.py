"""The desk for other machines: what is asked before anybody comes in over TLS.

In this order: does the address ask too much, is it us who is meant (Host), is it no web page
(Origin), is it a method of the desk, whose token is it, does the token ask too much. Then it is the
same desk as on the socket. There is no cookie and no CORS; every other path and verb is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from monitor.desk.audit import Auditor
from monitor.desk.http import Refused, Visit, answer, error_answer
from monitor.desk.limits import Buckets, address_key
from monitor.desk.methods import COMMANDS
from monitor.desk.port import DeskPort
from monitor.desk.settings import Tls
from monitor.desk.token_form import id_of
from monitor.desk.tokens import USED_EVERY, judge
from monitor.store.store import Store, StoreUnavailable
from monitor.store.token_rows import Token
from monitor.views import DeskError, Principal

PATH = "/desk/v1/"
HEADERS = (
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)
"""With every answer; this is no place for a browser."""

_BAD: dict[str, tuple[str, str]] = {
    "missing": ("a token is needed", "tocsin login"),
    "unknown": ("this token is not known here", "ask an admin for one, then: tocsin login"),
    "expired": ("the token has expired", "ask an admin for a new one, then: tocsin login again"),
    "revoked": ("the token was revoked", "ask an admin for a new one, then: tocsin login again"),
}


def _buckets(per_s: float, burst: float) -> Buckets:
    return Buckets(per_s=per_s, burst=burst)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How often somebody may ask.

    For each token 50 questions and 5 commands a second, after bursts of 200 and 20; for each
    address four times that, since a team may sit behind one, and 5 wrong tokens a minute.
    """

    queries: Buckets = field(default_factory=lambda: _buckets(50, 200))
    commands: Buckets = field(default_factory=lambda: _buckets(5, 20))
    address_queries: Buckets = field(default_factory=lambda: _buckets(200, 800))
    address_commands: Buckets = field(default_factory=lambda: _buckets(20, 80))
    strangers: Buckets = field(default_factory=lambda: _buckets(5 / 60, 5))


class RemoteDoor:
    """The application behind TLS, and the door of it.

    Args:
        tls: whom it listens to now.
        desk_for: a desk for a principal.
        store: where the tokens are.
        audit: told of every refusal.
        now: aware UTC, of the wall.
        seconds: a clock that does not go back.
        rates: see there.
    """

    def __init__(
        self,
        tls: Callable[[], Tls],
        desk_for: Callable[[Principal], DeskPort],
        store: Store,
        audit: Auditor,
        now: Callable[[], datetime],
        *,
        seconds: Callable[[], float] = time.monotonic,
        rates: RateLimits | None = None,
    ) -> None:
        self._desk_for = desk_for
        self._store = store
        self._audit = audit
        self._now = now
        self._seconds = seconds
        self._rates = rates or RateLimits()
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        assert request.client is not None
        said = await self._answer(request, Visit("tls", request.client.host))
        await said(scope, receive, send)

    async def _answer(self, request: Request, visit: Visit) -> Response:
        try:
            self._greet(request, visit)
            name = _method(request)
        except Refused as error:
            where = (visit.door, visit.via, visit.who, visit.method)
            await run_in_threadpool(self._audit.refused, *where, error.reason)
            return error_answer(error)
        return await answer(request, name, visit, self, self._audit)

    def _greet(self, request: Request, visit: Visit) -> None:
        """What needs no token.

        Raises:
            Refused: it is not for us, from a web page, or too much.
        """
        self._pace(self._rates.address_queries, address_key(visit.address))
        tls = self._tls()
        if _bare(request.headers.get("host", "")) not in tls.hosts:
            raise Refused(421, "host", "forbidden", "this desk has another name", "desk.tls.hosts")
        if any(one not in tls.origins for one in request.headers.getlist("origin")):
            raise Refused(403, "origin", "forbidden", "this desk is not for web pages")

    def enter(self, request: Request, visit: Visit) -> DeskPort:
        """The desk for the holder of a token."""
        token = self._recognise(request, visit)
        visit.who = token.name
        visit.detail = f"token {token.id}"
        command = visit.method in COMMANDS
        if command:
            self._pace(self._rates.address_commands, address_key(visit.address))
        self._pace(self._rates.commands if command else self._rates.queries, token.id)
        return self._desk_for(
            Principal(
                name=token.name,
                role=cast("Literal['reader', 'responder', 'admin']", token.role),
                via="tls",
                token=token.id,
                expires_at=token.expires_at,
            )
        )

    def _pace(self, buckets: Buckets, key: str) -> None:
        if wait := buckets.take(key, self._seconds()):
            raise _too_much("rate", wait)

    def _recognise(self, request: Request, visit: Visit) -> Token:
        given = request.headers.getlist("authorization")
        kind, _, text = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        now = self._now()
        found = None
        reason: str = "missing"
        if kind.lower() == "bearer":
            found = self._find(text.strip(), now)
            reason = "unknown" if found is None else judge(text.strip(), found, now)
        if found is not None and reason == "ok":
            return found
        if found is not None and reason != "unknown":
            visit.who, visit.detail = found.name, f"token {found.id}"
        if wait := self._rates.strangers.take(address_key(visit.address), self._seconds()):
            raise _too_much("strangers", wait)
        message, hint = _BAD[reason]
        wants = {"www-authenticate": "Bearer"}
        raise Refused(401, reason, "forbidden", message, hint, wants)

    def _find(self, text: str, now: datetime) -> Token | None:
        name = id_of(text)
        if name is None:
            return None
        try:
            with self._store.read() as tx:
                token = tx.tokens.get(name)
            if judge(text, token, now) == "ok" and token is not None and _stale(token, now):
                with self._store.write() as tx:
                    tx.tokens.used(name, now)
        except StoreUnavailable as problem:
            raise DeskError("unavailable", str(problem), "nothing was done; try again") from None
        return token


def _stale(token: Token, now: datetime) -> bool:
    return token.used_at is None or now - token.used_at >= USED_EVERY


def _too_much(reason: str, wait_s: float) -> Refused:
    seconds = max(1, int(wait_s + 0.999))
    return Refused(
        429,
        reason,
        "unavailable",
        "too many requests",
        f"try again in {seconds} s",
        {"retry-after": str(seconds)},
    )


def _bare(host: str) -> str:
    """A Host header without its port, in lower case."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _method(request: Request) -> str:
    """The desk's method that a request is for.

    Raises:
        Refused: it is for nothing that is here.
    """
    path = request.scope["path"]
    name: str = path.removeprefix(PATH)
    if not path.startswith(PATH) or "/" in name or request.url.query:
        raise Refused(404, "closed", "not_found", "there is nothing here")
    if request.method != "POST":
        raise Refused(405, "closed", "invalid", "only POST", headers={"allow": "POST"})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "closed", "invalid", "send application/json")
    return name
