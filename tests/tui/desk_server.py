"""The daemon's HTTP door in front of any desk: the real server on a Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.desk.port import DeskPort
from monitor.http.app import Server, desk_app, listen_unix


@contextmanager
def serve(desk: DeskPort, path: Path) -> Iterator[Path]:
    """The desk at `path` until the block ends."""
    server = Server(desk_app(lambda _name, _uid: desk), listen_unix(path), peers=True)
    server.start()
    try:
        yield path
    finally:
        server.close()
