"""What the configuration says about the desk: who may do what, and the door for other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from monitor.config.options import host_port


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Closed: a key that is not known is an error with a suggestion."""


Host = Annotated[str, msgspec.Meta(pattern=r"^(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)$")]
Origin = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s]+$")]


class Tls(_Part, frozen=True, kw_only=True):
    """The desk for other machines, over TLS 1.2 or newer, opened by a token.

    Attributes:
        listen: `HOST:PORT` to listen on.
        certificate: PEM file with the certificate and its chain; read again when it changes.
        key: PEM file with the certificate's key; read again when it changes.
        client_ca: PEM file of authorities; with it a client needs a certificate of one of them
            besides its token.
        hosts: Names, in lower case and without a port, by which clients may call this desk; any
            other is refused.
        origins: Origins of web pages that may call this desk; none, as a rule.
    """

    listen: str
    certificate: Path
    key: Path
    client_ca: Path | None = None
    hosts: Annotated[tuple[Host, ...], msgspec.Meta(min_length=1)]
    origins: tuple[Origin, ...] = ()

    def __post_init__(self) -> None:
        host_port(self.listen)


class Desk(_Part, frozen=True, kw_only=True):
    """Who may ask and do what, by local user name, and the door for other machines.

    Attributes:
        socket: Path of the Unix socket; absent: beside the store.
        admins: May do everything; the user that runs the daemon always may.
        responders: May work incidents; empty: every local user that can reach the socket.
        tls: The desk for other machines; absent: only this one.
    """

    socket: Path | None = None
    admins: tuple[str, ...] = ()
    responders: tuple[str, ...] = ()
    tls: Tls | None = None
