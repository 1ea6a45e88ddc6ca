"""Widgets that draw `Line`s themselves: no markup, no raw text, few bytes on the wire."""

from __future__ import annotations
