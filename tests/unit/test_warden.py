"""The process between the daemon and a command, and a freeze before the command starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor import warden
from monitor.carrier import SURE_S

STANDS_STILL = """
import os, signal, sys
from datetime import timedelta
from monitor.carrier import Asked, Carrier, Leave
from monitor.warden import uptime
from runbooks.events import StartAttempt
from runbooks.model import Effect
from runbooks.requests import CommandRequest

def begin(asked):
    at = uptime()
    os.kill(os.getpid(), signal.SIGSTOP)
    return Leave(at)

carrier = Carrier(begin=begin, finished=lambda asked, finished: print(finished.detail, flush=True))
request = CommandRequest(argv=("touch", sys.argv[1]), effect=Effect.REVERSIBLE, env={})
effect = StartAttempt(step="s", attempt=1, request=request, executable="/usr/bin/touch",
                      timeout=timedelta(seconds=20), key="k")
carrier.ask(Asked("r", effect, 1))
carrier._pool.shutdown(wait=True)
"""


def test_a_machine_that_stood_still_does_not_begin_what_it_may_have_lost(tmp_path: Path) -> None:
    """Written down as begun, then frozen: by now somebody else may have repeated it."""
    touched = tmp_path / "touched"
    daemon = subprocess.Popen(
        [sys.executable, "-c", STANDS_STILL, str(touched)], stdout=subprocess.PIPE, text=True
    )
    try:
        _, status = os.waitpid(daemon.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        time.sleep(SURE_S + 1)
        daemon.send_signal(signal.SIGCONT)
        said, _ = daemon.communicate(timeout=60)
    finally:
        daemon.kill()
    assert said.startswith("not carried out: too long after it was looked whether it may")
    assert not touched.exists()


def asked(touched: Path, latest: float | None) -> bytes:
    """What the daemon writes to a warden."""
    argv = ["/usr/bin/touch", str(touched)]
    order = {"argv": argv, "env": {}, "seconds": 20, "latest": latest}
    return json.dumps(order).encode() + b"\n"


def ordered(said: bytes, *, held: bool = True) -> bytes:
    """What a warden reports to a daemon that says this, and is there until it has heard."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", warden.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process:
        process.stdin.write(said)
        process.stdin.flush()
        if not held:
            process.stdin.close()
        return process.stderr.read()


@pytest.mark.parametrize(
    ("latest", "report", "done"), [(None, {"status": 0}, True), (0.0, {"late": True}, False)]
)
def test_a_warden_starts_nothing_when_it_is_too_late(
    tmp_path: Path, latest: float | None, report: object, done: bool
) -> None:
    """The machine may stand still while the warden starts: it looks last."""
    assert json.loads(ordered(asked(tmp_path / "touched", latest))) == report
    assert (tmp_path / "touched").exists() == done


def test_a_warden_starts_nothing_that_was_not_asked_whole(tmp_path: Path) -> None:
    """The daemon died while it wrote."""
    assert ordered(asked(tmp_path / "touched", None)[:-1], held=False) == b""
    assert not (tmp_path / "touched").exists()


def test_the_clock_of_a_freeze_is_shared_and_goes_on() -> None:
    """Another process reads the same; nobody sets it."""
    code = "from monitor.warden import uptime; print(uptime())"
    before = warden.uptime()
    told = float(subprocess.check_output([sys.executable, "-c", code]))
    assert before < told < warden.uptime()
