"""The same log with and without kills: is it the same set of alerts, of a detector and two rules?

One recording goes to Apache Kafka. One daemon reads it undisturbed; another dies on the way, as a
live one with all its processes and as a reader of recordings, at named points and at random, until
it is let to the end. Alerts are compared by signal, dimensions, time of detection and severity.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import msgspec

from monitor.alerting.alerts import Alert
from monitor.store.store import Store
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.fault.ground import Ground, Stuck, daemon, fell, wait_until
from tests.scenario.traffic import Story, events

LIVE = ("K1", "K2", "K3", "K4", "K5")
STORY = Story(seed=11, rate=0.05, per_minute=6.0, quiet_hours=6, after_hours=1)

RULES = (
    {"name": "limit", "signal": "refusal_rate", "detector": "static", "rate": 0.15,
     "window": "10m", "tier": "page"},
    {"name": "slo", "signal": "refusal_rate", "detector": "burn_rate", "objective": 0.99,
     "tier": "page"},
)  # fmt: skip
"""Beside the detector that learns: each remembers what it was fed in a way of its own."""
AlertKey = tuple[str, str, str, str]
"""(signal, dimensions, detected_at, severity)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """An undisturbed and a killed run."""

    kills: int
    alerts: int
    """Of the undisturbed one."""
    signals: tuple[str, ...]
    """Their names."""
    alerts_differ: int
    """Alerts that only one of the two has."""


def publish(bootstrap: str, topic: str, story: Story = STORY) -> int:
    """Put a recording on a topic; how many records."""
    records = 0
    with Publisher(KafkaSettings(bootstrap=(bootstrap,), topic=topic)) as publisher:
        for one in events(story):
            stamp = datetime.fromisoformat(one["time"])
            publisher.send(
                one["id"].encode(),
                msgspec.json.encode(one),
                timestamp_ms=int(stamp.timestamp() * 1000),
            )
            records += 1
    return records


def alerts(store: str) -> set[AlertKey]:
    """All alerts in a store."""
    opened = Store(store)
    try:
        with opened.read() as tx:
            return {_key(alert) for alert in tx.incidents.recent_alerts(limit=100_000)}
    finally:
        opened.close()


def _key(alert: Alert) -> AlertKey:
    return (
        alert.signal,
        repr(sorted(alert.dimensions.items())),
        alert.detected_at.isoformat(),
        alert.severity,
    )


def settings(ground: Ground) -> dict[str, object]:
    """A loud daemon that pages its own log."""
    (ground.folder / "digest").write_text("k" * 32)
    (ground.folder / "digest").chmod(0o600)
    source = {"type": "kafka", "bootstrap": [ground.bootstrap], "topic": ground.topic}
    return {
        "version": 1,
        "store": ground.store,
        "profile": "loud",
        "source": {**source, "start": "earliest", "group": f"g-{ground.folder.name}"},
        "digest_key": {"file": str(ground.folder / "digest")},
        "watch": {"reserve": 0, "disk_free": 0},
        "rules": RULES,
    }


def undisturbed(ground: Ground) -> set[AlertKey]:
    """The alerts of a daemon that reads to the end."""
    _to_the_end(ground)
    return alerts(ground.store)


def killed(ground: Ground, kills: int, seed: int) -> tuple[set[AlertKey], int]:
    """The alerts of one that dies on the way, and how often it did."""
    rng = random.Random(seed)
    reading = max(1, kills // 5)
    died = _live(ground, kills - reading, rng)
    died += _reading(ground, [rng.uniform(0.5, 3.0) for _ in range(reading)])
    died += _live(ground, kills - died, rng)
    _to_the_end(ground)
    return alerts(ground.store), died


def _live(ground: Ground, kills: int, rng: random.Random) -> int:
    """Die with all processes at work; how often at a named point, twice as many lives at most."""
    with daemon(ground.folder / "live", settings(ground)) as tree:

        def died() -> int:
            return sum(fell(tree, point) for point in LIVE)

        before = died()
        for life in range(2 * kills):
            known = died()
            if known - before >= kills:
                break
            tree.env = {"TOCSIN_FAULT": f"{LIVE[life % len(LIVE)]}:{rng.randint(1, 3)}"}
            tree.start()
            with suppress(Stuck):
                wait_until(lambda seen=known: died() > seen, "a death", 15.0)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            tree.kill()
        return died() - before


def _reading(ground: Ground, pauses: list[float]) -> int:
    """Die as a reader of recordings, at some time after each start; how often."""
    died = 0
    with daemon(ground.folder / "replay", settings(ground), ("--until-end",)) as tree:
        for pause in pauses:
            tree.start()
            time.sleep(pause)
            died += tree.process is not None and tree.process.poll() is None
            tree.kill()
    return died


def _to_the_end(ground: Ground) -> None:
    """Read to the end of the log.

    Raises:
        RuntimeError: the daemon failed.
    """
    with daemon(ground.folder / "replay", settings(ground), ("--until-end",)) as tree:
        tree.start()
        assert tree.process is not None
        if tree.process.wait(300) != 0:
            raise RuntimeError(tree.said()[-3000:])


def compare(one: Ground, other: Ground, *, kills: int, seed: int) -> Compared:
    """Two daemons with stores of their own read the same topic."""
    wanted = undisturbed(one)
    found, died = killed(other, kills, seed)
    signals = tuple(sorted({signal for signal, *_ in wanted}))
    return Compared(died, len(wanted), signals, len(wanted ^ found))
