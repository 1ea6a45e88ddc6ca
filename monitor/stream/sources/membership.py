"""Whether the group has let us in; kafka-python's own view of it, and how it is told to go on."""

from __future__ import annotations

from datetime import timedelta

from kafka import KafkaConsumer
from kafka.structs import MemberState

PATIENCE = 1.5
"""Entries: after the group's own wait is over there is time to be let in."""


def joining(consumer: KafkaConsumer) -> bool:
    """A join is under way."""
    return bool(consumer.group_metadata().state == MemberState.REBALANCING)


def finish_join(consumer: KafkaConsumer) -> None:
    """See to it that the answer to a join under way is taken, once a poll was too short for it.

    kafka-python 3.0.12 forgets to look when the join came from a change of the topic (the member
    then stays between the chairs for ever, without heartbeats), and throws the answer away when it
    came between two polls. So it is told to look, and is waited for.
    """
    consumer._coordinator.request_rejoin()  # noqa: SLF001 -- there is no public way to ask for it


class Door:
    """How long we have stood before it. Nothing is read there, and nothing else says so."""

    def __init__(self, entry: timedelta) -> None:
        """Args: `entry` is how long the group waits for a member that does not join anew."""
        self._most_s = PATIENCE * entry.total_seconds()
        self._since: float | None = None

    def forget(self) -> None:
        """We begin anew."""
        self._since = None

    def shut_for(self, consumer: KafkaConsumer, now_s: float) -> float | None:
        """Seconds that we have not been let in, once they are too many; else None.

        Args:
            consumer: ours.
            now_s: monotonic seconds.
        """
        if consumer.group_metadata().state == MemberState.STABLE:
            self._since = None
            return None
        self._since = now_s if self._since is None else self._since
        stood = now_s - self._since
        return stood if stood > self._most_s else None
