"""Numbers in, verdicts out: online detection of moved rates; no I/O."""

from __future__ import annotations
