"""A desk over TLS on a free port: real server, real store, its own authority."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.audit import Auditor
from monitor.desk.desk import Desk
from monitor.desk.doors import RemoteDesk as Serving
from monitor.desk.limits import Buckets
from monitor.desk.remote import RateLimits
from monitor.desk.settings import Desk as DeskSettings
from monitor.desk.settings import Tls
from monitor.desk.tokens import mint
from monitor.http.patience import Patience
from monitor.metrics import Metrics
from monitor.store.audit_rows import Audited
from monitor.store.store import Store
from monitor.store.token_rows import Token
from monitor.views import Principal
from tests.making import incident
from tui.desks import Login
from tui.remote_desk import RemoteDesk

WIDE = RateLimits(
    queries=Buckets(per_s=10_000, burst=10_000),
    commands=Buckets(per_s=10_000, burst=10_000),
    address_queries=Buckets(per_s=10_000, burst=10_000),
    address_commands=Buckets(per_s=10_000, burst=10_000),
    strangers=Buckets(per_s=10_000, burst=10_000),
)
"""No test meets a limit that it is not about."""


def now() -> datetime:
    return datetime.now(UTC)


def write_certificate(
    issued: trustme.LeafCert, folder: Path, name: str = "desk"
) -> tuple[Path, Path]:
    """Certificate and key as files; the time of change moves on, however coarse the clock."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    key.write_bytes(issued.private_key_pem.bytes())
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return certificate, key


@dataclass(slots=True)
class DeskStage:
    """What a test holds in its hands."""

    serving: Serving
    store: Store
    metrics: Metrics
    folder: Path
    authority: trustme.CA
    ca_file: Path
    tls: Tls
    issued: trustme.LeafCert
    clients: list[RemoteDesk] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.serving.port}"

    def token(
        self, name: str = "ada", role: str = "responder", *, ends: timedelta = timedelta(hours=1)
    ) -> str:
        """A token that the desk knows."""
        minted = mint()
        row = Token(minted.id, minted.digest, name, role, "root", now(), now() + ends)
        with self.store.write() as tx:
            tx.tokens.add(row)
        return minted.text

    def login(self, token: str, **fields: str) -> Login:
        given = {"name": "stage", "url": self.url, "ca_file": str(self.ca_file), **fields}
        return Login(token=token, **given)

    def desk(self, token: str, **fields: str) -> RemoteDesk:
        """The real client."""
        made = RemoteDesk(self.login(token, **fields), timeout_s=20)
        self.clients.append(made)
        return made

    def audited(self) -> list[Audited]:
        """Newest first."""
        with self.store.read() as tx:
            return tx.audit.newest(1000)

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """A raw connection."""
        if context is None:
            context = ssl.create_default_context(cafile=str(self.ca_file))
        plain = socket.create_connection(("127.0.0.1", self.serving.port), timeout=20)
        return context.wrap_socket(plain, server_hostname="localhost")

    def raw(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes, read everything that comes back."""
        with self.connect() as client:
            client.sendall(request)
            answer = b""
            while data := client.recv(65536):
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        return int(first.split()[1]), headers, body

    def post(
        self, method: str, token: str | None, body: bytes = b"{}", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """A call with any headers; `host=`, `origin=` and so on replace the usual ones."""
        lines = {
            "host": f"localhost:{self.serving.port}",
            "connection": "close",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        if token is not None:
            lines["authorization"] = f"Bearer {token}"
        lines.update({name.replace("_", "-"): value for name, value in headers.items()})
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return self.raw(f"POST /desk/v1/{method} HTTP/1.1\r\n{head}\r\n".encode() + body)


@contextmanager
def desk_stage(
    folder: Path,
    *,
    rates: RateLimits | None = None,
    patience: Patience | None = None,
    client_ca: bool = False,
    origins: tuple[str, ...] = (),
    leaf: trustme.LeafCert | None = None,
    authority: trustme.CA | None = None,
    key_text: bytes = b"",
    current: Callable[[], DeskSettings] | None = None,
) -> Iterator[DeskStage]:
    """A served desk with one incident, INC-0007."""
    authority = authority or trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    issued = leaf or authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = write_certificate(issued, folder)
    if key_text:
        key.write_bytes(key_text)
    tls = Tls(
        listen="127.0.0.1:0",
        certificate=certificate,
        key=key,
        client_ca=ca_file if client_ca else None,
        hosts=("localhost",),
        origins=origins,
    )
    store = Store(f"sqlite:///{folder / 'x.db'}")
    with store.write() as tx:
        tx.incidents.save(incident())
    configured = resolve(Settings(store=f"sqlite:///{folder / 'x.db'}"))
    shelf, metrics = Shelf(), Metrics()

    def desk_for(who: Principal) -> Desk:
        return Desk(store, configured, shelf, who, now)

    audit = Auditor(store, metrics, now=now)
    logging.getLogger("monitor").setLevel(logging.DEBUG)
    serving = Serving(
        tls, desk_for, store, audit, now, patience=patience, rates=rates or WIDE, current=current
    )
    stage = DeskStage(serving, store, metrics, folder, authority, ca_file, tls, issued)
    try:
        yield stage
    finally:
        for client in stage.clients:
            client.hang_up()
        serving.close()
        store.close()
