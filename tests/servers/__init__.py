"""Tests: servers."""

from __future__ import annotations
