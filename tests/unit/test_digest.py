"""The daily digest: when it is due, wherever and whatever the clocks do, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerting.digest import (
    LINES,
    LONGEST,
    NOTES,
    PROPOSALS,
    SPAN,
    TICKETS,
    Daily,
    Digest,
    Item,
    Note,
    is_ticket,
    key,
    window,
)
from monitor.alerting.ledger import Proposal
from monitor.incidents.model import Origin
from monitor.notify.channel import DIGEST_LINES
from tests.making import T0, alert, incident, minutes

QUARTER = timedelta(minutes=15)
TURNS = [
    ("Europe/Paris", date(2026, 3, 29)),  # 02:00 to 03:00
    ("Europe/Paris", date(2026, 10, 25)),  # 03:00 to 02:00
    ("Africa/Cairo", date(2026, 4, 24)),  # 00:00 to 01:00
    ("America/Santiago", date(2026, 4, 5)),  # 00:00 to 23:00 of the day before
    ("America/Havana", date(2026, 11, 1)),  # 01:00 to 00:00
    ("Australia/Lord_Howe", date(2026, 10, 4)),  # half an hour
    ("America/Toronto", date(1919, 3, 31)),  # 23:30 to 00:30: the end of a day is left out
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that was not
]
"""Zones and days on which their clocks are put."""


def sent(daily: Daily, begin: datetime, end: datetime) -> Iterator[tuple[date, datetime]]:
    """What a process sends that looks every quarter of an hour and marks each day."""
    done: set[date] = set()
    now = begin
    while now < end:
        day = daily.due(now)
        if day is not None and day not in done:
            done.add(day)
            yield day, now
        now += QUARTER


@settings(deadline=None, max_examples=150)
@given(
    place=st.one_of(
        st.sampled_from(TURNS),
        st.tuples(
            st.sampled_from(sorted(available_timezones() or {"UTC"})),
            st.dates(date(1975, 1, 1), date(2036, 12, 30)),
        ),
    ),
    quarter=st.integers(0, 95),
)
def test_each_day_has_one_digest_at_its_time(place: tuple[str, date], quarter: int) -> None:
    """In any zone each day is told once: when the wall first shows its time, or a later one.

    A day that was on no wall at all needs none.
    """
    name, day = place
    at = time(quarter // 4, 15 * (quarter % 4))
    daily = Daily(("slack",), at, ZoneInfo(name))
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC) - 2 * SPAN
    found = dict(sent(daily, begin, begin + 5 * SPAN))
    walls = [begin + QUARTER * step for step in range(5 * 96)]
    shown = {now.astimezone(daily.zone).date() for now in walls}
    for each in {day - SPAN, day, day + SPAN} & shown:
        wanted = datetime.combine(each, at)
        first = next(
            now for now in walls if now.astimezone(daily.zone).replace(tzinfo=None) >= wanted
        )
        assert found[each] == first


def test_a_time_that_the_clocks_jump_over_is_when_they_have_jumped() -> None:
    """In Paris 02:30 is not there on 29 March 2026: the digest goes at 03:00."""
    daily = Daily(("slack",), time(2, 30), ZoneInfo("Europe/Paris"))
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert daily.due(jump - minutes(1)) is None
    assert daily.due(jump) == date(2026, 3, 29)


def test_a_time_that_is_there_twice_has_one_day() -> None:
    """Both 02:30 of 25 October 2026 are of the same day, which is told once."""
    daily = Daily(("slack",), time(2, 30), ZoneInfo("Europe/Paris"))
    first, second = (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    )
    assert daily.due(first) == daily.due(second) == date(2026, 10, 25)
    assert daily.due(first - minutes(1)) is None


def test_before_its_time_nothing_of_the_day_before_is_owed() -> None:
    """Who was down all day is told at the next day's time, of both."""
    daily = Daily(("slack",), time(9), ZoneInfo("Europe/Paris"))
    assert daily.due(datetime(2026, 11, 23, 7, 59, tzinfo=UTC)) is None
    assert daily.due(datetime(2026, 11, 23, 8, tzinfo=UTC)) == date(2026, 11, 23)
    assert daily.due(datetime(2026, 11, 23, 22, 59, tzinfo=UTC)) == date(2026, 11, 23)


def test_a_digest_looks_back_to_the_last_and_a_week_at_most() -> None:
    """A day at first; then to the last one; a week after a pause; a day where the clock is back."""
    assert window(None, T0) == T0 - SPAN
    assert window(T0 - 3 * SPAN, T0) == T0 - 3 * SPAN
    assert window(T0 - 30 * SPAN, T0) == T0 - LONGEST
    assert window(T0 + SPAN, T0) == T0 - SPAN


def test_only_what_detectors_found_and_woke_nobody_is_a_ticket() -> None:
    """What paged, and what people or Alertmanager brought, is none."""
    assert is_ticket(incident())
    assert not is_ticket(replace(incident(), paged_at=T0))
    assert not is_ticket(replace(incident(), origin=Origin.DECLARED))


def many(count: int, *, tier: str = "ticket") -> list[Item]:
    """Tickets, oldest first."""
    return [
        Item(
            replace(incident(), uuid=f"u{number}", number=number, detected_at=T0 + minutes(number)),
            [replace(alert(), tier=tier)],
        )
        for number in range(1, count + 1)
    ]


def digest(**parts: object) -> Digest:
    """Of one day."""
    return Digest(**{"since": T0, "until": T0 + SPAN, **parts})  # type: ignore[arg-type] # its fields


def test_a_ticket_says_rule_place_how_much_since_when_and_which() -> None:
    """One line has all that is needed to decide whether to look."""
    (item,) = many(1)
    lead = item.alerts[0]
    made = digest(tickets=[item])
    assert made.lines == (
        f"INC-0001  {lead.signal}, chat in prod, since {lead.onset_at:%Y-%m-%d %H:%M} UTC: "
        f"{lead.reading.reason}",
    )
    assert made.title == "1 ticket since 2026-11-16 09:00 UTC; they woke nobody"
    assert made.command == "tocsin tickets"


def test_a_page_that_was_folded_comes_first_and_is_called_so() -> None:
    """What would have woken somebody is not to be lost among what would not."""
    made = digest(tickets=[*many(12), *many(1, tier="page")])
    first, *rest = made.lines
    assert first.startswith("INC-0001 (folded page)  refusal_rate, ")
    assert not any("folded" in line for line in rest)
    assert [line.split()[0] for line in rest[:2]] == ["INC-0012", "INC-0011"]
    assert rest[-1] == "and 3 more tickets: tocsin tickets"
    assert len(made.lines) == TICKETS + 1


def test_notes_and_proposals_follow() -> None:
    """Levels with the change that fits, and demotions with the command to type."""
    proposal = Proposal("default", "refusal_rate", "ticket", "two for nothing")
    notes = [Note("Refusals, chat: 2 % to 4 %", T0, "release v41"), Note("Errors, chat", T0)]
    made = digest(notes=notes, proposals=[proposal])
    assert made.lines == (
        "Refusals, chat: 2 % to 4 %, since 2026-11-16 09:00 UTC; release v41",
        "Errors, chat, since 2026-11-16 09:00 UTC; no recorded change fits",
        "demote refusal_rate? two for nothing: "
        "tocsin rule demote refusal_rate --to ticket --reason TEXT",
    )
    assert made.title.startswith("2 level changes, 1 open proposal since ")


def test_a_proposal_that_is_known_is_no_reason_to_write() -> None:
    """What was told once is told again only beside something new."""
    proposal = Proposal("default", "refusal_rate", "ticket", "two for nothing")
    assert digest().empty
    assert digest(proposals=[proposal]).empty
    assert not digest(proposals=[proposal], proposed=True).empty
    assert not digest(tickets=many(1)).empty


@pytest.mark.parametrize(
    ("days", "command"), [(0.5, ""), (1, ""), (1.01, " --days 2"), (7, " --days 7")]
)
def test_the_command_lists_what_the_digest_is_of(days: float, command: str) -> None:
    """After a pause it reaches as far back."""
    made = replace(digest(), since=T0, until=T0 + timedelta(days=days))
    assert made.command == f"tocsin tickets{command}"


def test_a_digest_is_never_longer_than_channels_show() -> None:
    """However much was found."""
    proposals = [Proposal("default", f"rule{number}", "ticket", "why") for number in range(40)]
    notes = [Note(f"level {number}", T0) for number in range(40)]
    made = digest(tickets=many(40), notes=notes, proposals=proposals)
    assert len(made.lines) == LINES == TICKETS + NOTES + PROPOSALS + 2 <= DIGEST_LINES
    assert made.lines[TICKETS + 1 + NOTES] == "and 35 more level changes: tocsin signal notes"


def test_a_key_is_of_one_receiver_and_day() -> None:
    """So that a repeat is known as one, and nothing else is."""
    day = date(2026, 11, 23)
    assert key("slack", day) == "digest:slack:2026-11-23"
    assert len({key(name, day + SPAN * n) for name in ("a", "b") for n in (0, 1)}) == 4
