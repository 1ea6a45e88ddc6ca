"""From the append of a record to the first POST of its page, under load.

A publisher puts 1,000 ordinary events a second on the log, and never-events in between. A
never-event's record completes its own decision, so latency is from its append (the publisher's
clock, before it is sent) to the line in the receiver's journal; both clocks are this machine's
monotonic one. Once with all receivers well, once with another channel that takes connections and
never answers.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.fault.events import event, owed
from tests.fault.ground import Ground, Receivers, configuration, daemon, receivers, wait_until
from tests.fault.oracle import of
from tests.servers.webhook_server import SECRET

PER_SECOND = 1000
NEVER_EVENTS_PER_SECOND = 2
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from append to first POST."""

    pages: int
    p50: float
    p99: float
    worst: float
    lost: int
    events_per_s: float
    """That the publisher really sent."""


def measure(ground: Ground, *, seconds: float, black_hole: bool) -> Latency:
    """Publish for so long and wait for all pages.

    Raises:
        Stuck: pages are missing after two minutes.
    """
    with receivers(ground.folder) as paged, _hole(ground.folder) as hole:
        settings = configuration(ground, paged)
        settings["paging"].pop("escalation")
        if black_hole:
            settings["paging"]["receivers"].append(hole)
            settings["paging"]["route"] = {"receivers": ["slack", "pagerduty", "hole"]}
        with daemon(ground.folder / "daemon", settings) as tree:
            tree.start()
            wait_until(lambda: tree.health("/healthz"), "a daemon", 60.0)
            warm = _publish(ground, paged, 2.0, first=1_000_000)
            _all_rang(paged, set(warm.appended))
            sent = _publish(ground, paged, seconds, first=0)
            _all_rang(paged, set(sent.appended))
            return _figures(sent, _first_posts(paged))


@dataclass(frozen=True, slots=True)
class Sent:
    """What was published."""

    appended: dict[str, float]
    """When, by the id of the incident that it must become; monotonic."""
    per_s: float


def _publish(ground: Ground, paged: Receivers, seconds: float, *, first: int) -> Sent:
    """Ordinary events at an even rate, a never-event now and then."""
    appended: dict[str, float] = {}
    number = records = 0
    target = KafkaSettings(bootstrap=(ground.bootstrap,), topic=ground.topic)
    with Publisher(target) as publisher:
        started = time.monotonic()
        while (spent := time.monotonic() - started) < seconds:
            now = datetime.now(UTC)
            while records < spent * PER_SECOND:
                publisher.send(str(records).encode(), ordinary(first + records, now))
                records += 1
            while number < spent * NEVER_EVENTS_PER_SECOND:
                appended[owed(first + number, when=now)] = time.monotonic()
                publisher.send(str(number).encode(), event(first + number, when=now))
                number += 1
            time.sleep(TICK_S / 5)
        per_s = records / (time.monotonic() - started)
    return Sent(appended, per_s)


def ordinary(number: int, at: datetime) -> bytes:
    """One answered interaction."""
    return json.dumps(
        {
            "type": "io.aisafety.interaction.v1",
            "id": f"o-{number}",
            "source": f"//gateway/{number % 3}",
            "time": at.isoformat(),
            "data": {
                "deployment": {"environment": "prod", "feature": f"feature-{number % 7}"},
                "gen_ai": {"request_model": "model-a"},
                "outcome": {"status": "answered"},
                "redaction": {"status": "redacted"},
            },
        }
    ).encode()


def _all_rang(paged: Receivers, wanted: set[str]) -> None:
    wait_until(lambda: wanted <= set(_first_posts(paged)), "all pages")


def _first_posts(paged: Receivers) -> dict[str, float]:
    """When PagerDuty was first told of each incident; monotonic."""
    posts: dict[str, float] = {}
    for row in paged.pagerduty.journal.rows:
        if row["outcome"].startswith("accepted"):
            posts.setdefault(of(row["key"]), row["at"])
    return posts


def _figures(sent: Sent, posts: dict[str, float]) -> Latency:
    waits = sorted(posts[uuid] - at for uuid, at in sent.appended.items() if uuid in posts)
    return Latency(
        pages=len(waits),
        p50=round(_quantile(waits, 0.5), 2),
        p99=round(_quantile(waits, 0.99), 2),
        worst=round(waits[-1], 2),
        lost=len(sent.appended) - len(waits),
        events_per_s=round(sent.per_s),
    )


def _quantile(ordered: list[float], share: float) -> float:
    """The least value that so large a share does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def _hole(folder: Path) -> Iterator[dict[str, Any]]:
    """A receiver that takes connections and never answers."""
    (folder / "hole").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        port = listener.getsockname()[1]
        yield {
            "type": "webhook",
            "name": "hole",
            "secret": {"file": str(folder / "hole")},
            "url": f"http://127.0.0.1:{port}/hooks/hole",
        }
