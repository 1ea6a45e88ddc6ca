"""What reader and publisher share of Kafka: settings, and questions about the topic."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, for_code
from kafka.net.compat import KafkaNetClient

from monitor.stream.sources.source import SourceUnavailable, Topology
from monitor.watchdog import tick

_CONNECT_MS = 2000
_ANSWER_MS = 5000
_TIMES = "message.timestamp.type"
_SECURITY_KEYS = ("security_protocol", "ssl_", "sasl_")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the events are and how to read them.

    Raises:
        ValueError: `security` has a key that is none, or `begin` has no time zone.
    """

    bootstrap: tuple[str, ...]
    """Brokers to begin with, `host:port` each."""
    topic: str
    group: str = "tocsin"
    """Consumer group: its members share the partitions. What it commits is information only."""
    begin: Literal["earliest", "latest"] | datetime = "earliest"
    """Where a partition begins that has no position yet; a time means the first record since."""
    member: str = ""
    """Static membership: a name of this process that survives its restart; empty for none."""
    max_records: int = 5000
    """Records in one poll at most."""
    max_bytes: int = 8 * 1024 * 1024
    """Unpacked bytes in one poll, about: what a step has to go through, and what a signal waits
    for. Five thousand events are fewer; a batch of a few kilobytes can hold 64 MB."""
    partition_fetch_bytes: int = 2 * 1024 * 1024
    """Asked of a partition in one fetch; bounds memory to about twice this for each partition."""
    session_timeout: timedelta = timedelta(seconds=10)
    """A member that is not heard of for so long loses its partitions."""
    entry: timedelta = timedelta(seconds=60)
    """The group waits for so long for a member that does not join anew (Kafka's own default is five
    minutes), and we wait half as long again to be let in, until we try anew."""
    refresh: timedelta = timedelta(seconds=30)
    """How soon an added partition is seen."""
    identity_check: timedelta = timedelta(seconds=1)
    """How often an idle reader looks whether the topic is still the same one; what was fetched is
    handed out only after a look."""
    stall: timedelta = timedelta(seconds=60)
    """A partition may stand still for so long while there is something to read."""
    inform: timedelta = timedelta(seconds=30)
    """How often positions are committed, for people and tools that look at the group's lag."""
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """kafka-python's `security_protocol`, `ssl_*` and `sasl_*`, handed on as they are."""

    def __post_init__(self) -> None:
        """Refuse what would be ignored or misread."""
        strange = sorted(key for key in self.security if not key.startswith(_SECURITY_KEYS))
        if strange:
            raise ValueError(f"not a security setting of Kafka: {', '.join(strange)}")
        if isinstance(self.begin, datetime) and self.begin.tzinfo is None:
            raise ValueError("`begin` needs a time zone")
        if not self.bootstrap or not self.topic or not self.group:
            raise ValueError("bootstrap, topic and group are required")

    def connection(self) -> dict[str, Any]:
        """Arguments that every client takes."""
        return {
            "bootstrap_servers": list(self.bootstrap),
            "client_id": "tocsin",
            "bootstrap_timeout_ms": _CONNECT_MS,
            "request_timeout_ms": max(_ANSWER_MS, _milliseconds(self.session_timeout) * 2),
            "reconnect_backoff_max_ms": 1000,
            **self.security,
        }


def connect(client: Callable[..., Any], settings: KafkaSettings, **arguments: Any) -> Any:
    """Build a `KafkaConsumer`, `KafkaProducer` or `KafkaAdminClient`.

    Raises:
        SourceUnavailable: no broker answers. Its network thread is ended: kafka-python 3.0.12
            leaves one behind with each constructor that fails, and an outage may last for days.
    """
    made: list[KafkaNetClient] = []

    def network(**configs: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**configs))
        return made[-1]

    try:
        return client(**{**settings.connection(), "kafka_client": network, **arguments})
    except (KafkaError, OSError) as error:
        for each in made:
            each.close()
        raise SourceUnavailable(f"no broker answers: {error!r}") from error


class TopicLookup:
    """Asks the cluster what the topic is now; connects anew after each failure."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connects with the first question."""
        self._settings = settings
        self._admin: KafkaAdminClient | None = None

    def topology(self) -> Topology | None:
        """The topic now, None when there is none of that name.

        Raises:
            SourceUnavailable: no broker answers, or it does not let us see the topic.
        """
        topic = self._settings.topic
        tick()
        try:
            described = self._client().describe_topics([topic])[0]
        except (KafkaError, OSError) as error:
            self.close()
            raise SourceUnavailable(f"no broker answers: {error!r}") from error
        if not described["error_code"]:
            numbers = sorted(part["partition_index"] for part in described["partitions"])
            return Topology(topic, str(described["topic_id"]), tuple(numbers))
        problem = for_code(described["error_code"])
        if problem.__name__ == "UnknownTopicOrPartitionError":
            return None
        raise SourceUnavailable(f"topic {topic}: {problem.__name__}")

    def unowned(self) -> set[int] | None:
        """Partitions that no member of the group has.

        None while it shares them out, and where we may not see it.
        """
        tick()
        group = self._settings.group
        try:
            topology = self.topology()
            described = self._client().describe_groups([group])[group]
        except (KafkaError, OSError, LookupError, SourceUnavailable):
            self.close()
            return None
        if described["error"]:  # the client keeps asking a broker that coordinates no more
            self.close()
            return None
        if topology is None or described["group_state"] != "Stable":
            return None
        owned = {
            number
            for member in described["members"]
            for share in (member["member_assignment"] or {}).get("assigned_partitions", ())
            if share["topic"] == topology.topic
            for number in share["partitions"]
        }
        return set(topology.partitions) - owned

    def timestamp_type(self) -> str:
        """The topic's `message.timestamp.type`; empty where we may not see it."""
        tick()
        asked = ConfigResource(ConfigResourceType.TOPIC, self._settings.topic, [_TIMES])
        try:
            found = self._client().describe_configs([asked], config_filter="all")
            return str(found["topic"][self._settings.topic][_TIMES]["value"])
        except (KafkaError, OSError, LookupError):
            self.close()
            return ""

    def close(self) -> None:
        """Let go of the connection."""
        admin, self._admin = self._admin, None
        if admin is not None:
            with contextlib.suppress(KafkaError):
                admin.close()

    def _client(self) -> KafkaAdminClient:
        if self._admin is None:
            self._admin = connect(KafkaAdminClient, self._settings, request_timeout_ms=_ANSWER_MS)
        return self._admin


def _milliseconds(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))
