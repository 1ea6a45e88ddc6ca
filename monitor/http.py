"""What the daemon serves: the desk on a Unix socket, health and metrics on a TCP port.

On the socket the caller is who the kernel says it is (SO_PEERCRED); the TCP port answers questions
about health only. Both are small Starlette applications run by uvicorn in a thread of their own.
"""

from __future__ import annotations

import inspect
import logging
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.desk_port import DeskPort
from monitor.metrics import CONTENT_TYPE, Metrics
from monitor.text import vis
from monitor.views import DeskError

logger = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
STATUS = {"refused": 409, "not_found": 404, "forbidden": 403, "invalid": 400, "unavailable": 503}
METHODS = tuple(
    name for name, _ in inspect.getmembers(DeskPort, inspect.isfunction) if not name.startswith("_")
)
DeskFor = Callable[[str, int], DeskPort]
"""From a user name and uid to a desk that speaks for it."""


class PeerProtocol(H11Protocol):
    """HTTP/1.1 over a Unix socket, with the peer's uid where a TCP server has its address."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", packed)
        self.client = (f"uid:{uid}", pid)


def user_name(uid: int) -> str:
    """The local name of a uid."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def _json(status: int, body: object) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _error(error: DeskError) -> Response:
    detail = {"code": error.code, "message": error.message, "hint": error.hint}
    return _json(STATUS.get(error.code, 500), {"schema": "tocsin.error/1", "error": detail})


def desk_app(desk_for: DeskFor) -> Starlette:
    """The desk: `POST /desk/v1/<method>` with a JSON object of arguments."""

    async def call(request: Request) -> Response:
        name = request.path_params["method"]
        assert request.client is not None
        uid = int(request.client.host.removeprefix("uid:"))
        if name not in METHODS:
            shown = vis(name, limit=60)
            return _error(DeskError("not_found", f"the desk has no method {shown!r}"))
        try:
            desk = desk_for(user_name(uid), uid)
            body = await _body(request)
            answer = await run_in_threadpool(_call, desk, name, body)
        except DeskError as error:
            return _error(error)
        return _json(200, {"schema": f"tocsin.{name}/1", "data": answer})

    return Starlette(routes=[Route("/desk/v1/{method}", call, methods=["POST"])])


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise DeskError("invalid", f"a command is at most {MAX_BODY} bytes")
    return body


def _call(desk: DeskPort, name: str, body: bytes) -> object:
    method = getattr(desk, name)
    try:
        arguments = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        known = _arguments(name)
        strange = sorted(arguments.keys() - known.keys())
        if strange:
            raise DeskError("invalid", f"{name} takes no {vis(strange[0], limit=60)!r}")
        typed = {key: msgspec.convert(value, known[key]) for key, value in arguments.items()}
        inspect.signature(method).bind(**typed)
    except (msgspec.MsgspecError, TypeError) as problem:
        raise DeskError("invalid", f"{name}: {vis(str(problem), limit=200)}") from None
    answer: object = method(**typed)
    return answer


def _arguments(name: str) -> Mapping[str, Any]:
    hints = inspect.get_annotations(getattr(DeskPort, name), eval_str=True)
    return {key: kind for key, kind in hints.items() if key != "return"}


def health_app(metrics: Metrics, healthy: Callable[[], tuple[bool, list[str]]]) -> Starlette:
    """`/healthz` (alive), `/readyz` (does its job), `/metrics`."""

    async def healthz(_request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(_request: Request) -> Response:
        good, lines = await run_in_threadpool(healthy)
        return Response("\n".join(lines) + "\n", 200 if good else 503, media_type="text/plain")

    async def scrape(_request: Request) -> Response:
        return Response(await run_in_threadpool(metrics.render), media_type=CONTENT_TYPE)

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", scrape)]
    )


class Server:
    """One uvicorn server in a thread; `close` waits until it has let go."""

    def __init__(self, app: Starlette, listener: socket.socket, *, peers: bool = False) -> None:
        config = uvicorn.Config(
            app,
            http=PeerProtocol if peers else H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            limit_concurrency=64,
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="http", daemon=True
        )

    def start(self, timeout_s: float = 10.0) -> None:
        """Serve; returns when connections are answered.

        Raises:
            RuntimeError: it did not come up.
        """
        self._thread.start()
        deadline = time.monotonic() + timeout_s
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the HTTP server did not start")
            time.sleep(0.01)

    def close(self) -> None:
        """Stop."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._listener.close()


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket that the owner and its group may use; a dead one is replaced.

    Raises:
        OSError: the path is too long, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # the store's lock says that no other daemon serves it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(64)
    return listener


def listen_tcp(address: str) -> socket.socket:
    """A listening TCP socket for `HOST:PORT`; port 0 picks a free one.

    Raises:
        ValueError: not `HOST:PORT`.
        OSError: it cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return socket.create_server((host.strip("[]"), int(port)))
