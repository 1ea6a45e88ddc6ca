"""Buttons under pages in Slack, by Socket Mode and by HTTP, against a strict Slack."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.config.secret import Secret
from monitor.inbound.settings import SlackAnswers
from monitor.inbound.slack_socket import SlackSocket
from monitor.incidents.model import Incident
from monitor.metrics import Metrics
from tests.integration.answering_stage import (
    ANA,
    BO,
    EVE,
    PATIENCE_S,
    ROOMS,
    SECOND,
    Stage,
    root,
    until,
)
from tests.servers.slack_people import APP, TEAM, has_button, post, press, sign
from tests.servers.slack_server import CHANNEL, SlackServer
from tests.servers.slack_socket import SlackSockets

ROADS = ("socket", "http")


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with SlackServer(burst=1000, channels=ROOMS) as running:
        yield running


@pytest.fixture
def stage(server: SlackServer, tmp_path: Path, road: str) -> Iterator[Stage]:
    with Stage(tmp_path, server.base_url, http=road == "http") as running:
        yield running


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def click(server: SlackServer, stage: Stage, road: str) -> Callable[[dict[str, Any]], None]:
    """Sends a payload by the road; returns when Slack has its receipt."""
    if road == "http":

        def by_http(payload: dict[str, Any]) -> None:
            assert post(f"{stage.url}/slack", sign(payload)).status == 200

        return by_http
    server.socket_mode().wait_connected()

    def by_socket(payload: dict[str, Any]) -> None:
        assert server.socket_mode().hand_out(payload).acked.is_set()

    return by_socket


def _acks(stage: Stage, incident: Incident) -> list[str]:
    return [entry.actor for entry in stage.entries(incident, "ACK")]


def test_one_click_stops_the_pager(
    server: SlackServer, stage: Stage, click: Callable[[dict[str, Any]], None]
) -> None:
    """Acknowledge is the person's own, is on the timeline once, and the message says it."""
    incident = stage.page()
    click(press(root(server), "acknowledge", ANA))
    after = stage.again(incident)
    assert after.acknowledged_by == "Ana"
    assert stage.escalate_when_due(incident) is None
    (entry,) = stage.entries(incident, "ACK")
    assert (entry.actor, entry.data["via"]) == ("Ana", "slack")
    assert stage.audited() == [("Ana", "acknowledge", "done")]
    stage.send()
    message = root(server)
    assert not has_button(message, "acknowledge")
    shown = str(message.blocks)
    assert f"Acknowledged by Ana at {after.acknowledged_at:%H:%M} UTC" in shown
    assert "Acknowledged by Ana" in message.text
    assert "<@" not in shown
    assert "not.to.be.believed" not in shown
    assert "Acknowledged by Ana" in server.messages[-1].text


def test_a_second_click_changes_nothing(
    server: SlackServer, stage: Stage, click: Callable[[dict[str, Any]], None]
) -> None:
    """The same payload again, and another press of the same button, leave one entry."""
    incident = stage.page()
    message = root(server)
    once = press(message, "acknowledge", ANA)
    click(once)
    if server.sockets is not None:
        assert server.sockets.hand_out(once).acked.is_set()
    click(press(message, "acknowledge", ANA))
    assert _acks(stage, incident) == ["Ana"]
    until(lambda: bool(server.receiver.whispers), "a word to who came late")
    assert "was acknowledged by Ana" in server.receiver.whispers[0].text


@pytest.mark.parametrize(("user", "words"), [(EVE, "nobody said who you are"), (BO, "only read")])
def test_who_may_not_is_told_and_recorded(
    server: SlackServer,
    stage: Stage,
    click: Callable[[dict[str, Any]], None],
    user: str,
    words: str,
) -> None:
    """A stranger and a reader change nothing, hear it alone, and stand in the audit."""
    incident = stage.page()
    click(press(root(server), "acknowledge", user))
    assert stage.again(incident).acknowledged_at is None
    assert stage.escalate_when_due(incident) == "second"
    until(lambda: bool(server.receiver.whispers), "a refusal")
    (whisper,) = server.receiver.whispers
    assert (whisper.user, whisper.channel, whisper.thread_ts) == (user, CHANNEL, root(server).ts)
    assert words in whisper.text
    ((who, action, outcome),) = stage.audited()
    assert (action, outcome) == ("acknowledge", "refused")
    assert who == ("Bo" if user == BO else "-")


def test_escalate_now_pages_the_next_rung_once(
    server: SlackServer, stage: Stage, click: Callable[[dict[str, Any]], None]
) -> None:
    """It asks first, pages who is next, says so under the page, and a second press does nothing."""
    incident = stage.page()
    message = root(server)
    confirm = message.blocks[-1]["elements"][1]["confirm"]
    assert "cannot be taken back" in confirm["text"]["text"]
    click(press(message, "escalate", ANA))
    click(press(message, "escalate", ANA))
    stage.send()
    pages = [entry.text for entry in stage.entries(incident, "PAGE")]
    assert pages[1:] == ["second: escalated by Ana"]
    assert has_button(root(server), "acknowledge")
    assert "Escalated by Ana" in str(root(server).blocks)
    assert root(server, SECOND).text.startswith(message.text.splitlines()[0])
    assert has_button(root(server, SECOND), "acknowledge")
    click(press(root(server), "escalate", ANA))
    stage.send()
    pages = [entry.text for entry in stage.entries(incident, "PAGE")]
    assert pages[2:] == ["third: escalated by Ana"]
    assert not has_button(root(server), "escalate")


@pytest.mark.parametrize("user", [EVE, BO])
def test_who_may_not_escalate_takes_it_from_nobody(
    server: SlackServer, stage: Stage, click: Callable[[dict[str, Any]], None], user: str
) -> None:
    """A stranger's or a reader's press is refused, and the button still works for who may."""
    incident = stage.page()
    message = root(server)
    click(press(message, "escalate", user))
    click(press(message, "escalate", ANA))
    stage.send()
    pages = [entry.text for entry in stage.entries(incident, "PAGE")]
    assert pages[1:] == ["second: escalated by Ana"]
    assert [outcome for _, _, outcome in stage.audited()] == ["done", "refused"]


def test_a_click_after_the_end_is_refused(
    server: SlackServer, stage: Stage, click: Callable[[dict[str, Any]], None]
) -> None:
    """What is resolved meanwhile stays so; the person is told."""
    incident = stage.page()
    message = root(server)
    stage.desk().resolve(incident.name, verdict="true_positive", reason="fixed by hand")
    click(press(message, "acknowledge", ANA))
    assert stage.again(incident).acknowledged_at is None
    until(lambda: bool(server.receiver.whispers), "a refusal")
    assert "is resolved" in server.receiver.whispers[0].text
    stage.send()
    assert not has_button(root(server), "acknowledge")


@pytest.mark.parametrize("action", ["acknowledge", "escalate"])
def test_a_press_during_an_outage_before_does_nothing_to_this_one(
    server: SlackServer, stage: Stage, click: Callable[[dict[str, Any]], None], action: str
) -> None:
    """An envelope that comes again late is noted and told; a new press of the same old button is
    somebody's answer now."""
    incident = stage.page()
    message = root(server)
    late = press(message, action, ANA, at=time.time() - 120)
    stage.page_anew(incident)
    click(late)
    assert stage.again(incident).acknowledged_at is None
    (note,) = stage.entries(incident, "NOTE")
    assert "from slack came late" in note.text
    assert stage.audited() == [("Ana", action, "refused")]
    until(lambda: bool(server.receiver.whispers), "a word to who pressed")
    click(press(message, action, ANA))
    assert stage.audited()[0] == ("Ana", action, "done")


@pytest.mark.parametrize("road", ["http"], indirect=True)
def test_no_receipt_without_the_store(server: SlackServer, stage: Stage) -> None:
    """While the store is held, HTTP says 503 in time, and the click works when it is free."""
    incident = stage.page()
    message = root(server)
    with stage.store.write():
        answer = post(f"{stage.url}/slack", sign(press(message, "acknowledge", ANA)))
        assert answer.status == 503
    assert post(f"{stage.url}/slack", sign(press(message, "acknowledge", ANA))).status == 200
    assert _acks(stage, incident) == ["Ana"]


def test_a_slack_that_never_answers_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to stop while an attempt to connect hangs, it is left in time for what must finish."""
    monkeypatch.setenv("SLACK_APP", "xapp-1-test")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = SlackAnswers(
            team=TEAM,
            app=APP,
            app_token=Secret(env="SLACK_APP"),
            base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/api/",
            timeout_s=30.0,
        )
        road = SlackSocket(settings, lambda _: None, Metrics())
        road.start()
        with silent.accept()[0]:
            began = time.monotonic()
            road.close()
            assert time.monotonic() - began < 10


@pytest.mark.parametrize("road", ["socket"], indirect=True)
class TestSocketMode:
    """What only a connection can meet."""

    @pytest.fixture
    def sockets(self, server: SlackServer, stage: Stage) -> SlackSockets:
        found = server.socket_mode()
        found.wait_connected()
        return found

    def test_no_receipt_without_the_store(
        self, server: SlackServer, stage: Stage, sockets: SlackSockets
    ) -> None:
        """An envelope that is not committed is not acknowledged, and works when it comes again."""
        incident = stage.page()
        payload = press(root(server), "acknowledge", ANA)
        with stage.store.write():
            assert not sockets.hand_out(payload, attempts=1).acked.is_set()
        handed = sockets.hand_out(payload)
        assert handed.acked.is_set()
        assert _acks(stage, incident) == ["Ana"]

    def test_an_envelope_twice_is_one_click(
        self, server: SlackServer, stage: Stage, sockets: SlackSockets
    ) -> None:
        """Slack may hand out an envelope twice at once; both are acknowledged, one counts."""
        incident = stage.page()
        sockets.twice = True
        handed = sockets.hand_out(press(root(server), "escalate", ANA))
        until(lambda: handed.acks == 2, "two receipts")
        stage.send()
        assert len(stage.entries(incident, "PAGE")) == 2

    def test_a_planned_end_is_not_noticed(
        self, server: SlackServer, stage: Stage, sockets: SlackSockets
    ) -> None:
        """The next connection stands before the old one goes, and clicks go on."""
        sockets.warn()
        sockets.warn("refresh_requested")
        sockets.wait_connected(2, opened=2)
        until(lambda: sockets.connected == 1, "the old connection is left")
        sockets.refresh(grace_s=0.0)
        sockets.wait_connected(opened=3)
        assert sockets.opened == 3
        incident = stage.page()
        assert sockets.hand_out(press(root(server), "acknowledge", ANA)).acked.is_set()
        assert _acks(stage, incident) == ["Ana"]

    def test_a_broken_connection_is_made_again(
        self, server: SlackServer, stage: Stage, sockets: SlackSockets
    ) -> None:
        """After an end without a word the next click arrives all the same."""
        incident = stage.page()
        for times in (2, 3):
            sockets.reset()
            sockets.wait_connected(opened=times)
        handed = sockets.hand_out(press(root(server), "acknowledge", ANA))
        assert handed.acked.is_set()
        assert _acks(stage, incident) == ["Ana"]
        assert sockets.problems == []

    def test_too_many_connections_is_waited_out(
        self, server: SlackServer, stage: Stage, sockets: SlackSockets
    ) -> None:
        """Sent away, it keeps trying, slower and slower, says why, and comes back."""
        sockets.refusing = "too_many_websockets"
        sockets.reset()
        until(lambda: stage.health().state == "warn", "a warning")
        until(lambda: "too_many_websockets" in stage.health().text, "the reason")
        made = sockets.opened
        sockets.refusing = ""
        sockets.wait_connected(opened=made + 1, timeout_s=PATIENCE_S)
        until(lambda: stage.health().state == "ok", "good health")
        assert "last heard" in stage.health().text

    def test_any_instance_may_get_the_click(
        self, server: SlackServer, stage: Stage, sockets: SlackSockets, tmp_path: Path
    ) -> None:
        """A second installation on the same store answers for the first."""
        incident = stage.page()
        payloads = [press(root(server), "acknowledge", ANA) for _ in range(4)]
        with Stage(tmp_path, server.base_url) as second:
            sockets.wait_connected(2)
            for payload in payloads:
                assert sockets.hand_out(payload).acked.is_set()
            assert _acks(second, incident) == ["Ana"]

    def test_what_is_no_click_is_acknowledged_and_ignored(
        self, server: SlackServer, stage: Stage, sockets: SlackSockets
    ) -> None:
        """Envelopes of other kinds, and payloads that are not ours, do not come again for ever."""
        incident = stage.page()
        ours = press(root(server), "acknowledge", ANA)
        for kind, payload in (
            ("events_api", {"event": {"type": "app_mention"}}),
            ("slash_commands", {"command": "/x"}),
            ("interactive", {"type": "view_submission"}),
            ("interactive", {**ours, "api_app_id": "A0OTHER"}),
            ("interactive", {**ours, "team": {"id": "T0OTHER"}}),
        ):
            assert sockets.hand_out(payload, kind=kind).acked.is_set()
        assert stage.again(incident).acknowledged_at is None
