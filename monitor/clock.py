"""What time it is: the wall's, or, for a recording, the recording's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The one place where loops ask for the time; everything below takes `now` as an argument."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...


class WallClock:
    """The machine's."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)


class ReplayClock:
    """A recording's: it stands where the last decision put it."""

    def __init__(self, at: datetime | None = None) -> None:
        self._at = at or datetime(1970, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Aware UTC."""
        return self._at

    def move(self, at: datetime) -> None:
        """Forward only."""
        self._at = max(self._at, at)
