"""Settings of the processes of a daemon, as the configuration spells them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from runbooks.durations import Duration

Role = Literal["ingest", "decide", "deliver", "runs"]
ROLES: tuple[Role, ...] = ("ingest", "decide", "deliver", "runs")


class Processes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The processes of a daemon on one machine.

    Attributes:
        roles: What this machine does. ingest reads the stream, decide judges and pages, deliver
            sends, runs works runbooks. A part of them needs a PostgreSQL store, which several
            machines share.
        workers: Processes that ingest; 0: a core less than there are, at least 1, at most 8 and at
            most the topic's partitions.
        stall: A loop that gives no sign of life for so long is ended, with its stacks written down,
            and started again.
    """

    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)] = ROLES
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    stall: Duration = Duration(seconds=15)

    def __post_init__(self) -> None:
        if not 2 <= self.stall.total_seconds() <= 300:
            raise ValueError("stall must be 2s to 5m")
        if len(set(self.roles)) != len(self.roles):
            raise ValueError("a role is named twice")
