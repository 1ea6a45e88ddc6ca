"""The configuration: read, checked, with its secrets, its revisions and its reload."""

from __future__ import annotations
