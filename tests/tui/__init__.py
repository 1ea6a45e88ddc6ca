"""Tests: tui."""

from __future__ import annotations
