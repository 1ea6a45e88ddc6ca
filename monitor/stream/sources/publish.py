"""Writes records to a topic, for the simulator and for the replay of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError

from monitor.stream.sources.kafka_client import KafkaSettings, connect
from monitor.stream.sources.source import SourceUnavailable

_PATIENCE_S = 60.0


class Publisher:
    """An idempotent producer: what `flush` confirmed is on the log once, in order of sending."""

    def __init__(self, settings: KafkaSettings, *, compression: str | None = "lz4") -> None:
        """`compression` is a codec of Kafka's (`gzip`, `lz4`, `zstd`, `snappy`), or None.

        Raises:
            SourceUnavailable: no broker answers.
        """
        self._topic = settings.topic
        self._failure: BaseException | None = None
        self._producer = connect(
            KafkaProducer,
            settings,
            compression_type=compression,
            acks="all",
            enable_idempotence=True,
            linger_ms=20,
            batch_size=256 * 1024,
        )

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> None:
        """Queue one record; waits when too many are queued. Without `partition` the key decides.

        Raises:
            SourceUnavailable: it cannot be queued, or one before it could not be delivered.
        """
        self._raise_failure()
        try:
            future = self._producer.send(
                self._topic, value, key, list(headers), partition, timestamp_ms
            )
        except KafkaError as error:
            raise SourceUnavailable(f"not published: {error!r}") from error
        future.add_errback(self._failed)

    def flush(self) -> None:
        """Wait until everything queued is on the log.

        Raises:
            SourceUnavailable: a record could not be delivered.
        """
        try:
            self._producer.flush(timeout=_PATIENCE_S)
        except KafkaError as error:
            raise SourceUnavailable(f"not published: {error!r}") from error
        self._raise_failure()

    def close(self) -> None:
        """Let go of the connection; what was not flushed may be lost."""
        self._producer.close(timeout=_PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    def _failed(self, error: Any) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise SourceUnavailable(f"not published: {failure!r}") from failure
