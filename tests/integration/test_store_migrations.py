"""The way from an old schema to ours, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from monitor.incidents.timeline import Entry, broken_at
from monitor.store import tables as t
from monitor.store.engine import open_engine
from monitor.store.errors import StoreError
from monitor.store.ownership import owner_lock
from monitor.store.schema import _config, head, migrate, revision, revisions
from monitor.store.store import Store, Tx
from tests.making import T0, alert, incident, minutes
from tests.servers.postgres_server import DAEMON, OWNER

OPEN = """
import sys
from monitor.store.store import Store
print("ready", flush=True)
sys.stdin.readline()
Store(sys.argv[1]).close()
"""
HOLD = """
import sys
from monitor.store.store import owner_lock
with owner_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind, as its owner."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'x.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """An engine on it; nothing is migrated."""
    made = open_engine(url)
    yield made
    made.dispose()


def begin_at(engine: sa.Engine, schema: str) -> None:
    """Make the database as an older Tocsin did."""
    with engine.begin() as connection:
        command.upgrade(_config(connection), schema)


def fill(engine: sa.Engine) -> None:
    """Rows that an older Tocsin wrote."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # a busy machine may stand still for seconds
            connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        tx = Tx(connection)
        tx.incidents.save(incident())
        tx.incidents.save_alert(alert(incident=incident().uuid))
        for number in range(5):
            entry = Entry(kind="NOTE", text=f"n{number}", actor="ada", occurred_at=T0)
            tx.incidents.append(incident().uuid, (entry,), T0 + minutes(number))
        tx.decisions.move(1, 600, T0)


def read_back(url: str) -> None:
    """All of `fill` is there."""
    store = Store(url)
    with store.read() as tx:
        assert tx.incidents.search() == [incident()]
        assert tx.incidents.alerts_of(incident().uuid) == [alert(incident=incident().uuid)]
        chain = tx.incidents.timeline(incident().uuid)
        assert tx.decisions.position(1) == 600
    with store.write() as tx:
        tx.touch()
    store.close()
    assert [item.entry.text for item in chain] == [f"n{number}" for number in range(5)]
    assert broken_at(chain) is None


@pytest.mark.parametrize("schema", sorted(set(revisions()) - {head()}))
def test_an_old_store_is_upgraded_with_all_its_rows(
    engine: sa.Engine, url: str, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    """From each older schema everything is read back, and a SQLite store is copied before."""
    begin_at(engine, schema)
    fill(engine)
    with caplog.at_level(logging.WARNING):
        assert migrate(engine) == schema
    assert revision(engine) == head()
    read_back(url)
    if (file := engine.url.database) and engine.dialect.name == "sqlite":
        copy = Path(f"{file}.schema-{schema}.bak")
        assert str(copy) in caplog.text
        assert copy.stat().st_mode & 0o777 == 0o600
        with closing(sqlite3.connect(copy)) as old:
            assert old.execute("SELECT version_num FROM alembic_version").fetchone() == (schema,)
            assert old.execute("SELECT count(*) FROM timeline").fetchone() == (5,)
        assert sorted(Path(file).parent.glob("*.bak*")) == [copy]


def test_several_that_migrate_at_once_do_not_collide(engine: sa.Engine, url: str) -> None:
    """Two processes that open an old store at once both find the new one."""
    begin_at(engine, "0001")
    fill(engine)
    together(url)
    read_back(url)


def test_several_that_make_a_store_at_once_do_not_collide(tmp_path: Path) -> None:
    """The same where there is no file yet."""
    together(f"sqlite:///{tmp_path / 'x.db'}")


def together(url: str) -> None:
    """Two processes open the store at the same moment."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", OPEN, url],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait(60) for process in processes] == [0, 0]


def test_an_upgrade_that_fails_changes_nothing(engine: sa.Engine, url: str) -> None:
    """Something is in the way in the midst of it: the old schema stays whole, and it can go on."""
    begin_at(engine, "0001")
    fill(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE revisions (x INTEGER)"))
    with pytest.raises(StoreError, match=r"is as it was.*already exists"):
        migrate(engine)
    assert revision(engine) == "0001"
    assert not sa.inspect(engine).has_table("leases")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE revisions"))
    read_back(url)


def test_an_upgrade_that_is_killed_changes_nothing(engine: sa.Engine, url: str) -> None:
    """SIGKILL just before the end of it: the old schema is there, and the next start upgrades."""
    begin_at(engine, "0001")
    fill(engine)
    killed = subprocess.run(
        [sys.executable, "-c", OPEN, url],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TOCSIN_FAULT": "K13:1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert revision(engine) == "0001"
    read_back(url)


def test_there_is_no_way_back() -> None:
    """No migration goes back; each says that the backup is to be restored."""
    for script in ScriptDirectory.from_config(_config()).walk_revisions():
        with pytest.raises(NotImplementedError, match="restore the backup"):
            script.module.downgrade()


def test_a_store_is_not_changed_under_a_living_daemon(tmp_path: Path) -> None:
    """An old daemon runs on it: a newer Tocsin is refused, and nothing is touched."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    engine = open_engine(url)
    begin_at(engine, "0001")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=rf"daemon \(pid {daemon.pid}\) runs on it: stop it"):
            Store(url)
        daemon.communicate("\n")
    assert revision(engine) == "0001"
    with owner_lock(url):
        Store(url).close()
    assert revision(engine) == head()
    engine.dispose()


def test_a_daemon_without_the_right_says_who_migrates(postgres_url: str) -> None:
    """On PostgreSQL the daemon's role may not change the schema: it names the command."""
    owner = open_engine(postgres_url)
    daemon_url = postgres_url.replace(f"{OWNER}@", f"{DAEMON}@")
    with pytest.raises(StoreError, match=r"no schema yet.*`tocsin store migrate`"):
        Store(daemon_url)
    begin_at(owner, "0001")
    with pytest.raises(StoreError, match=r"permission denied.*`tocsin store roles --apply`"):
        Store(daemon_url)
    with owner.begin() as connection:
        connection.execute(sa.text(f"GRANT SELECT ON alembic_version TO {DAEMON}"))
    with pytest.raises(StoreError, match=r"schema 0001.*`tocsin store migrate`"):
        Store(daemon_url)
    assert revision(owner) == "0001"
    assert not sa.inspect(owner).has_table(t.leases.name)
    owner.dispose()
