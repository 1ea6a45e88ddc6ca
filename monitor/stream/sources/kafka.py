"""Events from Apache Kafka, through a consumer group of kafka-python.

Kafka decides who reads which partition; where to read is the caller's (`start`), because positions
are stored in the transaction that stores what was made of the records. Nothing is ever reset
silently: what cannot be read comes back as a `Gap`.

Threads: kafka-python runs its network, its heartbeats and the rebalance callbacks on a thread of
its own. The callbacks only leave a note; everything else here belongs to the thread that polls.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError, RetriableError

from monitor.stream.sources.kafka_batches import Room, Unreadable, read_tolerantly
from monitor.stream.sources.kafka_client import KafkaSettings, TopicLookup, connect
from monitor.stream.sources.kafka_offsets import edges, since
from monitor.stream.sources.membership import Door, join_anew, joining, not_ours
from monitor.stream.sources.source import (
    Assigned,
    Began,
    Chunk,
    Gap,
    Lag,
    Partition,
    Record,
    Revoked,
    SourceEvent,
    SourceUnavailable,
    Topology,
)
from monitor.stream.sources.stalls import Stall, StallWatch
from monitor.watchdog import tick

_Batches = dict[TopicPartition, list[Record]]

_CLOSE_MS = 5000
_JOIN_PATIENCE_S = 10.0
_JOIN_SLICE_MS = 500


class _Notes(ConsumerRebalanceListener):  # type: ignore[misc] # kafka-python ships no types
    """What the group decided, for the polling thread to read; called on the network thread."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self.notes: deque[tuple[bool, tuple[TopicPartition, ...]]] = deque()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        # Before anything can be fetched: stand still, at a position that keeps the library from
        # looking for a committed one. The caller's `start` says where to go.
        for each in assigned:
            self._consumer.pause(each)
            self._consumer.seek(each, 0)
        self.notes.append((True, tuple(sorted(assigned))))

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self.notes.append((False, tuple(sorted(revoked))))


class KafkaSource:
    """Reads a topic as a member of a consumer group."""

    finite = False
    exhausted = False

    def __init__(self, settings: KafkaSettings, leaving: threading.Event | None = None) -> None:
        """Connects with the first `poll`; once `leaving` is set, no poll waits for the group."""
        self._settings = settings
        self._leaving = leaving or threading.Event()
        self._lookup = TopicLookup(settings)
        self._consumer: KafkaConsumer | None = None
        self._notes: _Notes | None = None
        self._topic_id = ""
        self._looked_at = float("-inf")
        self._events: list[SourceEvent] = []
        self._unreadable: list[Unreadable] = []
        self._room = Room(settings.max_bytes)
        self._waiting: set[TopicPartition] = set()
        self._held: dict[TopicPartition, Partition] = {}
        self._unresolved: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        """Partitions that are read, and the offset after the last record handed out."""
        self._paused = False
        self._door = Door(settings.entry)
        self._stalls = StallWatch(settings.stall.total_seconds())
        self._stalls_at = self._informed_at = time.monotonic()

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        """Chunks that have come, and what happened to our partitions.

        While the group shares its partitions out anew this takes up to ten seconds longer.

        Raises:
            SourceUnavailable: no broker, no such topic, or the group refuses us; poll on.
        """
        if self._events:
            return self._handed_out()
        consumer = self._consumer or self._join()
        self._resolve_begins()
        try:
            batches, loss = self._fetch(consumer, timeout_s)
        finally:  # a poll that fails may have ended a rebalance before
            self._read_notes()
        if self._same_topic(at_once=loss is not None, idle=not batches):
            if loss is not None:
                self._explain(loss)
            self._hand_out(batches)
            self._look_after()
        return self._handed_out()

    def start(self, partition: Partition, offset: int | None) -> None:
        """Read `partition` from `offset`, or from `KafkaSettings.begin`.

        Raises:
            ValueError: `offset` is negative.
        """
        if offset is not None and offset < 0:
            raise ValueError(f"cannot start at {offset}")
        place = TopicPartition(partition.topic, partition.number)
        if self._held.get(place) != partition:
            return
        if offset is None:
            self._unresolved.add(place)
        else:
            self._unresolved.discard(place)
            self._seek(place, offset)

    def pause(self) -> None:
        """Fetch nothing, and stay in the group: go on calling `poll`."""
        self._paused = True
        for place in self._positions:
            self._hold(place)

    def resume(self) -> None:
        """Read on where it was paused."""
        self._paused = False
        self._stalls.forget()
        for place in self._positions:
            if self._consumer is not None:
                with not_ours():
                    self._consumer.resume(place)

    def lags(self) -> list[Lag]:
        """Positions and ends. Records that no reader gets (transaction markers) are no lag."""
        return self._lags(sorted(self._positions))

    def topology(self) -> Topology:
        """The topic as it is now."""
        topology = self._lookup.topology()
        if topology is None:
            raise SourceUnavailable(f"there is no topic {self._settings.topic}: make it first")
        return topology

    def close(self) -> None:
        """Leave the group, so that the others take over at once."""
        self._leave()
        self._events.clear()
        self._lookup.close()

    def _fetch(
        self, consumer: KafkaConsumer, timeout_s: float
    ) -> tuple[_Batches, Exception | None]:
        self._look_at_the_door(consumer)
        most = self._settings.max_records
        self._room.left = self._settings.max_bytes
        patience = time.monotonic() + _JOIN_PATIENCE_S
        try:
            batches = consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=most)
            while not batches and joining(consumer) and time.monotonic() < patience:
                if self._leaving.is_set():
                    break
                tick()
                join_anew(consumer)
                batches = consumer.poll(timeout_ms=_JOIN_SLICE_MS, max_records=most)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            return {}, error
        except RetriableError as error:
            raise SourceUnavailable(f"no broker answers: {error!r}") from error
        except KafkaError as error:
            self._leave()
            raise SourceUnavailable(f"the group refuses us: {error!r}") from error
        return batches, None

    def _look_at_the_door(self, consumer: KafkaConsumer) -> None:
        now = time.monotonic()
        if self._door.is_to_ask(consumer, now, self._lookup.unowned):
            join_anew(consumer)
        if (shut_s := self._door.shut_for(consumer, now)) is not None:
            self._leave()
            text = f"the group {self._settings.group} has not let us in for {shut_s:.0f} s"
            raise SourceUnavailable(f"{text}, a member of it may hang: joining it again")

    def _handed_out(self) -> list[SourceEvent]:
        events, self._events = self._events, []
        return events

    # -- membership

    def _join(self) -> KafkaConsumer:
        topology = self.topology()
        settings = self._settings
        session_ms = int(settings.session_timeout.total_seconds() * 1000)
        arguments = {
            "group_id": settings.group,
            "group_instance_id": settings.member or None,
            "auto_offset_reset": "none",
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "partition_assignment_strategy": [CooperativeStickyAssignor],
            "metrics_enabled": False,
            "max_partition_fetch_bytes": settings.partition_fetch_bytes,
            "session_timeout_ms": session_ms,
            "max_poll_interval_ms": int(settings.entry.total_seconds() * 1000),
            "heartbeat_interval_ms": session_ms // 6,
            "metadata_max_age_ms": int(settings.refresh.total_seconds() * 1000),
        }
        consumer = connect(KafkaConsumer, settings, **arguments)
        read_tolerantly(consumer, self._unreadable, self._room)
        self._consumer, self._notes, self._topic_id = consumer, _Notes(consumer), topology.topic_id
        consumer.subscribe([settings.topic], listener=self._notes)
        self._stalls.forget()
        return consumer

    def _leave(self) -> None:
        """Out of the group; what was ours is given back to the caller as revoked."""
        consumer, self._consumer = self._consumer, None
        self._door.forget()
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)
        self._forget(tuple(self._held))
        self._waiting.clear()
        self._unreadable.clear()
        self._notes = None

    def _forget(self, places: Iterable[TopicPartition]) -> None:
        gone = [self._held.pop(place) for place in places if place in self._held]
        for place in places:
            self._waiting.discard(place)
            self._unresolved.discard(place)
            self._positions.pop(place, None)
        if gone:
            self._events.append(Revoked(tuple(gone)))

    def _read_notes(self) -> None:
        while self._notes is not None and self._notes.notes:
            ours, places = self._notes.notes.popleft()
            self._forget(places)
            if ours:
                self._waiting.update(places)

    def _announce(self, topic_id: str) -> None:
        places = sorted(self._waiting)
        self._waiting.clear()
        for place in places:
            self._held[place] = Partition(place.topic, topic_id, place.partition)
        if places:
            self._events.append(Assigned(tuple(self._held[place] for place in places)))

    # -- identity

    def _same_topic(self, *, at_once: bool, idle: bool) -> bool:
        """Look whether the topic is still the one we joined for; when idle, from time to time.

        After each fetch and before its records are handed out, because Kafka's fetch goes by name:
        a topic made anew under the old name would be read on as if nothing had happened.
        """
        now = time.monotonic()
        age = now - self._looked_at
        recent = age < self._settings.identity_check.total_seconds()
        if idle and recent and not (at_once or self._waiting):
            return True
        try:
            topology = self._lookup.topology()
        except SourceUnavailable:
            if idle and not self._events:
                raise
            return True
        self._looked_at = now
        if topology is None or topology.topic_id != self._topic_id:
            self._leave()
            return False
        self._announce(topology.topic_id)
        return True

    # -- positions

    def _seek(self, place: TopicPartition, offset: int) -> None:
        if self._consumer is None:
            return
        with not_ours():
            self._consumer.seek(place, offset)
            self._positions[place] = offset
            if not self._paused:
                self._consumer.resume(place)

    def _stand_still(self, place: TopicPartition) -> None:
        self._positions.pop(place, None)
        self._hold(place)

    def _hold(self, place: TopicPartition) -> None:
        if self._consumer is not None:
            with not_ours():
                self._consumer.pause(place)

    def _resolve_begins(self) -> None:
        """Ask where history begins for partitions that were started without an offset, and say."""
        places = sorted(self._unresolved)
        if not places or self._consumer is None:
            return
        begin = self._settings.begin
        if isinstance(begin, datetime):
            found = since(self._consumer, places, begin)
        else:
            found = edges(self._consumer, places, end=begin == "latest")
        for place, offset in found.items():
            self._unresolved.discard(place)
            self._seek(place, offset)
            self._events.append(Began(self._held[place], offset))

    def _lags(self, places: list[TopicPartition]) -> list[Lag]:
        lags = []
        ends = edges(self._consumer, places, end=True)
        for place in places:
            end = ends[place]
            position = self._positions[place]
            # The library's position has passed what it skips (markers, aborted transactions).
            if self._consumer is not None:
                with not_ours():
                    position = max(position, self._consumer.position(place, timeout_ms=0) or 0)
            lags.append(Lag(self._held[place], position, max(end, position)))
        return lags

    # -- records

    def _hand_out(self, batches: _Batches) -> None:
        damaged = {bad.place: bad for bad in reversed(self._unreadable)}
        self._unreadable.clear()
        for place in batches.keys() | damaged.keys():
            if place not in self._positions:
                continue
            records = batches.get(place, [])
            bad = damaged.get(place)
            if bad is not None:
                records = [record for record in records if record.offset < bad.first]
            if records:
                following = records[-1].offset + 1
                self._positions[place] = following
                self._events.append(Chunk(self._held[place], records, following))
            if bad is not None:
                self._gap(place, bad.first, bad.last, "unreadable")

    # -- what was lost

    def _explain(self, loss: Exception) -> None:
        if isinstance(loss, LogTruncationError):
            self._explain_truncation(loss.divergent_offsets)
        else:
            self._explain_refusal(loss.args[0])

    def _explain_refusal(self, refused: dict[TopicPartition, int]) -> None:
        """Offsets that the broker does not have: say exactly what is not there."""
        places = [place for place in refused if place in self._positions]
        begins = edges(self._consumer, places, end=False)
        ends = edges(self._consumer, places, end=True)
        for place in places:
            offset, begin, end = refused[place], begins[place], ends[place]
            if offset < begin:
                self._gap(place, offset, begin - 1, "retention")
            elif offset > end:
                self._gap(place, end, offset - 1, "truncated")
            else:
                self._seek(place, offset)

    def _explain_truncation(self, diverged: dict[TopicPartition, OffsetAndMetadata | None]) -> None:
        """A new leader has another history than the one we read: say from where on."""
        places = [place for place in diverged if place in self._positions]
        begins = edges(self._consumer, places, end=False)
        for place in places:
            point = diverged[place]
            position = self._positions[place]
            first = min(begins[place] if point is None else point.offset, position - 1)
            self._gap(place, first, position - 1, "truncated")

    def _gap(self, place: TopicPartition, first: int, last: int, reason: str) -> None:
        self._stand_still(place)
        self._events.append(Gap(self._held[place], first, last, reason))

    # -- housekeeping

    def _look_after(self) -> None:
        now = time.monotonic()
        if (
            now - self._informed_at >= self._settings.inform.total_seconds()
            and self._consumer is not None
        ):
            self._informed_at = now
            self._inform(self._consumer)
        period = self._settings.stall / timedelta(seconds=4)
        if now - self._stalls_at >= period and not self._paused:
            self._stalls_at = now
            self._look_for_stalls(now)

    def _inform(self, consumer: KafkaConsumer) -> None:
        offsets = {
            place: OffsetAndMetadata(offset, "tocsin: information only", -1)
            for place, offset in self._positions.items()
        }
        # Nobody starts from these, so a commit that fails is nothing to act on.
        with contextlib.suppress(KafkaError):
            consumer.commit_async(offsets, callback=_ignore)

    def _look_for_stalls(self, now: float) -> None:
        for lag in self._lags(sorted(self._positions)):
            verdict = self._stalls.look(lag, now)
            place = TopicPartition(lag.partition.topic, lag.partition.number)
            if verdict is Stall.SEEK:
                self._seek(place, self._positions[place])
            elif verdict is Stall.RESTART:
                self._leave()
                raise SourceUnavailable(
                    f"{lag.partition.topic}/{lag.partition.number} stands at {lag.position} of"
                    f" {lag.end} and does not move: joining the group again"
                )


def _ignore(_offsets: object, _answer: object) -> None:
    """A commit for information was answered."""
