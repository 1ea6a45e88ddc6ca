"""What serves people is watched like any loop: nobody is paged who could not acknowledge."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from monitor.clock import WallClock
from monitor.config.settings import Settings, resolve
from monitor.daemon import build_control
from monitor.desk.settings import Desk, Tls
from monitor.http.app import listen_tcp, listen_unix
from monitor.metrics import Metrics
from monitor.processes.control import serve
from monitor.store.store import Store
from tests.servers.desk_stage import write_certificate

PROGRAM = """
    import asyncio, sys, threading, time, urllib.error, urllib.request
    from pathlib import Path
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route
    from monitor.http.app import Server, listen_tcp
    from monitor.watchdog import Watchdog

    async def good(_request):
        return Response("ok")

    async def hang(_request):
        threading.Event().wait()

    async def die(_request):
        asyncio.get_running_loop().call_soon(sys.exit)
        return Response("ok")

    app = Starlette(routes=[Route(f"/{f.__name__}", f) for f in (good, hang, die)])
    dog = Watchdog(2.0, Path(sys.argv[1]))
    server = Server(app, listen_tcp("127.0.0.1:0"), name="desk", watch=dog)
    server.start()
    dog.start()

    def call(path):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{path}", timeout=1).read()
        except (OSError, urllib.error.URLError):
            pass
    """
SLACK = """
    import os, sys, threading
    from pathlib import Path
    from monitor.config.secret import Secret
    from monitor.inbound.settings import SlackAnswers
    from monitor.inbound.slack_socket import SlackSocket
    from monitor.metrics import Metrics
    from monitor.watchdog import Watchdog
    from tests.servers.slack_people import APP, TEAM
    from tests.servers.slack_server import APP_TOKEN, SlackServer

    class Stuck:
        def set(self, _value):
            threading.Event().wait()

    class Broken:
        def labels(self, _value):
            raise ArithmeticError

    os.environ["SLACK_APP"] = APP_TOKEN
    dog = Watchdog(2.0, Path(sys.argv[1]))
    metrics = Metrics()
    with SlackServer() as slack:
        settings = SlackAnswers(
            team=TEAM, app=APP, app_token=Secret(env="SLACK_APP"), base_url=slack.base_url
        )
        road = SlackSocket(settings, lambda _: None, metrics, dog)
        dog.start()
    """


def run(code: str, *more: str, stacks: Path) -> subprocess.CompletedProcess[str]:
    """A program of its own that is over before long."""
    text = textwrap.dedent(code) + "".join(f"\n{line}" for line in more)
    return subprocess.run(
        [sys.executable, "-c", text, str(stacks)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("way", ["hang", "die"])
def test_a_server_that_hangs_or_dies_ends_its_process(tmp_path: Path, way: str) -> None:
    """Status 70 as for any loop, and the stacks say that it was the desk."""
    stacks = tmp_path / "stalls"
    done = run(PROGRAM, f"call({way!r})", "time.sleep(45)", stacks=stacks)
    assert done.returncode == 70, done.stderr
    assert "stall of desk" in stacks.read_text()
    if way == "hang":
        assert "in hang" in stacks.read_text()


def test_a_server_that_turns_or_was_closed_is_left_alone(tmp_path: Path) -> None:
    """It ticks without being asked, and what has ended in order owes no sign of life."""
    turns = ("time.sleep(4)", "call('good')", "server.close()", "time.sleep(4)")
    done = run(PROGRAM, *turns, "sys.exit(3)", stacks=tmp_path / "stalls")
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize(
    ("broken", "who"),
    [
        ("metrics.slack_socket_heard = Stuck()", "slack-link"),
        ("metrics.slack_socket_connects = Broken()", "slack-socket"),
    ],
)
def test_the_road_from_slack_is_watched(tmp_path: Path, broken: str, who: str) -> None:
    """A connection that hangs, or a keeper that has died, ends the process."""
    stacks = tmp_path / "stalls"
    lines = (f"    {line}" for line in (broken, "road.start()", "threading.Event().wait(45)"))
    done = run(SLACK, *lines, stacks=stacks)
    assert done.returncode == 70, done.stderr
    assert f"stall of {who}" in stacks.read_text()


def test_a_slack_that_cannot_be_reached_is_no_stall(tmp_path: Path) -> None:
    """The waits between two attempts are announced: a dead provider ends no process."""
    lines = ("road.start()", "threading.Event().wait(8)", "road.close()", "sys.exit(3)")
    done = run(SLACK, *lines, stacks=tmp_path / "stalls")
    assert done.returncode == 3, done.stderr
    assert "it is tried again" in done.stderr


class Names:
    """Who said that they run."""

    def __init__(self) -> None:
        self.inside: dict[int, str] = {}

    def enter(self, name: str) -> None:
        self.inside[threading.get_ident()] = name

    def leave(self) -> None:
        del self.inside[threading.get_ident()]


def test_the_daemon_has_all_its_servers_watched(tmp_path: Path) -> None:
    """The desk on its socket and over TLS, and health with the web hooks; none when they ended."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = write_certificate(issued, tmp_path)
    tls = Tls(listen="127.0.0.1:0", certificate=certificate, key=key, hosts=("localhost",))
    settings = Settings(store=url, desk=Desk(tls=tls))
    names, store = Names(), Store(url)
    control = build_control(resolve(settings), store=store, clock=WallClock(), metrics=Metrics())
    listeners = {"desk": listen_unix(tmp_path / "desk"), "http": listen_tcp("127.0.0.1:0")}
    with ExitStack() as stack:
        stack.callback(control.close)
        serve(control, listeners, tmp_path / "desk", stack, watch=names)
        assert sorted(names.inside.values()) == ["desk", "desk over tls", "http"]
    assert names.inside == {}
