"""What a person can ask and do, and the doors through which they come."""

from __future__ import annotations
