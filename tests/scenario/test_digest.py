"""The daily digest on the road: tickets of a night, one message in the morning, none the day after.

`at` is three hours after the quiet hours end, by the clock of a place that is not on UTC.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.alerting.digest import Daily
from monitor.daily import send_digests
from monitor.deliver import Deliver
from monitor.incidents.model import Incident, State
from monitor.metrics import Metrics
from monitor.notify.channel import Sent
from monitor.notify.log import LogChannel
from monitor.notify.settings import LogSettings
from tests.making import alert, incident, level_note
from tests.scenario.conftest import QUIET, StageFor
from tests.scenario.stage import MINUTE, Stage
from tests.scenario.test_stories import play

PARIS = ZoneInfo("Europe/Paris")
MORNING = QUIET.onset + timedelta(minutes=100)
AT = MORNING.astimezone(PARIS)
DAILY = Daily(("news",), AT.time(), PARIS, {"refusal_rate": "page"})
KEY = f"digest:news:{AT.date()}"
DAY = timedelta(days=1)


def night(stage_for: StageFor, *, rule: str = "ticket", **options: Any) -> Stage:
    """Two spikes of a rule, and a quarter of an hour left until the morning."""
    stage = stage_for(receivers=("oncall", "news"), digest=DAILY, **options)
    if rule != "page":
        stage.desk().demote_rule("refusal_rate", tier=rule, reason="it has to earn it")
    play(stage, 6, refused={"chat": 8})
    play(stage, 39)
    play(stage, 6, refused={"search": 8})
    play(stage, 34)
    assert stage.now == MORNING - 15 * MINUTE
    return stage


def test_two_tickets_at_night_are_one_message_in_the_morning(stage_for: StageFor) -> None:
    """Nobody is rung; at the time there is one message, with both; the day after there is none."""
    stage = night(stage_for)
    assert len(stage.incidents()) == 2
    assert stage.pages("news") == stage.pages() == []
    play(stage, 14)
    assert stage.pages("news") == []
    play(stage, 5)
    (told,) = stage.pages("news")
    assert (told["schema"], told["kind"], told["id"]) == ("tocsin.digest/v1", "digest", KEY)
    assert told["title"].startswith("2 tickets since ")
    second, first = told["lines"]
    assert first.startswith("INC-0001  refusal_rate (+1 more alert), ")
    assert second.startswith("INC-0002  refusal_rate")
    assert f"since {QUIET.onset:%Y-%m-%d %H:%M} UTC: Refusals: rate " in first
    assert "against a baseline of" in first
    assert told["command"] == "tocsin tickets"
    assert told["incident"] == told["severity"] == ""
    assert stage.pages() == []
    assert stage.metrics.value("tocsin_page_attempts_total", receiver="news", outcome="sent") == 0
    assert stage.metrics.value("tocsin_page_latency_seconds_count", receiver="news") == 0
    assert [one.id for one in stage.desk().tickets()] == ["INC-0002", "INC-0001"]

    for _ in range(2):
        stage.now += DAY
        stage.tick()
    assert len(stage.pages("news")) == 1


class KilledError(Exception):
    """The process is no more."""


def decided_and_killed(stage: Stage) -> None:
    """The digest is decided, and its transaction never ends."""
    with stage.store.write() as tx:
        send_digests(tx, stage.pager.policy, stage.now)
        raise KilledError


def test_a_kill_loses_no_digest_and_repeats_it_under_the_same_key(stage_for: StageFor) -> None:
    """Decided and not committed: decided anew. Committed and not sent: the next process sends it.
    Sent and not written back: once more, as the same message, which says so."""
    stage = stage_for(fresh=True, receivers=("oncall", "news"), digest=DAILY)
    stage.now = MORNING
    note(stage, 1)
    with pytest.raises(KilledError):
        decided_and_killed(stage)
    stage.restart()
    for _ in range(2):
        stage.digests.step(stage.now)
        stage.restart()
    with stage.store.queue() as tx:
        (page,) = tx.outbox.claim("dying", stage.now)
    channel = LogChannel(LogSettings(name="news"), stage.out["news"])
    assert isinstance(channel.send(page.message, stage.now), Sent)
    stage.restart()
    stage.now += MINUTE
    stage.tick()
    assert [(one["id"], one["attempt"]) for one in stage.pages("news")] == [(KEY, 1), (KEY, 2)]
    stage.advance(3)
    assert len(stage.pages("news")) == 2


def test_a_page_that_a_full_shift_folded_is_in_it(stage_for: StageFor) -> None:
    """Two rang, the third would have: it is the first line of the digest."""
    stage = stage_for(receivers=("oncall", "news"), capped=True, digest=DAILY)
    with stage.store.write() as tx:
        for number in (1, 2):
            tx.incidents.save(over(number, stage))
    play(stage, 6, refused={"chat": 8})
    assert stage.rings() == []
    stage.now = MORNING
    stage.tick()
    (told,) = stage.pages("news")
    assert told["lines"][0].startswith("INC-0003 (folded page)  refusal_rate")


def test_a_known_ticket_that_a_full_shift_folds_is_told_again(stage_for: StageFor) -> None:
    """An incident that was a ticket of yesterday's digest gets an alert that would have paged."""
    stage = stage_for(fresh=True, receivers=("oncall", "news"), digest=DAILY)
    stage.now = MORNING
    ticket = incident(detected_at=MORNING - MINUTE)
    with stage.store.write() as tx:
        tx.incidents.save(ticket)
        tx.incidents.save_alert(alert(incident=ticket.uuid, tier="ticket", at=MORNING - MINUTE))
    stage.tick()
    other = {"environment": "prod", "feature": "search"}
    for day, tier in ((1, "ticket"), (2, "page"), (3, None)):
        stage.now = MORNING + day * DAY
        if tier is not None:
            with stage.store.write() as tx:
                tx.incidents.save_alert(
                    alert(incident=ticket.uuid, tier=tier, at=stage.now - MINUTE, dimensions=other)
                )
        stage.tick()
    first, again = stage.pages("news")
    assert first["lines"][0].startswith("INC-0007  refusal_rate, chat in prod")
    assert again["id"] == f"digest:news:{AT.date() + 2 * DAY}"
    assert again["lines"][0].startswith("INC-0007 (folded page)  refusal_rate, search in prod")


def test_a_refused_digest_wakes_nobody(
    stage_for: StageFor, caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver that is gone costs a line in the log and a warning: no fallback rings, nothing is
    called bad, and the next day's digest has it again."""
    daily = replace(DAILY, receivers=("gone",))
    stage = stage_for(fresh=True, receivers=("oncall",), digest=daily)
    stage.now = MORNING
    note(stage, 1)
    stage.digests.step(stage.now)
    channels = {"oncall": LogChannel(LogSettings(name="oncall"), stage.out["oncall"])}
    deliver = Deliver(
        stage.store, channels, stage.pager, Metrics(), lambda: stage.now, fallback="oncall"
    )
    assert deliver.step(stage.now) == 1
    deliver.close()
    assert "to gone failed: no receiver 'gone' in the configuration" in caplog.text
    assert stage.pages() == []
    with stage.store.read() as tx:
        assert tx.outbox.counts() == {}
    pager = stage.desk().overview().pager
    assert (pager.state, "the digest was refused by gone" in pager.text) == ("warn", True)
    stage.now += DAY
    stage.digests.step(stage.now)
    with stage.store.queue() as tx:
        (again,) = tx.outbox.claim("us", stage.now)
    assert again.message.title.startswith("1 level")


def over(number: int, stage: Stage) -> Incident:
    """One of another place that paged, and is over."""
    return incident(
        uuid=f"{number:032d}",
        number=number,
        detected_at=stage.now - number * MINUTE,
        paged_at=stage.now - number * MINUTE,
        state=State.CLOSED,
        dimensions={"environment": "prod", "feature": "other"},
        groups=frozenset(),
    )


def test_a_demotion_is_proposed_in_the_digest_once(stage_for: StageFor) -> None:
    """With the command to type; while nobody decides it does not make a digest of its own."""
    stage = night(stage_for, rule="page")
    desk = stage.desk()
    desk.judge("INC-0001", verdict="benign_shift")  # it has closed itself
    desk.resolve("INC-0002", verdict="benign_shift", reason="a new model")
    stage.now = MORNING
    stage.tick()
    (told,) = stage.pages("news")
    assert told["title"].startswith("1 open proposal since ")
    (line,) = told["lines"]
    assert line.startswith("demote refusal_rate? team default had 2 false pages in 4 weeks")
    assert line.endswith("tocsin rule demote refusal_rate --to ticket --reason TEXT")
    stage.now += DAY
    stage.tick()
    assert len(stage.pages("news")) == 1


def test_what_comes_late_is_told_late_and_a_clock_put_back_hides_nothing(
    stage_for: StageFor,
) -> None:
    """A note of an hour ago, stored after the digest, is in the next; a day is told once, however
    often it comes."""
    stage = stage_for(fresh=True, receivers=("oncall", "news"), digest=DAILY)
    stage.now = MORNING
    note(stage, 1)
    stage.tick()
    note(stage, 2)
    for back in (0, 2, 0):
        stage.now = MORNING - back * MINUTE
        stage.tick()
    assert [one["lines"] for one in stage.pages("news")] == [[line(1)]]
    stage.now = MORNING + 2 * DAY  # it was down for a day
    stage.tick()
    assert stage.pages("news")[1]["lines"] == [line(2)]
    assert stage.pages("news")[1]["command"] == "tocsin tickets --days 2"
    assert stage.pages("news")[1]["id"] == f"digest:news:{AT.date() + 2 * DAY}"


def note(stage: Stage, number: int) -> None:
    """A level changed an hour before the morning."""
    at = MORNING - 60 * MINUTE
    row = level_note(
        at=at, onset_at=at, text=f"Refusals, chat: {number}", fits="release v41", key=f"n{number}"
    )
    with stage.store.write() as tx:
        tx.notes.add(row)


def line(number: int) -> str:
    """What the digest says of it."""
    at = MORNING - 60 * MINUTE
    return f"Refusals, chat: {number}, since {at:%Y-%m-%d %H:%M} UTC; release v41"
