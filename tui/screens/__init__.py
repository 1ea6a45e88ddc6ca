"""The screens: home, incident, help and what they share."""

from __future__ import annotations
