"""PagerDuty as a test sees it: strict, and failing on demand; also a program (`python -m`)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from monitor.notify.loopback.pagerduty import (
    PagerDutyEvent,
    PagerDutyIncident,
    PagerDutyReceiver,
)
from tests.servers.faults import FaultyServer, serve_until_killed

ROUTING_KEY = "R0000000000000000000000000000001"


class PagerDutyServer(FaultyServer):
    """One account with one integration key."""

    def __init__(
        self,
        *,
        port: int = 0,
        log: Path | None = None,
        per_minute: int = 120,
        unstable: float = 0.0,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.receiver = PagerDutyReceiver(
            routing_keys=[ROUTING_KEY], per_minute=per_minute, clock=clock
        )
        super().__init__(self.receiver, port=port, log=log, unstable=unstable, seed=seed)

    @property
    def base_url(self) -> str:
        """What a channel is configured with."""
        return self.url

    @property
    def incidents(self) -> tuple[PagerDutyIncident, ...]:
        """Every incident ever opened."""
        return self.receiver.incidents

    @property
    def events(self) -> tuple[PagerDutyEvent, ...]:
        """Every accepted event and what came of it."""
        return self.receiver.events


def main() -> None:
    """Serve from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--per-minute", type=int, default=120)
    parser.add_argument("--unstable", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    serve_until_killed(
        PagerDutyServer(
            port=given.port,
            log=given.log,
            per_minute=given.per_minute,
            unstable=given.unstable,
            seed=given.seed,
        )
    )


if __name__ == "__main__":
    main()
