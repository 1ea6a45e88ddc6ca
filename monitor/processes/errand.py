"""What a supervisor tells a child: who it is, with which settings, and what is handed down to it.

It travels pickled over the socket that only the two of them have: the settings are those that the
supervisor has checked, whatever has become of the file they were in. Descriptors go the same way.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from monitor.config.options import RunOptions
from monitor.config.settings import Settings
from monitor.processes.place import Place

_HEAD = struct.Struct("!I")
_MOST_DESCRIPTORS = 32
SEND_S = 10.0
"""A child that takes nothing for so long is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One child's task."""

    role: Literal["control", "ingest", "auditor"]
    settings: Settings
    options: RunOptions
    """The flags of the start, which go over a configuration that is read anew."""
    place: Place
    stacks: Path
    """Where a stall is written down."""
    roster: Path
    """The list of the daemon's processes."""
    metrics: Path
    """The folder in which the daemon's processes keep their metrics."""
    plights: Path
    """The folder in which they say what the store refuses them."""
    adopted: Path
    """Settings that a reload has put in place of those of the start; see `Handover`."""
    desk: Path
    """The path of the desk's socket."""
    silent_s: float | None = None
    """When the start found that the store does not answer, on the monotonic clock of all."""
    name: str = ""
    number: int = 0
    """Of an ingest process, from 0."""
    supervisor: int = 0
    """Its pid."""
    listeners: tuple[str, ...] = ()
    """What is served on the listening sockets that come along, in their order."""


def send(line: socket.socket, errand: Errand, descriptors: Sequence[int]) -> None:
    """Tell a child what to do.

    Args:
        line: to it.
        errand: its task.
        descriptors: those of `errand.listeners` first, then what it keeps open: locks.

    Raises:
        OSError: it is gone, or takes nothing.
    """
    body = pickle.dumps(errand)
    line.settimeout(SEND_S)
    socket.send_fds(line, [_HEAD.pack(len(body))], list(descriptors))
    line.sendall(body)
    line.setblocking(False)


def receive(line: socket.socket) -> tuple[Errand, dict[str, socket.socket]] | None:
    """Our task and the listening sockets; None when there is none any more.

    The other descriptors stay open as long as this process lives, and go to no other program.
    """
    head, descriptors, _, _ = socket.recv_fds(line, _HEAD.size, _MOST_DESCRIPTORS)
    if len(head) < _HEAD.size:
        return None
    with line.makefile("rb") as stream:
        body = stream.read(_HEAD.unpack(head)[0])
    errand = pickle.loads(body)  # noqa: S301 - from our parent, over a socket nobody else has
    assert isinstance(errand, Errand)
    for each in descriptors:
        os.set_inheritable(each, False)
    named = zip(errand.listeners, descriptors, strict=False)
    return errand, {name: socket.socket(fileno=each) for name, each in named}
