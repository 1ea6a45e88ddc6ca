"""From the append of a record to the first POST of its page, under load.

A publisher puts 1,000 ordinary events a second on the log; both clocks are this machine's monotonic
one, from before the record is sent to the line in the receiver's journal. Two kinds of page:

- *never*: a never-event's record completes its own decision, so latency is from its append;
- *statistical*: features begin to fail one after another, and a promoted rule with a fixed limit
  watches each. A bucket is decided when a record comes whose time is the bucket's end plus the
  lateness; latency is from the append of the first such record.

Once with all receivers well, once with another channel that takes connections and never answers.
"""

from __future__ import annotations

import json
import math
import socket
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.store.store import Store
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.fault.events import Places, event, owed
from tests.fault.ground import Ground, Receivers, configuration, daemon, receivers, wait_until
from tests.fault.oracle import of
from tests.servers.webhook_server import SECRET

PER_SECOND = 1010
"""A little over the 1,000 that are asked for: a busy publisher falls behind."""
NEVER_EVENTS_PER_SECOND = 2
FEATURES = 48
"""Each has a rule of its own, and its own incident."""
BUCKET_S, LATENESS_S = 10, 15
SPARE_S = 5.0
TURN_S = 0.02


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from append to first POST, of one kind of page."""

    pages: int
    p50: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured."""

    never: Waits
    statistical: Waits
    events_per_s: float
    """That the publisher really sent."""


@dataclass(slots=True)
class Sent:
    """What was published."""

    never: dict[str, float] = field(default_factory=dict)
    """When, by the id of the incident that it must become; monotonic."""
    times: list[float] = field(default_factory=list)
    """Event time of each turn's records, unix seconds, ascending ..."""
    appended: list[float] = field(default_factory=list)
    """... and when they were appended, monotonic."""
    per_s: float = 0.0

    def since(self, at: float) -> float:
        """When the first record was appended whose event time is `at` or later.

        Raises:
            IndexError: there is none.
        """
        return self.appended[bisect_left(self.times, at)]


def measure(
    ground: Ground,
    *,
    seconds: float,
    black_hole: bool,
    warm_s: float = 20.0,
    lateness_s: int = LATENESS_S,
) -> Latency:
    """Publish for so long and wait for all pages.

    Args:
        ground: a topic and an empty store.
        seconds: in which features begin to fail; then it goes on until the last one is decided.
        black_hole: whether one more channel never answers.
        warm_s: of traffic before.
        lateness_s: how long a bucket waits for stragglers.

    Raises:
        Stuck: pages are missing after two minutes.
    """
    with receivers(ground.folder) as paged, _hole(ground.folder) as hole:
        settings = _settings(ground, paged, lateness_s)
        if black_hole:
            settings["paging"]["receivers"].append(hole)
            settings["paging"]["route"] = {"receivers": ["slack", "pagerduty", "hole"]}
        with daemon(ground.folder / "daemon", settings) as tree:
            tree.start()
            wait_until(lambda: tree.health("/healthz"), "a daemon", 60.0)
            target = KafkaSettings(bootstrap=(ground.bootstrap,), topic=ground.topic)
            places = Places(target)
            warm = _publish(target, places, warm_s, first=1_000_000)
            _all_rang(paged, set(warm.never))
            tail = BUCKET_S + lateness_s + SPARE_S
            sent = _publish(target, places, seconds + tail, first=0, failing_s=seconds)
            _all_rang(paged, set(sent.never))
            known = warm.never.keys() | sent.never.keys()
            wait_until(
                lambda: len(_first_posts(paged).keys() - known) >= FEATURES, "all statistical pages"
            )
            tree.end()
    posts = _first_posts(paged)
    never = [posts[uuid] - at for uuid, at in sent.never.items()]
    statistical = [
        posts[uuid] - sent.since(end + lateness_s) for uuid, end in _limits(ground.store).items()
    ]
    return Latency(_waits(never), _waits(statistical), round(sent.per_s))


def _settings(ground: Ground, paged: Receivers, lateness_s: int) -> dict[str, Any]:
    """Nobody is paged twice; a rule for each feature."""
    rules = [
        {
            "name": f"limit_{number:02}",
            "signal": "error_rate",
            "detector": "static",
            "rate": 0.5,
            "window": f"{BUCKET_S}s",
            "severity": "SEV1",
            "tier": "page",
            "where": {"feature": _feature(number)},
        }
        for number in range(FEATURES)
    ]
    stream = {"bucket": f"{BUCKET_S}s", "lateness": f"{lateness_s}s"}
    made = configuration(ground, paged, rules=rules, stream=stream)
    made["paging"].pop("escalation")
    return made


def _feature(number: int) -> str:
    return f"feature-{number % FEATURES:02}"


def _publish(
    target: KafkaSettings,
    places: Places,
    seconds: float,
    *,
    first: int,
    failing_s: float = math.inf,
) -> Sent:
    """Ordinary events at an even rate, a never-event now and then.

    One feature after the other begins to fail, all of them after `failing_s`.
    """
    sent, number, records = Sent(), 0, 0
    with Publisher(target) as publisher:
        started = time.monotonic()
        while (spent := time.monotonic() - started) < seconds:
            now = datetime.now(UTC)
            sent.times.append(now.timestamp())
            sent.appended.append(time.monotonic())
            while records < spent * PER_SECOND:
                failed = records % FEATURES < spent / failing_s * FEATURES
                data = ordinary(first + records, records, now, failed=failed)
                chosen, _ = places.take()
                publisher.send(str(records).encode(), data, partition=chosen)
                records += 1
            while number < spent * NEVER_EVENTS_PER_SECOND:
                chosen, place = places.take()
                sent.never[owed(first + number, place, when=now)] = time.monotonic()
                data = event(first + number, when=now)
                publisher.send(str(number).encode(), data, partition=chosen)
                number += 1
            time.sleep(TURN_S)
        sent.per_s = records / (time.monotonic() - started)
    return sent


def ordinary(number: int, feature: int, at: datetime, *, failed: bool) -> bytes:
    """One interaction, answered or failed."""
    return json.dumps(
        {
            "type": "io.aisafety.interaction.v1",
            "id": f"o-{number}",
            "source": f"//gateway/{number % 3}",
            "time": at.isoformat(),
            "data": {
                "deployment": {"environment": "prod", "feature": _feature(feature)},
                "gen_ai": {"request_model": "model-a"},
                "outcome": {"status": "error" if failed else "answered"},
                "redaction": {"status": "redacted"},
            },
        }
    ).encode()


def _all_rang(paged: Receivers, wanted: set[str]) -> None:
    wait_until(lambda: wanted <= set(_first_posts(paged)), "all pages of never-events")


def _first_posts(paged: Receivers) -> dict[str, float]:
    """When PagerDuty was first told of each incident; monotonic."""
    posts: dict[str, float] = {}
    for row in paged.pagerduty.journal.rows:
        if row["outcome"].startswith("accepted"):
            posts.setdefault(of(row["key"]), row["at"])
    return posts


def _limits(store: str) -> dict[str, float]:
    """End of the deciding bucket, unix seconds, by the id of each incident of a rule's."""
    opened = Store(store)
    try:
        with opened.read() as tx:
            incidents = tx.incidents.search(limit=100_000)
    finally:
        opened.close()
    return {
        i.uuid: i.detected_at.timestamp()
        for i in incidents
        if i.signal is not None and i.signal.startswith("limit_")
    }


def _waits(waits: list[float]) -> Waits:
    ordered = sorted(waits)
    return Waits(
        pages=len(ordered),
        p50=round(_quantile(ordered, 0.5), 2),
        p99=round(_quantile(ordered, 0.99), 2),
        worst=round(ordered[-1], 2),
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
