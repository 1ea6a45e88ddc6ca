"""Logs: one record, one line, whatever is in it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.logs import LONGEST, MOST_WAITING, JsonLines, Lines, Stream
from monitor.metrics import Metrics


def line(text: str, *args: object, **options: object) -> str:
    """A record as it is written."""
    record = logging.LogRecord("monitor.x", logging.WARNING, "f", 1, text, args, None)
    for name, value in options.items():
        setattr(record, name, value)
    return JsonLines().format(record)


def test_a_record_is_one_line_of_json() -> None:
    """Time, level, logger and text, in UTC."""
    record = json.loads(line("%d pages wait", 3, created=1.5))
    assert record == {
        "at": "1970-01-01T00:00:01.500+00:00",
        "level": "warning",
        "logger": "monitor.x",
        "text": "3 pages wait",
    }


@pytest.mark.parametrize(
    "text",
    [
        'one\n{"at": "x", "level": "info"}',
        "\x1b[2J\x9b31m",
        "\u2028\u2029\x85\r",
        "\ud800\udfff",
        "\u202etxet",
        '"} {"level":"x"',
    ],
)
def test_nothing_forges_another_record(text: str) -> None:
    """Control characters, line ends of all kinds and lone surrogates are shown, not obeyed."""
    made = line("%s", text)
    assert made.isascii()
    assert made.isprintable()
    assert json.loads(made)["level"] == "warning"


def test_a_long_text_is_cut_and_says_so() -> None:
    """A record stays small."""
    made = json.loads(line("%s", "x" * 100_000))
    assert len(made["text"]) < LONGEST + 30
    assert made["text"].endswith(f"...[cut {100_000 - LONGEST}]")


def test_a_trace_is_in_the_line() -> None:
    """An exception's trace belongs to its record, on the same line."""
    with pytest.raises(ValueError, match="bad") as caught:
        int("bad\nnews")
    made = line("died", exc_info=(caught.type, caught.value, caught.tb))
    assert "\n" not in made
    assert "ValueError: invalid literal" in json.loads(made)["text"]


# -- nobody waits for who reads -----------------------------------------------------------------

PIPE_BYTES = 64 * 1024


@contextmanager
def reader_that_stands_still() -> Iterator[tuple[int, Lines]]:
    """The end of a full pipe that nobody reads, and a handler that writes to the other."""
    theirs, ours = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with os.fdopen(ours, "w") as stream:
        os.write(ours, b"x" * (PIPE_BYTES - 1) + b"\n")
        handler = Lines(Stream(stream), JsonLines("tried"))
        try:
            yield theirs, handler
        finally:
            os.close(theirs)
            handler.close()
            # Its descriptor is another file's as soon as it is closed.
            handler._thread.join(30)


def say(handler: Lines, number: int) -> None:
    """Log a number."""
    record = logging.LogRecord("monitor.x", logging.INFO, "f", 1, "%d", (number,), None)
    handler.handle(record)


def read_lines(descriptor: int, until: str) -> list[str]:
    """The texts of all lines, up to one in which `until` is."""
    with os.fdopen(os.dup(descriptor), "r") as stream:
        assert stream.readline().startswith("xxx")
        found: list[str] = []
        while not found or until not in found[-1]:
            found.append(json.loads(stream.readline())["text"])
    return found


def test_what_nobody_reads_is_dropped_counted_and_said() -> None:
    """No call waits; then the first lines come in order, the notice, and what comes after it."""
    metrics, logged = Metrics(), MOST_WAITING + 700

    def dropped() -> float:
        return metrics.value("tocsin_log_lines_dropped_total")

    with reader_that_stands_still() as (descriptor, handler):
        handler.count_with(metrics.log_dropped.inc)
        began = time.monotonic()
        for number in range(logged):
            say(handler, number)
        assert time.monotonic() - began < 10
        deadline = time.monotonic() + 20
        while not dropped() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert dropped() >= 600, "it is counted while nobody reads"
        found = read_lines(descriptor, "lines were dropped")
        say(handler, logged)
        with os.fdopen(os.dup(descriptor), "r") as stream:
            assert json.loads(stream.readline())["text"] == str(logged)
        assert found[:-1] == [str(number) for number in range(len(found) - 1)]
        lost = logged - len(found) + 1
        assert found[-1].startswith(f"{lost} lines were dropped")
        handler.flush()
        assert dropped() == lost


def test_an_end_does_not_wait_for_who_reads_nothing() -> None:
    """A flush gives up after about a second, with the lock of no other in its hand."""
    with reader_that_stands_still() as (_, handler):
        say(handler, 1)
        flushing = threading.Thread(target=handler.flush)
        began = time.monotonic()
        flushing.start()
        say(handler, 2)
        flushing.join(20)
        assert 0.5 < time.monotonic() - began < 10


def test_a_line_that_fails_is_counted_and_the_next_one_is_tried(tmp_path: Path) -> None:
    """On a full disk, or when the reader is gone; with room again the number of them is said."""
    told: list[int] = []
    log = tmp_path / "log"
    log.symlink_to("/dev/full")
    other = tmp_path / "other"
    with log.open("w") as full, other.open("w") as roomy:
        handler = Lines(Stream(full), JsonLines())
        handler.count_with(told.append)
        for number in range(5):
            say(handler, number)
            handler.flush()
        assert sum(told) == 5
        os.dup2(roomy.fileno(), full.fileno())
        say(handler, 5)
        handler.close()
        handler._thread.join(30)
    texts = [json.loads(line)["text"] for line in other.read_text().splitlines()]
    assert texts[0].startswith("5 lines were dropped")
    assert texts[1] == "5"


def test_a_record_that_cannot_be_formatted_is_told_and_raises_nothing() -> None:
    """Somebody's mistake in a call to the logger is a line, too."""
    theirs, ours = os.pipe()
    with os.fdopen(ours, "w") as stream, os.fdopen(theirs) as reader:
        handler = Lines(Stream(stream), JsonLines())
        handler.handle(logging.LogRecord("x", logging.INFO, "f", 1, "%d of %d", ("a",), None))
        assert "'%d of %d' could not be formatted" in json.loads(reader.readline())["text"]
        handler.close()
        handler._thread.join(30)


def run_unread(code: str, *arguments: str) -> tuple[int, float]:
    """Run a program whose standard error nobody reads: its exit status, and its seconds."""
    head = """
        import logging, os, sys, threading, time
        from pathlib import Path
        from monitor.logs import configure_logs
        configure_logs(process="tried")
        log = logging.getLogger("monitor.x")
        """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", text, *arguments], stderr=subprocess.PIPE
    ) as process:
        try:
            return process.wait(60), time.monotonic() - began
        finally:
            process.kill()


def test_a_process_whose_log_nobody_reads_ends_in_order() -> None:
    """Whatever it has to say, with a status of its own."""
    status, _ = run_unread("for n in range(5000): log.info('x' * 1000)\nsys.exit(3)")
    assert status == 3


def test_a_stalled_process_whose_log_nobody_reads_is_ended_by_its_watchdog(tmp_path: Path) -> None:
    """Status 70, and where its threads stood is in the file."""
    code = """
        from monitor.watchdog import Watchdog
        def hang():
            dog.enter("ingest")
            for n in range(5000):
                log.warning("x" * 1000)
            threading.Event().wait()
        dog = Watchdog(2.0, Path(sys.argv[1]))
        threading.Thread(target=hang).start()
        dog.start()
        """
    status, seconds = run_unread(code, str(tmp_path / "stalls"))
    assert status == 70
    assert seconds < 40
    assert "stall of ingest" in (tmp_path / "stalls").read_text()
    assert "in hang" in (tmp_path / "stalls").read_text()


def test_a_thread_that_dies_says_so_in_the_log() -> None:
    """As one line of JSON, which waits for nobody, not as Python prints it."""
    code = """
        import logging, threading
        from monitor.logs import configure_logs, log_uncaught
        configure_logs()
        log_uncaught()
        dying = threading.Thread(target=lambda: 1 / 0, name="worker")
        dying.start()
        dying.join()
        raise KeyError("main")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    first, second = (json.loads(line)["text"] for line in done.stderr.splitlines())
    assert first.startswith("the thread worker died")
    assert "ZeroDivisionError" in first
    assert "KeyError: 'main'" in second
