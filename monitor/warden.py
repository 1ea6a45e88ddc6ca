"""Stands between the daemon and one command of a runbook, so that nothing of it outlives either.

    python -I -S warden.py

    stdin    one line of JSON, then held open by the daemon alone: its end is the order to end all
    stdout   becomes the command's, its errors included
    stderr   one line of JSON at the end: what became of it

A process group is not enough: what calls setsid leaves it. So the warden is the subreaper of all
that the command starts (prctl(2), PR_SET_CHILD_SUBREAPER): whoever loses its parent becomes its
child, and it ends what it has until there is nothing to wait for. What a command leaves behind when
it ends by itself is left alone. Only Linux has subreapers; elsewhere the group is ended.

A program of its own, of the standard library only: the daemon has threads, and no code of ours may
run between its fork and exec.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

GRACE_S = 2.0
"""Between asking to end and ending, and for what is ended to be gone."""
_LOOK_S = 0.05
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds on a clock that all processes share, nobody sets, and that goes on in a suspend."""
    return time.clock_gettime(_CLOCK)


def main() -> None:
    """See the module."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return  # the daemon died before it had asked
    told = json.loads(line)
    wake = _waked()
    _adopt()
    if told["latest"] is not None and uptime() > told["latest"]:
        _say(late=True)
        return
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its secrets would be in there
        command = _started(told["argv"], told["env"])
    except (OSError, ValueError) as problem:
        _say(error=getattr(problem, "strerror", None) or str(problem))
        return
    _let_go_of_its_output()
    status = _awaited(command, wake, time.monotonic() + told["seconds"])
    if status is None:
        _say(left=_left(command, wake))
    else:
        _say(status=status)


def _say(**became: object) -> None:
    with contextlib.suppress(OSError):  # nobody hears it
        os.write(2, json.dumps(became).encode() + b"\n")


def _waked() -> int:
    """A descriptor on which signals can be read as they come."""
    come, waking = os.pipe()
    for end in (come, waking):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # one without a handler is not written to the pipe
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return come


def _adopt() -> None:
    os.chdir("/")
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_NAME, b"tocsin-warden")


def _prctl(option: int, value: int | bytes) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(option, ctypes.c_char_p(value) if isinstance(value, bytes) else value, 0, 0, 0)


def _started(argv: list[str], env: dict[str, str]) -> int:
    """The command's pid.

    Raises:
        OSError: it could not be started.
    """
    failed, failing = os.pipe()
    warden = os.getpid()
    command = os.fork()
    if not command:
        _become(argv, env, failing, warden)
    os.close(failing)
    said = os.read(failed, 16)
    os.close(failed)
    if said:
        os.waitpid(command, 0)
        raise OSError(int(said), os.strerror(int(said)))
    return command


def _become(argv: list[str], env: dict[str, str], failing: int, warden: int) -> NoReturn:
    """In the child: turn into the command, tied to the warden."""
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != warden:
            os._exit(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(1, 2)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # the interpreter ignores them, and exec keeps it
        os.execve(argv[0], argv, env)  # noqa: S606 - an allowed absolute path, no shell
    except OSError as problem:
        os.write(failing, str(problem.errno).encode())
    except ValueError:  # a NUL in it
        os.write(failing, str(errno.EINVAL).encode())
    finally:
        os._exit(127)


def _let_go_of_its_output() -> None:
    """So that the end of the output is the command's to say."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _awaited(command: int, wake: int, until: float) -> int | None:
    """The command's exit code, a signal's below zero; None when it is to be ended first."""
    while True:
        status = _reaped(command)
        left = until - time.monotonic()
        if status is not None or left <= 0:
            return status
        ready, _, _ = select.select([0, wake], [], [], left)
        if 0 in ready or (ready and signal.SIGTERM in os.read(wake, 512)):
            return _reaped(command)


def _reaped(command: int) -> int | None:
    """Bury who has ended; the command's exit code if it is among them."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == command:
                return os.waitstatus_to_exitcode(ended[1])
    return None


def _left(command: int, wake: int) -> bool:
    """End all that the command has started; whether any of it is left."""
    asked: set[int] = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until:
            living = _ours(command)
            # Asked once: a handler that tidies up is not disturbed.
            for pid in living if number == signal.SIGKILL else living - asked:
                _send(pid, number)
            asked |= living
            if _alone():
                return False
            select.select([wake], [], [], _LOOK_S)
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 512)
    return not _alone()


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _alone() -> bool:
    """Whether we have no child; the kernel's word, also for what is hidden from /proc."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _ours(command: int) -> set[int]:
    """The pids of all that descend from us; the command's group where there is no /proc."""
    if not Path("/proc/self").exists():
        return {-command}
    children: dict[int, set[int]] = {os.getpid(): _listed()}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_bytes().rpartition(b")")[2].split()[:2]
            if state != b"Z":
                children.setdefault(int(parent), set()).add(int(stat.parent.name))
    found: set[int] = set()
    open_ = [os.getpid()]
    while open_:
        new = children.get(open_.pop(), set()) - found
        found |= new
        open_ += new
    return found


def _listed() -> set[int]:
    """Our own children, those too that `hidepid` hides: what has another's rights may be ended."""
    with contextlib.suppress(OSError):
        return {int(pid) for pid in Path("/proc/thread-self/children").read_text().split()}
    return set()


if __name__ == "__main__":
    main()
