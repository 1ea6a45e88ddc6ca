"""The store on a real PostgreSQL: sessions that die, processes that freeze, clocks, passwords."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from psycopg import sql

from monitor.config.secret import Secret
from monitor.incidents.timeline import broken_at
from monitor.notify.channel import Kind, Message
from monitor.processes.settings import Processes
from monitor.store import tables as t
from monitor.store.errors import StoreBusy, StoreError
from monitor.store.postgres import IDLE_S, LOCK_S, PATIENCE_S
from monitor.store.store import Store, StoreUnavailable
from tests.making import T0, minutes
from tests.servers.postgres_server import OWNER, PASSWORD, SIGNED_IN, PostgresServer

HOUR = timedelta(hours=1)
DEADLINE_S = 60.0

HOLDER = """
import sys
from monitor.store.store import Store, StoreUnavailable
store = Store(sys.argv[1])
try:
    with store.write() as tx:
        tx.touch()
        print("holding", flush=True)
        sys.stdin.readline()
        tx.touch()
except StoreUnavailable as problem:
    print("unavailable", flush=True)
with store.write() as tx:
    tx.touch()
print("wrote", flush=True)
"""


@pytest.fixture
def store(postgres_store_url: str) -> Iterator[Store]:
    """An open store."""
    opened = Store(postgres_store_url)
    yield opened
    opened.close()


@contextmanager
def running(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with lines in and out."""
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def eventually(work: Callable[[], object]) -> None:
    """Try until the store answers."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            work()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def touch(store: Store) -> None:
    with store.write() as tx:
        tx.touch()


def revision(store: Store) -> int:
    with store.read() as tx:
        return tx.revision()


# -- processes that freeze --------------------------------------------------------------------


def test_a_frozen_writer_holds_the_others_up_for_seconds_only(
    store: Store, postgres_store_url: str
) -> None:
    """The server ends the transaction of a process that stands still; awake, it goes on anew."""
    with running(HOLDER, postgres_store_url) as holder:
        assert line(holder) == "holding"
        holder.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        touch(store)
        waited = time.monotonic() - started
        # Without the server's help it would be the whole patience of a writer.
        assert waited < (IDLE_S + PATIENCE_S) / 2
        assert revision(store) == 1
        holder.send_signal(signal.SIGCONT)
        holder.communicate("\n")
        assert holder.returncode == 0
    assert revision(store) == 2


def test_a_killed_writer_leaves_nothing(store: Store, postgres_store_url: str) -> None:
    """The next writer goes at once, and what the dead one wrote is not there."""
    with running(HOLDER, postgres_store_url) as holder:
        assert line(holder) == "holding"
        holder.kill()
        holder.wait()
        touch(store)
    assert revision(store) == 1


# -- servers that end -------------------------------------------------------------------------


def test_a_server_that_comes_back_is_used_again(own_postgres_server: PostgresServer) -> None:
    """Immediate stops and kills end transactions as unavailable; after a start all goes on."""
    store = Store(own_postgres_server.url(own_postgres_server.create_database()))
    touch(store)
    ends = (own_postgres_server.immediate, own_postgres_server.kill, own_postgres_server.stop)
    for number, end in enumerate(ends, start=1):

        def torn(end: Callable[[], None] = end) -> None:
            with store.write() as tx:
                tx.touch()
                end()
                tx.touch()

        with pytest.raises(StoreUnavailable, match="does not answer"):
            torn()
        with pytest.raises(StoreUnavailable):
            touch(store)
        with pytest.raises(StoreUnavailable):
            revision(store)
        own_postgres_server.start()
        eventually(lambda: touch(store))
        # Nothing that was torn is there, all that was answered is.
        assert revision(store) == number + 1
    store.close()


def test_pooled_connections_that_died_unseen_are_replaced(
    own_postgres_server: PostgresServer,
) -> None:
    """A restart between two transactions is not even noticed."""
    store = Store(own_postgres_server.url(own_postgres_server.create_database()))
    for expected in (1, 2, 3):
        touch(store)
        assert revision(store) == expected
        own_postgres_server.restart()
    store.close()


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    """Nobody listens: the message says where, and never the password."""
    with pytest.raises(StoreUnavailable, match="cannot open the store") as caught:
        Store("postgresql://ada:hunter2@127.0.0.1:1/tocsin")
    assert "hunter2" not in str(caught.value)


def test_sessions_ended_by_an_operator_are_made_anew(
    store: Store, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """pg_terminate_backend in the midst of a transaction: unavailable, then all is well."""
    statement = sql.SQL(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = {} AND pid <> pg_backend_pid()"
    ).format(postgres_database)

    def torn() -> None:
        with store.write() as tx:
            tx.touch()
            postgres_server.execute(statement)
            tx.touch()

    with pytest.raises(StoreUnavailable):
        torn()
    eventually(lambda: touch(store))
    assert revision(store) == 1


# -- transactions -----------------------------------------------------------------------------


def test_sessions_have_their_limits(store: Store, postgres_store_url: str) -> None:
    """Each session is named, in UTC and bounded; options in the URL are kept beside ours."""
    asked = ("idle_in_transaction_session_timeout", "application_name", "TimeZone", "work_mem")
    found = [_settings(store, asked)]
    other = Store(f"{postgres_store_url}?application_name=mine&options=-c%20work_mem%3D8MB")
    found.append(_settings(other, asked))
    other.close()
    assert found[0] == ["5s", "tocsin", "UTC", "4MB"]
    assert found[1] == ["5s", "mine", "UTC", "8MB"]


def test_only_the_turn_to_write_is_waited_for_long(
    store: Store, postgres_store_url: str, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """Another's lock on a table is given up on before a watchdog ends the process; a writer that
    comes late to its turn has the patience for it, and none for other locks then."""
    hasty = Store(f"{postgres_store_url}?options=-c%20lock_timeout%3D500")
    assert _settings(store, ("lock_timeout",)) == [f"{LOCK_S}s"]
    assert IDLE_S < LOCK_S < Processes().stall.total_seconds()

    with store.write() as tx:
        late = threading.Thread(target=touch, args=(hasty,))
        late.start()
        tx._c.execute(sa.text("SELECT pg_sleep(2)"))
    late.join(DEADLINE_S)
    assert revision(store) == 1

    with postgres_server.connect(postgres_database) as other:
        other.autocommit = False
        other.execute("LOCK TABLE revision IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        for locked in (hasty.write, hasty.queue):
            with pytest.raises(StoreBusy, match="lock timeout"), locked() as tx:
                tx.touch()
        assert time.monotonic() - started < PATIENCE_S / 2
    hasty.close()


def _settings(store: Store, names: tuple[str, ...]) -> list[str]:
    with store.engine.connect() as connection:
        return [str(connection.execute(sa.text(f"SHOW {name}")).scalar()) for name in names]


def test_a_view_cannot_write(store: Store) -> None:
    """Reading transactions are read-only for the server too."""

    def write() -> None:
        with store.read() as tx:
            tx.touch()

    with pytest.raises(StoreUnavailable, match="read-only"):
        write()
    assert revision(store) == 0


def test_a_conflict_of_two_transactions_is_unavailable(store: Store) -> None:
    """A deadlock, where one ever comes, is an error to try again after."""
    with store.write() as tx:
        for name in ("a", "b"):
            tx.leases.take(name, "x", minutes(1), T0)
    gate = threading.Barrier(2, timeout=DEADLINE_S)
    ends: list[str] = []

    def lock(first: str, second: str) -> None:
        try:
            with store.queue() as tx:
                for name in (first, second):
                    tx._c.execute(
                        t.leases.update().values(holder="y").where(t.leases.c.name == name)
                    )
                    if name == first:
                        gate.wait()
            ends.append("done")
        except StoreUnavailable as problem:
            ends.append(str(problem))

    threads = [threading.Thread(target=lock, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    refused, done = sorted(ends, key=len, reverse=True)
    assert done == "done"
    assert "deadlock detected" in refused


# -- clocks -----------------------------------------------------------------------------------


def test_a_wall_clock_that_is_off_changes_nothing(store: Store) -> None:
    """Leases run on the database's clock: an hour more or less on a machine is nothing."""
    real = datetime.now(UTC)
    ttl = timedelta(seconds=10)
    with store.write() as tx:
        first = tx.leases.take("decide", "a", ttl, real - HOUR)
        assert first is not None
        assert abs(first.until - real) < minutes(10)
        assert tx.leases.take("decide", "b", ttl, real + HOUR) is None
        tx.leases.let_go(first)
        assert tx.leases.take("decide", "b", ttl, real - HOUR) is not None


def test_a_claim_does_not_wait_for_a_writer(store: Store, postgres_store_url: str) -> None:
    """Pages are claimed while another process holds the writers up."""
    with store.write() as tx:
        page = Message("k", Kind.TRIGGER, "d", "INC-0007", "SEV2", "triage", "title", ())
        tx.outbox.put("i", "r", page, T0)
    with running(HOLDER, postgres_store_url) as holder:
        assert line(holder) == "holding"
        with store.queue() as tx:
            assert len(tx.outbox.claim("me", T0)) == 1
        holder.communicate("\n")
    assert revision(store) == 2


# -- passwords --------------------------------------------------------------------------------


@pytest.fixture
def secret_store(
    postgres_server: PostgresServer, postgres_database: str
) -> Iterator[Callable[[Secret], Store]]:
    """Opens the database as the role that needs a password."""
    grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(SIGNED_IN))
    postgres_server.execute(grant, postgres_database)
    opened: list[Store] = []

    def open_with(secret: Secret) -> Store:
        url = postgres_server.url(postgres_database, SIGNED_IN)
        opened.append(Store(url, password=secret.reveal))
        return opened[-1]

    yield open_with
    for store in opened:
        store.close()


def test_a_password_is_read_at_each_connection(
    secret_store: Callable[[Secret], Store], tmp_path: Path
) -> None:
    """It comes from a secret; a wrong, a missing and then a right one need no restart."""
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    store = secret_store(Secret(file=str(file)))
    touch(store)
    for change in (lambda: file.write_text("wrong"), file.unlink):
        change()
        store.engine.dispose()
        with pytest.raises(StoreUnavailable, match="password") as caught:
            touch(store)
        assert PASSWORD not in str(caught.value)
        assert "wrong" not in str(caught.value)
    file.write_text(PASSWORD)
    touch(store)
    assert revision(store) == 2


def test_without_a_password_the_store_does_not_open(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    """The server's refusal is said."""
    with pytest.raises(StoreError, match="password"):
        Store(postgres_server.url(postgres_database, SIGNED_IN))


# -- many writers -----------------------------------------------------------------------------

APPENDER = """
import sys
from datetime import UTC, datetime
from monitor.incidents.timeline import Entry
from monitor.store.store import Store
store = Store(sys.argv[1])
now = datetime.now(UTC)
for number in range(25):
    with store.write() as tx:
        entry = Entry(kind="NOTE", text=f"{sys.argv[2]} {number}", actor="ada", occurred_at=now)
        tx.incidents.append("i", (entry,), now)
store.close()
"""


def test_processes_that_write_one_timeline_make_one_chain(
    store: Store, postgres_store_url: str
) -> None:
    """Three processes append at once: every entry is there, and the chain holds."""
    processes = [
        subprocess.Popen([sys.executable, "-c", APPENDER, postgres_store_url, name])
        for name in ("a", "b", "c")
    ]
    assert [process.wait(DEADLINE_S) for process in processes] == [0, 0, 0]
    with store.read() as tx:
        chain = tx.incidents.timeline("i")
    assert len(chain) == 75
    assert broken_at(chain) is None
