"""Runbooks: model, strict loader, expressions, lint, engine; acts through a port."""

from __future__ import annotations
