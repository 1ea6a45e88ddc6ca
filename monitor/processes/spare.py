"""Starting one child process of a daemon; it learns what it is to do when it has been told.

A spare is started before anybody knows what there is to do, so that it loads the program while its
parent does the same and reads the configuration: what was queued before a crash goes out sooner.
This module loads nothing itself.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class Spare:
    """A process that waits for its errand on the other end of `line`."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    """Our end: errand there, signs of life back; its end is the other's end too."""

    def dismiss(self) -> None:
        """It is not needed."""
        self.line.close()
        self.process.kill()
        self.process.wait()


def spawn(name: str) -> Spare:
    """Start a child that will be known as `name`.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    paths = [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    # -P keeps a folder named `monitor`, where we were started, out of the way.
    command = [sys.executable, "-P", "-m", "monitor.processes.member", name, str(theirs.fileno())]
    try:
        process = subprocess.Popen(  # noqa: S603 - ourselves, with fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Spare(process, ours)
