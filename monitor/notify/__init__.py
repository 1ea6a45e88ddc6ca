"""Channels that carry a page: one file each."""

from __future__ import annotations
