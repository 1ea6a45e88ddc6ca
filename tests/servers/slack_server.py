"""Slack as a test sees it: strict, and failing on demand; also a program (`python -m`)."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from monitor.notify.loopback.slack import SlackMessage, SlackReceiver
from tests.servers.faults import FaultyServer, serve_until_killed
from tests.servers.slack_people import APP
from tests.servers.slack_socket import SlackSockets

TOKEN = "xoxb-loopback-1234567890"
APP_TOKEN = "xapp-loopback-1234567890"
CHANNEL = "C0PAGES"
CHANNELS = {CHANNEL: "", "C0ARCHIVED": "is_archived", "C0OUTSIDE": "not_in_channel"}


class SlackServer(FaultyServer):
    """The workspace with its one channel for pages."""

    def __init__(
        self,
        *,
        port: int = 0,
        log: Path | None = None,
        channels: Mapping[str, str] | None = None,
        per_second: float = 1.0,
        burst: int = 3,
        unstable: float = 0.0,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        scopes: Collection[str] = ("connections:write",),
        ack_s: float = 3.0,
    ) -> None:
        self.sockets: SlackSockets | None = None
        self._ack_s = ack_s
        self._making = threading.Lock()
        self.receiver = SlackReceiver(
            token=TOKEN,
            channels=CHANNELS if channels is None else channels,
            per_second=per_second,
            burst=burst,
            clock=clock,
            app_token=APP_TOKEN,
            connection=self._address,
            scopes=scopes,
        )
        super().__init__(self.receiver, port=port, log=log, unstable=unstable, seed=seed)

    def _address(self) -> str:
        # made with the first question, so that a test of pages has no second server
        return self.socket_mode().address()

    def socket_mode(self) -> SlackSockets:
        """Slack's end of Socket Mode."""
        with self._making:
            if self.sockets is None:
                self.sockets = SlackSockets(app=APP, journal=self.journal, ack_s=self._ack_s)
        return self.sockets

    def stop(self) -> None:
        if self.sockets is not None:
            self.sockets.close()
        super().stop()

    @property
    def base_url(self) -> str:
        """What a channel is configured with."""
        return f"{self.url}/api/"

    @property
    def messages(self) -> tuple[SlackMessage, ...]:
        """Everything stored, threads included."""
        return self.receiver.messages


def main() -> None:
    """Serve from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--per-second", type=float, default=1.0)
    parser.add_argument("--burst", type=int, default=3)
    parser.add_argument("--unstable", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    serve_until_killed(
        SlackServer(
            port=given.port,
            log=given.log,
            per_second=given.per_second,
            burst=given.burst,
            unstable=given.unstable,
            seed=given.seed,
        )
    )


if __name__ == "__main__":
    main()
