"""A replay on Apache Kafka, the real daemon on it, and what was left in its store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.bench.agentdojo import Replay
from tests.servers.kafka_server import KafkaServer
from tests.servers.pagerduty_server import ROUTING_KEY, PagerDutyServer
from tests.servers.slack_server import CHANNEL, TOKEN, SlackServer

FLUSH_EVERY = 20_000
STORE = "tocsin.db"


@dataclass(frozen=True, slots=True)
class Log:
    """A topic that holds a whole replay."""

    bootstrap: str
    topic: str
    records: int


def publish(server: KafkaServer, replay: Replay) -> Log:
    """A new topic with every event of `replay`: CreateTime is the event's time, nothing expires."""
    # Here and not above: importing kafka-python costs every test run 0.3 s and a warning.
    from kafka import KafkaAdminClient

    from tests.servers.kafka_fixtures import create_topic

    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
    configs = {"retention_ms": "-1", "message_timestamp_type": "CreateTime"}
    topic = create_topic(admin, replay.partitions, **configs)
    admin.close()
    records = 0
    with Publisher(KafkaSettings(bootstrap=(server.bootstrap,), topic=topic)) as publisher:
        for event in replay:
            publisher.send(
                None,
                event.value,
                timestamp_ms=int(event.time * 1000),
                partition=event.partition,
            )
            records += 1
            if records % FLUSH_EVERY == 0:
                publisher.flush()
    return Log(server.bootstrap, topic, records)


@dataclass(frozen=True, slots=True)
class Receivers:
    """The strict servers that are paged."""

    slack: SlackServer
    pagerduty: PagerDutyServer


@contextmanager
def receivers() -> Iterator[Receivers]:
    """Slack and PagerDuty on loopback, with their real limits."""
    with SlackServer() as slack, PagerDutyServer() as pagerduty:
        yield Receivers(slack, pagerduty)


class Installation:
    """One daemon's folder: configuration, store, log."""

    def __init__(
        self, folder: Path, log: Log, *, profile: str, paged: Receivers | None = None
    ) -> None:
        """`paged`: whom it pages; None: pages go to the daemon's own log."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.store_url = f"sqlite:///{folder / STORE}"
        settings: dict[str, Any] = {
            "version": 1,
            "store": self.store_url,
            "profile": profile,
            "source": {
                "type": "kafka",
                "bootstrap": [log.bootstrap],
                "topic": log.topic,
                "group": f"tocsin-{folder.name}",
                "start": "earliest",
            },
        }
        if paged is not None:
            settings["paging"] = {"receivers": self._receivers(paged)}
        (folder / "tocsin.yaml").write_text(json.dumps(settings, indent=1))

    def _receivers(self, paged: Receivers) -> list[dict[str, Any]]:
        for name, secret in (("slack", TOKEN), ("pagerduty", ROUTING_KEY)):
            (self._folder / name).write_text(secret)
        return [
            {
                "type": "slack",
                "name": "slack",
                "token": {"file": str(self._folder / "slack")},
                "channel": CHANNEL,
                "base_url": paged.slack.base_url,
            },
            {
                "type": "pagerduty",
                "name": "pagerduty",
                "routing_key": {"file": str(self._folder / "pagerduty")},
                "base_url": paged.pagerduty.base_url,
            },
        ]

    def start(self, *flags: str) -> None:
        """`tocsin run`, its output kept."""
        command = [sys.executable, "-m", "tui.cli", "run", "-c", str(self._folder / "tocsin.yaml")]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *flags],
                stdout=output,
                stderr=output,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )

    def run(self, timeout_s: float) -> None:
        """Read the log to its end.

        Raises:
            RuntimeError: the daemon failed, or needs longer than `timeout_s`.
        """
        self.start("--until-end")
        self.wait(timeout_s)

    def wait(self, timeout_s: float, *, well: tuple[int, ...] = (0,)) -> None:
        """Until the daemon ends; `well` are the statuses that are no failure.

        Raises:
            RuntimeError: it failed, or needs longer than `timeout_s`.
        """
        assert self._process is not None
        try:
            status: int | None = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
            self.kill()
        self._process = None
        if status not in well:
            tail = self._output.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"the daemon ended with {status}:\n{tail}")

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def remove(self) -> None:
        """The folder with everything in it."""
        self.kill()
        shutil.rmtree(self._folder)

    def play(self, until: datetime, timeout_s: float, *, kills: Iterable[datetime] = ()) -> None:
        """Live, as in production; killed and started anew at moments of event time.

        When it has decided up to `until` it is ended in order; a last start closes what is open.

        Raises:
            RuntimeError: the daemon failed, or needs longer than `timeout_s`.
        """
        self.start()
        for moment in kills:
            self._await(moment, timeout_s)
            self.kill()
            self.start()
        self._await(until, timeout_s)
        assert self._process is not None
        self._process.terminate()
        # One that was started a moment ago may not have come as far as to end in order.
        self.wait(timeout_s, well=(0, -signal.SIGTERM))
        self.run(timeout_s)

    def _await(self, moment: datetime, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (at := self._decided()) is None or at < moment:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self._output.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"the daemon has decided up to {at}, not {moment}:\n{tail}")
            time.sleep(0.05)

    def _decided(self) -> datetime | None:
        """How far the daemon has decided, asked beside it."""
        file = self._folder / STORE
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
                (at,) = connection.execute("SELECT max(event_now) FROM position").fetchone()
        except sqlite3.OperationalError:  # it has not made its store yet
            return None
        return None if at is None else datetime.fromtimestamp(at / 1e6, UTC)

    @property
    def _output(self) -> Path:
        return self._folder / "daemon.log"
