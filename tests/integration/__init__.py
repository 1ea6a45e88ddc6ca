"""Tests: integration."""

from __future__ import annotations
