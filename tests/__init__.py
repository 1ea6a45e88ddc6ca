"""The test suites, by kind."""

from __future__ import annotations
