"""Views in, lines of text out: what the screens and the command line show, without a terminal."""

from __future__ import annotations
