"""The outside world and the wiring: stream in, pages out, the desk people ask."""

from __future__ import annotations
