"""Leases and claims of the store, on all kinds: one holder, one sender, whatever the clocks say."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from monitor.notify.channel import Kind, Message
from monitor.store import tables as t
from monitor.store.lease_rows import FORGOTTEN, Fenced, Lease
from monitor.store.outbox import LEASE
from monitor.store.store import Store, Tx
from tests.making import T0, minutes

Open = Callable[[], Store]
TTL = timedelta(seconds=10)
HOUR = timedelta(hours=1)


@pytest.fixture
def wall(store: Store) -> datetime:
    """Now, as leases of this store count it."""
    with store.read() as tx:
        return tx.leases.now(datetime.now(UTC))


def take(store: Store, holder: str, wall: datetime, **options: bool) -> Lease | None:
    """One holder takes the job."""
    with store.write() as tx:
        return tx.leases.take("decide", holder, TTL, wall, **options)


def run_out(store: Store, name: str = "decide") -> None:
    """Time passes until the lease is over."""
    with store.engine.begin() as connection:
        past = datetime.now(UTC) - minutes(1)
        connection.execute(t.leases.update().where(t.leases.c.name == name).values(until=past))


# -- leases -----------------------------------------------------------------------------------


def test_a_job_has_one_holder(store: Store, wall: datetime) -> None:
    """Who comes second is refused while the lease runs; the holder renews it under its epoch."""
    first = take(store, "a", wall)
    assert first is not None
    assert (first.epoch, first.until >= wall + TTL) == (1, True)
    assert take(store, "b", wall) is None
    again = take(store, "a", wall + timedelta(seconds=3))
    assert again is not None
    assert (again.epoch, again.since) == (1, first.since)
    assert again.until > first.until
    with store.read() as tx:
        assert tx.leases.all() == [again]


def test_a_lease_that_ran_out_is_taken_in_a_new_epoch(store: Store, wall: datetime) -> None:
    """The next holder has a higher epoch, and the old one cannot come back while it runs."""
    take(store, "a", wall)
    run_out(store)
    second = take(store, "b", wall)
    assert second is not None
    assert (second.holder, second.epoch) == ("b", 2)
    assert take(store, "a", wall) is None


def test_a_job_that_is_given_back_is_free_at_once(store: Store, wall: datetime) -> None:
    """Letting go ends the lease; letting go of what is another's changes nothing."""
    first = take(store, "a", wall)
    assert first is not None
    with store.write() as tx:
        tx.leases.let_go(first)
    second = take(store, "b", wall)
    assert second is not None
    with store.write() as tx:
        tx.leases.let_go(first)
        assert tx.leases.get("decide") == second


def test_who_is_sure_takes_a_running_lease(store: Store, wall: datetime) -> None:
    """Where the lock of the store says that no other lives, nobody waits for its lease to end."""
    take(store, "a", wall)
    second = take(store, "b", wall, sure=True)
    assert second is not None
    assert second.epoch == 2


class WrittenError(Exception):
    """The fenced holder went on."""


def test_a_holder_that_lost_its_job_writes_nothing(store: Store, wall: datetime) -> None:
    """The fence is looked at in the transaction of the work: what it wrote rolls back."""
    first = take(store, "a", wall)
    assert first is not None
    with store.write() as tx:
        tx.leases.must_hold(first)
        tx.touch()
    run_out(store)
    take(store, "b", wall)

    def work() -> None:
        with store.write() as tx:
            tx.touch()
            tx.leases.must_hold(first)
            raise WrittenError

    with pytest.raises(Fenced, match="now it is b since"):
        work()
    with store.read() as tx:
        assert tx.revision() == 1


def test_of_two_that_race_one_wins(open_store: Open, wall: datetime) -> None:
    """Two connections take the job at the same moment, many times: one has it, in one epoch."""
    stores = [open_store(), open_store()]
    got: dict[str, list[Lease]] = {f"job{number}": [] for number in range(20)}
    gate = threading.Barrier(2, timeout=60)

    def race(number: int) -> None:
        for job, winners in got.items():
            gate.wait()
            with stores[number].queue() as tx:
                lease = tx.leases.take(job, f"holder{number}", TTL, wall)
            if lease is not None:
                winners.append(lease)

    together(race, 2)
    assert [[lease.epoch for lease in winners] for winners in got.values()] == [[1]] * 20


def test_those_who_live_are_known(store: Store, wall: datetime) -> None:
    """Leases that run, by the beginning of their name; one that ended long ago is forgotten."""
    with store.write() as tx:
        for name in ("deliver:a", "deliver:b", "deliver:old", "decide"):
            tx.leases.take(name, f"holder of {name}", TTL, wall)
    run_out(store, "deliver:b")
    with store.engine.begin() as connection:
        past = wall - FORGOTTEN - HOUR
        old = t.leases.c.name == "deliver:old"
        connection.execute(t.leases.update().where(old).values(until=past))
    with store.write() as tx:
        assert [lease.name for lease in tx.leases.living("deliver:", wall)] == ["deliver:a"]
        assert [lease.name for lease in tx.leases.all()] == ["decide", "deliver:a", "deliver:b"]


# -- claims -----------------------------------------------------------------------------------


def put(tx: Tx, key: str, incident: str, receiver: str, at: datetime) -> None:
    """Queue a page."""
    page = Message(key, Kind.TRIGGER, "d", "INC-0007", "SEV2", "triage", "title", ("a", "b"))
    tx.outbox.put(incident, receiver, page, at)


def test_what_living_owners_hold_is_left_to_them(store: Store, wall: datetime) -> None:
    """Only pages whose owner is gone are due again; a page that waited is renewed by its owner."""
    with store.write() as tx:
        for number, owner in enumerate(("living", "gone", "me")):
            put(tx, owner, f"i{number}", "r", wall)
            assert len(tx.outbox.claim(owner, wall, limit=1, clock=wall)) == 1
        assert tx.outbox.release({"me", "living"}, wall) == 1
        (page,) = tx.outbox.claim("me", wall, clock=wall)
        assert page.message.id == "gone"
        later = wall + LEASE - timedelta(seconds=1)
        assert tx.outbox.hold(page, "me", later)
        assert not tx.outbox.hold(page, "gone", later)
        expired = wall + LEASE
        assert [p.message.id for p in tx.outbox.claim("b", expired)] == ["living", "me"]


def test_a_page_is_due_by_the_clock_that_is_ahead(store: Store, wall: datetime) -> None:
    """A machine whose clock is behind pages in time; leases run on the common clock alone."""
    with store.write() as tx:
        put(tx, "a", "i", "r", wall)
        (page,) = tx.outbox.claim("me", wall - HOUR, clock=wall)
        assert tx.outbox.claim("other", wall + HOUR, clock=wall) == []
        assert tx.outbox.sent(page, "me", {}, "", wall)


def test_each_page_is_claimed_once_and_in_order(open_store: Open, wall: datetime) -> None:
    """Four that claim at once share the pages out: none twice, an incident's in their order."""
    store = open_store()
    with store.write() as tx:
        for number in range(60):
            put(tx, f"{number:03}", f"i{number % 12}", f"r{number % 2}", wall)
    sent: list[tuple[str, str, str]] = []
    lock = threading.Lock()

    def deliver(number: int) -> None:
        ours, owner = open_store_of[number], f"owner{number}"
        while True:
            with ours.queue() as tx:
                pages = tx.outbox.claim(owner, wall, limit=3, clock=wall)
            for page in pages:
                with lock:
                    sent.append((page.incident, page.receiver, page.message.id))
                with ours.write() as tx:
                    assert tx.outbox.sent(page, owner, {}, "", wall)
            with ours.read() as tx:
                if tx.outbox.counts().get("sent") == 60:
                    return

    open_store_of = [open_store() for _ in range(4)]
    together(deliver, 4)
    assert max(Counter(key for _, _, key in sent).values()) == 1
    assert len(sent) == 60
    for queue in {(incident, receiver) for incident, receiver, _ in sent}:
        keys = [key for incident, receiver, key in sent if (incident, receiver) == queue]
        assert keys == sorted(keys)


def test_timeline_and_audit_are_append_only(store: Store, owner_url: str) -> None:
    """The database refuses to change what was written, for its owner too; the audit is a ring."""
    engine = sa.create_engine(owner_url)
    with engine.begin() as connection:
        connection.execute(
            t.timeline.insert().values(
                incident="i", seq=1, kind="NOTE", text="n", actor="ada", occurred_at=T0,
                recorded_at=T0, data="{}", previous="", digest="",
            )
        )  # fmt: skip
        connection.execute(
            t.audit.insert().values(
                at=T0, who="ada", via="tls", action="a", outcome="ok", detail=""
            )
        )
    statements: Iterable[sa.Executable] = [
        *(table.delete() for table in (t.timeline, t.audit)),
        t.timeline.update().values(text="other"),
        t.audit.update().values(who="eve"),
    ]
    for statement in statements:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(statement)
    with engine.begin() as connection:
        old = t.audit.insert().values(
            id=20_000, at=T0, who="ada", via="tls", action="a", outcome="ok", detail=""
        )
        connection.execute(old)
        assert connection.execute(t.audit.delete().where(t.audit.c.id < 10_000)).rowcount == 1
    engine.dispose()


def together(work: Callable[[int], None], count: int) -> None:
    """Run it in threads; what one of them raises is raised here."""
    problems: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as problem:  # noqa: BLE001 - raised again below
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if problems:
        raise problems[0]
