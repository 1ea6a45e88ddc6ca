"""TLS in front of uvicorn: certificates that change under way, and connections that may not idle.

uvicorn takes one TLS context for its life, lets a handshake take a minute and a request for ever.
Here each connection is counted before its handshake, shakes hands with the context of the moment
within seconds, and has a deadline for every phase.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from monitor.desk.limits import address_key
from monitor.desk.settings import Tls
from monitor.http.patience import Patience, PatientProtocol

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
"""The files are looked at so often, when somebody connects."""
_NO_CERTIFICATE = {"PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED"}
"""What OpenSSL says of a client without a certificate of `client_ca`."""


class CertificateUnusable(Exception):
    """Certificate, key or authorities cannot be used; the message names the file."""


def make_context(tls: Tls) -> ssl.SSLContext:
    """What the files say now: TLS 1.2 or newer, and client certificates where asked for.

    Raises:
        CertificateUnusable: a file cannot be read, or key and certificate do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An encrypted key would make OpenSSL ask on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: b"")
    except OSError as problem:
        why = problem.strerror if not isinstance(problem, ssl.SSLError) else _reason(problem)
        both = f"{tls.certificate} with {tls.key}"
        raise CertificateUnusable(f"cannot use the certificate {both}: {why}") from None
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cafile=tls.client_ca)
        except OSError as problem:
            why = problem.strerror if not isinstance(problem, ssl.SSLError) else _reason(problem)
            raise CertificateUnusable(f"cannot use client_ca {tls.client_ca}: {why}") from None
    return context


def _reason(problem: ssl.SSLError) -> str:
    return (problem.reason or "not PEM, or not what it should be").replace("_", " ").lower()


class Certificates:
    """The TLS context in force; made anew when one of its files has changed.

    New files that cannot be used (a key that is not there yet) leave the old ones in force. Where
    there are no old ones nobody comes in until there are good ones: a broken certificate is no
    reason to stop paging.
    """

    def __init__(self, tls: Tls) -> None:
        self._lock = threading.Lock()
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._seen: _Marks = ()
        self._looked_s = float("-inf")
        self.problem = ""
        """Why the newest files are not in force; empty when they are."""
        self._look()

    @property
    def usable(self) -> bool:
        """Whether any files are in force."""
        return self._context is not None

    def context(self, at_s: float) -> ssl.SSLContext | None:
        """For a connection now; `at_s` is on a clock that does not go back."""
        with self._lock:
            if at_s - self._looked_s >= _LOOK_EVERY_S:
                self._looked_s = at_s
                self._look()
            return self._context

    def use(self, tls: Tls) -> None:
        """Take other files.

        Raises:
            CertificateUnusable: they cannot be used; the old ones stay.
        """
        made, marks = make_context(tls), _marks(tls)
        with self._lock:
            self._tls, self._context, self._seen, self.problem = tls, made, marks, ""

    def turn_to(self, tls: Tls) -> None:
        """Take other files as soon as they can be used; until then the old ones stay."""
        with self._lock:
            self._tls, self._seen = tls, ()
            self._look()

    def _look(self) -> None:
        marks = _marks(self._tls)
        if marks == self._seen:
            return
        try:
            self._context = make_context(self._tls)
        except CertificateUnusable as problem:
            if str(problem) != self.problem:
                old = "the old one stays in force" if self.usable else "the TLS desk is shut"
                logger.warning("%s; %s", problem, old)
            self.problem = str(problem)
            return
        self._seen, self.problem = marks, ""
        logger.info("the desk's certificate was read")


_Marks = tuple[tuple[int, int, int] | None, ...]


def _marks(tls: Tls) -> _Marks:
    """What changes when a file does."""
    return tuple(_mark(path) for path in (tls.certificate, tls.key, tls.client_ca) if path)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Porch:
    """Counts the connections of each address, from before the handshake to their end.

    Args:
        context: the TLS context for a connection now; None turns it away.
        patience: see there.
        turned_away: told the address and why: `connections` (one too many; in the event loop) or
            `certificate` (none of `client_ca` was shown; in a thread).
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext | None],
        patience: Patience,
        turned_away: Callable[[str, str], None],
    ) -> None:
        self.context = context
        self.patience = patience
        self.turned_away = turned_away
        self._here: Counter[str] = Counter()

    def come(self, address: str) -> bool:
        """Whether a connection from `address` may stay."""
        key = address_key(address)
        here = self._here.get(key, 0)
        if here >= self.patience.per_address or self.connections >= self.patience.in_all:
            self.turned_away(address, "connections")
            return False
        self._here[key] = here + 1
        return True

    def go(self, address: str) -> None:
        """It has ended."""
        key = address_key(address)
        self._here[key] -= 1
        if self._here[key] <= 0:
            del self._here[key]

    @property
    def connections(self) -> int:
        """How many there are."""
        return sum(self._here.values())

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn makes for each connection."""

        class Here(TlsProtocol):
            porch = self

        return Here


class TlsProtocol(asyncio.Protocol):
    """Counts a connection, shakes hands, and hands over to HTTP."""

    porch: ClassVar[Porch]

    def __init__(
        self, config: Any, server_state: Any, app_state: Any, _loop: Any | None = None
    ) -> None:
        self._loop = _loop or asyncio.get_running_loop()
        self._http = PatientProtocol(config, server_state, app_state, self._loop)
        self._address = ""
        self._shaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        transport.pause_reading()
        address = transport.get_extra_info("peername")[0]
        if not self.porch.come(address):
            transport.abort()
            return
        self._address = address
        self._http.patience = self.porch.patience
        self._http.gone = self._go
        self._shaking = self._loop.create_task(self._shake(transport))

    async def _shake(self, transport: Any) -> None:
        secured, context, stranger = None, self.porch.context(), ""
        try:
            if context is not None:
                secured = await self._loop.start_tls(
                    transport,
                    self._http,
                    context,
                    server_side=True,
                    ssl_handshake_timeout=self.porch.patience.handshake_s,
                    ssl_shutdown_timeout=2.0,
                )
        except (OSError, EOFError) as problem:
            logger.debug("no TLS with %s: %s", self._address, type(problem).__name__)
            if isinstance(problem, ssl.SSLError) and problem.reason in _NO_CERTIFICATE:
                stranger = self._address
        finally:
            if secured is None:
                transport.abort()
                self._go()
        if secured is not None:
            self._http.connection_made(secured)
        elif stranger:
            await self._loop.run_in_executor(None, self.porch.turned_away, stranger, "certificate")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._shaking is not None:
            self._shaking.cancel()
        self._go()  # a task that had not begun yet does not

    def _go(self) -> None:
        """Once: a handshake that failed may be told of twice."""
        if self._address:
            self.porch.go(self._address)
            self._address = ""
