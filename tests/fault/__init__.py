"""Tests: fault."""

from __future__ import annotations
