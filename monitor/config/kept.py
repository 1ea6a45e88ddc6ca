"""`store_retention`: how long a store keeps what traffic writes into it."""

from __future__ import annotations

from typing import Self

from runbooks.durations import Duration, spell

LEAST = Duration(days=29)
"""Detectors are rebuilt from 28 days; before those a hole of hours must be known."""


class Retention(Duration):
    """A span that detectors can be rebuilt from."""

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `text` as a `Duration`.

        Raises:
            ValueError: it is none, or shorter than `LEAST`.
        """
        span = super().from_text(text)
        if span < LEAST:
            raise ValueError(
                f"must be {spell(LEAST)} or more: detectors are rebuilt from the last 28 days"
            )
        return span


DEFAULT = Retention(days=35)
"""The longest backtest: 28 days, and 7 to learn before them."""
