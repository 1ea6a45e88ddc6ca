"""A real pseudo-terminal around a `tocsin` command, and a screen that understands its bytes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pyte

PROGRAM = (sys.executable, "-c", "import sys; from tui.cli import main; sys.exit(main())")


class Terminal:
    """One process in a pseudo-terminal."""

    def __init__(self, pid: int, fd: int, size: tuple[int, int]) -> None:
        self.pid = pid
        self.fd = fd
        self.raw = bytearray()
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.status: int | None = None

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self, seconds: float) -> None:
        """Take in what comes within `seconds`, or until the process ends."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self.fd], [], [], left)
            if not ready:
                return
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                return
            self.raw += data
            # pyte does not know private device-control strings; a real terminal skips them.
            with suppress(Exception):
                self._stream.feed(data)

    def until(self, words: str, *, seconds: float = 20) -> None:
        """Read until `words` are on the screen."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            if self.status is not None or time.monotonic() > deadline:
                raise AssertionError(f"never {words!r} on\n{self.text}\nstatus {self.status}")
            self.read(0.1)

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def end(self, *, seconds: float = 20) -> int:
        """The exit status, when all that was written is read."""
        deadline = time.monotonic() + seconds
        while self.status is None and time.monotonic() < deadline:
            self.read(0.1)
        assert self.status is not None, f"still running:\n{self.text}"
        return self.status


@contextmanager
def terminal(
    words: Sequence[str], size: tuple[int, int] = (80, 24), /, **env: str
) -> Iterator[Terminal]:
    """`tocsin` with `words` in a terminal of `size`; ended with the block."""
    pid, fd = pty.fork()
    if pid == 0:
        clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        clean |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **env}
        os.execvpe(PROGRAM[0], [*PROGRAM, *words], clean)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    made = Terminal(pid, fd, size)
    try:
        yield made
    finally:
        if made.status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(fd)
