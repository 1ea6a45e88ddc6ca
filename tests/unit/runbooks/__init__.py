"""Runbooks: loader, conditions, model, engine, lint."""

from __future__ import annotations
