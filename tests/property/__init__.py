"""Tests: property."""

from __future__ import annotations
