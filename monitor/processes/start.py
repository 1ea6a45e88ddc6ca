"""The first thing of `tocsin run`: a spare process loads the program while this one does."""

from __future__ import annotations

from monitor.config.options import RunOptions
from monitor.processes.spare import spawn


def start(options: RunOptions) -> int:
    """As `monitor.app.main`.

    Raises:
        Problems: the configuration has mistakes, or names a secret that cannot be read.
        DeskError: `invalid` for a wrong flag, `unavailable` for what does not answer.
    """
    spare = spawn("control") if _likely_a_daemon(options) else None
    from monitor.app import main

    return main(options, spare)


def _likely_a_daemon(options: RunOptions) -> bool:
    """What the flags alone tell; where the configuration says otherwise the spare is dismissed."""
    source = options.source
    return not options.until_end and (source is None or source.startswith("kafka:"))
