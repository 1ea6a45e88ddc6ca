"""The first thing of `tocsin run`: signals are heard, and a spare process loads beside this one."""

from __future__ import annotations

import os
import signal

from monitor.config.options import RunOptions
from monitor.processes.spare import spawn

SIGNALLED = 128
"""A shell adds this to the number of the signal that ended a program."""


def start(options: RunOptions) -> int:
    """As `monitor.app.main`; until somebody drains, a SIGTERM ends it at once.

    Raises:
        Problems: the configuration has mistakes, or names a secret that cannot be read.
        DeskError: `invalid` for a wrong flag, `unavailable` for what does not answer.
    """
    signal.signal(signal.SIGTERM, _leave)
    spare = None
    if _likely_a_daemon(options):
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, _too_early)
        spare = spawn("control")
    from monitor.app import main

    return main(options, spare)


def _leave(number: int, _frame: object) -> None:
    """Nothing is there to drain, and a migration that is cut off was never: it is a transaction.

    The kernel passes a signal without a handler to every process but the first of a container.
    """
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(SIGNALLED + number)


def _too_early(_number: int, _frame: object) -> None:
    """A reload asks for a configuration to be read that is only just being read."""


def _likely_a_daemon(options: RunOptions) -> bool:
    """What the flags alone tell; where the configuration says otherwise the spare is dismissed."""
    source = options.source
    return not options.until_end and (source is None or source.startswith("kafka:"))
