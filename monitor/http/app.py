"""What the daemon serves: the desk on a Unix socket, health and metrics on a TCP port.

On the socket the caller is who the kernel says it is (SO_PEERCRED); the TCP port answers questions
about health only. For other machines see `monitor.desk.remote`. All are small applications run by
uvicorn, each in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from monitor.desk.http import MAX_BODY, DeskFor, desk_app, error_answer
from monitor.desk.methods import METHODS
from monitor.http.server import Server, listen_tcp, user_name
from monitor.http.unix import listen_unix
from monitor.metrics import CONTENT_TYPE, Metrics
from monitor.views import DeskError

__all__ = [
    "MAX_BODY",
    "METHODS",
    "DeskFor",
    "Server",
    "desk_app",
    "health_app",
    "listen_tcp",
    "listen_unix",
    "user_name",
    "waiting_app",
]


def health_app(
    metrics: Metrics,
    healthy: Callable[[], tuple[bool, list[str]]],
    hooks: Starlette | None = None,
) -> Starlette:
    """`/healthz` (alive), `/readyz` (does its job), `/metrics`; inbound `/hooks/` if there are."""

    async def healthz(_request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(_request: Request) -> Response:
        good, lines = await run_in_threadpool(healthy)
        return Response("\n".join(lines) + "\n", 200 if good else 503, media_type="text/plain")

    async def scrape(_request: Request) -> Response:
        return Response(await run_in_threadpool(metrics.render), media_type=CONTENT_TYPE)

    mounts = [] if hooks is None else [Mount("/hooks", app=hooks)]
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", scrape),
            *mounts,
        ]
    )


def waiting_app(metrics: Metrics, why: Callable[[], list[str]]) -> Starlette:
    """The same while the store does not answer: alive, not ready, and 503 for every caller.

    Args:
        metrics: of the daemon.
        why: a line for each part of the reason.
    """

    async def elsewhere(_request: Request) -> Response:
        # Not 404: who calls a hook tries again, and a person's command says what it waits for.
        return error_answer(DeskError("unavailable", "; ".join(await run_in_threadpool(why))))

    app = health_app(metrics, lambda: (False, why()))
    app.add_route("/{path:path}", elsewhere, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
    return app
