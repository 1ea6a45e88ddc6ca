"""What a configuration says about the watch over Tocsin itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from monitor.config.secret import Secret
from monitor.url import check_url
from runbooks.durations import Duration

Mebibytes = Annotated[int, msgspec.Meta(ge=0, le=1_048_576)]
MEBIBYTE = 1024 * 1024


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Closed: a key that is not known is an error with a suggestion."""


class Heartbeat(_Part, frozen=True, kw_only=True):
    """A sign of life to an address outside, which alarms when it stays away.

    It is sent only while everything works that must work. Tell the outside to expect it each
    `every`, and to wait as long again.

    Attributes:
        url: Address, or a secret that holds it: who knows the address can fake the sign.
        every: Between two signs, 10 s to 10 min.
        timeout: For one attempt.
        method: GET or POST; a POST has a line that says who sends it.
    """

    url: str | Secret
    every: Duration = Duration(seconds=60)
    timeout: Duration = Duration(seconds=10)
    method: Literal["GET", "POST"] = "POST"

    def __post_init__(self) -> None:
        if isinstance(self.url, str):
            check_url(self.url)
        if not 10 <= self.every.total_seconds() <= 600:
            raise ValueError("every must be 10s to 10m")
        if not 0 < self.timeout.total_seconds() <= 60:
            raise ValueError("timeout must be up to 60s")


class Watch(_Part, frozen=True, kw_only=True):
    """How Tocsin watches itself, and whom it tells when its store does not answer.

    Attributes:
        every: Between two audits, 5 s to 5 min. Whether the store answers is asked every 3 s.
        emergency: Receivers of the pages that go out without the store; absent: those that a SEV1
            would reach.
        spool: Folder of the spool, where such pages are written before they are sent; absent:
            beside a SQLite store, else the state folder. Best on another disk than the store.
        storage_down: The store has not answered for so long: a page, without it.
        unanswered: A SEV1 or SEV2 that nobody acknowledges, with nobody left to ring, is rung once
            more after this, and Tocsin's own alarm after as long again.
        lag: Ingest or decide stand still for so long: a page.
        disk_free: MiB that must be free where the store and the spool are, or a ticket is written.
        reserve: MiB held back where the store and the spool are, and let go when the disk is full;
            0: none.
        heartbeat: Sign of life to an address outside; absent: none.
    """

    every: Duration = Duration(seconds=15)
    emergency: tuple[str, ...] = ()
    spool: Path | None = None
    storage_down: Duration = Duration(seconds=15)
    unanswered: Duration = Duration(minutes=30)
    lag: Duration = Duration(seconds=90)
    disk_free: Mebibytes = 256
    reserve: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 16
    heartbeat: Heartbeat | None = None

    def __post_init__(self) -> None:
        limits = (
            ("every", self.every, 5, 300),
            ("storage_down", self.storage_down, 5, 600),
            ("unanswered", self.unanswered, 60, 86_400),
            ("lag", self.lag, 30, 86_400),
        )
        for name, span, least, most in limits:
            if not least <= span.total_seconds() <= most:
                raise ValueError(f"{name} must be {least}s to {most}s")
