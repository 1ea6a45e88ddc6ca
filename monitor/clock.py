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
    """A recording's: where the last decision put it; before the first it is the wall's."""

    def __init__(self, at: datetime | None = None) -> None:
        self._at = at

    def now(self) -> datetime:
        """Aware UTC."""
        return self._at or datetime.now(UTC)

    def move(self, at: datetime) -> None:
        """Forward only."""
        self._at = at if self._at is None else max(self._at, at)
