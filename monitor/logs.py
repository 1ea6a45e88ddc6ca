"""Logs: one JSON line a record on standard error, with nothing in it that could forge another.

Nobody waits for who reads them: a collector that stands still would stop every thread that has
something to say. Lines wait in a bounded queue for a thread that writes them; what does not fit is
dropped, counted, and said as soon as somebody reads again.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TextIO

from monitor.text import vis

logger = logging.getLogger(__name__)

LONGEST = 8 * 1024
MOST_WAITING = 1000
"""Lines; dropping ends when half of them are written, so that not every other line tells of it."""
LAST_S = 1.0
"""An end waits so long for a reader that stands still."""
LOOK_S = 0.5
"""Between two looks whether somebody reads again."""
_BATCH = 64
"""Lines taken out of the queue at a time."""
_AT_ONCE = select.PIPE_BUF
"""Bytes that a pipe takes whole, unmixed with what our other processes write."""


class JsonLines(logging.Formatter):
    """One record, one line, ASCII only."""

    def __init__(self, process: str = "") -> None:
        """Args: `process` is named in each line; empty where there is only one."""
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._process,
            "logger": record.name,
            "text": vis(text, limit=LONGEST),
        }
        return json.dumps(line, ensure_ascii=True)


class Stream:
    """Where lines go: a descriptor where there is one, past every buffer and its lock."""

    def __init__(self, stream: TextIO | None) -> None:
        """Args: None where a process was started without a standard error."""
        self._stream = stream
        self._descriptor: int | None = None
        self._look = select.poll()
        self._torn = False
        if stream is not None:
            try:
                self._descriptor = stream.fileno()
            except OSError:
                return  # it lives in memory
            self._look.register(self._descriptor, select.POLLOUT)

    def ready(self, seconds: float) -> bool:
        """Wait so long until it takes some bytes; an error counts as ready, the write tells it."""
        return self._descriptor is None or bool(self._look.poll(1000 * seconds))

    def write(self, text: str) -> None:
        """Write all of it; may wait for ever.

        Raises:
            OSError: nobody is there any more, or the disk is full; part of it may be written.
            ValueError: the stream was closed.
        """
        if self._descriptor is None:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
            return
        # What was cut off by an error must not be joined by the next line.
        left = (b"\n" if self._torn else b"") + text.encode()
        while left:
            try:
                done = os.write(self._descriptor, left)
            except BlockingIOError:
                self.ready(LOOK_S)
                continue
            self._torn = left[done - 1 : done] != b"\n"
            left = left[done:]


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    tells_of: int = 0
    """Lines that were dropped before this one, which says so."""


_Item = _Line | threading.Event | None
"""A line, somebody who waits until the lines before are written, or the end."""


class Lines(logging.Handler):
    """Puts lines into a queue that a thread of its own writes to a stream."""

    def __init__(self, stream: Stream, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._stream = stream
        # Unlike `queue.Queue` it may be met again within itself, by a finaliser that logs.
        self._waiting: SimpleQueue[_Item] = SimpleQueue()
        self._guard = threading.RLock()
        self._unsaid = 0
        self._uncounted = 0
        self._count: Callable[[int], None] | None = None
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._thread.start()

    def count_with(self, count: Callable[[int], None]) -> None:
        """Tell `count` how many lines were dropped, those of before too; from our own thread."""
        self._count = count

    def emit(self, record: logging.LogRecord) -> None:
        """Put it into the queue, or drop it."""
        try:
            line = self.format(record) + "\n"
        except (TypeError, ValueError, LookupError, AttributeError) as problem:
            record.msg, record.args = "%r could not be formatted: %r", (str(record.msg), problem)
            record.exc_info = None
            line = self.format(record) + "\n"
        with self._guard:
            waiting = self._waiting.qsize()
            if waiting >= MOST_WAITING or (self._unsaid and waiting > MOST_WAITING // 2):
                self._lose(_Line(line))
                return
            if self._unsaid:
                self._waiting.put(self._notice())
            self._waiting.put(_Line(line))

    def flush(self) -> None:
        """Wait until what is queued is written, `LAST_S` at most."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            written = threading.Event()
            self._waiting.put(written)
            written.wait(LAST_S)

    def close(self) -> None:
        """What is queued is the last that is written; waits for nobody."""
        self._waiting.put(None)
        super().close()

    def _lose(self, line: _Line) -> None:
        with self._guard:
            self._unsaid += line.tells_of or 1
            self._uncounted += 0 if line.tells_of else 1

    def _notice(self) -> _Line:
        """That lines were dropped; under the guard."""
        text = "%d lines were dropped: nobody read them, or there was no room for them"
        args = (self._unsaid,)
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, args, None)
        told, self._unsaid = self._unsaid, 0
        return _Line(self.format(record) + "\n", told)

    # -- on the thread that writes --------------------------------------------------------------

    def _write_all(self) -> None:
        while True:
            lines, after = self._take()
            written = True
            for part in _parts(lines):
                written = self._write(part) and written
            if written:
                self._say_dropped()
            self._tell_count()
            if isinstance(after, threading.Event):
                after.set()
            elif after is None:
                return

    def _take(self) -> tuple[list[_Line], _Item]:
        """What waits, in its order; with it what ended the taking, or the last line again."""
        lines: list[_Line] = []
        item = self._waiting.get()
        while isinstance(item, _Line):
            lines.append(item)
            if len(lines) >= _BATCH:
                break
            try:
                item = self._waiting.get_nowait()
            except Empty:
                break
        return lines, item

    def _write(self, part: list[_Line]) -> bool:
        while not self._stream.ready(LOOK_S):
            self._tell_count()
        try:
            self._stream.write("".join(line.text for line in part))
        except (OSError, ValueError):
            for line in part:
                self._lose(line)
            return False
        return True

    def _say_dropped(self) -> None:
        with self._guard:
            late = [self._notice()] if self._unsaid and self._waiting.empty() else []
        for line in late:
            self._write([line])

    def _tell_count(self) -> None:
        if self._count is not None:
            with self._guard:
                dropped, self._uncounted = self._uncounted, 0
            if dropped:
                self._count(dropped)


def _parts(lines: list[_Line]) -> Iterator[list[_Line]]:
    """As many lines at a time as a pipe takes whole; a longer one alone."""
    part: list[_Line] = []
    size = 0
    for line in lines:
        if part and size + len(line.text) > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.text)
    if part:
        yield part


def configure_logs(level: int = logging.INFO, process: str = "") -> None:
    """Send all records to standard error as JSON lines; libraries only from WARNING on.

    Args:
        level: from which on our own are sent.
        process: is named in each line; empty where there is only one.
    """
    logging.Formatter.converter = time.gmtime
    root = logging.getLogger()
    for former in _ours():
        former.flush()
        former.close()
    root.handlers[:] = [Lines(Stream(sys.stderr), JsonLines(process))]
    root.setLevel(logging.WARNING)
    logging.getLogger("monitor").setLevel(level)
    # With a dead broker kafka-python complains several times a second; our own line says it once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def log_uncaught() -> None:
    """Log what kills a thread or this process: Python prints it, and waits for who reads that."""
    sys.excepthook = _died
    threading.excepthook = lambda died: _died(
        died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback
    )


def _died(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, SystemExit):
        return
    name = threading.current_thread().name
    logger.critical("the thread %s died", name, exc_info=(kind, problem, trace))


def count_dropped(count: Callable[[int], None]) -> None:
    """Tell `count`, each time that lines were dropped, how many."""
    for handler in _ours():
        handler.count_with(count)


def flush_logs() -> None:
    """Wait until what was logged is written, `LAST_S` at most."""
    for handler in _ours():
        handler.flush()


def _ours() -> list[Lines]:
    return [one for one in logging.getLogger().handlers if isinstance(one, Lines)]
