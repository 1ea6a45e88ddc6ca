"""Frames of a WebSocket as its client reads and writes them (RFC 6455 section 5). Pure.

slack-sdk's own reader was tried first. It takes proxies from the environment, speaks plain text on
every port but 443, calls itself once per kilobyte of a message, and spins on a connection that
ended without a word until a ping fails. This one is what a reader of somebody else's bytes should
be: bounded, strict, and free of I/O, so that it can be tested against another implementation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum

MAX_MESSAGE = 1024 * 1024
_CONTROL = 0x8
_SMALL = 125


class Opcode(IntEnum):
    """Kinds of frame."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class FrameError(Exception):
    """The other side does not speak the protocol; the connection must be dropped."""


@dataclass(frozen=True, slots=True)
class Received:
    """A whole message, or a control frame."""

    opcode: Opcode
    payload: bytes


def frame(opcode: Opcode, payload: bytes, mask: bytes | None = None) -> bytes:
    """A single masked frame, as a client must send it.

    Args:
        opcode: kind of frame.
        payload: at most 125 bytes for a control frame.
        mask: four bytes; None for random ones.
    """
    mask = os.urandom(4) if mask is None else mask
    length = len(payload)
    if length <= _SMALL:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask, as one number, since a loop over bytes is slow."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class Frames:
    """What a server sends, from bytes cut anywhere to whole messages."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._bytes = bytearray()
        self._parts = bytearray()
        self._kind: Opcode | None = None

    def feed(self, data: bytes) -> list[Received]:
        """Take bytes; the messages that are complete with them.

        Raises:
            FrameError: they are not a server's frames, or a message is too long.
        """
        self._bytes += data
        found = []
        while (one := self._next()) is not None:
            if (whole := self._assembled(*one)) is not None:
                found.append(whole)
        return found

    def _next(self) -> tuple[bool, Opcode, bytes] | None:
        """The next frame: whether it ends its message, kind, payload; None when it is not here."""
        raw = self._bytes
        if len(raw) < 2:
            return None
        final, code, size, start = bool(raw[0] & 0x80), raw[0] & 0x0F, raw[1] & 0x7F, 2
        if raw[0] & 0x70 or raw[1] & 0x80:
            raise FrameError("reserved bits, or a masked frame from a server")
        try:
            opcode = Opcode(code)
        except ValueError:
            raise FrameError(f"unknown opcode {code}") from None
        if size > _SMALL:
            wide = 2 if size == 126 else 8
            if len(raw) < 2 + wide:
                return None
            size, start = int.from_bytes(raw[2 : 2 + wide], "big"), 2 + wide
        if opcode & _CONTROL and (size > _SMALL or not final):
            raise FrameError("a control frame that is long or in parts")
        if size + len(self._parts) > self._limit:
            raise FrameError(f"a message of more than {self._limit} bytes")
        if len(raw) < start + size:
            return None
        payload = bytes(raw[start : start + size])
        del raw[: start + size]
        return final, opcode, payload

    def _assembled(self, final: bool, opcode: Opcode, payload: bytes) -> Received | None:
        if opcode & _CONTROL:
            return Received(opcode, payload)
        if (opcode is Opcode.CONTINUATION) != (self._kind is not None):
            raise FrameError("a continuation of nothing, or a message within another")
        self._kind = opcode if self._kind is None else self._kind
        self._parts += payload
        if not final:
            return None
        whole = Received(self._kind, bytes(self._parts))
        self._kind, self._parts = None, bytearray()
        return whole
