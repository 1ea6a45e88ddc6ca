"""SIGKILL the real daemon again and again while it reads Apache Kafka and pages strict receivers.

Each event on the topic is a never-event of a source of its own, so each owes exactly one incident
and one page a receiver. The journals of the receivers, fsynced before they answer, are the oracle.

    python -m tests.fault.kills          # QUICK=1 for a short slice

The last line of the output is one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.store.store import Store
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.servers.journal import read_journal
from tests.servers.kafka_server import KafkaServer
from tests.servers.pagerduty_server import ROUTING_KEY
from tests.servers.slack_server import CHANNEL, TOKEN

START = datetime(2026, 11, 16, 9, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the run came to."""

    kills: int
    incidents: int
    lost: int
    """Incidents that owe a page which no receiver journal shows."""
    incidents_missing: int
    """Events without an incident."""
    incidents_twice: int
    pagerduty_duplicates: int
    """Dedup keys under which the strict server opened more than one incident."""
    slack_repeats_per_kill: float
    chains_broken: int

    def row(self) -> dict[str, Any]:
        """For the last line."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def event(number: int) -> bytes:
    """A denied tool that ran, from a source of its own."""
    at = START + timedelta(seconds=number)
    return json.dumps(
        {
            "type": "io.aisafety.interaction.v1",
            "id": f"fault-{number:06}",
            "source": f"//fault/{number:06}",
            "time": at.isoformat(),
            "data": {
                "deployment": {"environment": "prod", "feature": f"feature-{number % 7}"},
                "gen_ai": {"request_model": "model-a"},
                "outcome": {"status": "answered"},
                "redaction": {"status": "redacted"},
                "tool_calls": [{"tool": "refund", "decision": "denied", "status": "ok"}],
            },
        }
    ).encode()


@contextmanager
def receiver(module: str, log: Path, *flags: str) -> Iterator[str]:
    """A strict receiver as a process of its own; its URL."""
    command = [sys.executable, "-m", f"tests.servers.{module}", "--port", "0", "--log", str(log)]
    process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.communicate(timeout=10)


def configuration(folder: Path, kafka: KafkaServer, topic: str, urls: dict[str, str]) -> Path:
    """The daemon's configuration file."""
    (folder / "slack").write_text(TOKEN)
    (folder / "pagerduty").write_text(ROUTING_KEY)
    path = folder / "tocsin.yaml"
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "store": f"sqlite:///{folder / 'tocsin.db'}",
                "profile": "loud",
                "source": {
                    "type": "kafka",
                    "bootstrap": [kafka.bootstrap],
                    "topic": topic,
                    "start": "earliest",
                },
                "paging": {
                    "receivers": [
                        {
                            "type": "slack",
                            "name": "slack",
                            "token": {"file": str(folder / "slack")},
                            "channel": CHANNEL,
                            "base_url": urls["slack"] + "/api/",
                        },
                        {
                            "type": "pagerduty",
                            "name": "pagerduty",
                            "routing_key": {"file": str(folder / "pagerduty")},
                            "base_url": urls["pagerduty"],
                        },
                    ]
                },
            }
        )
    )
    return path


def daemon(config: Path, log: Path, *flags: str) -> subprocess.Popen[bytes]:
    """`tocsin run`, its logs kept."""
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "tui.cli", "run", "-c", str(config), *flags],
            stderr=sink,
            stdout=sink,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def run(kafka: KafkaServer, topic: str, *, kills: int, incidents: int, seed: int) -> Figures:
    """Publish, kill, let it finish, count."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logs = {kind: folder / f"{kind}.jsonl" for kind in ("slack", "pagerduty")}
        with (
            receiver(
                "slack_server", logs["slack"], "--per-second", "500", "--burst", "500"
            ) as slack,
            receiver("pagerduty_server", logs["pagerduty"], "--per-minute", "100000") as pagerduty,
        ):
            config = configuration(folder, kafka, topic, {"slack": slack, "pagerduty": pagerduty})
            settings = KafkaSettings(bootstrap=(kafka.bootstrap,), topic=topic)
            _kill_often(config, folder, settings, rng, kills=kills, incidents=incidents)
        return _figures(folder, logs, kills=kills, incidents=incidents)


def _kill_often(
    config: Path,
    folder: Path,
    settings: KafkaSettings,
    rng: random.Random,
    *,
    kills: int,
    incidents: int,
) -> None:
    share = -(-incidents // kills)
    sent = 0
    log = folder / "daemon.log"
    with Publisher(settings) as publisher:
        for _ in range(kills):
            process = daemon(config, log)
            for number in range(sent, min(incidents, sent + share)):
                at = START + timedelta(seconds=number)
                publisher.send(
                    b"key",
                    event(number),
                    timestamp_ms=int(at.timestamp() * 1000),
                )
            publisher.flush()
            sent = min(incidents, sent + share)
            time.sleep(rng.uniform(1.0, 4.0))
            assert process.poll() is None, log.read_text()[-3000:]
            process.send_signal(signal.SIGKILL)
            process.wait()
    last = daemon(config, log, "--until-end")
    assert last.wait(180) == 0, log.read_text()[-3000:]


def _figures(folder: Path, logs: dict[str, Path], *, kills: int, incidents: int) -> Figures:
    store = Store(f"sqlite:///{folder / 'tocsin.db'}")
    with store.read() as tx:
        found = tx.incidents.search(limit=incidents * 2)
        keys = {incident.uuid: incident.name for incident in found}
        broken = sum(_broken(tx, uuid) for uuid in keys)
    store.close()
    groups = Counter(next(iter(incident.groups)) for incident in found)
    opened = Counter(
        row["key"]
        for row in read_journal(logs["pagerduty"])
        if row["outcome"] == "accepted: opened"
    )
    posted = Counter(
        row["key"]
        for row in read_journal(logs["slack"])
        if row["outcome"].startswith("accepted") and row["path"].endswith("chat.postMessage")
    )
    rung = {key.split(":")[1] for key in opened} & {key.split(":")[0] for key in posted}
    repeats = sum(count - 1 for count in posted.values())
    return Figures(
        kills=kills,
        incidents=len(found),
        lost=len(set(keys) - rung),
        incidents_missing=incidents - len(groups),
        incidents_twice=sum(count > 1 for count in groups.values()),
        pagerduty_duplicates=sum(count > 1 for count in opened.values()),
        slack_repeats_per_kill=round(repeats / kills, 3),
        chains_broken=broken,
    )


def _broken(tx: Any, uuid: str) -> bool:
    from monitor.incidents.timeline import broken_at

    return broken_at(tx.incidents.timeline(uuid)) is not None


def main() -> None:
    """Print the figures; the last line is JSON."""
    quick = bool(os.environ.get("QUICK"))
    kills, incidents = (5, 100) if quick else (60, 2400)
    with KafkaServer() as kafka:
        from kafka import KafkaAdminClient

        from tests.servers.kafka_fixtures import create_topic

        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        topic = create_topic(admin, 4)
        admin.close()
        print(f"Apache Kafka at {kafka.bootstrap}; {kills} kills, {incidents} incidents")
        figures = run(kafka, topic, kills=kills, incidents=incidents, seed=1)
    print(json.dumps(figures.row()))


if __name__ == "__main__":
    main()
