"""Several processes that deliver from one PostgreSQL: shared out, taken over, fenced."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitor import deliver as delivery
from monitor.config.settings import Settings, resolve
from monitor.deliver import Deliver
from monitor.metrics import Metrics
from monitor.notify.channel import Kind, Message, Outcome, Retry, Sent
from monitor.paging import Pager
from monitor.store import tables as t
from monitor.store.store import Store
from tests.making import incident

DEADLINE_S = 60.0
POLICY = resolve(Settings()).policy


class Phone:
    """A channel that remembers what it took, and may keep who sends waiting."""

    kind = "log"

    def __init__(self, name: str, taken: list[tuple[str, str]], gate: threading.Event) -> None:
        self.name = name
        self.taken = taken
        self.gate = gate
        self.answer: Outcome = Sent({})

    def send(self, message: Message, now: datetime) -> Outcome:
        self.taken.append((message.dedup_key, message.id))
        assert self.gate.wait(DEADLINE_S)
        return self.answer

    def close(self) -> None:
        """Nothing is held."""


class Machine:
    """One machine that delivers, with a clock of its own."""

    def __init__(self, url: str, taken: list[tuple[str, str]], *, owner: str = "") -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.off = timedelta()
        self.store = Store(url)
        self.phones = {name: Phone(name, taken, self.gate) for name in ("r0", "r1")}
        pager, metrics = Pager(POLICY), Metrics()
        self.deliver = Deliver(self.store, self.phones, pager, metrics, self.now, owner=owner)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.off

    def step(self) -> int:
        return self.deliver.step(self.now())

    def counts(self) -> dict[str, int]:
        with self.store.read() as tx:
            return tx.outbox.counts()

    def close(self) -> None:
        self.gate.set()
        self.deliver.close()
        self.store.close()


@pytest.fixture
def taken() -> list[tuple[str, str]]:
    """(incident, page) in the order in which they were sent."""
    return []


@pytest.fixture
def machine(
    postgres_store_url: str, taken: list[tuple[str, str]]
) -> Iterator[Callable[..., Machine]]:
    """Another machine on the same store."""
    made: list[Machine] = []

    def another(**options: str) -> Machine:
        made.append(Machine(postgres_store_url, taken, **options))
        return made[-1]

    yield another
    for each in made:
        each.close()


def queue(store: Store, pages: int, incidents: int) -> None:
    """Pages of several incidents, in the order of their keys."""
    with store.write() as tx:
        for number in range(incidents):
            tx.incidents.save(replace(incident(), uuid=f"i{number}", number=number))
        for number in range(pages):
            of = f"i{number % incidents}"
            page = Message(f"{number:03}", Kind.TRIGGER, of, "INC-1", "SEV2", "triage", "t", ())
            tx.outbox.put(of, f"r{number % 2}", page, datetime.now(UTC))


def until(condition: Callable[[], bool], step: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        step()
        time.sleep(0.02)


def end_leases(store: Store) -> None:
    """Time passes: nobody who delivers has been heard of."""
    with store.write() as tx:
        past = datetime.now(UTC) - timedelta(minutes=1)
        tx._c.execute(t.leases.update().values(until=past))


def test_machines_share_the_pages_out(
    machine: Callable[..., Machine], taken: list[tuple[str, str]]
) -> None:
    """Three machines whose clocks are hours apart send each page once, an incident's in order."""
    machines = [machine(), machine(), machine()]
    machines[0].off, machines[1].off = timedelta(hours=-1), timedelta(hours=1)
    queue(machines[0].store, pages=48, incidents=6)
    until(
        lambda: machines[0].counts() == {"sent": 48},
        lambda: [each.step() for each in machines],
    )
    assert max(Counter(taken).values()) == 1
    for number in range(6):
        keys = [key for of, key in taken if of == f"i{number}"]
        assert keys == sorted(keys)


def test_a_start_leaves_alone_what_living_machines_send(
    machine: Callable[..., Machine], taken: list[tuple[str, str]]
) -> None:
    """A machine that joins does not send again what another is about to send."""
    first = machine()
    queue(first.store, pages=1, incidents=1)
    first.gate.clear()
    assert first.step() == 1
    second = machine()
    assert second.step() == 0
    first.gate.set()
    until(lambda: first.counts() == {"sent": 1}, first.step)
    assert taken == [("i0", "000")]


def test_what_a_machine_held_that_is_gone_is_sent_by_another(
    machine: Callable[..., Machine], taken: list[tuple[str, str]]
) -> None:
    """Its lease has run out: the page rings again under the same key, and is recorded once."""
    first, second = machine(), machine()
    queue(first.store, pages=1, incidents=1)
    first.gate.clear()
    assert first.step() == 1
    end_leases(second.store)
    until(lambda: second.counts() == {"sent": 1}, second.step)
    assert taken == [("i0", "000"), ("i0", "000")]
    first.gate.set()
    first.deliver.settle()
    with second.store.read() as tx:
        told = [item.entry.kind for item in tx.incidents.timeline("i0")]
    assert told == ["SENT"]


def test_a_restart_under_the_same_name_sends_at_once(machine: Callable[..., Machine]) -> None:
    """A process that comes back need not wait for its own lease to run out."""
    first = machine(owner="host-a")
    queue(first.store, pages=1, incidents=1)
    first.gate.clear()
    assert first.step() == 1
    again = machine(owner="host-a")
    assert again.step() == 1
    until(lambda: again.counts() == {"sent": 1}, again.step)


def test_an_end_in_order_lets_go(machine: Callable[..., Machine]) -> None:
    """After it no lease runs."""
    first = machine()
    first.step()
    with first.store.write() as tx:
        assert len(tx.leases.living(delivery.JOB, first.now())) == 1
    first.deliver.close()
    with first.store.write() as tx:
        assert tx.leases.living(delivery.JOB, first.now()) == []


def test_a_page_that_waited_is_looked_at_before_it_is_sent(
    machine: Callable[..., Machine],
    taken: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind a slow page in a machine that was thought gone: what another has sent is not sent."""
    monkeypatch.setattr(delivery, "SURE_S", 0.0)
    first, second = machine(), machine()
    queue(first.store, pages=6, incidents=6)
    first.gate.clear()
    assert first.step() == 6
    until(lambda: len(taken) == 2, lambda: None)
    end_leases(second.store)
    until(lambda: second.counts() == {"sent": 6}, second.step)
    first.gate.set()
    first.deliver.settle()
    # The two that the first had begun with rang twice, the others once.
    assert sorted(Counter(taken).values()) == [1, 1, 1, 1, 2, 2]


def test_deaths_of_senders_make_no_page_wait(
    machine: Callable[..., Machine], taken: list[tuple[str, str]]
) -> None:
    """After nine senders that did not survive it, a refusal is the page's first: the next try
    comes after a second, not after four minutes."""
    last = machine(owner="last")
    queue(last.store, 1, 1)
    for number in range(9):
        with last.store.write() as tx:
            assert tx.outbox.claim(f"dead-{number}", last.now())
            assert tx.outbox.release({"last"}, last.now()) == 1
    last.phones["r0"].answer = Retry("503")
    until(lambda: bool(taken), last.step)
    last.phones["r0"].answer = Sent({})
    began = time.monotonic()
    until(lambda: last.counts().get("sent") == 1, last.step)
    assert time.monotonic() - began < 30
    assert len(taken) == 2
