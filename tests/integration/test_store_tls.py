"""PostgreSQL by TLS as `deploy/` ships it: only a server that proves its name is spoken to."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest
import sqlalchemy as sa
import trustme
from psycopg import sql

from monitor.store.errors import StoreUnavailable
from monitor.store.store import Store
from tests.servers.postgres_fixtures import postgres_or_skip
from tests.servers.postgres_server import USER


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user can read, as it cannot those of other tests."""
    made = Path(tempfile.mkdtemp(prefix="tocsin-tls-"))
    yield made
    rmtree(made)


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """A store on a server with a certificate for localhost, whose authority is `ca` in `folder`."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "ca"))
    trustme.CA().cert_pem.write_to_path(str(folder / "another"))
    (folder / "server.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.key").chmod(0o600)
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
    files = {"ssl_cert_file": folder / "server.pem", "ssl_key_file": folder / "server.key"}
    with postgres_or_skip(ssl="on", **{name: str(path) for name, path in files.items()}) as server:
        server.execute(sql.SQL("CREATE DATABASE tocsin OWNER tocsin_owner"))
        yield server.url("tocsin").replace("@127.0.0.1:", "@localhost:")


def strict(url: str, authority: Path) -> str:
    """The address as the manifests write it."""
    return f"{url}?sslmode=verify-full&sslrootcert={authority}"


def test_a_server_that_proves_its_name_is_spoken_to(url: str, folder: Path) -> None:
    """The connection is encrypted, and the store works."""
    store = Store(strict(url, folder / "ca"))
    with store.engine.connect() as connection:
        own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert connection.execute(sa.text(own)).scalar() is True
    with store.write() as tx:
        tx.touch()
    store.close()


def test_a_server_that_cannot_is_not(url: str, folder: Path) -> None:
    """Another authority, another name, or no authority to ask: no password is sent there."""
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        Store(strict(url, folder / "another"))
    with pytest.raises(StoreUnavailable, match="does not match host name"):
        Store(strict(url.replace("@localhost:", "@127.0.0.1:"), folder / "ca"))
    with pytest.raises(StoreUnavailable, match="root certificate"):
        Store(strict(url, folder / "gone"))
