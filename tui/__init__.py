"""Everything a person types at: the command line and the terminal screens."""

from __future__ import annotations
