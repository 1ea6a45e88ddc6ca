"""Text within a provider's limit after encoding, since encoding is what makes text longer."""

from __future__ import annotations

from typing import Protocol


class Encoder(Protocol):
    """A sink's encoder of `monitor.text`: keeps at most `limit` characters of its input."""

    def __call__(self, text: str, *, limit: int) -> str: ...


def units(text: str) -> int:
    """Length in UTF-16 code units: the strictest way in which a provider may count characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fit(encode: Encoder, text: str, limit: int) -> str:
    """`text` encoded, at most `limit` units long; as much of the beginning as fits is kept."""
    keep = max(0, min(len(text), limit))
    while True:
        encoded = encode(text, limit=keep)
        length = units(encoded)
        if length <= limit:
            return encoded
        if keep == 0:
            return encoded[: max(0, limit)]  # only the remark that all was cut
        # 16 is room for the remark that says how much was cut
        keep = max(0, min(keep - 1, keep * limit // length - 16))
