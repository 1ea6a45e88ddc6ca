"""The post-incident review: facts, charts, rendering."""

from __future__ import annotations
