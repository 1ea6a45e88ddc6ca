"""What an episode of the emergency road owes, and its story."""

from __future__ import annotations

from datetime import timedelta

from monitor.incidents.model import State
from monitor.notify.channel import Kind
from monitor.watch.episodes import entries_of, fold, incident_of
from monitor.watch.spool import Closed, Filed, Noted, Record, Tried
from tests.unit.watch.test_spool import NOW, opened


def tried(receiver: str, kind: str, outcome: str, **receipt: str) -> Tried:
    return Tried(
        message=f"one:{receiver}:{kind}",
        episode="one",
        at=NOW + timedelta(seconds=1),
        outcome=outcome,
        receipt=receipt,
    )


CLOSED = Closed(episode="one", at=NOW + timedelta(minutes=4, seconds=10), text="storage is back")


def owed(*records: Record) -> list[str]:
    (episode,) = fold([opened(), *records]).values()
    return [message.id for message in episode.owed()]


def test_every_receiver_is_owed_a_page_until_it_took_it() -> None:
    """Retry and unknown leave a page owed, a refusal too: who refused may take it later."""
    assert owed() == ["one:slack:trigger", "one:pagerduty:trigger"]
    assert owed(tried("slack", "trigger", "sent")) == ["one:pagerduty:trigger"]
    assert owed(tried("slack", "trigger", "retry"), tried("pagerduty", "trigger", "refused")) == [
        "one:slack:trigger",
        "one:pagerduty:trigger",
    ]


def test_only_who_took_the_page_is_reached() -> None:
    """A refusal, and an end that was accepted, have reached nobody."""
    (episode,) = fold(
        [
            opened(),
            tried("slack", "trigger", "retry"),
            tried("slack", "resolve", "sent"),
            tried("pagerduty", "trigger", "sent"),
        ]
    ).values()
    assert episode.reached() == ["pagerduty"]


def test_the_end_overtakes_a_page_that_nobody_took() -> None:
    """After the end only ends are owed: nobody is woken for what is over."""
    assert owed(CLOSED) == ["one:slack:resolve", "one:pagerduty:resolve"]
    assert owed(CLOSED, tried("slack", "resolve", "sent")) == ["one:pagerduty:resolve"]
    assert owed(CLOSED, tried("slack", "resolve", "refused")) == ["one:pagerduty:resolve"]


def test_the_end_carries_the_receipt_of_the_page_and_the_same_key() -> None:
    """Slack edits the message it has; PagerDuty resolves the incident it opened."""
    records: list[Record] = [opened(), tried("slack", "trigger", "sent", ts="1.2"), CLOSED]
    (episode,) = fold(records).values()
    page, end = (episode.message("slack", kind) for kind in (Kind.TRIGGER, Kind.RESOLVE))
    assert (end.dedup_key, end.receipt, end.state) == (page.dedup_key, {"ts": "1.2"}, "resolved")
    assert end.lines[0] == "storage is back"


def test_what_is_in_the_store_is_owed_by_nobody() -> None:
    """A filed episode is gone, and what comes late for it changes nothing."""
    assert fold([opened(), CLOSED, Filed(episode="one", at=NOW)]) == {}
    assert fold([tried("slack", "trigger", "sent"), CLOSED]) == {}


def test_the_story_is_told_in_order_with_a_key_for_each_entry() -> None:
    """Filing twice writes nothing twice: the keys are those of the story, not of the call."""
    records: list[Record] = [
        opened(),
        Noted(episode="one", at=NOW + timedelta(seconds=30), text="database is locked"),
        tried("slack", "trigger", "sent"),
        tried("pagerduty", "trigger", "refused"),
        CLOSED,
    ]
    (episode,) = fold(records).values()
    entries = entries_of(episode)
    assert [entry.kind for entry in entries] == [
        "DETECT",
        "PAGE",
        "SENT",
        "DEAD",
        "NOTE",
        "NORMAL",
        "CLOSED",
    ]
    keys = [entry.key for entry in entries]
    assert len(set(keys)) == len(keys)
    incident = incident_of(episode, 7)
    assert (incident.state, incident.paged_at, incident.closed_at) == (
        State.CLOSED,
        NOW,
        CLOSED.at,
    )
    assert incident.uuid == incident_of(episode, 8).uuid
