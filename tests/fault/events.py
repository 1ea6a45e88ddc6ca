"""Never-events: each from a source of its own, so each owes one incident, and a page a receiver.

An incident's id follows from its event alone, so what is owed is known without asking the daemon.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher

START = datetime(2026, 11, 16, 9, tzinfo=UTC)
RULE = "denied_tool_ran"


def at(number: int) -> datetime:
    """When the event happened."""
    return START + timedelta(seconds=number)


def event(number: int, *, when: datetime | None = None) -> bytes:
    """A denied tool that ran, from a source of its own; at its own time, or at another one."""
    return json.dumps(
        {
            "type": "io.aisafety.interaction.v1",
            "id": f"fault-{number:06}",
            "source": f"//fault/{number:06}",
            "time": (when or at(number)).isoformat(),
            "data": {
                "deployment": {"environment": "prod", "feature": f"feature-{number % 7}"},
                "gen_ai": {"request_model": "model-a"},
                "outcome": {"status": "answered"},
                "redaction": {"status": "redacted"},
                "tool_calls": [{"tool": "refund", "decision": "denied", "status": "ok"}],
            },
        }
    ).encode()


def owed(number: int, *, when: datetime | None = None) -> str:
    """The id of the incident that the event must become."""
    group = f"never:{RULE}://fault/{number:06}"
    name = f"tocsin:{group}:{(when or at(number)).isoformat()}"
    return uuid.uuid5(uuid.NAMESPACE_OID, name).hex


class Feed:
    """Publishes never-events over all partitions; what it returned from is on the log."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._when: list[datetime] = []

    @property
    def sent(self) -> int:
        """How many."""
        return len(self._when)

    def send(self, count: int, *, later: timedelta = timedelta(0)) -> None:
        """So many more; their own time is `later` than that of their number."""
        for number in range(self.sent, self.sent + count):
            when = at(number) + later
            data, stamp_ms = event(number, when=when), int(when.timestamp() * 1000)
            self._publisher.send(str(number).encode(), data, timestamp_ms=stamp_ms)
            self._when.append(when)
        self._publisher.flush()

    def owed(self, first: int = 0) -> set[str]:
        """Ids of the incidents of all that was sent, from number `first` on."""
        return {owed(first + n, when=when) for n, when in enumerate(self._when[first:])}


@contextmanager
def feed(bootstrap: str, topic: str) -> Iterator[Feed]:
    """A feed of a topic."""
    with Publisher(KafkaSettings(bootstrap=(bootstrap,), topic=topic)) as publisher:
        yield Feed(publisher)
