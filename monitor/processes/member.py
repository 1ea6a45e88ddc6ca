"""One child of a supervisor: reads the stream, or decides, delivers, works runbooks and answers.

    python -m monitor.processes.member NAME DESCRIPTOR

It is started by `monitor.processes.supervisor` only, which hands its errand down.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial

import msgspec

from monitor.clock import WallClock
from monitor.config.settings import KafkaSource, Settings, resolve
from monitor.daemon import build_ingest
from monitor.logs import configure_logs
from monitor.metrics import Metrics, share
from monitor.processes.arrival import await_store
from monitor.processes.control import serve_control
from monitor.processes.errand import Errand, adopted, receive
from monitor.processes.launch import member_of, open_source, refusals
from monitor.processes.loops import Loops
from monitor.store.store import StoreUnavailable
from monitor.views import DeskError
from monitor.watch.process import audit
from monitor.watchdog import Watchdog
from runbooks.problems import Problems

logger = logging.getLogger(__name__)

ORPHAN_S = 5.0
"""A child whose supervisor is gone has so long to leave in order."""
STATUS = {"invalid": 2, "unavailable": 6}
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def tie(errand: Errand, line: socket.socket, stopping: threading.Event) -> None:
    """Leave when told to, and when the supervisor is gone, however it went."""

    def stop(_number: int, _frame: object) -> None:
        stopping.set()

    def wait_for_the_end() -> None:
        with contextlib.suppress(ConnectionError):
            line.recv(1)
        logger.warning("the supervisor is gone: leaving")
        stopping.set()
        threading.Event().wait(ORPHAN_S)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.Thread(target=wait_for_the_end, name="lifeline", daemon=True).start()
    # The kernel's own word too: it comes although no thread of ours gets to run.
    with contextlib.suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        prctl(_PR_SET_NAME, f"tocsin-{errand.name}"[:15].encode(), 0, 0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload is asked of the control process
    if os.getppid() != errand.supervisor:
        stopping.set()


def beats(line: socket.socket, say: Callable[[], str]) -> Callable[[], None]:
    """Writes a sign of life to the supervisor, with what `say` adds."""

    def beat() -> None:
        # A supervisor that is stopped reads nothing, and one that is gone is the lifeline's matter.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            line.send(f"beat {say()}\n".encode(), socket.MSG_DONTWAIT)

    return beat


def named_worker(errand: Errand) -> Settings:
    """The settings with a static membership of Kafka's group that no other worker has."""
    settings = errand.settings
    source = settings.source
    assert isinstance(source, KafkaSource)
    ours = member_of(settings.store)
    if not errand.place.alone:
        ours = "tocsin-" + errand.place.name.replace("/", "-")
    name = source.member or ours
    if errand.number:
        name = f"{name}-{errand.number}"
    return msgspec.structs.replace(settings, source=msgspec.structs.replace(source, member=name))


def read(errand: Errand, line: socket.socket, stopping: threading.Event) -> int:
    """The ingest process."""
    configured = resolve(named_worker(errand))
    metrics = Metrics()
    stall_s = configured.settings.processes.stall.total_seconds()
    watchdogs = partial(Watchdog, stall_s, errand.stacks)
    store = await_store(configured.settings, stopping, partial(watchdogs, beats(line, str)))
    if store is None:
        return 0
    with ExitStack() as stack:
        stack.callback(store.close)
        source = open_source(configured.settings, stopping)
        ingest = build_ingest(configured, source=source, store=store, metrics=metrics)
        watchdog = watchdogs(beats(line, lambda: str(ingest.partitions)))
        stack.callback(watchdog.close)
        loops = Loops(metrics, watchdog, stopping)

        def step(now: datetime) -> bool:
            return ingest.step(now) > 0

        loops.start({"ingest": step})
        watchdog.start()
        loops.join()
        try:
            ingest.close(WallClock().now())
        except StoreUnavailable as problem:
            logger.warning("the last counts are read again at the next start: %s", problem)
    return 1 if loops.broken else 0


def main(arguments: list[str]) -> int:
    """The exit status: 0 in order, 1 a loop died, 2, 3, 6 it cannot start, 70 a loop stalled."""
    line = socket.socket(fileno=int(arguments[1]))
    line.set_inheritable(False)
    told = receive(line)
    if told is None:
        return 0
    errand, listeners = told
    configure_logs(process=errand.name)
    share(errand.name, errand.metrics)
    faulthandler.enable(all_threads=True)
    # What a core would hold is nobody's to keep: texts of events, secrets.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stopping = threading.Event()
    tie(errand, line, stopping)
    try:
        with refusals():
            if errand.role == "ingest":
                return read(errand, line, stopping)
            if errand.role == "auditor":
                stall_s = errand.settings.processes.stall.total_seconds()
                watchdog = Watchdog(stall_s, errand.stacks, beats(line, str))
                wanted = partial(adopted, errand)
                return audit(
                    wanted,
                    stopping,
                    Metrics(),
                    watchdog,
                    os.environ,
                    daemon=errand.place.key,
                    silent_s=errand.silent_s,
                )
            return serve_control(errand, listeners, stopping, beats(line, str))
    except DeskError as error:
        logger.error("cannot start: %s", error.message)  # noqa: TRY400 - says what to do itself
        return STATUS.get(error.code, 1)
    except Problems as problems:
        logger.error("cannot start: %s", problems)  # noqa: TRY400 - names the place itself
        return 3


if __name__ == "__main__":
    ended = main(sys.argv[1:])
    logging.shutdown()
    sys.stderr.flush()
    # All is closed in order. To take so large a program apart costs half a second of a core, which
    # on a busy machine is a large part of the time that a drain has.
    os._exit(ended)
