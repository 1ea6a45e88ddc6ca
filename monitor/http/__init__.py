"""What the daemon serves over HTTP, and how long a connection may take."""

from __future__ import annotations
