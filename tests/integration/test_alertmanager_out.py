"""What fires here is shown by a real Alertmanager, whatever dies on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from monitor.alertmanager.sync import AlertSync
from monitor.config.options import RunOptions
from monitor.config.preflight import preflight
from monitor.config.settings import Paging, Settings
from monitor.http import app as http
from monitor.http_client import HttpClient
from monitor.inbound.hooks import Answer, hooks_app
from monitor.incidents.model import Incident, Origin
from monitor.metrics import Metrics
from monitor.notify.alertmanager import Peer, Posted
from monitor.notify.alertmanager_settings import AlertmanagerSettings
from monitor.store.store import Store
from runbooks.durations import Duration
from tests.making import alert, incident, minutes
from tests.servers.alertmanager_server import (
    AlertmanagerServer,
    alertmanager_or_skip,
    pair,
    to_hook,
    until,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with_it = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield with_it
    with_it.close()


def real_now() -> datetime:
    """The time of this machine, which the server has too."""
    return datetime.now(UTC)


def settings(*urls: str, every_s: int = 1, **more: Any) -> Settings:
    """A configuration with these peers."""
    given = AlertmanagerSettings(urls=urls, every=Duration(seconds=every_s), **more)
    links = {"runbook": "https://wiki.example/$signal", "panel": "https://graph.example/$feature"}
    return Settings(alertmanager=given, paging=Paging(links=links))


def fires(store: Store, feature: str = "chat", **changes: Any) -> Incident:
    """Refusals fire in a feature, since two minutes, in an incident of their own."""
    at = real_now() - minutes(2)
    dimensions = {"environment": "prod", "feature": feature}
    with store.write() as tx:
        made = replace(
            incident(),
            uuid=feature.rjust(32, "0"),
            number=tx.incidents.next_number(),
            detected_at=at,
            dimensions=dimensions,
            **changes,
        )
        tx.incidents.save(made)
        tx.incidents.save_alert(alert(incident=made.uuid, dimensions=dimensions, at=at))
        tx.touch()
    return made


def clears(store: Store) -> None:
    """Everything that fires has cleared."""
    with store.write() as tx:
        for one in tx.incidents.firing().values():
            tx.incidents.save_alert(replace(one, cleared_at=real_now()))
        tx.touch()


def stepped(sync: AlertSync, condition: Any) -> Any:
    """Run the loop until `condition` holds; what it gave."""

    def once() -> Any:
        sync.step(real_now())
        return condition()

    return until(once)


def shown(server: AlertmanagerServer) -> set[str]:
    """Features that it shows as firing."""
    return {one["labels"].get("feature", "") for one in server.alerts()}


def up(metrics: Metrics, peer: str) -> float | None:
    """The gauge of one peer."""
    return metrics.registry.get_sample_value("tocsin_alertmanager_peer_up", {"peer": peer})


def test_what_fires_is_shown_with_trusted_labels_and_a_lease(store: Store) -> None:
    """Labels name the series, without a figure; figures, links and incident are annotations."""
    made = fires(store)
    with alertmanager_or_skip() as server:
        sync = AlertSync(store, lambda: settings(server.url, labels={"cluster": "eu1"}), Metrics())
        (one,) = stepped(sync, server.alerts)
        sync.close()
    assert one["labels"] == {
        "alertname": "TocsinRefusalRate",
        "severity": "critical",
        "signal": "refusal_rate",
        "tier": "page",
        "environment": "prod",
        "feature": "chat",
        "cluster": "eu1",
        "tocsin": "1",
    }
    notes = one["annotations"]
    assert notes["incident"] == made.name
    assert notes["summary"] == "refusal_rate: chat in prod"
    assert notes["description"].startswith("Refusals: rate 50.0 %")
    assert notes["runbook_url"] == "https://wiki.example/refusal_rate"
    assert one["generatorURL"] == "https://graph.example/chat"
    began = datetime.fromisoformat(one["startsAt"])
    assert abs(began - made.detected_at) < timedelta(seconds=1)
    left = datetime.fromisoformat(one["endsAt"]) - real_now()
    assert timedelta(minutes=3) < left <= timedelta(minutes=4)


def test_a_server_that_lost_everything_knows_it_again(store: Store) -> None:
    """kill -9 and an empty disk: what fires is there again after one round, without a change."""
    fires(store)
    with alertmanager_or_skip() as server:
        sync = AlertSync(store, lambda: settings(server.url, every_s=2), Metrics())
        assert stepped(sync, server.alerts)
        server.kill(forget=True)
        server.start()
        assert server.alerts() == []
        assert stepped(sync, lambda: shown(server) == {"chat"})
        sync.close()


def test_a_restarted_daemon_needs_no_memory(store: Store) -> None:
    """Another process with the same rows says the same, and ends what cleared in between."""
    fires(store)
    fires(store, "search")
    with alertmanager_or_skip() as server:
        first = AlertSync(store, lambda: settings(server.url), Metrics())
        assert stepped(first, lambda: shown(server) == {"chat", "search"})
        first.close()
        with store.write() as tx:
            search = next(
                one
                for one in tx.incidents.firing().values()
                if one.dimensions["feature"] == "search"
            )
            tx.incidents.save_alert(replace(search, cleared_at=real_now()))
        second = AlertSync(store, lambda: settings(server.url), Metrics())
        assert stepped(second, lambda: shown(server) == {"chat"})
        second.close()


def test_an_end_arrives_at_a_receiver_behind_it(store: Store) -> None:
    """An alert that clears here is resolved there, and Alertmanager's own receivers hear of it."""
    heard: list[dict[str, Any]] = []

    def collect(body: bytes, _headers: Mapping[str, str], _now: datetime) -> Answer:
        heard.append(json.loads(body))
        return Answer.of(200)

    listener = http.listen_tcp("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/collect"
    served = http.Server(hooks_app({"collect": collect}, real_now, Metrics()), listener)
    served.start()
    try:
        fires(store)
        with alertmanager_or_skip(to_hook(url)) as server:
            sync = AlertSync(store, lambda: settings(server.url), Metrics())
            assert stepped(sync, lambda: "firing" in {one["status"] for one in heard})
            clears(store)
            assert stepped(sync, lambda: heard[-1]["status"] == "resolved")
            assert server.alerts() == []
            sync.close()
    finally:
        served.close()
    (ended,) = heard[-1]["alerts"]
    assert ended["labels"]["alertname"] == "TocsinRefusalRate"
    assert datetime.fromisoformat(ended["endsAt"]) <= real_now()


def test_an_offender_is_found_and_the_others_are_taken() -> None:
    """A label that the server refuses costs that alert alone, however many are sent with it."""

    def posted(name: str, number: int) -> Posted:
        return Posted(
            labels={"alertname": "X", name: str(number)},
            annotations={},
            starts_at=real_now() - minutes(1),
        )

    alerts = [posted("bad-label" if number == 137 else "ok", number) for number in range(300)]
    with alertmanager_or_skip() as server:
        peer = Peer(server.url, AlertmanagerSettings(urls=(server.url,)), HttpClient())
        pushed = peer.push(alerts, real_now(), minutes(4))
        peer.close()
        taken = {one["labels"].get("ok") for one in server.alerts()}
    assert pushed.problem == ""
    assert [one.alert for one in pushed.offenders] == [alerts[137]]
    assert "bad-label" in pushed.offenders[0].reason
    assert taken == {str(number) for number in range(300) if number != 137}


def test_a_peer_that_refuses_everything_blames_no_alert() -> None:
    """A proxy that answers 400 to all is a peer that is down: no alert is held back from it."""

    def refuse(_body: bytes, _headers: Mapping[str, str], _now: datetime) -> Answer:
        return Answer.of(400, "bad request")

    listener = http.listen_tcp("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    refusing = hooks_app({"alerts": refuse}, real_now, Metrics())
    served = http.Server(Starlette(routes=[Mount("/api/v2", app=refusing)]), listener)
    served.start()
    try:
        peer = Peer(url, AlertmanagerSettings(urls=(url,)), HttpClient())
        alert = Posted(labels={"alertname": "X"}, annotations={}, starts_at=real_now())
        pushed = peer.push([alert], real_now(), minutes(4))
        peer.close()
    finally:
        served.close()
    assert "400" in pushed.problem
    assert pushed.offenders == ()


def test_all_peers_are_told_and_one_that_is_down_is_said(store: Store) -> None:
    """Each peer of a cluster gets everything; one that died is alarmed, the others go on."""
    fires(store)
    metrics = Metrics()
    with pair() as (one, two):
        sync = AlertSync(store, lambda: settings(one.url, two.url), metrics)
        assert stepped(sync, lambda: one.alerts() and two.alerts())
        assert sync.health().state == "ok"
        two.kill()
        fires(store, "search")
        assert stepped(sync, lambda: shown(one) == {"chat", "search"})
        assert stepped(sync, lambda: sync.health().state == "warn")
        assert two.url in sync.health().text
        assert (up(metrics, one.url), up(metrics, two.url)) == (1, 0)
        two.start()
        assert stepped(sync, lambda: shown(two) == {"chat", "search"})
        assert stepped(sync, lambda: sync.health().state == "ok")
        one.kill()
        two.kill()
        assert stepped(sync, lambda: sync.health().state == "bad")
        sync.close()


def test_drills_recorded_rules_and_what_came_from_there_are_not_sent(store: Store) -> None:
    """A drill, a shadow or ticket alert and an incident of Alertmanager's own stay here."""
    fires(store)
    fires(store, "drilled", drill=True)
    fires(store, "theirs", origin=Origin.ALERTMANAGER)
    with store.write() as tx:
        shadow = alert(dimensions={"environment": "prod", "feature": "shadow"}, tier="shadow")
        tx.incidents.save_alert(shadow)
        ticket = alert(
            incident="chat".rjust(32, "0"),
            dimensions={"environment": "prod", "feature": "ticket"},
            tier="ticket",
        )
        tx.incidents.save_alert(ticket)
    with alertmanager_or_skip() as server:
        sync = AlertSync(store, lambda: settings(server.url), Metrics())
        assert stepped(sync, lambda: shown(server) == {"chat"})
        time.sleep(0.5)
        sync.step(real_now() + timedelta(seconds=2))
        assert shown(server) == {"chat"}
        sync.close()


def test_an_incident_without_a_series_is_shown_itself(store: Store) -> None:
    """A never-event has no series that fires: its incident stands for it until it is resolved."""
    with store.write() as tx:
        made = replace(
            incident(), origin=Origin.NEVER_EVENT, signal="denied_tool_ran", severity="SEV1"
        )
        made = replace(made, detected_at=real_now() - minutes(1))
        tx.incidents.save(made)
    with alertmanager_or_skip() as server:
        sync = AlertSync(store, lambda: settings(server.url), Metrics())
        (one,) = stepped(sync, server.alerts)
        assert one["labels"]["alertname"] == "TocsinDeniedToolRan"
        assert one["labels"]["incident"] == made.name
        assert one["annotations"]["summary"] == made.title
        with store.write() as tx:
            tx.incidents.save(replace(made, severity="SEV3"))
            tx.touch()
        assert stepped(
            sync, lambda: [a["labels"]["severity"] for a in server.alerts()] == ["warning"]
        )
        with store.write() as tx:
            tx.incidents.save(replace(made, severity="SEV3", normal_at=real_now()))
            tx.touch()
        assert stepped(sync, lambda: not server.alerts())
        sync.close()


def test_texts_arrive_visible(store: Store) -> None:
    """Control characters in a label value or a title are shown, not sent."""
    fires(store, "ch\x1bat")
    with alertmanager_or_skip() as server:
        sync = AlertSync(store, lambda: settings(server.url), Metrics())
        (one,) = stepped(sync, server.alerts)
        sync.close()
    assert one["labels"]["feature"] == "ch\\x1bat"
    assert msgspec.json.encode(one).isascii()


def test_the_check_before_a_start_asks_every_peer(tmp_path: Path) -> None:
    """`run --check`: one peer that is ready is enough; none is exit 6, with the reason of each."""
    with alertmanager_or_skip() as server:
        alive, dead = server.url, "http://127.0.0.1:9"
        assert checked(tmp_path, alive, dead) == (0, "ok", "1 of 2 peers ready")
        assert checked(tmp_path, dead)[:2] == (6, "bad")


def checked(folder: Path, *urls: str) -> tuple[int, str, str]:
    """Exit status, state and text of the part about Alertmanager."""
    events = folder / "events.ndjson"
    events.write_text("")
    config = folder / "tocsin.yaml"
    config.write_text(
        f"store: sqlite:///{folder / 'x.db'}\nsource: {{type: file, path: {events}}}\n"
        f"alertmanager: {{urls: {json.dumps(urls)}}}\n"
    )
    found = preflight(RunOptions(config=config), {})
    (part,) = [part for part in found.parts if part.name == "alertmanager"]
    return found.status, part.state, part.text.partition(";")[0]
