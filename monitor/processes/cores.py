"""How many processor cores there are for us."""

from __future__ import annotations

import os
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def cores(limit: Path = _LIMIT) -> int:
    """At least 1: those we may run on, or fewer where a container's quota says so.

    Args:
        limit: `cpu.max` of control groups, version 2: `QUOTA PERIOD` in microseconds, or `max ...`.
    """
    ours = len(os.sched_getaffinity(0))
    try:
        quota, _, period = limit.read_text("ascii").strip().partition(" ")
        return max(1, min(ours, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return max(1, ours)
