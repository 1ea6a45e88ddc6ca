"""Tokens, the audit of refusals and the limits: decided without a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.audit import Auditor
from monitor.desk.desk import Desk
from monitor.desk.http import desk_app
from monitor.desk.limits import Buckets, address_key
from monitor.desk.methods import COMMANDS, METHODS
from monitor.desk.port import DeskPort
from monitor.desk.token_form import PATTERN, id_of
from monitor.desk.tokens import digest, judge, mint, name_problem
from monitor.http.server import Server
from monitor.http.unix import listen_unix
from monitor.metrics import Metrics
from monitor.store.audit_rows import Audited
from monitor.store.store import Store
from monitor.store.token_rows import Token
from monitor.views import DeskError, Principal
from tests.making import T0, minutes
from tui.desk_client import SocketDesk


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


def token(text: str, **fields: object) -> Token:
    """Its row, good for an hour from T0."""
    made = Token(id_of(text) or "", digest(text), "ada", "reader", "root", T0, T0 + minutes(60))
    return replace(made, **fields)  # type: ignore[arg-type] # a test's own fields


def test_a_token_is_random_and_has_its_form() -> None:
    """256 bits, a prefix for scanners, an id, and a repr without its text."""
    made = [mint() for _ in range(200)]
    assert len({one.text for one in made}) == len({one.id for one in made}) == 200
    for one in made:
        assert re.fullmatch(PATTERN, one.text)
        assert (id_of(one.text), digest(one.text)) == (one.id, one.digest)
        assert one.text not in repr(one)
        assert one.digest not in one.text


def test_a_token_is_judged() -> None:
    """Good to the second of its end; its fate is told to its holder only."""
    one, other = mint().text, mint().text
    row = token(one)
    assert judge(one, row, T0) == "ok"
    assert judge(one, row, T0 + minutes(60) - timedelta(microseconds=1)) == "ok"
    assert judge(one, row, T0 + minutes(60)) == "expired"
    assert judge(one, token(one, revoked_at=T0), T0 + minutes(90)) == "revoked"
    assert judge(other, token(one, revoked_at=T0), T0) == "unknown"
    assert judge(one, None, T0) == "unknown"
    assert judge("", None, T0) == "unknown"


@given(st.text(max_size=80))
def test_nothing_else_is_a_token(text: str) -> None:
    """Random text has no id, and opens no row."""
    assert id_of(text) is None
    assert judge(text, token(mint().text), T0) == "unknown"


@pytest.mark.parametrize("name", ["ada", "ci-release", "a.b@example.com", "_svc", "7"])
def test_good_names(name: str) -> None:
    """People, programs and addresses."""
    assert name_problem(name) == ""


@pytest.mark.parametrize(
    "name", ["", "Ada", "a b", "-x", "é", "detector", "tocsin", "a\n", "x" * 64]
)
def test_bad_names(name: str) -> None:
    """Nothing that the timeline could take for somebody else or that a terminal could not show."""
    assert name_problem(name)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=200),
    st.floats(0.1, 10),
    st.integers(1, 20),
)
def test_a_bucket_never_gives_more_than_it_may(
    asks: list[tuple[str, float]], per_s: float, burst: int
) -> None:
    """Over any span a key takes at most the burst and what was gained; a wait that is kept ends."""
    buckets, at = Buckets(per_s=per_s, burst=burst), 0.0
    taken = {"a": 0, "b": 0, "c": 0}
    for key, pause in asks:
        at += pause
        wait = buckets.take(key, at)
        if wait:
            assert 0 < wait <= 1 / per_s + 1e-9
            at += wait + 1e-9 * max(1.0, at)
            assert buckets.take(key, at + 1e-6) == 0.0
        taken[key] += 1
        assert taken[key] <= burst + at * per_s + 1 + 1e-3


def test_buckets_are_bounded() -> None:
    """However many keys ask, memory does not grow; the newest are kept."""
    buckets = Buckets(per_s=1, burst=1, keys=100)
    for n in range(10_000):
        assert buckets.take(str(n), 0.0) == 0.0
    assert len(buckets) == 100
    assert buckets.take("9999", 0.0) > 0


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    """No token is gained without time."""
    buckets = Buckets(per_s=1, burst=2)
    assert [buckets.take("a", at) == 0.0 for at in (5.0, 5.0, 5.0, 1.0, 5.5, 6.5)] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_an_address_counts_by_its_net() -> None:
    """One machine has a whole /64 of IPv6."""
    assert address_key("192.0.2.7") == "192.0.2.7"
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff:1") == "2001:db8::/64"
    assert address_key("fe80::1%eth0") == "fe80::/64"
    assert address_key("::ffff:192.0.2.7") == "192.0.2.7"
    assert address_key("nonsense") == "unknown"


def test_the_audit_is_bounded(store: Store) -> None:
    """A flood writes a burst, then what is gained; what is left out is counted in a later line."""
    seconds, metrics = [0.0], Metrics()
    audit = Auditor(store, metrics, now=lambda: T0, seconds=lambda: seconds[0], a_day=60)

    def lines() -> list[Audited]:
        with store.read() as tx:
            return tx.audit.newest(1000)

    for _ in range(1000):
        audit.refused("tls", "tls 192.0.2.7", "-", "-", "unknown")
    assert len(lines()) == 20
    for n in range(1000):
        audit.refused("tls", f"tls 198.51.100.{n % 100}", "-", "-", "unknown")
    assert len(lines()) == 60
    audit.refused("tls", "tls 192.0.2.7", "ada", "resolve", "expired", "token a2b3c4d5")
    last = lines()[0]
    assert (last.who, last.action, last.outcome) == ("ada", "resolve", "expired")
    assert last.detail == "token a2b3c4d5; 960 refusals before this one were not written down"
    seconds[0] = 86_400.0
    for n in range(1000):
        audit.refused("tls", f"tls 203.0.113.{n % 250}", "-", "-", "unknown")
    assert len(lines()) == 121
    metric = next(iter(metrics.desk_refusals.labels("tls", "unknown").collect()))
    assert metric.samples[0].value == 3000


def test_a_store_that_does_not_answer_stops_no_refusal(tmp_path: Path) -> None:
    """The line is counted as left out; whoever was refused stays refused."""
    away = Store(f"sqlite:///{tmp_path / 'away.db'}")
    audit = Auditor(away, now=lambda: T0)
    with away.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    audit.refused("tls", "tls 192.0.2.7", "-", "-", "unknown")
    with away.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit")
    audit.refused("tls", "tls 192.0.2.7", "-", "-", "unknown")
    with away.read() as tx:
        (line,) = tx.audit.newest(10)
    assert line.detail == "1 refusals before this one were not written down"
    away.close()


def test_tokens_that_ended_long_ago_are_forgotten(store: Store) -> None:
    """Ninety days after their end, when a new one is made."""
    old, revoked, new = (mint().text for _ in range(3))
    with store.write() as tx:
        tx.tokens.add(token(old))
        tx.tokens.add(token(revoked, expires_at=T0 + timedelta(days=300)))
        assert tx.tokens.revoke(id_of(revoked) or "", T0)
        assert not tx.tokens.revoke(id_of(revoked) or "", T0)
        tx.tokens.add(token(new, created_at=T0 + timedelta(days=89)))
        assert len(tx.tokens.all()) == 3
        tx.tokens.add(token(mint().text, created_at=T0 + timedelta(days=91)))
        assert id_of(old) not in {row.id for row in tx.tokens.all()}
        assert id_of(revoked) not in {row.id for row in tx.tokens.all()}


def desk(store: Store, who: Principal) -> Desk:
    return Desk(store, resolve(Settings()), Shelf(), who, lambda: T0)


ASKS: tuple[Callable[[DeskPort], object], ...] = (
    lambda one: one.tokens(),
    lambda one: one.audit(),
    lambda one: one.create_token(name="jo"),
    lambda one: one.revoke_token("a2b3c4d5"),
)


def test_only_an_admin_handles_tokens(store: Store) -> None:
    """On the socket and without a daemon; what was done is in the audit with who did it."""
    for who in (Principal(name="r", role="reader"), Principal(name="s", role="responder")):
        for ask in ASKS:
            with pytest.raises(DeskError, match="is no admin"):
                ask(desk(store, who))
    admin = desk(store, Principal(name="root", role="admin", via="direct"))
    made = admin.create_token(name="jo", role="admin", seconds=60)
    assert re.fullmatch(PATTERN, made.token)
    assert [(row.name, row.state, row.created_by) for row in admin.tokens()] == [
        ("jo", "live", "root")
    ]
    admin.revoke_token(made.id)
    assert admin.tokens()[0].state == "revoked"
    assert [(row.who, row.via, row.action) for row in admin.audit()] == [
        ("root", "direct", "revoke_token"),
        ("root", "direct", "create_token"),
    ]
    for seconds in (0, 59, 366 * 86_400):
        with pytest.raises(DeskError, match="a minute to a year"):
            admin.create_token(name="jo", seconds=seconds)


def test_commands_are_what_is_answered_with_what_was_done() -> None:
    """The client repeats the others only, and the doors pace them apart."""
    assert {"acknowledge", "create_token", "resolve", "step"} <= COMMANDS < set(METHODS)
    assert not {"whoami", "overview", "audit", "review", "runbook_text"} & COMMANDS


def test_a_forbidden_command_on_the_socket_is_audited(store: Store, tmp_path: Path) -> None:
    """With the local user, the door and the command; other errors are not."""
    metrics = Metrics()
    audit = Auditor(store, metrics, now=lambda: T0)

    def desk_for(name: str, _uid: int) -> Desk:
        return desk(store, Principal(name=name, role="reader"))

    path = tmp_path / "s"
    server = Server(desk_app(desk_for, audit), listen_unix(path), peers=True)
    server.start()
    try:
        client = SocketDesk(path)
        with pytest.raises(DeskError, match="may only read"):
            client.acknowledge("7")
        with pytest.raises(DeskError, match="no incident"):
            client.incident("7")
        name = client.whoami().name
    finally:
        server.close()
    with store.read() as tx:
        (line,) = tx.audit.newest(10)
    assert (line.who, line.via, line.action) == (name, "socket", "acknowledge")
    assert line.outcome == "forbidden"
    said = metrics.render().decode()
    assert 'tocsin_desk_refusals_total{door="socket",reason="forbidden"} 1.0' in said
    assert 'tocsin_desk_requests_total{door="socket",kind="command"} 1.0' in said
