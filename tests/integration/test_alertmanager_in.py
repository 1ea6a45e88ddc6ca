"""A real Alertmanager's web hook opens, pages and ends incidents here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.alertmanager.build import build_hooks
from monitor.alertmanager.sync import AlertSync
from monitor.config.secret import Secret
from monitor.config.settings import Configured, Settings, resolve
from monitor.http import app as http
from monitor.inbound.hooks import Answer, Hook, hooks_app
from monitor.incidents.model import Incident, Origin
from monitor.metrics import Metrics
from monitor.notify.alertmanager_settings import AlertmanagerSettings, Receive
from monitor.notify.channel import Kind
from monitor.paging import Pager
from monitor.store.store import Store, StoreUnavailable
from runbooks.durations import Duration
from tests.making import minutes
from tests.servers.alertmanager_server import (
    AlertmanagerServer,
    alertmanager_or_skip,
    to_hook,
    until,
)

TOKEN = "hook-token-1234567890"


@dataclass
class Front:
    """Our side: the hooks served on a TCP address, and the store behind them."""

    store: Store
    configured: Configured
    metrics: Metrics
    url: str

    def incidents(self) -> list[Incident]:
        """Those that Alertmanager opened."""
        with self.store.read() as tx:
            found = tx.incidents.search()
        return [one for one in found if one.origin is Origin.ALERTMANAGER]

    def pages(self, incident: Incident) -> list[Kind]:
        """What its receivers are told, in order."""
        with self.store.read() as tx:
            return [queued.message.kind for queued in tx.outbox.of_incident(incident.uuid)]

    def kinds(self, incident: Incident) -> list[str]:
        """Kinds on its timeline, in order."""
        with self.store.read() as tx:
            return [item.entry.kind for item in tx.incidents.timeline(incident.uuid)]


def real_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class Moody:
    """A hook whose store does not answer the first times."""

    def __init__(self, hook: Hook, failures: int) -> None:
        self._hook = hook
        self.left = failures

    def __call__(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Answer:
        if self.left:
            self.left -= 1
            raise StoreUnavailable("locked")
        return self._hook(body, headers, now)


def fronted(tmp_path: Path, failures: int = 0) -> Iterator[Front]:
    """The hooks served, after this many failures."""
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    receive = Receive(token=Secret(file=str(secret)), labels={"environment": ("prod",)})
    url = f"sqlite:///{tmp_path / 'x.db'}"
    given = AlertmanagerSettings(receive=receive)
    configured = resolve(Settings(store=url, alertmanager=given, http="127.0.0.1:0"))
    store, metrics = Store(url), Metrics()
    hooks = {
        name: Moody(hook, failures)
        for name, hook in build_hooks(
            store, lambda: configured, metrics, Pager(configured.policy)
        ).items()
    }
    listener = http.listen_tcp("127.0.0.1:0")
    served = http.Server(hooks_app(hooks, real_now, metrics), listener)
    served.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/alertmanager"
    yield Front(store, configured, metrics, address)
    served.close()
    store.close()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """Our side."""
    yield from fronted(tmp_path)


@pytest.fixture
def moody_front(tmp_path: Path) -> Iterator[Front]:
    """Our side, with a store that does not answer the first two times."""
    yield from fronted(tmp_path, failures=2)


def prometheus(name: str, *, ended: bool = False, **labels: str) -> dict[str, Any]:
    """An alert as Prometheus posts it."""
    now = real_now()
    ends = now - timedelta(seconds=1) if ended else now + minutes(5)
    return {
        "labels": {"alertname": name, "severity": "critical", "environment": "prod", **labels},
        "annotations": {"summary": f"{name} is bad"},
        "startsAt": BEGAN.isoformat(),
        "endsAt": ends.isoformat(),
    }


BEGAN = real_now() - minutes(3)


def reported(server: AlertmanagerServer, front: Front) -> Incident:
    """Alertmanager has one alert, and we have its incident."""
    server.post(prometheus("HighErrors", pod="a"))
    assert until(front.incidents)
    (opened,) = front.incidents()
    return opened


def test_an_alert_opens_an_incident_that_ends_with_it(front: Front) -> None:
    """Firing pages, a second alert of the group joins, and the end of all is 'signal normal'."""
    with alertmanager_or_skip(to_hook(front.url, token=TOKEN)) as server:
        opened = reported(server, front)
        assert opened.title == "HighErrors is bad"
        assert opened.severity == "SEV2"
        assert opened.dimensions == {"environment": "prod"}
        assert abs(opened.detected_at - BEGAN) < timedelta(seconds=1)
        assert opened.paged_at is not None
        assert front.pages(opened) == [Kind.TRIGGER]
        server.post(prometheus("HighErrors", pod="b"))
        assert until(lambda: "ALERT" in front.kinds(opened))
        assert len(front.incidents()) == 1
        server.post(prometheus("HighErrors", pod="a", ended=True))
        assert until(lambda: "CLEAR" in front.kinds(opened))
        assert front.incidents()[0].normal_at is None
        server.post(prometheus("HighErrors", pod="b", ended=True))
        assert until(lambda: front.incidents()[0].normal_at is not None)
    assert front.incidents()[0].is_open
    assert front.kinds(opened)[-1] == "NORMAL"
    assert front.pages(opened)[-1] is Kind.RESOLVE


def test_what_could_not_be_written_comes_again(moody_front: Front) -> None:
    """503 while the store does not answer: Alertmanager repeats until it does."""
    with alertmanager_or_skip(to_hook(moody_front.url, token=TOKEN)) as server:
        reported(server, moody_front)
    calls = moody_front.metrics.registry.get_sample_value
    name = "tocsin_hook_calls_total"
    assert until(lambda: calls(name, {"hook": "alertmanager", "status": "200"}) == 1)
    assert calls(name, {"hook": "alertmanager", "status": "503"}) == 2


def test_what_we_sent_does_not_come_back(front: Front) -> None:
    """Our alerts, routed by Alertmanager to our own hook, open nothing; others beside them do."""
    with front.store.write() as tx:
        declared = Incident(
            uuid="d" * 32,
            number=1,
            title="something odd",
            severity="SEV1",
            origin=Origin.DECLARED,
            detected_at=real_now(),
        )
        tx.incidents.save(declared)
    with alertmanager_or_skip(to_hook(front.url, token=TOKEN)) as server:
        out = AlertmanagerSettings(urls=(server.url,), every=Duration(seconds=1))
        sync = AlertSync(front.store, lambda: Settings(alertmanager=out), Metrics())
        assert until(lambda: (sync.step(real_now()), server.alerts())[1])
        sync.close()
        calls = front.metrics.registry.get_sample_value
        taken = {"hook": "alertmanager", "status": "200"}
        assert until(lambda: calls("tocsin_hook_calls_total", taken))
        assert front.incidents() == []
        reported(server, front)


def test_a_wrong_token_is_refused(front: Front) -> None:
    """A caller that does not know the token gets 401 and opens nothing."""
    with alertmanager_or_skip(to_hook(front.url, token="wrong-token")) as server:
        server.post(prometheus("HighErrors"))
        calls = front.metrics.registry.get_sample_value
        refused = {"hook": "alertmanager", "status": "401"}
        assert until(lambda: calls("tocsin_hook_calls_total", refused))
    assert front.incidents() == []
