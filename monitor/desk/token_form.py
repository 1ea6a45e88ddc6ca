"""What a token of the desk looks like; light enough for the command line."""

from __future__ import annotations

import re

PATTERN = r"tocsin_[a-z2-7]{8}_[A-Za-z0-9_-]{43}"
"""For secret scanners too."""
_WHOLE = re.compile(PATTERN)


def id_of(text: str) -> str | None:
    """The id in a token's text, which names its row; None for what is no token at all."""
    return text[7:15] if _WHOLE.fullmatch(text) else None
