"""Slack as a test sees it: strict, and failing on demand; also a program (`python -m`)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from monitor.notify.loopback.slack import SlackMessage, SlackReceiver
from tests.servers.faults import FaultyServer, serve_until_killed

TOKEN = "xoxb-loopback-1234567890"
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
    ) -> None:
        self.receiver = SlackReceiver(
            token=TOKEN,
            channels=CHANNELS if channels is None else channels,
            per_second=per_second,
            burst=burst,
            clock=clock,
        )
        super().__init__(self.receiver, port=port, log=log, unstable=unstable, seed=seed)

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
