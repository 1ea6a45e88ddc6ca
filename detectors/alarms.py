"""An alarm as columns: what a series of a bank must show before it fires."""

from __future__ import annotations

from detectors.columns import Column
from detectors.model import Alarm

SPEC = {
    "threshold": Column(),
    "min_ratio": Column(),
    "min_excess": Column(),
    "min_n": Column(),
    "min_duration": Column(),
    "clear": Column(),
    "watch_up": Column(dtype="?"),
    "watch_down": Column(dtype="?"),
}


def values(alarm: Alarm) -> dict[str, float]:
    """One row of them."""
    return {
        "threshold": alarm.threshold,
        "min_ratio": alarm.min_ratio,
        "min_excess": alarm.min_excess,
        "min_n": alarm.min_n,
        "min_duration": alarm.min_duration_buckets,
        "clear": alarm.clear_buckets,
        "watch_up": alarm.watch != "down",
        "watch_down": alarm.watch != "up",
    }
