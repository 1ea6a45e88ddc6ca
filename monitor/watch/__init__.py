"""Who watches the watcher: an auditor, a road without the store, a dead-man's heartbeat."""

from __future__ import annotations
