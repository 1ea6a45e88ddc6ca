"""What runbook steps do in the world: one process or one request, bounded and never repeated."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.actions import carry_out
from monitor.command import KEPT, LATE, Stop
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
    assert ", because its time was up; " in done.detail


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


LEAVES = """echo $$ >> {told}; sleep 60 & echo $! >> {told}; trap '' TERM
setsid sh -c 'echo $$ >> {told}; exec sleep 60' &
(setsid sh -c 'trap "" TERM; echo $$ >> {told}; while :; do sleep 1; done' &)
wait; while :; do sleep 1; done"""
"""A command with a child, one in another session, and an orphan there that ignores SIGTERM."""


def pids(told: Path, count: int) -> list[Path]:
    """The processes that have said who they are, all of them."""
    wait_for(lambda: told.exists() and len(told.read_text().split()) == count, "all run")
    return [Path("/proc") / pid for pid in told.read_text().split()]


def gone(processes: list[Path]) -> bool:
    """Whether none of them runs any more."""
    return all(not each.exists() or _zombie(each) for each in processes)


def owner(script: str, seconds: float = 60) -> subprocess.Popen[bytes]:
    """A process that carries out a script."""
    code = f"from tests.unit.test_actions import shell; shell({script!r}, seconds={seconds})"
    return subprocess.Popen([sys.executable, "-c", code])


def test_nothing_of_a_command_outlives_a_daemon_that_is_killed(tmp_path: Path) -> None:
    """Its children too, those that have left its session, and those whose parent is gone."""
    daemon = owner(LEAVES.format(told=tmp_path / "told"))
    try:
        running = pids(tmp_path / "told", 4)
        assert not gone(running[:1])
        daemon.kill()
        daemon.wait()
        wait_for(lambda: gone(running), "they are gone")
    finally:
        daemon.kill()


def test_a_command_ends_in_time_while_its_daemon_stands_still(tmp_path: Path) -> None:
    """A daemon that is frozen ends nothing: the warden knows the time, too."""
    daemon = owner(LEAVES.format(told=tmp_path / "told"), seconds=3)
    try:
        running = pids(tmp_path / "told", 4)
        daemon.send_signal(signal.SIGSTOP)
        wait_for(lambda: gone(running), "they are gone")
    finally:
        daemon.kill()
        daemon.wait()


def test_a_command_over_its_time_leaves_nobody_behind(tmp_path: Path) -> None:
    """Whoever has left its session is ended with it, and it is not said that anybody is left."""
    done = shell(LEAVES.format(told=tmp_path / "told"), seconds=3)
    assert gone(pids(tmp_path / "told", 4))
    assert (done.ok, done.unknown) == (False, True)
    assert "still be running" not in done.detail


def test_a_command_that_is_told_to_end_may_tidy_up(tmp_path: Path) -> None:
    """SIGTERM comes first, once; what it does then in time is done."""
    tidied = tmp_path / "tidied"
    script = f"trap 'echo x >> {tidied}; sleep 0.5; exit 0' TERM; sleep 60 & wait"
    done = shell(script, seconds=1)
    assert (done.ok, done.unknown) == (False, True)
    assert tidied.read_text() == "x\n"


def test_a_command_whose_warden_is_killed_may_have_left_something(tmp_path: Path) -> None:
    """The command dies with it; of what it had started nobody knows, and that is said."""
    told = tmp_path / "told"
    done = shell(f"echo $$ > {told}; kill -9 $PPID; exec sleep 60")
    assert (done.ok, done.unknown) == (False, True)
    assert "what it started may still be running" in done.detail
    wait_for(lambda: gone(pids(told, 1)), "the command is gone", 20)


def test_an_argument_that_no_process_can_have_starts_nothing() -> None:
    """It is a failure like another, and nothing is unknown."""
    done = shell("echo \0")
    assert (done.ok, done.unknown) == (False, False)
    assert done.detail.startswith("cannot start /bin/sh: ")


@pytest.mark.parametrize("told", ["", "the run was aborted"])
def test_what_may_not_begin_any_more_does_not(tmp_path: Path, told: str) -> None:
    """It is too late, or to end before it has begun: no command, no request, and that is known."""
    stop = Stop(latest=0.0 if not told else math.inf)
    if told:
        stop.tell(told)
    flags = Flags()
    with FaultyServer(flags) as server, HttpClient() as http:
        for request in (
            CommandRequest(
                argv=("touch", str(tmp_path / "touched")), effect=Effect.READ_ONLY, env={}
            ),
            HttpRequest(method="POST", url=f"{server.url}/x", effect=Effect.REVERSIBLE),
        ):
            effect = StartAttempt(
                step="one",
                attempt=1,
                request=request,
                executable="/usr/bin/touch",
                timeout=timedelta(seconds=5),
                key="key-1",
            )
            done = carry_out(effect, http, stop)
            assert (done.ok, done.unknown) == (False, False)
            assert done.detail == f"not carried out: {told or LATE}"
    assert flags.seen == []
    assert not (tmp_path / "touched").exists()
