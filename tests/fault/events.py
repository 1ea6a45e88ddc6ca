"""Never-events: each from a source of its own, so each owes one incident, and a page a receiver.

An incident's id follows from its event and its place on the log, and nobody else writes there, so
what is owed is known without asking the daemon.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from monitor.stream.sources.kafka_client import KafkaSettings, TopicLookup
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


class Places:
    """Where the next record of a topic comes to lie, for the only one who writes to it."""

    def __init__(self, target: KafkaSettings) -> None:
        """Ask for the topic, which has to be empty."""
        lookup = TopicLookup(target)
        found = lookup.topology()
        lookup.close()
        assert found is not None
        self._topic_id, self._numbers = found.topic_id, itertools.cycle(found.partitions)
        self._sent: Counter[int] = Counter()

    def take(self, partition: int | None = None) -> tuple[int, str]:
        """A partition, in turn where none is given, and the name of the place there."""
        number = next(self._numbers) if partition is None else partition
        offset = self._sent[number]
        self._sent[number] += 1
        return number, f"{self._topic_id}:{number}:{offset}"


def owed(number: int, place: str, *, when: datetime | None = None) -> str:
    """The id of the incident that the event at this place must become."""
    group = f"never:{RULE}://fault/{number:06}"
    name = f"tocsin:{group}:{place}:{(when or at(number)).isoformat()}"
    return uuid.uuid5(uuid.NAMESPACE_OID, name).hex


class Feed:
    """Publishes never-events over all partitions; what it returned from is on the log."""

    def __init__(self, publisher: Publisher, places: Places) -> None:
        self._publisher, self._places = publisher, places
        self._owed: list[str] = []

    @property
    def sent(self) -> int:
        """How many."""
        return len(self._owed)

    def send(
        self, count: int, *, later: timedelta = timedelta(0), partition: int | None = None
    ) -> None:
        """So many more, on `partition` or all over; their time is `later` than their number's."""
        for number in range(self.sent, self.sent + count):
            when = at(number) + later
            data, stamp_ms = event(number, when=when), int(when.timestamp() * 1000)
            chosen, place = self._places.take(partition)
            key = str(number).encode()
            self._publisher.send(key, data, timestamp_ms=stamp_ms, partition=chosen)
            self._owed.append(owed(number, place, when=when))
        self._publisher.flush()

    def owed(self, first: int = 0) -> set[str]:
        """Ids of the incidents of all that was sent, from number `first` on."""
        return set(self._owed[first:])


@contextmanager
def feed(bootstrap: str, topic: str) -> Iterator[Feed]:
    """A feed of a topic, which is empty."""
    target = KafkaSettings(bootstrap=(bootstrap,), topic=topic)
    with Publisher(target) as publisher:
        yield Feed(publisher, Places(target))
