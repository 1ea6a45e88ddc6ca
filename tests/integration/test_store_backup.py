"""Backup and restore as a person types them: SQLite under a writing daemon, PostgreSQL's tools."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from monitor.incidents.timeline import Entry
from monitor.store import dumps
from monitor.store.checkup import check_store
from monitor.store.errors import StoreError
from monitor.store.schema import head
from monitor.store.snapshot import copy_sqlite
from monitor.store.store import Store, owner_lock
from tests.making import T0, incident
from tests.servers.postgres_server import DAEMON, OWNER, PostgresServer
from tui.cli import main

Run = Callable[..., tuple[int, str, str]]

WRITER = """
import sys
from datetime import UTC, datetime
from monitor.incidents.timeline import Entry
from monitor.store.store import Store, owner_lock
with owner_lock(sys.argv[1]):
    store = Store(sys.argv[1])
    number = 0
    while True:
        now = datetime.now(UTC)
        with store.write() as tx:
            for _ in range(5):
                entry = Entry(kind="NOTE", text="x" * 500, actor="ada", occurred_at=now)
                tx.incidents.append("i", (entry,), now)
        number += 1
        if number == 20:
            print("writing", flush=True)
"""


@pytest.fixture
def tocsin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls `tocsin`: status, standard output, standard error."""
    for name in [name for name in os.environ if name.startswith("TOCSIN_")]:
        monkeypatch.delenv(name)

    def call(*words: str) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A SQLite store with an incident and its timeline."""
    made = tmp_path / "x.db"
    fill(f"sqlite:///{made}")
    return made


def fill(url: str, entries: int = 3) -> None:
    store = Store(url)
    with store.write() as tx:
        tx.incidents.save(incident())
        for number in range(entries):
            entry = Entry(kind="NOTE", text=f"n{number}", actor="ada", occurred_at=T0)
            tx.incidents.append(incident().uuid, (entry,), T0)
    store.close()


def texts(url: str) -> list[str]:
    """The timeline of the incident."""
    store = Store(url)
    with store.read() as tx:
        found = [item.entry.text for item in tx.incidents.timeline(incident().uuid)]
    store.close()
    return found


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def states(url: str) -> dict[str, str]:
    return {one.name: one.state for one in check_store(url, datetime.now(UTC))}


def data(out: str) -> Any:
    return json.loads(out)["data"]


@contextmanager
def daemon_on(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the store and writes without a pause."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.kill()


# -- SQLite -----------------------------------------------------------------------------------


def test_a_backup_under_a_writing_daemon_is_one_moment(path: Path, tocsin: Run) -> None:
    """While the daemon writes the copy is whole: file, schema and chains; only for its owner."""
    url = f"sqlite:///{path}"
    with daemon_on(url) as daemon:
        for number in range(3):
            target = path.with_name(f"b{number}.db")
            status, out, _ = tocsin("--store", url, "store", "backup", str(target), "--json")
            assert status == 0
            assert data(out) == {
                "path": str(target),
                "bytes": target.stat().st_size,
                "schema": head(),
                "incidents": 1,
                "aside": None,
                "key": None,
            }
            assert target.stat().st_mode & 0o777 == 0o600
            assert states(f"sqlite:///{target}") == {
                "file": "ok",
                "schema": "ok",
                "timelines": "ok",
            }
            with closing(sqlite3.connect(target)) as copy:
                (rows,) = copy.execute(
                    "SELECT count(*) FROM timeline WHERE incident='i'"
                ).fetchone()
            # A transaction writes five at once.
            assert rows >= 100
            assert rows % 5 == 0
        assert daemon.poll() is None
    assert names(path.parent) - {"x.db-wal", "x.db-shm"} == {
        "x.db",
        "x.db.lock",
        "b0.db",
        "b1.db",
        "b2.db",
    }


def test_a_backup_never_overwrites(path: Path, tocsin: Run) -> None:
    """What is there already stays as it is."""
    target = path.with_name("b.db")
    target.write_text("precious")
    status, _, err = tocsin("--store", f"sqlite:///{path}", "store", "backup", str(target))
    assert (status, target.read_text()) == (5, "precious")
    assert "is there already" in err


def test_a_backup_that_fails_leaves_nothing(path: Path) -> None:
    """A disk that is full, a folder that is not there, a source that is damaged: no half copy."""
    with pytest.raises(StoreError, match="cannot copy the store"):
        copy_sqlite(path, path.parent / "gone" / "b.db")
    broken = path.with_name("broken.db")
    broken.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(StoreError, match="cannot copy the store"):
        copy_sqlite(broken, path.with_name("b.db"))
    assert not [each for each in path.parent.iterdir() if each.name.startswith("b.db")]


def test_a_restore_puts_the_backup_back_and_keeps_the_old_one(path: Path, tocsin: Run) -> None:
    """After it the store is as it was at the backup, and what was written since is still there."""
    url = f"sqlite:///{path}"
    target = path.with_name("b.db")
    tocsin("--store", url, "store", "backup", str(target))
    fill(url, entries=2)
    status, out, _ = tocsin("--store", url, "store", "restore", str(target), "--yes", "--json")
    assert status == 0
    assert texts(url) == ["n0", "n1", "n2"]
    aside = data(out)["aside"]
    assert texts(f"sqlite:///{aside}") == ["n0", "n1", "n2", "n0", "n1"]
    assert states(url) == {"file": "ok", "schema": "ok", "timelines": "ok"}


def test_the_key_of_a_store_goes_with_its_backup(path: Path, tocsin: Run) -> None:
    """It lies beside the backup for its owner alone, and comes back; no key is ever overwritten."""
    url, target = f"sqlite:///{path}", path.with_name("b.db")
    key, copied = path.with_name("x.db.key"), path.with_name("b.db.key")
    key.write_bytes(b"k" * 32)
    status, out, _ = tocsin("--store", url, "store", "backup", str(target), "--json")
    assert (status, data(out)["key"]) == (0, str(copied))
    assert (copied.read_bytes(), copied.stat().st_mode & 0o777) == (b"k" * 32, 0o600)

    target.unlink()
    assert tocsin("--store", url, "store", "backup", str(target))[0] == 0  # the next night

    key.write_bytes(b"n" * 32)
    before = names(path.parent)
    target.rename(path.with_name("c.db"))
    status, _, err = tocsin("--store", url, "store", "backup", str(target))
    assert status == 5
    assert "b.db.key is there already" in err
    assert names(path.parent) == before - {"b.db"} | {"c.db"}
    path.with_name("c.db").rename(target)

    status, out, _ = tocsin("--store", url, "store", "restore", str(target), "--yes", "--json")
    assert (status, data(out)["key"]) == (0, str(key))
    assert (key.read_bytes(), key.stat().st_mode & 0o777) == (b"k" * 32, 0o600)
    aside = Path(data(out)["aside"])
    assert aside.with_name(aside.name + ".key").read_bytes() == b"n" * 32
    assert copied.read_bytes() == b"k" * 32


def test_a_backup_without_a_key_leaves_the_key_that_is_there(path: Path, tocsin: Run) -> None:
    """As those were that an older version made; a new machine gets the key of the backup."""
    url, target = f"sqlite:///{path}", path.with_name("b.db")
    key = path.with_name("x.db.key")
    tocsin("--store", url, "store", "backup", str(target))
    key.write_bytes(b"n" * 32)
    status, out, _ = tocsin("--store", url, "store", "restore", str(target), "--yes")
    assert (status, key.read_bytes()) == (0, b"n" * 32)
    assert ".key" not in out

    path.with_name("b.db.key").write_bytes(b"k" * 32)
    path.unlink()
    key.unlink()
    status, out, _ = tocsin("--store", url, "store", "restore", str(target), "--yes")
    assert (status, key.read_bytes()) == (0, b"k" * 32)
    assert "x.db.key: its key" in out


def test_a_store_that_is_damaged_or_gone_is_restored(path: Path, tocsin: Run) -> None:
    """The old store need not open any more; it is kept all the same."""
    url = f"sqlite:///{path}"
    target = path.with_name("b.db")
    tocsin("--store", url, "store", "backup", str(target))
    path.write_bytes(b"no database at all" * 1000)
    assert tocsin("--store", url, "store", "check")[0] == 3
    status, out, _ = tocsin("--store", url, "store", "restore", str(target), "-y", "--json")
    assert status == 0
    assert Path(data(out)["aside"]).read_bytes().startswith(b"no database")
    assert texts(url) == ["n0", "n1", "n2"]
    path.unlink()
    assert tocsin("--store", url, "store", "restore", str(target), "-y")[0] == 0
    assert texts(url) == ["n0", "n1", "n2"]


KILLED = """
import os, shutil, sqlite3, sys
from datetime import UTC, datetime
from pathlib import Path
from monitor.store.backup import restore

made, linked, harmed = Path(sys.argv[1]), sys.argv[2] == "links", sys.argv[3] == "harmed"
FILES = {"os.link", "os.rename", "os.remove", "shutil.copyfile", "sqlite3.connect"}

def dies(fatal):
    passed = 0
    def hook(event, args):
        nonlocal passed
        if event == "os.link" and not linked:
            raise PermissionError(1, "no hard links here")
        if event in FILES:
            passed += 1
            if passed == fatal:
                os._exit(9)
    return hook

def left(path):
    if harmed and path.read_bytes().startswith(b"no database"):
        return "old"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
        return {3: "new", 5: "old"}[store.execute("SELECT count(*) FROM timeline").fetchone()[0]]

met = []
for fatal in range(1, 1000):
    folder = made.with_name(f"{made.name}-{fatal}")
    shutil.copytree(made, folder)
    path = folder / "x.db"
    pid = os.fork()
    if not pid:
        sys.addaudithook(dies(fatal))
        restore(f"sqlite:///{path}", folder / "b.db", datetime.now(UTC))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, 9}, status
    met.append(left(path))
    restore(f"sqlite:///{path}", folder / "b.db", datetime(2026, 1, 1, tzinfo=UTC))
    assert left(path) == "new"
    assert (folder / "x.db.key").read_bytes() == b"of the backup"
    assert path.stat().st_nlink == 1
    shutil.rmtree(folder)
    if status == 0:
        break
print(*met)
"""


@pytest.mark.parametrize(
    ("links", "store"), [("links", "whole"), ("copies", "whole"), ("links", "harmed")]
)
def test_a_restore_that_is_killed_anywhere_leaves_a_store(
    path: Path, tocsin: Run, links: str, store: str
) -> None:
    """The old one or the backup, never none, which a start would make anew; and it can be repeated.

    The process dies before each file that it copies, names or removes, one after the other.
    """
    url = f"sqlite:///{path}"
    key = path.with_name("x.db.key")
    key.write_bytes(b"of the backup")
    tocsin("--store", url, "store", "backup", str(path.with_name("b.db")))
    key.write_bytes(b"of the store")
    fill(url, entries=2)
    if store == "harmed":
        path.write_bytes(b"no database at all" * 1000)
        path.with_name("x.db-wal").write_bytes(b"of it")
    words = [sys.executable, "-c", KILLED, str(path.parent), links, store]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    met = done.stdout.split()
    assert set(met) == {"old", "new"}
    assert met == sorted(met, reverse=True)
    assert len(met) > 8


def test_a_store_that_somebody_reads_is_not_replaced_under_them(path: Path, tocsin: Run) -> None:
    """What they have open would go on being read and written under its old names."""
    url, target = f"sqlite:///{path}", path.with_name("b.db")
    tocsin("--store", url, "store", "backup", str(target))
    store = Store(url)
    with store.write() as tx:
        tx.incidents.append(incident().uuid, (), T0)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM timeline").fetchone()
        fill(url, entries=1)
        status, _, err = tocsin("--store", url, "store", "restore", str(target), "-y")
    store.close()
    assert (status, "somebody reads" in err) == (5, True)
    assert texts(url) == ["n0", "n1", "n2", "n0"]


def test_a_restore_under_a_living_daemon_is_refused(path: Path, tocsin: Run) -> None:
    """The store is the daemon's until it ends."""
    url = f"sqlite:///{path}"
    target = path.with_name("b.db")
    tocsin("--store", url, "store", "backup", str(target))
    with owner_lock(url):
        status, _, err = tocsin("--store", url, "store", "restore", str(target), "-y")
    assert (status, "stop it first" in err) == (5, True)
    assert texts(url) == ["n0", "n1", "n2"]


def _cut(backup: Path) -> None:
    backup.write_bytes(backup.read_bytes()[: 8 * 4096])


def _edit(statement: str) -> Callable[[Path], None]:
    def edit(backup: Path) -> None:
        with closing(sqlite3.connect(backup)) as copy, copy:
            copy.execute("DROP TRIGGER timeline_no_update")
            copy.execute("DROP TRIGGER timeline_no_delete")
            copy.execute(statement)

    return edit


def _newer(backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as copy, copy:
        copy.execute("UPDATE alembic_version SET version_num = '9999'")
        copy.execute("UPDATE compatibility SET oldest = '9998'")


def _other(backup: Path) -> None:
    backup.unlink()
    with closing(sqlite3.connect(backup)) as copy, copy:
        copy.execute("CREATE TABLE things (x)")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_cut, "damaged|malformed"),
        (_edit("UPDATE timeline SET text = 'other' WHERE seq = 2"), "INC-0007 from entry 2 on"),
        (_edit("DELETE FROM timeline WHERE seq = 1"), "INC-0007 from entry 2 on"),
        (_newer, "newer version"),
        (_other, "not a store of Tocsin"),
        (Path.unlink, "there is no backup"),
    ],
)
def test_a_backup_that_is_not_whole_is_not_restored(
    path: Path, tocsin: Run, harm: Callable[[Path], None], said: str
) -> None:
    """Damaged, edited, of a newer version or something else: it is said, and nothing changes."""
    url = f"sqlite:///{path}"
    target = path.with_name("b.db")
    tocsin("--store", url, "store", "backup", str(target))
    harm(target)
    before = names(path.parent)
    status, _, err = tocsin("--store", url, "store", "restore", str(target), "-y")
    assert status == 5
    assert any(word in err for word in said.split("|")), err
    assert texts(url) == ["n0", "n1", "n2"]
    assert names(path.parent) - {"x.db.lock"} == before


def test_a_check_changes_nothing(path: Path, tocsin: Run) -> None:
    """Not a byte of the file, and a store that is not there is not made."""
    before = path.read_bytes()
    status, out, _ = tocsin("--store", f"sqlite:///{path}", "store", "check", "--json")
    assert (status, [part["state"] for part in data(out)]) == (0, ["ok", "ok", "ok"])
    assert path.read_bytes() == before
    gone = path.with_name("gone.db")
    assert tocsin("--store", f"sqlite:///{gone}", "store", "check")[0] == 4
    assert not gone.exists()


def test_roles_are_for_a_server(tmp_path: Path, tocsin: Run) -> None:
    """On SQLite the address of a server is asked for, and no file is made."""
    for words in ((), ("--apply",)):
        status, _, err = tocsin(
            "--store", f"sqlite:///{tmp_path / 'x.db'}", "store", "roles", *words
        )
        assert (status, "only PostgreSQL has roles" in err) == (5, True)
        assert "--store postgresql://OWNER@HOST/DATABASE" in err
    assert names(tmp_path) == set()


def test_a_read_only_call_changes_nothing(path: Path, tocsin: Run) -> None:
    """With --read-only nothing is restored or upgraded."""
    for words in (("restore", str(path)), ("migrate",), ("roles", "--apply")):
        status, _, err = tocsin("--read-only", "--store", f"sqlite:///{path}", "store", *words)
        assert (status, "read-only" in err) == (5, True)


# -- PostgreSQL -------------------------------------------------------------------------------


def follow(err: str, server: PostgresServer, *, owner: str = OWNER) -> list[str]:
    """Give the commands of a refusal's hint with Debian's tools, each as who is named for it."""
    hint = err.partition("hint: ")[2].strip()
    given = []
    for step in hint.split("; "):
        who, _, commands = step.partition(": ")
        role = "postgres" if "as a superuser" in who else owner
        for command in commands.split(" && "):
            words = shlex.split(command)
            assert f"postgresql://{role}@" in command, (who, command)
            given.append(words[0])
            if words[0] == "tocsin":
                assert main(words[1:]) == 0
                continue
            env = {**os.environ, "PATH": f"{server.bin}:{os.environ['PATH']}"}
            done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    return given


def hint_of(run: tuple[int, str, str]) -> str:
    status, _, err = run
    assert (status, "its own tools" in err) == (5, True)
    return err


def test_the_owner_makes_no_roles_and_no_databases(postgres_server: PostgresServer) -> None:
    """As in what deploy/ sets up: else nobody would see which commands want a superuser."""
    with postgres_server.connect() as made:
        query = "SELECT rolcreatedb, rolcreaterole, rolsuper FROM pg_roles WHERE rolname = %s"
        assert made.execute(query, (OWNER,)).fetchone() == (False, False, False)


@pytest.mark.parametrize("role", [OWNER, DAEMON])
def test_postgresql_is_backed_up_and_restored_with_the_commands_that_are_said(
    postgres_server: PostgresServer, postgres_database: str, tmp_path: Path, tocsin: Run, role: str
) -> None:
    """Asked as the owner or under the daemon's own configuration: incidents, chains and the
    daemon's rights are there again, and what was there stays, under another name."""
    url = postgres_server.url(postgres_database, role)
    fill(url)
    dump = str(tmp_path / "tocsin.dump")
    follow(hint_of(tocsin("--store", url, "store", "backup", dump)), postgres_server)
    fill(url, entries=1)
    given = follow(hint_of(tocsin("--store", url, "store", "restore", dump, "-y")), postgres_server)
    assert given == ["psql", "psql", "pg_restore", "tocsin", "tocsin"]
    daemon = postgres_server.url(postgres_database, DAEMON)
    assert texts(daemon) == ["n0", "n1", "n2"]
    fill(daemon, entries=1)
    found = states(daemon)
    assert "bad" not in found.values()
    assert found["timelines"] == "ok"
    old = postgres_server.url(f"{postgres_database}_replaced", DAEMON)
    assert texts(old) == ["n0", "n1", "n2", "n0"]


def test_a_database_that_is_lost_is_restored_by_its_owner_whom_nobody_tells(
    postgres_server: PostgresServer, postgres_database: str, tmp_path: Path, tocsin: Run
) -> None:
    """The commands have a place for the name; the one for the old database is left out."""
    url = postgres_server.url(postgres_database, DAEMON)
    fill(url)
    dump = str(tmp_path / "tocsin.dump")
    follow(hint_of(tocsin("--store", url, "store", "backup", dump)), postgres_server)
    postgres_server.execute(
        sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(postgres_database))
    )
    err = hint_of(tocsin("--store", url, "store", "restore", dump, "-y"))
    assert "as ITS_OWNER (name the owner of the database): pg_restore" in err
    first, _, rest = err.replace(dumps.OWNER, OWNER).partition("; ")
    assert "where the old database is still there" in first
    follow(f"hint: {rest}", postgres_server)
    assert texts(url) == ["n0", "n1", "n2"]


def test_the_readme_says_what_the_command_prints() -> None:
    """Word for word, for the installation of the example."""
    url = "postgresql://tocsin_daemon@db.example.com/tocsin"
    readme = Path("README.md").read_text()
    steps = dumps.restore_steps(url, Path("/backup/tocsin.dump"), OWNER)
    assert "".join(f"$ {command}\n" for step in steps for command in step.commands) in readme


def test_the_commands_hold_no_password_and_keep_what_the_url_says() -> None:
    """Of several hosts, with TLS, and a name that SQL and a shell would take apart."""
    url = "postgresql://ada:s3cret@/o'dd?host=a:1,b:2&sslmode=verify-full&passwordfile=x"
    steps = [
        *dumps.dump_steps(url, Path("/b/x y.dump"), "o'wner"),
        *dumps.restore_steps(url, Path("/b/x y.dump"), "o'wner"),
    ]
    said = "; ".join(map(str, steps))
    assert "s3cret" not in said
    assert "password" not in said
    words = [shlex.split(command) for step in steps for command in step.commands]
    assert words[0][-1].startswith("--dbname=postgresql://o%27wner@")
    assert all("sslmode=verify-full" in " ".join(each) for each in words)
    assert words[2][-1] == """--command=CREATE DATABASE "o'dd" OWNER "o'wner" TEMPLATE template0"""
    assert words[3][-1] == "/b/x y.dump"


def test_a_check_of_postgresql_says_what_would_lose_pages(
    own_postgres_server: PostgresServer, tocsin: Run
) -> None:
    """A server that does not write through is bad; a superuser as the daemon is worth a warning."""
    url = own_postgres_server.url(own_postgres_server.create_database(), "postgres")
    Store(url).close()
    own_postgres_server.execute(sql.SQL("ALTER SYSTEM SET synchronous_commit = off"))
    own_postgres_server.restart()
    status, out, _ = tocsin("--store", url, "store", "check", "--json")
    assert status == 3
    found = {(part["name"], part["state"]) for part in data(out)}
    assert {("server", "bad"), ("role", "warn"), ("schema", "ok"), ("timelines", "ok")} <= found
