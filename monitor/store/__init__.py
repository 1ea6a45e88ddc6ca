"""The one store: transactions in, frozen values out; the only owner of SQLAlchemy."""

from __future__ import annotations
