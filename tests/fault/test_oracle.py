"""The oracle can fail us: what it must count, it counts."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.config.secret import Secret
from monitor.http_client import HttpClient
from monitor.incidents.model import State
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Kind, Message, Sent
from monitor.notify.pagerduty import PagerDutyChannel
from monitor.notify.settings import PagerDutySettings, SlackSettings
from monitor.notify.slack import SlackChannel
from monitor.store.store import Store
from tests.fault.ground import Receivers, receivers
from tests.fault.oracle import Rung, excused, overtaken, paged_at, rung, seen, tally
from tests.making import incident
from tests.servers.faults import status
from tests.servers.pagerduty_server import ROUTING_KEY
from tests.servers.slack_server import CHANNEL, TOKEN

NOW = datetime(2026, 11, 16, 9, tzinfo=UTC)
T, A, R = Kind.TRIGGER, Kind.ACKNOWLEDGE, Kind.RESOLVE


def page(receiver: str, of: str = "", number: int = 1) -> Message:
    """Of an incident that nobody else has, or of one; the first, or another one."""
    of = of or uuid.uuid4().hex
    return Message(
        id=f"{of}:{receiver}:trigger:sev1:{number}",
        kind=T,
        dedup_key=f"tocsin:{of}:sev1",
        incident="INC-0001",
        severity="SEV1",
        state="triage",
        title="a denied tool ran",
        lines=(),
    )


def sends(folder: Path, paged: Receivers, *kinds: Kind, of: str = "") -> None:
    """The daemon's own channel sends these for one incident, one after the other."""
    (folder / "routing").write_text(ROUTING_KEY)
    message = page("pagerduty", of)
    key = Secret(file=str(folder / "routing"))
    settings = PagerDutySettings(
        name="pagerduty", routing_key=key, base_url=paged.pagerduty.base_url
    )
    channel = PagerDutyChannel(settings, HttpClient())
    for kind in kinds:
        assert isinstance(channel.send(replace(message, kind=kind), NOW), Sent)
    channel.close()


def slack_channel(folder: Path, paged: Receivers) -> SlackChannel:
    """The daemon's own."""
    (folder / "bot").write_text(TOKEN)
    token = Secret(file=str(folder / "bot"))
    base_url = paged.slack.base_url
    settings = SlackSettings(name="slack", token=token, channel=CHANNEL, base_url=base_url)
    return SlackChannel(settings, HttpClient())


def test_a_page_that_is_decided_anew_may_open_anew() -> None:
    """Two pages of one incident may open two; a third opening is a repeat that rang."""
    slack = {"a" * 32 + f":slack:trigger:sev1:{page}": 1 for page in (1, 2)}
    slack["a" * 32 + ":slack:resolve:normal-1:1"] = 1
    key = "tocsin:" + "a" * 32 + ":sev1"
    assert Rung({key: 2}, slack, {}).pagerduty_duplicates() == 0
    assert Rung({key: 3}, slack, {}).pagerduty_duplicates() == 1
    assert Rung({key: 2}, {}, {}).pagerduty_duplicates() == 1


@pytest.mark.parametrize("again", [0, 1])
def test_a_page_that_is_decided_twice_fails(tmp_path: Path, again: int) -> None:
    """An incident whose first page came under two ids is not sound, although PagerDuty may open
    twice for it; unless its timeline has a reason to ring it anew."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    one = incident()
    store = Store(url)
    with store.write() as tx:
        tx.incidents.save(one)
        reasons = ["first occurrence", "severity rose to SEV1" if again else "first occurrence"]
        entries = [
            Entry(kind="PAGE", text=f"slack, pagerduty: {why}", actor="tocsin", occurred_at=NOW)
            for why in reasons
        ]
        tx.incidents.append(one.uuid, entries, NOW)
    store.close()
    with receivers(tmp_path) as paged:
        channel = slack_channel(tmp_path, paged)
        for number in (1, 2):
            assert isinstance(channel.send(page("slack", one.uuid, number), NOW), Sent)
        channel.close()
        sends(tmp_path, paged, T, R, T, of=one.uuid)
        counted = tally(paged, tmp_path, url, {one.uuid}, tried={one.uuid})
    assert (counted.lost, counted.pagerduty_duplicates) == (0, 0)
    assert counted.decided_twice == counted.doubled() == counted.written_twice() == 1 - again
    assert counted.sound() is bool(again)


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
    message = page("slack")
    with receivers(tmp_path) as paged:
        channel = slack_channel(tmp_path, paged)
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


@pytest.mark.parametrize("heard", [False, True])
def test_only_a_persons_end_excuses_a_page(tmp_path: Path, heard: bool) -> None:
    """An overtaken page is lost unless somebody tried to resolve its incident; one that Slack has
    was dropped wrongly; a page to the other receiver is owed all the same."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    one = incident()
    message = page("slack", one.uuid)
    store = Store(url)
    with store.write() as tx:
        tx.incidents.save(replace(one, state=State.RESOLVED))
        tx.outbox.put(one.uuid, "slack", message, NOW)
        (dropped,) = tx.outbox.claim("me", NOW)
        assert tx.outbox.overtake(dropped, "me", "over")
    store.close()
    with receivers(tmp_path) as paged:
        if heard:
            channel = slack_channel(tmp_path, paged)
            assert isinstance(channel.send(message, NOW), Sent)
            channel.close()
        neither = tally(paged, tmp_path, url, {one.uuid}, tried={one.uuid})
        sends(tmp_path, paged, T, of=one.uuid)
        untouched = tally(paged, tmp_path, url, {one.uuid})
        counted = tally(paged, tmp_path, url, {one.uuid}, tried={one.uuid})
        assert seen(paged, excused(overtaken(url), {one.uuid})) == {one.uuid}
    assert (neither.lost, untouched.lost, counted.lost) == (1, 0 if heard else 1, 0)
    assert (counted.overtaken, counted.overtaken_heard) == (1, int(heard))
    assert (counted.unsent, counted.sound()) == (0, not heard)
