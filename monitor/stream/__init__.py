"""From bytes on the stream to exact counts; pure but for `sources`."""

from __future__ import annotations
