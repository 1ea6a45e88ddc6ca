"""Tests: the detectors, module by module."""

from __future__ import annotations
