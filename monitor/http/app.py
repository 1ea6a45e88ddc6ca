"""What the daemon serves: the desk on a Unix socket, health and metrics on a TCP port.

On the socket the caller is who the kernel says it is (SO_PEERCRED); the TCP port answers questions
about health only. For other machines see `monitor.desk.remote`. All are small applications run by
uvicorn, each in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    ready: Callable[[], tuple[bool, list[str]]],
    well: Callable[[], tuple[bool, list[str]]],
    hooks: Starlette | None = None,
) -> Starlette:
    """What is served for health: four addresses, and inbound `/hooks/` if there are.

    `/healthz` is always 200 (alive), so that a liveness probe restarts what hangs and nothing else.
    `/readyz` is 200 where this daemon serves, whatever it has to tell; `/statusz` only where no
    part is bad. `/metrics` is for Prometheus.

    Args:
        metrics: of the daemon.
        ready: whether it serves, and lines that say why; asks nothing that may not answer.
        well: whether all is well, and a line for each part.
        hooks: of others.
    """

    async def healthz(_request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(_request: Request) -> Response:
        return _told(*await run_in_threadpool(ready))

    async def statusz(_request: Request) -> Response:
        return _told(*await run_in_threadpool(well))

    async def scrape(_request: Request) -> Response:
        return Response(await run_in_threadpool(metrics.render), media_type=CONTENT_TYPE)

    mounts = [] if hooks is None else [Mount("/hooks", app=hooks)]
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/statusz", statusz),
            Route("/metrics", scrape),
            *mounts,
        ]
    )


def _told(good: bool, lines: Sequence[str]) -> Response:
    return Response("\n".join(lines) + "\n", 200 if good else 503, media_type="text/plain")


def waiting_app(metrics: Metrics, why: Callable[[], list[str]]) -> Starlette:
    """The same while the store does not answer: alive, not ready, and 503 for every caller.

    Args:
        metrics: of the daemon.
        why: a line for each part of the reason.
    """

    async def elsewhere(_request: Request) -> Response:
        # Not 404: who calls a hook tries again, and a person's command says what it waits for.
        return error_answer(DeskError("unavailable", "; ".join(await run_in_threadpool(why))))

    def nothing_yet() -> tuple[bool, list[str]]:
        return False, why()

    app = health_app(metrics, nothing_yet, nothing_yet)
    app.add_route("/{path:path}", elsewhere, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
    return app
