"""One child of a supervisor: reads the stream, or decides, delivers, works runbooks and answers.

    python -m monitor.processes.member NAME DESCRIPTOR

It is started by `monitor.processes.supervisor` only, which hands its errand down.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from monitor.logs import configure_logs, log_uncaught
from monitor.metrics import share
from monitor.processes.errand import receive
from monitor.processes.handover import Handover
from monitor.processes.launch import refusals
from monitor.processes.lifeline import Life, tie
from monitor.views import DeskError
from runbooks.problems import Problems

logger = logging.getLogger(__name__)

STATUS = {"invalid": 2, "unavailable": 6}


def work_of(name: str) -> Callable[[Life], int]:
    """What the child of this name does until it is told to stop; returns the exit status.

    Only that is loaded: half of a start's work is loading, and the children start together.
    """
    if name == "control":
        from monitor.processes.control import serve_control

        return serve_control
    if name == "auditor":
        return audit
    from monitor.processes.reading import read

    return read


def audit(life: Life) -> int:
    """The auditor."""
    from monitor.watch import process

    errand = life.errand
    return process.audit(
        partial(Handover(errand.adopted).in_force, errand.settings),
        life.stopping,
        life.metrics(),
        life.watchdog(),
        os.environ,
        daemon=errand.place.key,
        silent_s=errand.silent_s,
        plights=errand.plights,
    )


def main(arguments: list[str]) -> int:
    """The exit status: 0 in order, 1 a loop died, 2, 3, 6 it cannot start, 70 a loop stalled."""
    line = socket.socket(fileno=int(arguments[1]))
    line.set_inheritable(False)
    work = work_of(arguments[0])
    told = receive(line)
    if told is None:
        return 0
    errand, listeners = told
    configure_logs(process=errand.name)
    log_uncaught()
    share(errand.name, errand.metrics)
    faulthandler.enable(all_threads=True)
    # What a core would hold is nobody's to keep: texts of events, secrets.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    life = Life(errand, listeners, line, threading.Event(), SimpleQueue())
    tie(life)
    try:
        with refusals():
            return work(life)
    except DeskError as error:
        logger.error("cannot start: %s", error.message)  # noqa: TRY400 - says what to do itself
        return STATUS.get(error.code, 1)
    except Problems as problems:
        logger.error("cannot start: %s", problems)  # noqa: TRY400 - names the place itself
        return 3


if __name__ == "__main__":
    ended = main(sys.argv[1:])
    logging.shutdown()
    # All is closed in order. To take so large a program apart costs half a second of a core, which
    # on a busy machine is a large part of the time that a drain has.
    os._exit(ended)
