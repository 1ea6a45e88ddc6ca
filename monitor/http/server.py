"""uvicorn in a thread of its own, the TCP sockets it listens on, and who is at a Unix socket.

In a daemon such a thread is a loop like any other: its event loop ticks for as long as it turns.
One that hangs, or whose thread has died, takes its process with it, which is started again; else
pages would go out and nobody could acknowledge them.
"""

from __future__ import annotations

import asyncio
import logging
import pwd
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from monitor.http.patience import PatientProtocol
from monitor.http.unix import peer_of
from monitor.watchdog import Unwatched, Watch, tick

TURN_S = 0.5
"""Between two ticks of an event loop; the shortest stall that may be configured is 2 s."""


class PeerProtocol(PatientProtocol):
    """HTTP/1.1 over a Unix socket, with the peer's uid where a TCP server has its address."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        pid, uid = peer_of(peer)
        self.client = (f"uid:{uid}", pid)


def user_name(uid: int) -> str:
    """The local name of a uid."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


class Server:
    """One uvicorn server in a thread; `close` waits until it has let go.

    Args:
        app: what is served.
        listener: where; closed with the server.
        peers: the listener is a Unix socket, and a client's address is its uid.
        protocol: speaks HTTP on a connection, instead of the usual `PatientProtocol`.
        headers: sent with every answer.
        connections: at most, at once; more are answered with 503.
        name: of its loop, where a stall is told.
        watch: ends a process whose loops hang or die.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        peers: bool = False,
        protocol: type[asyncio.Protocol] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        connections: int = 64,
        name: str = "http",
        watch: Watch | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=protocol or (PeerProtocol if peers else PatientProtocol),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # uvicorn would let X-Forwarded-For of a trusted peer say who asks, and trusts loopback
            # and whatever FORWARDED_ALLOW_IPS names.
            proxy_headers=False,
            headers=list(headers),
            h11_max_incomplete_event_size=16 * 1024,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            limit_concurrency=connections,
        )
        # Nobody writes down what requests contain: a target may hold a token by mistake.
        logging.getLogger("uvicorn.access").disabled = True
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._name = name
        self._watch = watch or Unwatched()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name=name, daemon=True
        )

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._listener.getsockname()[1])

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

    async def _serve(self) -> None:
        self._watch.enter(self._name)
        turning = asyncio.create_task(_turn())
        await self._server.serve(sockets=[self._listener])
        turning.cancel()
        # Only an end in order comes here: of any other the watchdog hears nothing, and bites.
        self._watch.leave()

    def close(self) -> None:
        """Stop."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._listener.close()


async def _turn() -> None:
    """Tick while the event loop of this thread turns."""
    while True:
        tick()
        await asyncio.sleep(TURN_S)


def listen_tcp(address: str) -> socket.socket:
    """A listening TCP socket for `HOST:PORT`; port 0 picks a free one.

    Raises:
        ValueError: not `HOST:PORT`.
        OSError: it cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    # asyncio sets it only on sockets that name their protocol; without it an answer in two writes
    # waits 40 ms for the other side's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
