"""The PagerDuty channel against a strict PagerDuty."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from monitor.config.secret import Secret
from monitor.http_client import HttpClient
from monitor.notify.channel import Kind, Link, Refused, Sent
from monitor.notify.pagerduty import Change, PagerDutyChannel
from monitor.notify.settings import PagerDutySettings
from tests.contract.channel_cases import HOSTILE, NOW, message
from tests.servers import faults
from tests.servers.pagerduty_server import ROUTING_KEY, PagerDutyServer


@pytest.fixture
def server() -> Iterator[PagerDutyServer]:
    with PagerDutyServer() as running:
        yield running


@pytest.fixture
def pagerduty(
    server: PagerDutyServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PagerDutyChannel]:
    monkeypatch.setenv("TOCSIN_TEST_PD", ROUTING_KEY)
    settings = PagerDutySettings(
        name="pagerduty",
        routing_key=Secret(env="TOCSIN_TEST_PD"),
        base_url=server.base_url,
        timeout_s=2.0,
    )
    channel = PagerDutyChannel(settings, HttpClient())
    yield channel
    channel.close()


def _effects(server: PagerDutyServer) -> list[str]:
    return [event.effect for event in server.events]


def test_an_incident_s_life_is_one_alert(
    server: PagerDutyServer, pagerduty: PagerDutyChannel
) -> None:
    """Trigger, repeat, acknowledge, update and resolve open one incident and close it."""
    for kind in (Kind.TRIGGER, Kind.TRIGGER, Kind.ACKNOWLEDGE, Kind.UPDATE, Kind.RESOLVE):
        assert isinstance(pagerduty.send(message(kind=kind), NOW), Sent)
    assert _effects(server) == ["opened", "appended", "acknowledged", "resolved"]
    (incident,) = server.incidents
    assert (incident.state, incident.severity, incident.triggers) == ("resolved", "critical", 2)
    assert incident.summary == "[SEV1] INC-0142 Refusals 4.1x baseline in chat/prod"
    assert incident.source == "prod/chat"


def test_a_higher_severity_pages_again(
    server: PagerDutyServer, pagerduty: PagerDutyChannel
) -> None:
    """An acknowledged alert swallows triggers, so another severity has another key and pages."""
    pagerduty.send(message(severity="SEV2", dedup_key="tocsin:6b0f:SEV2"), NOW)
    pagerduty.send(message(kind=Kind.ACKNOWLEDGE, dedup_key="tocsin:6b0f:SEV2"), NOW)
    pagerduty.send(message(severity="SEV1", dedup_key="tocsin:6b0f:SEV1"), NOW)
    assert [incident.severity for incident in server.incidents] == ["error", "critical"]


def test_an_update_after_a_person_s_resolve_opens_nothing(
    server: PagerDutyServer, pagerduty: PagerDutyChannel
) -> None:
    """Somebody resolved it in PagerDuty; our next update must not wake them again."""
    pagerduty.send(message(), NOW)
    server.receiver.press(1, "resolved")
    outcome = pagerduty.send(message(kind=Kind.UPDATE), NOW)
    assert isinstance(outcome, Sent)
    assert "nothing sent" in outcome.detail
    assert len(server.incidents) == 1


def test_an_event_that_is_refused_goes_out_smaller(
    server: PagerDutyServer, pagerduty: PagerDutyChannel
) -> None:
    """A 400 costs the details, a second one all but the summary; the page goes out and says so."""
    refusal = faults.status(400, b'{"errors": ["custom_details is odd"]}')
    server.fail_next(refusal)
    outcome = pagerduty.send(message(), NOW)
    assert isinstance(outcome, Sent)
    assert "custom_details is odd" in outcome.detail
    assert server.incidents[0].custom_details is None
    assert server.incidents[0].links
    server.fail_next(refusal, times=2)
    assert isinstance(pagerduty.send(message(dedup_key="other"), NOW), Sent)
    assert server.incidents[1].links == ()
    assert "INC-0142" in server.incidents[1].summary


def test_an_event_refused_at_every_size_is_refused_with_its_reason(
    server: PagerDutyServer, pagerduty: PagerDutyChannel
) -> None:
    """Three sizes are tried, then another road must be taken."""
    server.fail_next(faults.status(400, b'{"errors": ["no, \\u001b[31mno"]}'), times=9)
    outcome = pagerduty.send(message(), NOW)
    assert isinstance(outcome, Refused)
    assert "no, \\x1b[31mno" in outcome.reason
    assert len(server.journal.rows) == 3


def test_an_invalid_key_is_refused_at_once(
    server: PagerDutyServer, pagerduty: PagerDutyChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A smaller event would not make a wrong routing key right."""
    monkeypatch.setenv("TOCSIN_TEST_PD", "too-short")
    outcome = pagerduty.send(message(), NOW)
    assert isinstance(outcome, Refused)
    assert "routing_key" in outcome.reason
    assert len(server.journal.rows) == 1


def test_sev4_is_info_and_still_the_channel_s_to_send(
    server: PagerDutyServer, pagerduty: PagerDutyChannel
) -> None:
    """Whether SEV4 pages is the router's decision; the channel sends what it is given."""
    pagerduty.send(message(severity="SEV4"), NOW)
    assert server.incidents[0].severity == "info"


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_changes_are_shown_beside_incidents(
    server: PagerDutyServer, pagerduty: PagerDutyChannel, name: str
) -> None:
    """A release or a flag becomes a change event, whatever its texts, and pages nobody."""
    text = HOSTILE[name]
    change = Change(f"released {text}", text, NOW, {"version": text}, (Link(text, "https://h/x"),))
    assert isinstance(pagerduty.send_change(change, NOW), Sent)
    assert server.incidents == ()
    assert server.receiver.changes[0]["timestamp"].startswith("2026-03-01T03:12")


def test_the_body_holds_no_unescaped_character(
    server: PagerDutyServer, pagerduty: PagerDutyChannel
) -> None:
    """The details on the incident are printable, whatever the events said."""
    pagerduty.send(message(lines=("\x1b]0;x\x07", "a\ud800", "ok")), NOW)
    details = json.dumps(server.incidents[0].custom_details)
    assert "\\\\x1b]0;x\\\\x07" in details
    assert "\\\\ud800" in details


def test_the_rate_of_a_key_ends_in_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event 3 of 2 a minute is not accepted, and a minute later it is."""
    monkeypatch.setenv("TOCSIN_TEST_PD", ROUTING_KEY)
    now = [100.0]
    with PagerDutyServer(per_minute=2, clock=lambda: now[0]) as server:
        settings = PagerDutySettings(
            name="p", routing_key=Secret(env="TOCSIN_TEST_PD"), base_url=server.base_url
        )
        channel = PagerDutyChannel(settings, HttpClient())
        kinds = [type(channel.send(message(dedup_key=f"k{n}"), NOW)).__name__ for n in range(3)]
        now[0] += 60.0
        kinds.append(type(channel.send(message(dedup_key="k2"), NOW)).__name__)
        channel.close()
    assert kinds == ["Sent", "Sent", "Retry", "Sent"]
