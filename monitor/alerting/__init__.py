"""Alerts, routes and pages: pure decisions that return their reason."""

from __future__ import annotations
