"""What is noticed besides moved rates: limits, silence, what is new, new levels, other judges."""

from __future__ import annotations
