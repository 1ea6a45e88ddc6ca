"""Opens the doors of the desk, and closes them: the Unix socket, and TLS where it is configured."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

from monitor import views
from monitor.desk import certificate
from monitor.desk.audit import Auditor
from monitor.desk.http import DeskFor, desk_app
from monitor.desk.port import DeskPort
from monitor.desk.remote import HEADERS, RateLimits, RemoteDoor
from monitor.desk.settings import Desk, Tls
from monitor.desk.tls import Certificates, CertificateUnusable, Porch
from monitor.http.patience import Patience
from monitor.http.server import Server
from monitor.metrics import Metrics
from monitor.processes.launch import UsageError, desk_held, listen, listen_desk
from monitor.store.store import Store
from monitor.views import Principal
from monitor.watchdog import Watch

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Over TLS, at once, from everywhere."""


def _turned_away(audit: Auditor, address: str, reason: str) -> None:
    """A connection was one too many, which is counted only; or had no certificate."""
    if reason == "connections":
        audit.crowded("tls")
    else:
        audit.refused("tls", f"tls {address}", "-", "-", reason)


class RemoteDesk:
    """The desk over TLS, serving.

    Raises:
        Unreachable: the address is taken, or not ours.
    """

    def __init__(
        self,
        tls: Tls,
        desk_for: Callable[[Principal], DeskPort],
        store: Store,
        audit: Auditor,
        now: Callable[[], datetime],
        *,
        listener: socket.socket | None = None,
        current: Callable[[], Desk] | None = None,
        patience: Patience | None = None,
        rates: RateLimits | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.certificates = Certificates(tls)
        self.tls = tls
        self._current = current
        self.door = RemoteDoor(self._now_in_force, desk_for, store, audit, now, rates=rates)
        self.porch = Porch(
            self._context,
            patience or Patience(),
            partial(_turned_away, audit),
        )
        self._server = Server(
            self.door,
            listener or listen(tls.listen),
            protocol=self.porch.protocol(),
            headers=HEADERS,
            connections=MAX_CONNECTIONS,
            name="desk over tls",
            watch=watch,
        )
        self.port = self._server.port
        self._server.start()
        logger.info("the desk is open to other machines on port %d", self.port)

    def _now_in_force(self) -> Tls:
        return (self._current().tls if self._current is not None else None) or self.tls

    def _context(self) -> ssl.SSLContext | None:
        """For a new connection, under the configuration in force now."""
        tls = self._now_in_force()
        if tls != self.tls:
            self.certificates.turn_to(tls)
            self.tls = tls
        return self.certificates.context(time.monotonic())

    def use(self, tls: Tls) -> str:
        """Take other files, hosts and origins; what wants a restart, or an empty text.

        Raises:
            UsageError: the files cannot be used; nothing was changed.
        """
        try:
            self.certificates.use(tls)
        except CertificateUnusable as problem:
            raise UsageError(f"desk.tls: {problem}") from None
        moved = tls.listen != self.tls.listen
        self.tls = tls
        return f"desk.tls.listen: {tls.listen} is listened on after a restart" if moved else ""

    def health(self, _tx: object, now: datetime) -> views.Health:
        """A part of the overview: whether the certificate lasts, and is the newest one."""
        if not self.certificates.usable:
            text = f"{self.certificates.problem}; the TLS desk is shut until that is mended"
            return views.Health(name="certificate", state="bad", text=text)
        found = certificate.health(self.tls, now)
        if self.certificates.problem and found.state == "ok":
            text = f"{self.certificates.problem}; the old one stays in force"
            return views.Health(name=found.name, state="warn", text=text)
        return found

    def close(self) -> None:
        """Stop serving."""
        self._server.close()


class Doors:
    """The open doors of one daemon."""

    def __init__(self, local: Server, taken: ExitStack) -> None:
        """Args: `taken` is the place of the socket, where nobody else holds it for us."""
        self._taken = taken
        self._local = local
        self.remote: RemoteDesk | None = None

    def close(self) -> None:
        """Close all of them."""
        if self.remote is not None:
            self.remote.close()
        self._local.close()
        self._taken.close()


def serve_desks(
    desk: Desk,
    path: Path,
    *,
    local: DeskFor,
    remote: Callable[[Principal], DeskPort],
    store: Store,
    metrics: Metrics,
    now: Callable[[], datetime],
    listener: socket.socket | None = None,
    tls_listener: socket.socket | None = None,
    current: Callable[[], Desk] | None = None,
    watch: Watch | None = None,
) -> Doors:
    """Serve the desk on its socket and, where `desk.tls` says so, over TLS.

    Args:
        desk: the configuration.
        path: of the socket.
        local: a desk for a local user.
        remote: a desk for the holder of a token.
        store: tokens and the audit.
        metrics: requests, refusals, and the days left of the certificate.
        now: aware UTC, of the wall: tokens end by it.
        listener: the socket at `path`, where somebody else listens on it for us, and removes it.
        tls_listener: the same for `desk.tls.listen`.
        current: the configuration in force now, where it may change under way.
        watch: ends a process whose loops hang or die.

    Raises:
        Unreachable: the socket or the address cannot be listened on.
    """
    audit = Auditor(store, metrics, now=now)
    with ExitStack() as opening:
        if listener is None:
            opening.enter_context(desk_held(path))
            listener = opening.enter_context(listen_desk(path))
        near = Server(desk_app(local, audit), listener, peers=True, name="desk", watch=watch)
        near.start()
        doors = Doors(near, opening.pop_all())
    if desk.tls is not None:
        try:
            doors.remote = RemoteDesk(
                desk.tls,
                remote,
                store,
                audit,
                now,
                listener=tls_listener,
                current=current,
                watch=watch,
            )
        except BaseException:
            doors.close()
            raise
        remotely = doors.remote
        metrics.at_scrape(
            lambda: metrics.certificate_left.set(
                certificate.seconds_left(remotely.tls.certificate, now())
            )
        )
    return doors
