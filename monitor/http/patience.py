"""How long a connection may take: HTTP/1.1 whose every phase has a deadline.

uvicorn waits for ever for a first request and for the rest of one. A few dozen idle connections
would use up the share of everybody else, and the next probe of health would find the daemon dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take, in seconds, and how many there may be over TLS."""

    handshake_s: float = 5.0
    request_s: float = 10.0
    """From the connection, or the first byte of a further request, to the last one."""
    answer_s: float = 60.0
    """From there until the answer has been taken."""
    per_address: int = 64
    in_all: int = 256
    """Before the handshake too: each costs a file descriptor, which paging needs as well."""


def _nobody() -> None:
    """Nobody counts the connections."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose every phase has a deadline."""

    patience = Patience()
    gone: Callable[[], None] = staticmethod(_nobody)
    """Called at the end."""
    _early = b""
    _timer: asyncio.TimerHandle | None = None
    _phase = ""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look()
        if self._early:
            self.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        # The first request may come with the end of the handshake, before we are told of that.
        if self.transport is None:
            self._early += data
            return
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._await("")  # uvicorn waits for the next request
        else:
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await("")
        self.gone()
        if self.transport is not None:
            super().connection_lost(exc)

    def _look(self) -> None:
        reading = self.conn.their_state in {h11.IDLE, h11.SEND_BODY}
        self._await("request" if reading else "answer")

    def _await(self, phase: str) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if phase:
            limit = self.patience.request_s if phase == "request" else self.patience.answer_s
            self._timer = self.loop.call_later(limit, self.transport.abort)
