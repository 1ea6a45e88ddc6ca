"""The Unix socket of a desk: one daemon has it, and takes away only what it put there itself."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from monitor.held import Held, hold, outlast

_PEER = struct.Struct("3i")
_PATH_BYTES = 107  # and a NUL: `sun_path` of unix(7)


class DeskTaken(OSError):
    """Another daemon serves a desk there.

    Attributes:
        pid: of that daemon, `unknown` where it cannot be told.
    """

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(errno.EADDRINUSE, f"another daemon (pid {pid}) serves a desk", str(path))
        self.pid = pid


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Pid and uid of the other side; to who connects the other side is who began to listen."""
    pid, uid, _ = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


@contextmanager
def desk_held(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the right to listen at `path`, by a lock beside it.

    Children do not inherit it: a daemon that was killed is met by who still listens for it.

    Args:
        path: of the socket, whose folder is made.
        patience_s: that one has so long to leave.

    Raises:
        DeskTaken: another daemon has it, or somebody listens there without having asked for it.
        OSError: the path is too long, the folder cannot be written, or what is at `path` cannot be
            asked.
    """
    _refuse_long(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(path.with_name(path.name + ".lock")))
        except Held as other:
            raise DeskTaken(path, other.pid) from None
        _refuse_living(path, patience_s)
        yield


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """`listen_unix`, for as long as it lasts; then the socket goes, unless another took its place.

    Raises:
        DeskTaken, OSError: as `listen_unix`.
    """
    with listen_unix(path) as listener:
        mine = _identity(path)
        try:
            yield listener
        finally:
            with suppress(OSError):
                if _identity(path) == mine:
                    path.unlink()


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket that the owner and its group may use; a dead one is replaced.

    Who may be met by another start of the same daemon holds `desk_held` meanwhile.

    Raises:
        DeskTaken: somebody listens there.
        OSError: the path is too long or not a socket's, or the folder cannot be written.
    """
    _refuse_long(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_living(path)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _refuse_long(path: Path) -> None:
    """Raise OSError for a path that has no room in a socket's address."""
    has = len(os.fsencode(path))
    if has > _PATH_BYTES:
        raise OSError(
            errno.ENAMETOOLONG,
            f"a socket's path has at most {_PATH_BYTES} bytes, this one {has}: give a shorter one, "
            "--socket PATH or `desk.socket` in the configuration",
        )


def _refuse_living(path: Path, patience_s: float = 0.0) -> None:
    """Look whether `path` is free, or has a socket that nobody listens at.

    Raises:
        DeskTaken: somebody does.
        FileExistsError: it is something else.
        OSError: it cannot be told.
    """
    pid = outlast(partial(_listener, path), patience_s)
    if pid is not None:
        raise DeskTaken(path, pid)


def _listener(path: Path) -> str | None:
    """The pid (or `unknown`) of who listens there; None for nobody."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is something else, not a socket", str(path))
    except FileNotFoundError:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except BlockingIOError:
            return "unknown"  # so many wait to be answered that there is no room for another
        return str(peer_of(caller)[0] or "unknown")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
