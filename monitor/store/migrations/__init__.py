"""Alembic migrations of the store; expand first, contract a release later."""

from __future__ import annotations
