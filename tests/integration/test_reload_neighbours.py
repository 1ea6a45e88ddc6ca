"""A reload reaches what speaks to other machines."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.clock import WallClock
from monitor.config.options import RunOptions
from monitor.config.reload import Reload
from monitor.config.settings import resolve
from monitor.daemon import build_control
from monitor.metrics import Metrics
from monitor.notify.loopback.server import Answer, LoopbackServer, Request
from monitor.processes.launch import read_settings
from monitor.processes.neighbours import neighbour_steps
from monitor.processes.posts import Post
from monitor.store.store import Store
from monitor.views import Principal

ADA = Principal(name="ada", role="admin")


class Peer:
    """An Alertmanager that remembers the links it was shown."""

    def __init__(self) -> None:
        self.links: list[str] = []

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            for one in json.loads(request.body):
                self.links.append(one["annotations"]["panel_url"])
        return Answer(200)


def test_links_of_a_taken_reload_are_shown_by_alertmanager(tmp_path: Path) -> None:
    """What fires is shown with the new links from the next round on, without a start."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(LoopbackServer(peer := Peer()))
        file, url = tmp_path / "tocsin.yaml", f"sqlite:///{tmp_path / 'x.db'}"

        def write(panel: str) -> None:
            links = {"panel": panel}
            given = {"urls": [server.url]}
            text = {"version": 1, "store": url, "paging": {"links": links}, "alertmanager": given}
            file.write_text(json.dumps(text))

        write("https://old.example/p")
        options = RunOptions(config=file)
        settings, _ = read_settings(options, {})
        post = Post(store := Store(url), "decide", "here")
        control = build_control(
            resolve(settings), store=store, clock=WallClock(), metrics=Metrics(), posts=[post]
        )
        stack.callback(control.close)
        reload = Reload(
            control,
            read=lambda: read_settings(options, {}),
            build=control.channels_of,
            clock=WallClock().now,
        )
        step = neighbour_steps(control, stack)["alertmanager"]
        control.desk(ADA).declare(title="it burns", severity="SEV1")
        now = datetime.now(UTC)
        post.look(now)
        step(now)
        write("https://new.example/p")
        assert reload.reload("ada", "socket").taken
        step(now + timedelta(seconds=2))
        step(now + timedelta(seconds=70))
    assert peer.links[0] == "https://old.example/p"
    assert peer.links[-1] == "https://new.example/p"
