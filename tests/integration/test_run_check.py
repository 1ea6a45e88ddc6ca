"""`tocsin run --check` looks at the store that a start would have, and writes nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from psycopg import sql

from monitor.store import schema
from monitor.store.engine import open_engine
from monitor.store.store import Store
from tests.next_schema import ADDS, upgrade
from tests.servers.postgres_server import DAEMON, READER, PostgresServer
from tui.cli import main

Check = Callable[[str], tuple[int, str]]
DAEMON_OF_IT = """
import sys
from monitor.store.store import Store
from tests.making import incident
store = Store(sys.argv[1])
with store.write() as tx:
    tx.incidents.save(incident())
print("there", flush=True)
sys.stdin.read()
"""
BEFORE = schema.revisions()[1]


@pytest.fixture
def check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Check:
    """The status, and the line about the store."""
    for name in [name for name in os.environ if name.startswith("TOCSIN_")]:
        monkeypatch.delenv(name)
    (tmp_path / "events.ndjson").write_text("")
    (tmp_path / "key").write_text("a key of this test")
    (tmp_path / "key").chmod(0o600)
    config = tmp_path / "tocsin.yaml"

    def call(url: str) -> tuple[int, str]:
        config.write_text(f"version: 1\nstore: {url}\ndigest_key: {{file: {tmp_path / 'key'}}}\n")
        source = f"file:{tmp_path / 'events.ndjson'}"
        status = main(["-c", str(config), "run", "--check", "--source", source, "--json"])
        parts = json.loads(capsys.readouterr().out)["data"]
        part = [part for part in parts if part["name"] == "store"][-1]
        return status, f"{part['state']}: {part['text']}"

    return call


def old(url: str) -> None:
    """A store of the release before."""
    engine = open_engine(url)
    with engine.begin() as connection:
        command.upgrade(schema._config(connection), BEFORE)
    engine.dispose()


def known(url: str) -> str | None:
    """The schema of a store."""
    engine = open_engine(url)
    found = schema.revision(engine)
    engine.dispose()
    return found


def seen(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All files: inode, time of the last change, content."""
    return {
        each.name: (each.stat().st_ino, each.stat().st_mtime_ns, each.read_bytes())
        for each in folder.iterdir()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store is."""
    made = tmp_path / "kept"
    made.mkdir()
    return made


def test_a_store_that_is_not_there_is_not_made(check: Check, folder: Path) -> None:
    """Neither is its folder: a start makes both, as who it runs as."""
    path = folder / "below" / "x.db"
    status, line = check(f"sqlite:///{path}")
    assert (status, line) == (0, f"ok: none yet: the first start makes {path}")
    assert seen(folder) == {}


def test_an_old_store_is_not_upgraded(check: Check, folder: Path) -> None:
    """It says what the start would do, and does none of it, copy included."""
    url = f"sqlite:///{folder / 'x.db'}"
    old(url)
    before = seen(folder)
    status, line = check(url)
    said = f"the start upgrades schema {BEFORE} to {schema.head()} (a copy is kept beside it)"
    assert (status, line) == (0, f"ok: {said}")
    assert seen(folder) == before
    assert known(url) == BEFORE


def test_a_store_of_this_version_stays_as_it_is(check: Check, folder: Path) -> None:
    """With and without its daemon, and after a daemon that was killed with work in the log."""
    url = f"sqlite:///{folder / 'x.db'}"
    told = (0, f"ok: there, schema {schema.head()}, 1 incident")
    words = [sys.executable, "-c", DAEMON_OF_IT, url]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"there\n"
        before = seen(folder)
        assert set(before) == {"x.db", "x.db-shm", "x.db-wal"}
        assert (check(url), seen(folder)) == (told, before)
        daemon.kill()
    assert set(before) == {"x.db", "x.db-shm", "x.db-wal"}
    assert (check(url), seen(folder)) == (told, before)

    Store(url).close()
    before = seen(folder)
    assert set(before) == {"x.db"}
    assert (check(url), seen(folder)) == (told, before)


def test_a_store_that_a_start_would_refuse_is_said(check: Check, folder: Path) -> None:
    """Of a newer Tocsin, or no store at all: with the cure, and untouched."""
    url = f"sqlite:///{folder / 'x.db'}"
    Store(url).close()
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("UPDATE compatibility SET oldest = '9998'")
    engine.dispose()
    before = seen(folder)
    status, line = check(url)
    assert (status, "Upgrade Tocsin, or restore the backup" in line) == (6, True)
    assert seen(folder) == before
    (folder / "x.db").write_bytes(b"no database at all" * 100)
    status, line = check(url)
    assert (status, line) == (6, "bad: cannot open the store: file is not a database")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_said(check: Check, folder: Path) -> None:
    """A start of the same user would fail there."""
    folder.chmod(0o500)
    status, line = check(f"sqlite:///{folder / 'x.db'}")
    folder.chmod(0o700)
    assert (status, f"may not write {folder}" in line) == (6, True)


def test_a_place_that_cannot_be_is_said(check: Check, folder: Path) -> None:
    """A folder of the path is a file."""
    (folder / "file").write_text("")
    status, line = check(f"sqlite:///{folder / 'file' / 'below' / 'x.db'}")
    assert (status, f"{folder / 'file'} is no folder" in line) == (6, True)


# -- PostgreSQL -------------------------------------------------------------------------------


def test_the_owners_database_is_not_upgraded_before_its_dump(
    check: Check, postgres_url: str
) -> None:
    """Empty, then of the release before, then as it should be: looked at, each time."""
    assert check(postgres_url) == (0, f"ok: empty: the first start makes schema {schema.head()}")
    old(postgres_url)
    status, line = check(postgres_url)
    assert (status, line.partition(" (")[0]) == (
        0,
        f"ok: the start upgrades schema {BEFORE} to {schema.head()}",
    )
    assert "take a dump first" in line
    assert known(postgres_url) == BEFORE
    Store(postgres_url).close()
    assert check(postgres_url) == (0, f"ok: there, schema {schema.head()}, 0 incidents")


def test_a_role_whose_rights_do_not_suffice_is_told_the_cure(
    check: Check, postgres_server: PostgresServer, postgres_url: str, postgres_store_url: str
) -> None:
    """Who may not make the schema; who may not write; whom one right was taken from."""
    old(postgres_url)
    database = postgres_url.rpartition("/")[2]
    postgres_server.execute(sql.SQL("GRANT SELECT ON alembic_version TO tocsin_daemon"), database)
    status, line = check(postgres_server.url(database, DAEMON))
    assert (status, "`tocsin store migrate` with the URL of the" in line) == (6, True)
    database = postgres_store_url.rpartition("/")[2]
    assert check(postgres_store_url)[0] == 0
    status, line = check(postgres_server.url(database, READER))
    assert status == 6
    assert "the role tocsin_reader lacks " in line
    postgres_server.execute(sql.SQL("REVOKE INSERT ON notes FROM tocsin_daemon"), database)
    status, line = check(postgres_store_url)
    cure = "the database's owner gives it with `tocsin store roles --apply`"
    assert line == f"bad: the role tocsin_daemon lacks INSERT on notes: {cure}"
    postgres_server.execute(sql.SQL("GRANT INSERT ON notes TO tocsin_daemon"), database)
    postgres_server.execute(sql.SQL("REVOKE DELETE ON notes FROM tocsin_daemon"), database)
    status, line = check(postgres_store_url)
    assert (status, "lacks DELETE on notes, so that old rows stay: " in line) == (0, True)
    assert line.startswith("warn: ")


def test_a_newer_schema_that_we_may_work_on_is_said(
    check: Check, folder: Path, tmp_path: Path
) -> None:
    """A release may be taken back."""
    url = f"sqlite:///{folder / 'x.db'}"
    engine = open_engine(url)
    upgrade(engine, tmp_path / "scripts", ADDS, oldest=schema.head())
    engine.dispose()
    status, line = check(url)
    assert (status, "of a newer Tocsin, which" in line, "0 incidents" in line) == (0, True, True)


def test_a_server_that_is_not_there_is_said(check: Check) -> None:
    """It does not answer: a start would wait for it."""
    status, line = check("postgresql://ada@127.0.0.1:1/x")
    assert (status, "cannot open the store" in line) == (6, True)
