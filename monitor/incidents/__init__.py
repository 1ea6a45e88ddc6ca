"""Incidents, their states and their timeline: pure."""

from __future__ import annotations
