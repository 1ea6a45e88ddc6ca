"""The oracle can fail us: what it must count, it counts."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.config.secret import Secret
from monitor.http_client import HttpClient
from monitor.notify.channel import Kind, Message, Sent
from monitor.notify.pagerduty import PagerDutyChannel
from monitor.notify.settings import PagerDutySettings, SlackSettings
from monitor.notify.slack import SlackChannel
from monitor.store.store import Store
from tests.fault.ground import Receivers, receivers
from tests.fault.oracle import Rung, paged_at, rung, tally
from tests.servers.faults import status
from tests.servers.pagerduty_server import ROUTING_KEY
from tests.servers.slack_server import CHANNEL, TOKEN

NOW = datetime(2026, 11, 16, 9, tzinfo=UTC)
T, A, R = Kind.TRIGGER, Kind.ACKNOWLEDGE, Kind.RESOLVE


def page(receiver: str) -> Message:
    """Of an incident that nobody else has."""
    incident = uuid.uuid4().hex
    return Message(
        id=f"{incident}:{receiver}:trigger:sev1:1",
        kind=T,
        dedup_key=f"tocsin:{incident}:sev1",
        incident="INC-0001",
        severity="SEV1",
        state="triage",
        title="a denied tool ran",
        lines=(),
    )


def sends(folder: Path, paged: Receivers, *kinds: Kind) -> None:
    """The daemon's own channel sends these for one incident, one after the other."""
    (folder / "routing").write_text(ROUTING_KEY)
    message = page("pagerduty")
    key = Secret(file=str(folder / "routing"))
    settings = PagerDutySettings(
        name="pagerduty", routing_key=key, base_url=paged.pagerduty.base_url
    )
    channel = PagerDutyChannel(settings, HttpClient())
    for kind in kinds:
        assert isinstance(channel.send(replace(message, kind=kind), NOW), Sent)
    channel.close()


def test_a_page_that_is_decided_anew_may_open_anew() -> None:
    """Two pages of one incident may open two; a third opening is a repeat that rang."""
    slack = {"a" * 32 + f":slack:trigger:sev1:{page}": 1 for page in (1, 2)}
    slack["a" * 32 + ":slack:resolve:normal-1:1"] = 1
    key = "tocsin:" + "a" * 32 + ":sev1"
    assert Rung({key: 2}, slack, {}).pagerduty_duplicates() == 0
    assert Rung({key: 3}, slack, {}).pagerduty_duplicates() == 1
    assert Rung({key: 2}, {}, {}).pagerduty_duplicates() == 1


@pytest.mark.parametrize(
    ("kinds", "duplicates"),
    [
        ((T, R, T), 1),
        ((T, A, R, T, R, T), 1),
        ((T, T, A, T, R), 0),
        ((R, T), 0),
        ((T, R, R), 0),
    ],
)
def test_a_trigger_after_the_resolve_of_its_key_is_a_duplicate(
    tmp_path: Path, kinds: tuple[Kind, ...], duplicates: int
) -> None:
    """A key that opens a second incident at the strict server is counted, and the tally is not
    sound; a repeat that folds is none."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    Store(url).close()
    with receivers(tmp_path) as paged:
        sends(tmp_path, paged, *kinds)
        counted = tally(paged, tmp_path, url, set())
        assert len(paged_at(paged)) == kinds.count(T)
    assert counted.pagerduty_duplicates == duplicates
    assert rung(tmp_path).pagerduty_duplicates() == duplicates
    # The daemon that sent it has no store, so here the incident is one too many besides.
    assert replace(counted, incidents_twice=0).sound() is (duplicates == 0)


@pytest.mark.parametrize(("attempt", "unmarked"), [(1, 1), (2, 0)])
def test_a_repeat_must_say_so_when_it_rings(tmp_path: Path, attempt: int, unmarked: int) -> None:
    """A second message under one id counts unless it said that it may be one, whatever is edited
    into it later."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    Store(url).close()
    (tmp_path / "bot").write_text(TOKEN)
    message = page("slack")
    with receivers(tmp_path) as paged:
        token = Secret(file=str(tmp_path / "bot"))
        settings = SlackSettings(
            name="slack", token=token, channel=CHANNEL, base_url=paged.slack.base_url
        )
        channel = SlackChannel(settings, HttpClient())
        assert isinstance(channel.send(message, NOW), Sent)
        paged.slack.fail_next(status(503))  # the look-up, if there is one
        rang = channel.send(replace(message, attempt=attempt), NOW)
        if attempt == 1:
            rang = channel.send(message, NOW)
        assert isinstance(rang, Sent)
        end = replace(message, id=f"{message.id}-end", kind=R, state="resolved")
        assert isinstance(channel.send(replace(end, receipt=rang.receipt), NOW), Sent)
        channel.close()
        counted = tally(paged, tmp_path, url, set())
    assert (counted.slack_repeats, counted.slack_repeats_unmarked) == (1, unmarked)
