"""Keeping Alertmanagers in step when clocks, stores and peers misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alertmanager.standing import read
from monitor.alertmanager.sync import AlertSync
from monitor.config.secret import Secret
from monitor.config.settings import Settings, load
from monitor.http_client import HttpClient
from monitor.incidents.model import State
from monitor.metrics import Metrics
from monitor.notify.alertmanager import (
    BATCH,
    BATCH_BYTES,
    PATIENCE_S,
    Peer,
    Posted,
    batches,
    label_set,
)
from monitor.notify.alertmanager_settings import AlertmanagerSettings, Basic, Receive
from monitor.notify.loopback.server import Answer, LoopbackServer, Request
from monitor.store.store import Store, StoreUnavailable
from runbooks.durations import Duration
from runbooks.problems import Problems
from tests.making import T0, alert, incident, minutes
from tests.statements import asked


class Picky:
    """Speaks as Alertmanager does, and refuses alerts of one name."""

    def __init__(self, refuses: str = "", status: int = 200) -> None:
        self.refuses = refuses
        self.status = status
        self.batches: list[list[dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        if self.status != 200:
            return Answer(self.status, b'"so it is"')
        if request.method == "GET":
            return Answer(200, b"OK")
        alerts = json.loads(request.body)
        with self._lock:
            self.batches.append(alerts)
            self.headers.append(dict(request.headers))
        if any(one["labels"]["alertname"] == self.refuses for one in alerts):
            return Answer(400, b'"invalid label set"')
        return Answer(200)

    @property
    def names(self) -> list[str]:
        """Names of all alerts that came, in order."""
        return [one["labels"]["alertname"] for batch in self.batches for one in batch]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Refusals fire in one incident; a never-event is another."""
    made = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with made.write() as tx:
        tx.incidents.save(incident())
        tx.incidents.save_alert(alert(incident=incident().uuid))
        never = replace(incident(), uuid="2" * 32, number=8, signal="denied_tool_ran")
        tx.incidents.save(never)
    yield made
    made.close()


def sync_of(store: Store, *urls: str, metrics: Metrics | None = None, **more: Any) -> AlertSync:
    """The loop with these peers, a round a minute."""
    given = AlertmanagerSettings(urls=urls, **more)
    return AlertSync(store, lambda: Settings(alertmanager=given), metrics or Metrics())


def ends(alerts: list[dict[str, Any]]) -> set[datetime]:
    """The leases of a batch."""
    return {datetime.fromisoformat(one["endsAt"]) for one in alerts}


def test_a_round_a_minute_and_changes_at_once(store: Store) -> None:
    """Between rounds only what has changed is sent; each round sends all with a new lease."""
    with LoopbackServer(picky := Picky()) as server:
        sync = sync_of(store, server.url)
        assert sync.step(T0)
        assert not sync.step(T0 + minutes(0.1))
        with store.write() as tx:
            search = {"environment": "prod", "feature": "search"}
            tx.incidents.save_alert(alert(incident=incident().uuid, dimensions=search))
            tx.touch()
        assert sync.step(T0 + minutes(0.2))
        assert sync.step(T0 + minutes(1))
        sync.close()
    assert [len(batch) for batch in picky.batches] == [2, 1, 3]
    assert ends(picky.batches[0]) == {T0 + minutes(4)}
    assert ends(picky.batches[2]) == {T0 + minutes(5)}


def test_an_end_is_said_for_five_minutes(store: Store) -> None:
    """An alert that cleared is sent with its end in every round of five minutes, then no more."""
    with LoopbackServer(picky := Picky()) as server:
        sync = sync_of(store, server.url)
        sync.step(T0)
        with store.write() as tx:
            (one,) = tx.incidents.firing().values()
            tx.incidents.save_alert(replace(one, cleared_at=T0 + minutes(1)))
            tx.touch()
        for minute in range(1, 20):
            sync.step(T0 + minutes(minute))
        sync.close()
    said = [
        one["endsAt"]
        for batch in picky.batches[1:]
        for one in batch
        if one["labels"]["alertname"] == "TocsinRefusalRate"
    ]
    assert set(said) == {"2026-11-16T09:01:00.000Z"}
    assert 5 <= len(said) <= 6


def test_a_refused_alert_is_told_once_and_left_alone(store: Store) -> None:
    """The offender is counted and on its incident's timeline; the other alert goes through."""
    metrics = Metrics()
    with LoopbackServer(picky := Picky("TocsinRefusalRate")) as server:
        sync = sync_of(store, server.url, metrics=metrics)
        for minute in range(1, 150):
            sync.step(T0 + minutes(minute))
        assert sync.health().state == "ok"
        sync.close()
    with store.read() as tx:
        kinds = [item.entry.kind for item in tx.incidents.timeline(incident().uuid)]
    assert kinds == ["REFUSED"]
    counted = metrics.registry.get_sample_value("tocsin_alertmanager_refused_total")
    assert counted == 3  # now, after an hour, after two
    assert picky.names.count("TocsinDeniedToolRan") >= 149


def test_a_peer_that_refuses_everything_is_not_asked_to_death(store: Store) -> None:
    """401, 404 and 500 stop at the first batch, are said, and are tried again with back-off."""
    for status in (401, 404, 500):
        metrics = Metrics()
        with LoopbackServer(Picky(status=status)) as server:
            sync = sync_of(store, server.url, metrics=metrics)
            for second in range(60):
                sync.step(T0 + minutes(second / 60))
            health = sync.health()
            sync.close()
        assert health.state == "bad"
        assert f"it answers {status}" in health.text
        up = metrics.registry.get_sample_value("tocsin_alertmanager_peer_up", {"peer": server.url})
        assert up == 0


def test_leases_are_renewed_while_the_store_is_away(tmp_path: Path, store: Store) -> None:
    """Blind is not well: what fired stays alive at the peers while the database is down."""
    with LoopbackServer(picky := Picky()) as server:
        sync = sync_of(store, server.url)
        sync.step(T0)
        store.engine.dispose()
        (tmp_path / "x.db").rename(tmp_path / "away.db")
        (tmp_path / "x.db").write_bytes(
            b"this is no database, and long enough to look like one" * 9
        )
        with pytest.raises(StoreUnavailable):
            sync.step(T0 + minutes(1))
        store.engine.dispose()
        (tmp_path / "away.db").rename(tmp_path / "x.db")
        assert sync.step(T0 + minutes(2))
        sync.close()
    assert [len(batch) for batch in picky.batches] == [2, 2, 2]
    assert ends(picky.batches[1]) == {T0 + minutes(5)}


def test_a_clock_that_is_put_back_stops_nothing(store: Store) -> None:
    """An hour back: the next step sends at once instead of an hour later."""
    with LoopbackServer(picky := Picky()) as server:
        sync = sync_of(store, server.url)
        sync.step(T0)
        assert sync.step(T0 - minutes(60))
        sync.close()
    assert [len(batch) for batch in picky.batches] == [2, 2]


def test_what_stands_is_read_in_few_statements(store: Store) -> None:
    """A hundred never-events cost no more statements than one, nor do alerts of old incidents."""
    with asked(store) as few, store.read() as tx:
        before = read(tx, T0)
    over = replace(incident(), state=State.RESOLVED, resolved_at=T0 - minutes(600))
    with store.write() as tx:
        for number in range(100, 200):
            tx.incidents.add(replace(over, uuid=f"a{number}", number=number, state=State.ACTIVE))
            tx.incidents.add(replace(over, uuid=f"b{number}", number=1000 + number))
            fires = alert(incident=f"b{number}", dimensions={"feature": f"{number}"})
            tx.incidents.save_alert(fires)
    with asked(store) as many, store.read() as tx:
        rows = read(tx, T0)
    assert many.statements == few.statements
    assert [one.number for one in before.bare] == [8]
    assert [one.number for one in rows.bare] == [8, *range(100, 200)]
    assert len(rows.incidents) == len(rows.alerts) == 101


class Unhurried(Picky):
    """Takes what comes, and most of a push's time goes by with each batch."""

    seconds = 0.0
    """Of the steady clock."""

    def answer(self, request: Request) -> Answer:
        self.seconds += 0.6 * PATIENCE_S
        return super().answer(request)

    def heard(self) -> list[str]:
        """Features, in order; those so far are forgotten."""
        found = [one["labels"].get("feature", "") for batch in self.batches for one in batch]
        self.batches.clear()
        return found


def test_a_slow_peer_hears_of_everything_in_some_pushes(store: Store) -> None:
    """Each push begins with what it has not taken yet, then with what it took longest ago."""
    features = {f"f{number}" for number in range(1000)}
    with store.write() as tx:
        for name in features:
            where = {"environment": "prod", "feature": name}
            tx.incidents.save_alert(alert(incident=incident().uuid, dimensions=where))
    with LoopbackServer(slow := Unhurried()) as server:
        given = AlertmanagerSettings(urls=(server.url,))
        peer = Peer(server.url, given, HttpClient(), steady=lambda: slow.seconds)
        sync = AlertSync(store, lambda: Settings(alertmanager=given), Metrics(), peers=[peer])
        pushes = []
        for minute in range(14):
            assert sync.step(T0 - minutes(minute))  # a clock that is put back changes no turn
            pushes.append(slow.heard())
        assert sync.health().text.endswith("it takes too long: the rest waits")
        sync.close()
    assert all(0 < len(push) < 400 for push in pushes)
    for turn in (pushes[:7], pushes[7:]):
        assert features <= {name for push in turn for name in push}


def test_with_nothing_to_say_a_peer_is_asked_whether_it_is_there(tmp_path: Path) -> None:
    """The gauge is true without an alert too."""
    store, metrics = Store(f"sqlite:///{tmp_path / 'y.db'}"), Metrics()
    picky = Picky()
    with LoopbackServer(picky) as one, LoopbackServer(Picky(status=503)) as two:
        sync = sync_of(store, one.url, two.url, metrics=metrics)
        sync.step(T0)
        sync.close()
    value = metrics.registry.get_sample_value
    assert value("tocsin_alertmanager_peer_up", {"peer": one.url}) == 1
    assert value("tocsin_alertmanager_peer_up", {"peer": two.url}) == 0
    assert picky.batches == []
    store.close()


def test_who_we_are_is_shown_to_the_peer(tmp_path: Path, store: Store) -> None:
    """Token or password, and headers, come from secrets that are read again at each push."""
    (tmp_path / "s").write_text("first")
    secret = Secret(file=str(tmp_path / "s"))
    basic = Basic(user="tocsin", password=secret)
    with LoopbackServer(picky := Picky()) as server:
        for given in ({"token": secret}, {"basic": basic, "headers": {"X-Scope-OrgID": secret}}):
            sync = sync_of(store, server.url, **given)
            sync.step(T0)
            sync.close()
        (tmp_path / "s").unlink()
        sync = sync_of(store, server.url, token=secret)
        sync.step(T0)
        assert "cannot read the secret" in sync.health().text
        sync.close()
    shown = [headers["authorization"] for headers in picky.headers]
    assert shown == ["Bearer first", "Basic dG9jc2luOmZpcnN0"]
    assert picky.headers[1]["x-scope-orgid"] == "first"


def test_two_paths_of_one_address_are_two_peers(store: Store) -> None:
    """Metrics and health tell them apart, and show no path."""
    with LoopbackServer(Picky(status=503)) as server:
        sync = sync_of(store, f"{server.url}/secret-a", f"{server.url}/secret-b")
        sync.step(T0)
        text = sync.health().text
        sync.close()
    assert f"{server.url}#2" in text
    assert "secret" not in text


@given(st.lists(st.integers(0, 3000), max_size=500))
def test_batches_hold_everything_once_and_are_bounded(sizes: list[int]) -> None:
    """Every alert is in exactly one batch, in order; no batch is over a bound but a lone giant."""
    one = Posted(labels={"alertname": "x"}, annotations={}, starts_at=T0)
    encoded = [(one, b"x" * size) for size in sizes]
    made = list(batches(encoded))
    assert [pair for batch in made for pair in batch] == encoded
    assert all(0 < len(batch) <= BATCH for batch in made)
    limit = BATCH_BYTES + BATCH
    assert all(sum(len(body) for _, body in batch) <= limit for batch in made)


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=300), max_size=8))
def test_label_sets_are_what_every_server_takes(labels: dict[str, str]) -> None:
    """Whatever the labels: valid names, visible values that are UTF-8, none empty."""
    for name, value in label_set(labels).items():
        assert name.isascii()
        assert name.isidentifier()
        assert value
        assert value.encode()


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "urls to send to"),
    ({"urls": ("am:9093",)}, "https://"),
    ({"urls": ("http://am.example:9093",)}, "plain http"),
    ({"urls": ("https://a", "https://a/")}, "named twice"),
    ({"urls": ("https://a?x=1",)}, "no query"),
    ({"urls": ("https://a",), "labels": {"severity": "x"}}, "set by Tocsin"),
    ({"urls": ("https://a",), "labels": {"bad-label": "x"}}, "no name of a label"),
    ({"urls": ("https://a",), "headers": {"Authorization": Secret(env="X")}}, "no header"),
    ({"urls": ("https://a",), "every": Duration(minutes=11)}, "1s to 10m"),
    (
        {
            "urls": ("https://a",),
            "token": Secret(env="X"),
            "basic": Basic(user="u", password=Secret(env="X")),
        },
        "either",
    ),
)


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[said for _, said in WRONG])
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], said: str) -> None:
    """Each mistake is told in words."""
    with pytest.raises(ValueError, match=said):
        AlertmanagerSettings(**given)


def test_a_label_to_trust_cannot_be_one_of_ours() -> None:
    """Nobody outside sets what an incident is."""
    with pytest.raises(ValueError, match="set by Tocsin"):
        Receive(labels={"signal": ()})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alertmanager: {receive: {}}", "no address to listen on"),
        ("http: 0.0.0.0:9464\nalertmanager: {receive: {}}", "who may send alerts"),
        ("http: 127.0.0.1:9464\nalertmanager: {receive: {}}", ""),
        ("http: 0.0.0.0:9464\nalertmanager: {receive: {token: {env: X}}}", ""),
        (
            "http: '[::1]:9464'\nalertmanager: {receive: {labels: {team: [a]}}}\n"
            "paging: {route: {receivers: [log], matchers: ['team=\"a\"']}}",
            "",
        ),
    ],
)
def test_a_hook_needs_an_address_and_a_guard(tmp_path: Path, text: str, said: str) -> None:
    """`config check` says what would leave the hook closed, or open to anybody."""
    path = tmp_path / "tocsin.yaml"
    path.write_text(text)
    if not said:
        load(path)
        return
    with pytest.raises(Problems, match=said):
        load(path)
