"""A real PostgreSQL for the tests: Debian's server on loopback, in a temporary folder.

`python -m tests.servers.postgres_server` runs one until Ctrl-C and prints its URL.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.servers.lifetime import Lifetime

USER = "postgres"
OWNER = "tocsin_owner"
DAEMON = "tocsin_daemon"
READER = "tocsin_reader"
SIGNED_IN = "tocsin_signed_in"
"""The only role that needs a password."""
PASSWORD = "s3cret-%/@:"
# When our end of its pipe closes, the test run is dead: end the server and remove its folder.
WATCHER = 'cat >/dev/null; kill -s KILL -- "-$0" 2>/dev/null; rm -rf "$1"'


class PostgresUnavailable(Exception):
    """There is no server to start; the message says how to get one."""


def binaries() -> Path:
    """The folder of Debian's newest server.

    Raises:
        PostgresUnavailable: none is installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[4])
    if not found:
        raise PostgresUnavailable("sh tests/servers/install.sh, or apt-get install postgresql")
    return found[-1].parent


class PostgresServer(Lifetime):
    """One cluster; its port keeps its value over restarts."""

    def __init__(self, within: Path | None = None, /, **settings: str) -> None:
        """Choose a port and a folder, `within` one that its user may enter; `settings` are the
        server's own."""
        self.bin = binaries()
        self.port = _free_port()
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="tocsin-postgres-", dir=within))
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._made = 0

    # -- addresses and databases --------------------------------------------------------------

    def url(self, database: str, user: str = OWNER) -> str:
        """As a store is named."""
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres", user: str = USER) -> psycopg.Connection[Any]:
        """A connection of our own, one transaction a statement."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, dbname=database, autocommit=True
        )

    def execute(self, statement: sql.SQL | sql.Composed, database: str = "postgres") -> None:
        """One statement as the superuser."""
        with self.connect(database) as connection:
            connection.execute(statement)

    def create_database(self, template: str = "template1") -> str:
        """A database of its own that belongs to `OWNER`; its name."""
        self._made += 1
        name = f"test_{self._made}"
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                *map(sql.Identifier, (name, template, OWNER))
            )
        )
        return name

    # -- life ---------------------------------------------------------------------------------

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it did not come up; the message ends with its log.
        """
        if self._server is not None:
            raise RuntimeError("it runs already")
        fresh = not self._data.exists()
        if fresh:
            self._initialize()
        while not self._launch(timeout_s):
            # Somebody has taken the port meanwhile; only its first one may be changed.
            if fresh:
                self.port = _free_port()
            time.sleep(0.2)
        if fresh:
            self._make_roles()

    def _launch(self, timeout_s: float) -> bool:
        """Whether it could have its port."""
        self._log.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [self.bin / "postgres", "-D", self._data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                **_unprivileged(),
            )
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCHER, str(self._server.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return self._wait_ready(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Shut it down in order, sessions are ended; its data stays for `start`."""
        self._end(signal.SIGINT, timeout_s)

    def immediate(self, timeout_s: float = 30.0) -> None:
        """Stop without writing anything back: the next start recovers from the log."""
        self._end(signal.SIGQUIT, timeout_s)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once: as a crash of the machine."""
        self._end(signal.SIGKILL, 30.0)

    def restart(self, timeout_s: float = 60.0) -> None:
        """Up again on the same data and the same port."""
        self.stop()
        self.start(timeout_s)

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself, as when its log found no room: `start` will not do."""
        return self._server is not None and self._server.poll() is not None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _initialize(self) -> None:
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        done = subprocess.run(
            [
                self.bin / "initdb", "--pgdata", self._data, "--username", USER, "--auth=trust",
                "--locale=C.UTF-8", "--encoding=UTF8", "--no-sync", "--no-instructions",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            **_unprivileged(),
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            "max_connections": "100",
            "wal_init_zero": "off",
            "autovacuum": "off",
            "fsync": "on",
            "log_min_messages": "warning",
            **self._settings,
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        access = self._data / "pg_hba.conf"
        access.write_text(f"host all {SIGNED_IN} 127.0.0.1/32 scram-sha-256\n{access.read_text()}")

    def _make_roles(self) -> None:
        for role in (OWNER, DAEMON, READER, SIGNED_IN):
            self.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        self.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(SIGNED_IN), PASSWORD)
        )

    def _wait_ready(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._server is None or self._server.poll() is not None:
                break
            with contextlib.suppress(psycopg.OperationalError):
                self.connect().close()
                return True
            time.sleep(0.05)
        self._end(signal.SIGKILL, 10.0)
        said = self._log.read_text(errors="replace")
        if "Address already in use" in said and time.monotonic() < deadline:
            return False
        raise RuntimeError(f"PostgreSQL did not come up:\n{said[-3000:]}")

    def _end(self, how: signal.Signals, timeout_s: float) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()
            watcher.communicate()
        server, self._server = self._server, None
        if server is None:
            return
        if how is signal.SIGKILL:
            os.killpg(server.pid, how)
        else:
            server.send_signal(how)
        try:
            server.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        self._wait_gone(server.pid)

    def _wait_gone(self, group: int) -> None:
        """Its sessions outlive a killed server for a moment; a new one must not meet them."""
        deadline = time.monotonic() + 30.0
        while _alive(group) and time.monotonic() < deadline:
            time.sleep(0.02)


def _alive(group: int) -> bool:
    """Whether a process of the group runs; dead ones that nobody has waited for do not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in {"Z", "X"}:
                return True
    return False


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then Debian's own user runs it."""
    if os.geteuid() != 0:
        return {}
    return {"user": USER, "group": USER, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> int:
    """Run a server until Ctrl-C."""
    try:
        with PostgresServer() as server, contextlib.suppress(KeyboardInterrupt):
            print(server.url(server.create_database()), flush=True)
            signal.pause()
    except PostgresUnavailable as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
