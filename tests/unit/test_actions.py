"""What runbook steps do in the world: one process or one request, bounded and never repeated."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.actions import KEPT, carry_out
from monitor.http_client import HttpClient
from monitor.notify.loopback.server import Answer, Request
from runbooks.events import AttemptFinished, StartAttempt
from runbooks.model import Effect
from runbooks.requests import CommandRequest, HttpRequest, SecretAt
from tests.integration.process_stage import wait_for
from tests.servers.faults import Fault, FaultyServer, hang_after_store, reset_after_store

SECRET = "s3cr3t-value-1234"


def start(
    request: CommandRequest | HttpRequest,
    *,
    executable: str = "",
    seconds: float = 5,
    given_up_s: float | None = None,
) -> AttemptFinished:
    """Carry out a request; the waiting for it may be given up."""
    effect = StartAttempt(
        step="one",
        attempt=1,
        request=request,
        executable=executable,
        timeout=timedelta(seconds=seconds),
        key="key-1",
    )
    with HttpClient() as http:
        if given_up_s is not None:
            threading.Timer(given_up_s, http.give_up, ["the daemon ended"]).start()
        return carry_out(effect, http)


def shell(
    script: str, *, seconds: float = 5, secrets: tuple[SecretAt, ...] = ()
) -> AttemptFinished:
    """Run a script."""
    request = CommandRequest(
        argv=("sh", "-c", script), effect=Effect.READ_ONLY, env={"COLOUR": "red"}, secrets=secrets
    )
    return start(request, executable="/bin/sh", seconds=seconds)


def test_a_command_says_its_exit_code_and_output() -> None:
    """Both streams are kept in order; a code that is not 0 was carried out all the same."""
    done = shell("echo out; echo err >&2; exit 3")
    assert (done.ok, done.unknown, done.status) == (True, False, 3)
    assert done.output == "out\nerr\n"
    assert done.output_sha256 == hashlib.sha256(b"out\nerr\n").hexdigest()
    assert done.detail == "out\\x0aerr\\x0a"


def test_a_command_has_no_environment_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's variables do not reach it; its own, its secrets and the attempt's key do."""
    monkeypatch.setenv("TOCSIN_TEST_LEAK", "leaked")
    monkeypatch.setenv("TOCSIN_TEST_SECRET", SECRET)
    at = SecretAt(place="TOKEN", source="env", name="TOCSIN_TEST_SECRET")
    done = shell("env; pwd; cat", secrets=(at,))
    assert "leaked" not in done.output
    assert "COLOUR=red\n" in done.output
    assert "TOCSIN_IDEMPOTENCY_KEY=key-1\n" in done.output
    assert "TOKEN=***\n" in done.output
    assert SECRET not in repr(done)
    assert done.output.endswith("\n/\n")


def test_a_command_that_is_not_there_was_not_carried_out() -> None:
    """Nothing ran, so nothing is unknown."""
    request = CommandRequest(argv=("gone",), effect=Effect.READ_ONLY)
    done = start(request, executable="/nowhere/gone")
    assert (done.ok, done.unknown) == (False, False)
    assert done.detail == "cannot start /nowhere/gone: No such file or directory"


def test_a_secret_that_is_not_there_stops_the_attempt() -> None:
    """Without its secret nothing is started."""
    at = SecretAt(place="TOKEN", source="file", name="/nowhere/token")
    done = shell("echo ran", secrets=(at,))
    assert (done.ok, done.unknown, done.output) == (False, False, "")


def test_endless_output_is_bounded_and_ended() -> None:
    """A command that talks for ever is ended at its deadline, with what it said counted."""
    began = time.monotonic()
    done = shell("yes", seconds=1)
    assert time.monotonic() - began < 4
    assert (done.ok, done.unknown) == (False, True)
    assert done.output == ""
    said = int(done.detail.split("; ")[1].split()[0])
    assert said > KEPT


def test_long_output_is_cut_but_digested_whole() -> None:
    """The beginning is kept for captures; the digest is over all of it."""
    done = shell("head -c 200000 /dev/zero | tr '\\0' x")
    assert done.output == "x" * KEPT
    assert done.output_sha256 == hashlib.sha256(b"x" * 200_000).hexdigest()


def test_a_command_over_its_time_is_ended_with_its_children() -> None:
    """Its whole group is ended, one that ignores a polite request too; the outcome is unknown."""
    done = shell("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", seconds=0.5)
    assert (done.ok, done.unknown) == (False, True)
    assert ", as its time was up; " in done.detail


def test_a_grandchild_that_keeps_the_pipe_delays_nothing(tmp_path: Path) -> None:
    """The command's own end counts, though a process of another session holds its output open."""
    note = tmp_path / "pid"
    began = time.monotonic()
    done = shell(f"setsid sh -c 'echo $$ >{note}; exec sleep 30' & echo started", seconds=10)
    assert time.monotonic() - began < 5
    assert (done.ok, done.status, done.output) == (True, 0, "started\n")
    _end(note)


def test_a_grandchild_that_talks_for_ever_delays_little(tmp_path: Path) -> None:
    """What comes after the command's own end is read for a moment only."""
    note = tmp_path / "pid"
    began = time.monotonic()
    done = shell(f"setsid sh -c 'echo $$ >{note}; exec yes' & sleep 0.2", seconds=20)
    assert time.monotonic() - began < 8
    assert (done.ok, done.status) == (True, 0)
    _end(note)


def _end(note: Path) -> None:
    deadline = time.monotonic() + 10
    while not (note.exists() and note.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(int(note.read_text()), 9)


def test_a_command_that_closes_its_output_and_goes_on_is_waited_for() -> None:
    """The end of the output is not the end of the command, and waiting for it costs nothing."""
    before = time.process_time()
    done = shell("exec >&- 2>&-; sleep 1.5; exit 4")
    assert (done.ok, done.status) == (True, 4)
    assert time.process_time() - before < 0.5


class Flags:
    """A receiver that remembers requests and gives away what it was sent."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    def answer(self, request: Request) -> Answer:
        self.seen.append(request)
        return Answer(201, request.headers.get("authorization", "").encode())


def test_an_http_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, body, headers, secret and key arrive; the secret is masked in the answer."""
    monkeypatch.setenv("TOCSIN_TEST_SECRET", SECRET)
    flags = Flags()
    at = SecretAt(place="Authorization", source="env", name="TOCSIN_TEST_SECRET", prefix="Bearer ")
    with FaultyServer(flags) as server:
        request = HttpRequest(
            method="POST",
            url=f"{server.url}/flags/x",
            effect=Effect.REVERSIBLE,
            headers={"X-Team": "a"},
            secrets=(at,),
            body='{"on": false}',
        )
        done = start(request)
    assert (done.ok, done.status, done.unknown) == (True, 201, False)
    sent = flags.seen[0]
    assert sent.method == "POST"
    assert sent.path == "/flags/x"
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    assert sent.headers["idempotency-key"] == "key-1"
    assert sent.body == b'{"on": false}'
    assert done.output == "Bearer ***"


@pytest.mark.parametrize("fault", [reset_after_store, hang_after_store])
def test_an_http_step_without_an_answer_is_unknown(fault: Fault) -> None:
    """The request was taken and no answer came: it is not said to have failed, nor repeated."""
    flags = Flags()
    with FaultyServer(flags) as server:
        server.fail_next(fault)
        request = HttpRequest(method="POST", url=f"{server.url}/x", effect=Effect.REVERSIBLE)
        done = start(request, seconds=1)
    assert (done.ok, done.unknown, done.status) == (False, True, None)
    assert len(flags.seen) == 1


def test_an_http_step_that_is_waited_for_no_more_is_unknown() -> None:
    """A process that ends does not wait for its time to run out; what was sent was sent."""
    flags = Flags()
    with FaultyServer(flags) as server:
        server.fail_next(hang_after_store)
        request = HttpRequest(method="POST", url=f"{server.url}/x", effect=Effect.REVERSIBLE)
        began = time.monotonic()
        done = start(request, seconds=30, given_up_s=1)
        assert time.monotonic() - began < 15
    assert (done.ok, done.unknown, len(flags.seen)) == (False, True, 1)
    assert done.detail.endswith("the daemon ended")


def test_an_http_step_that_was_not_sent_is_known() -> None:
    """Nobody listens: nothing has happened, and a repeat is safe."""
    done = start(HttpRequest(method="GET", url="http://127.0.0.1:9/", effect=Effect.READ_ONLY))
    assert (done.ok, done.unknown, done.status) == (False, False, None)


def test_a_command_does_not_outlive_the_process_that_carries_it_out(tmp_path: Path) -> None:
    """Killed in the middle of it, the process leaves nobody behind."""
    told = tmp_path / "pid"
    code = f"from tests.unit.test_actions import shell; shell('echo $$ > {told}; exec sleep 60')"
    owner = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: told.exists() and told.read_text().strip(), "the command runs")
        command = Path("/proc") / told.read_text().strip()
        assert command.exists()
        owner.kill()
        owner.wait()
        wait_for(lambda: not command.exists() or _zombie(command), "it is gone")
    finally:
        owner.kill()


def _zombie(process: Path) -> bool:
    with contextlib.suppress(OSError):
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
