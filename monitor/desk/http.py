"""The desk over HTTP, whatever the door: a method, a JSON object, an answer.

A door says who comes in and hears of whom the desk turns away; the rest is the same for all, so
that the Unix socket and TLS cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.desk.audit import Auditor
from monitor.desk.methods import METHODS, invoke
from monitor.desk.port import DeskPort
from monitor.http.server import user_name
from monitor.text import vis
from monitor.views import DeskError

MAX_BODY = 64 * 1024
STATUS = {"refused": 409, "not_found": 404, "forbidden": 403, "invalid": 400, "unavailable": 503}
DeskFor = Callable[[str, int], DeskPort]
"""From a user name and uid to a desk that speaks for it."""


class Refused(DeskError):
    """The door did not open.

    Args:
        status: of the answer.
        reason: one word for the audit and the metrics.
        code: see `DeskError`.
        message: what is wrong; the asker reads it.
        hint: what to do about it.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        code: str,
        message: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, message, hint)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})


@dataclass(slots=True)
class Visit:
    """One request: who came in where, as far as it is known, and what they want."""

    door: str
    """`socket` or `tls`."""
    address: str = ""
    """Of another machine."""
    who: str = "-"
    method: str = "-"
    """A known method of the desk, or `-`."""
    detail: str = ""
    """For the audit; never anything that the request contained."""

    @property
    def via(self) -> str:
        """As the audit says it."""
        return f"{self.door} {self.address}".strip()


class Door(Protocol):
    """Who may come in."""

    def enter(self, request: Request, visit: Visit) -> DeskPort:
        """The desk for who asks; called in a thread, fills in the visit as it learns of it.

        Raises:
            DeskError: they may not.
        """
        ...


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON body."""
    return Response(
        msgspec.json.encode(body), status, media_type="application/json", headers=headers
    )


def error_answer(error: DeskError) -> Response:
    """What the desk or its door said, as JSON."""
    status, headers = STATUS.get(error.code, 500), {}
    if isinstance(error, Refused):
        status, headers = error.status, error.headers
    detail = {"code": error.code, "message": error.message, "hint": error.hint}
    return json_answer(status, {"schema": "tocsin.error/1", "error": detail}, headers)


async def read_body(request: Request) -> bytes:
    """All of a request's body.

    Raises:
        DeskError: `invalid`, over the limit, or its sender has left.
    """
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise Refused(
                    400,
                    "size",
                    "invalid",
                    f"a command is at most {MAX_BODY} bytes",
                    headers={"connection": "close"},
                )
    except ClientDisconnect:
        raise DeskError("invalid", "the caller left before all of it was there") from None
    return body


def _known(name: str) -> None:
    if name not in METHODS:
        raise DeskError("not_found", f"the desk has no method {vis(name, limit=60)!r}")


async def answer(request: Request, name: str, visit: Visit, door: Door, audit: Auditor) -> Response:
    """Let somebody in, do what they ask, and write down a refusal."""
    visit.method = name if name in METHODS else "-"
    try:
        desk = await run_in_threadpool(door.enter, request, visit)
        _known(name)
        audit.asked(visit.door, name)
        body = await read_body(request)
        said = await run_in_threadpool(invoke, desk, name, body)
    except DeskError as error:
        reason = error.reason if isinstance(error, Refused) else error.code
        if reason != error.code or reason == "forbidden":
            await run_in_threadpool(
                audit.refused, visit.door, visit.via, visit.who, visit.method, reason, visit.detail
            )
        return error_answer(error)
    return json_answer(200, {"schema": f"tocsin.{name}/1", "data": said})


@dataclass(frozen=True, slots=True)
class SocketDoor:
    """The Unix socket: the kernel says who asks."""

    desk_for: DeskFor

    def enter(self, request: Request, visit: Visit) -> DeskPort:
        assert request.client is not None
        uid = int(request.client.host.removeprefix("uid:"))
        visit.who = user_name(uid)
        return self.desk_for(visit.who, uid)


def desk_app(desk_for: DeskFor, audit: Auditor | None = None) -> Starlette:
    """The desk on its socket: `POST /desk/v1/<method>` with a JSON object of arguments."""
    door, book = SocketDoor(desk_for), audit or Auditor()

    async def call(request: Request) -> Response:
        return await answer(request, request.path_params["method"], Visit("socket"), door, book)

    return Starlette(routes=[Route("/desk/v1/{method}", call, methods=["POST"])])
