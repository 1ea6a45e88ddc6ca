"""Whether the group has let us in; kafka-python's own view of it, and how it is told to go on."""

from __future__ import annotations

from collections.abc import Callable, Set
from contextlib import suppress
from datetime import timedelta

from kafka import KafkaConsumer
from kafka.errors import IllegalStateError
from kafka.structs import MemberState

ASK_S, ASK_RARELY_S = 2.0, 60.0
"""A member looks after so long whether all partitions have an owner, then less and less often."""
PATIENCE = 1.5
"""Entries: after the group's own wait is over there is time to be let in."""


def joining(consumer: KafkaConsumer) -> bool:
    """A join is under way."""
    return bool(consumer.group_metadata().state == MemberState.REBALANCING)


def join_anew(consumer: KafkaConsumer) -> None:
    """See to it that the answer to a join under way is taken, once a poll was too short for it.

    kafka-python 3.0.12 forgets to look when the join came from a change of the topic (the member
    then stays between the chairs for ever, without heartbeats), and throws the answer away when it
    came between two polls. So it is told to look, and is waited for. A member that is in has the
    partitions shared out anew.
    """
    consumer._coordinator.request_rejoin()  # noqa: SLF001 -- there is no public way to ask for it


def not_ours() -> suppress:
    """Around what is asked of one partition: the group may have taken it back a moment ago.

    kafka-python then raises one of three errors, while the note of it is still unread.
    """
    return suppress(KeyError, ValueError, IllegalStateError)


class Door:
    """How long we have stood before it. Nothing is read there, and nothing else says so."""

    def __init__(self, entry: timedelta) -> None:
        """Args: `entry` is how long the group waits for a member that does not join anew."""
        self._most_s = PATIENCE * entry.total_seconds()
        self._since: float | None = None
        self._looked_at: float | None = None
        self._ask_s = ASK_S

    def forget(self) -> None:
        """We begin anew."""
        self._since = self._looked_at = None
        self._ask_s = ASK_S

    def is_to_ask(
        self, consumer: KafkaConsumer, now_s: float, unowned: Callable[[], Set[int] | None]
    ) -> bool:
        """Whether to have the partitions shared out anew: we are in, and some belong to nobody.

        A static member that was killed between the two rounds in which partitions are moved has
        given up what nobody was given yet, and has left its share behind: the broker hands that to
        whoever comes under its name, for ever, and shares nothing out by itself. Nor does it when a
        follower asks whose share is as before; so each member asks, the leader among them.

        Args:
            consumer: ours.
            now_s: monotonic seconds.
            unowned: partitions that no member has; None where nobody can tell. Then who has none
                asks: where there are more members than partitions that is right, and changes
                nothing.
        """
        if consumer.group_metadata().state != MemberState.STABLE:
            self._looked_at, self._ask_s = None, ASK_S
            return False
        self._looked_at = now_s if self._looked_at is None else self._looked_at
        if now_s - self._looked_at < self._ask_s:
            return False
        self._looked_at, self._ask_s = now_s, min(2 * self._ask_s, ASK_RARELY_S)
        left = unowned()
        return bool(left) if left is not None else not consumer.assignment()

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
