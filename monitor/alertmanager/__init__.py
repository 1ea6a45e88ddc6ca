"""Alertmanager, both ways: kept in step with what stands, and its webhook."""

from __future__ import annotations
