"""Tests: contract."""

from __future__ import annotations
