"""Alerts, grouping, routes and pages: every decision and the reason it gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from monitor.alerting import pages
from monitor.alerting.alerts import Alert, Cause, Change, advance, fingerprint
from monitor.alerting.fitting import ChangeFact
from monitor.alerting.grouping import (
    Candidate,
    by_seniority,
    group_key,
    joined,
    led_by,
    place,
    relation,
)
from monitor.alerting.routes import Route, parse_matcher, route
from monitor.incidents.model import Origin, Rung, State
from tests.making import T0, alert, incident, minutes, reading

CHAT = {"environment": "prod", "feature": "chat"}
SEARCH = {"environment": "prod", "feature": "search"}
GROUP_BY = ("environment", "feature")


# -- alerts -----------------------------------------------------------------------------------


def test_a_firing_reading_opens_an_alert() -> None:
    """A series without a firing alert and a firing reading: a new alert, detected at its bucket."""
    step = advance(None, reading())
    assert step.change is Change.OPENED
    assert step.alert is not None
    assert step.alert.detected_at == T0
    assert step.alert.onset_at == T0 - minutes(5)
    assert step.alert.fingerprint == fingerprint("refusal_rate", CHAT)
    assert step.reason == reading().reason


def test_a_quiet_reading_opens_nothing() -> None:
    """Nothing fires, nothing changes, also after an alert that has cleared."""
    assert advance(None, reading(firing=False)).change is Change.NOTHING
    cleared = replace(alert(), cleared_at=T0)
    step = advance(cleared, reading(firing=False))
    assert step.change is Change.NOTHING
    assert step.alert is cleared


def test_an_alert_keeps_its_strongest_reading() -> None:
    """While it fires, the reading of the highest score is kept and the time moves on."""
    first = alert(score=12.0)
    up = advance(first, reading(score=20.0, at=T0 + minutes(1)))
    assert up.change is Change.CONTINUES
    assert up.alert is not None
    down = advance(up.alert, reading(score=13.0, at=T0 + minutes(2)))
    assert down.alert is not None
    assert down.alert.reading.score == 20.0
    assert down.alert.updated_at == T0 + minutes(2)
    assert down.alert.detected_at == T0


def test_an_alert_clears_and_a_new_one_opens() -> None:
    """Back to normal ends the alert; firing again is another one with its own detection."""
    step = advance(alert(), reading(firing=False, at=T0 + minutes(30)))
    assert step.change is Change.CLEARED
    assert step.alert is not None
    assert not step.alert.firing
    assert step.reason.startswith("back to normal: ")
    again = advance(step.alert, reading(at=T0 + minutes(40)))
    assert again.change is Change.OPENED
    assert again.alert is not None
    assert again.alert.detected_at == T0 + minutes(40)


def test_an_alert_without_traffic_is_not_back_to_normal() -> None:
    """What could not be judged moves no alert, fires or not; it says since when, until it is judged
    again or a day has passed, and then it is over without a word about normal."""
    lost = reading(firing=False, blind=True, at=T0 + minutes(1), reason="no traffic")
    first = advance(alert(), lost)
    assert (first.change, first.reason) == (Change.CONTINUES, "not judged: no traffic")
    waits = first.alert
    assert waits is not None
    assert waits.reason.endswith(f"; not judged since {T0:%H:%M} UTC, for want of traffic")
    for firing in (False, True):
        later = replace(lost, firing=firing, at=T0 + timedelta(hours=23))
        assert advance(waits, later).change is Change.NOTHING
    over = advance(waits, replace(lost, at=T0 + timedelta(hours=24)))
    assert (over.change, over.reason) == (Change.CLEARED, "not judged for 24 h: no traffic")
    goes_on = advance(waits, reading(at=T0 + minutes(90)))
    assert goes_on.change is Change.CONTINUES
    assert goes_on.alert is not None
    assert goes_on.alert.unjudged_since is None
    calm = advance(waits, reading(firing=False, at=T0 + minutes(90)))
    assert calm.reason.startswith("back to normal: ")
    assert advance(None, reading(blind=True)).change is Change.NOTHING


def test_a_fingerprint_is_of_signal_and_dimensions() -> None:
    """The order of dimensions does not matter; the signal and each value do."""
    turned = {"feature": "chat", "environment": "prod"}
    assert fingerprint("a", CHAT) == fingerprint("a", turned)
    assert len({fingerprint("a", CHAT), fingerprint("b", CHAT), fingerprint("a", SEARCH)}) == 3


# -- grouping ---------------------------------------------------------------------------------


def other_signal(dimensions: dict[str, str], **changes: Any) -> Alert:
    """An alert of errors."""
    return alert(signal="error_rate", dimensions=dimensions, **changes)


def test_the_same_route_group_joins_whenever() -> None:
    """Another signal of the same feature joins its open incident, hours later too."""
    late = other_signal(CHAT, onset_at=T0 + minutes(200), at=T0 + minutes(205))
    found = place(late, [Candidate(incident(), [alert()])], GROUP_BY)
    assert found.incident == incident()
    assert found.reason == 'same route group {environment="prod", feature="chat"}'


def test_siblings_join_within_half_an_hour() -> None:
    """The same signal of another feature joins when the onsets are 30 minutes apart at most."""
    open_one = Candidate(incident(), [alert()])
    near = alert(dimensions=SEARCH, onset_at=T0 + minutes(25))
    assert place(near, [open_one], GROUP_BY).incident == incident()
    far = alert(dimensions=SEARCH, onset_at=T0 + minutes(26))
    found = place(far, [open_one], GROUP_BY)
    assert found.incident is None
    assert found.reason == 'no open incident of route group {environment="prod", feature="search"}'


def test_what_wakes_people_names_the_incident() -> None:
    """A ticket's incident takes the name of the alert that pages; one that has paged keeps its own.

    A ticket that joins renames nothing.
    """
    ticket = alert(signal="new_tool", tier="ticket")
    filed = incident(title="New tool", signal="new_tool", dimensions={"environment": "prod"})
    pages_now = alert()
    led = led_by(filed, pages_now, [ticket], "Refusals 5x base")
    assert (led.title, led.signal) == ("Refusals 5x base", "refusal_rate")
    assert led.dimensions == dict(pages_now.dimensions)
    assert led_by(filed, ticket, [ticket], "x") is filed
    assert led_by(incident(), alert(signal="error_rate"), [alert()], "x") == incident()
    rung = incident(paged_at=T0)
    assert led_by(rung, pages_now, [], "x") is rung


def test_what_wakes_people_times_the_incident() -> None:
    """Onset and detection are the first page's, whatever ticket came before it or after it."""
    ticket = alert(signal="new_tool", tier="ticket")
    filed = incident(signal="new_tool", detected_at=T0, impact_at=T0 - minutes(5))
    later = T0 + minutes(71)
    first = alert(at=later, onset_at=later - minutes(8))
    led = joined(led_by(filed, first, [ticket], "x"), first, [ticket], frozenset())
    assert (led.detected_at, led.impact_at) == (first.detected_at, first.onset_at)
    early = alert(signal="new_tool", tier="ticket", onset_at=T0)
    for one in (led, replace(led, paged_at=later)):
        assert joined(one, early, [ticket, first], frozenset()).impact_at == first.onset_at
    second = alert(signal="error_rate", at=later, onset_at=later - minutes(9))
    both = joined(led_by(led, second, [ticket, first], "x"), second, [ticket, first], frozenset())
    assert (both.detected_at, both.impact_at) == (first.detected_at, second.onset_at)
    assert joined(filed, replace(early, onset_at=T0 - minutes(9)), [ticket], frozenset()) == (
        replace(filed, impact_at=T0 - minutes(9))
    )


def test_nothing_joins_what_is_over() -> None:
    """A resolved or closed incident takes no alert."""
    for state in (State.RESOLVED, State.CLOSED, State.MERGED, State.FALSE_POSITIVE):
        over = Candidate(incident(state=state), [alert()])
        assert place(alert(), [over], GROUP_BY).incident is None


def test_relations() -> None:
    """Ancestor, descendant, sibling and one cause are kin; another signal elsewhere is not."""
    whole = alert(dimensions={"environment": "prod"})
    assert relation(whole, alert()) == "ancestor"
    assert relation(alert(), whole) == "descendant"
    assert relation(alert(), alert(dimensions=SEARCH)) == "sibling"
    assert relation(alert(), other_signal(SEARCH)) is None
    cause = Cause(dimensions={"model": "m2"}, share=0.8)
    mine = replace(alert(), causes=(cause,))
    assert relation(mine, replace(other_signal(SEARCH), causes=(cause,))) == "one cause with"
    weak = replace(cause, share=0.4)
    assert relation(mine, replace(other_signal(SEARCH), causes=(weak,))) is None


def test_a_group_key_is_in_alertmanager_s_notation() -> None:
    """Absent dimensions are empty values."""
    assert group_key({"feature": "chat"}, GROUP_BY) == '{environment="", feature="chat"}'


# -- routes -----------------------------------------------------------------------------------


def matched(text: str, **labels: str) -> bool:
    """Whether one matcher takes these labels."""
    return parse_matcher(text).matches(labels)


def test_matchers() -> None:
    """Equality, patterns over the whole value, and their negations; an absent label is empty."""
    assert matched('severity="SEV1"', severity="SEV1")
    assert matched("severity = SEV1", severity="SEV1")
    assert not matched("severity!=SEV1", severity="SEV1")
    assert matched('severity=~"SEV1|SEV2"', severity="SEV2")
    assert not matched("feature=~cha", feature="chat")
    assert matched("feature!~cha", feature="chat")
    assert matched('team=""')
    assert matched("team!=x")


@pytest.mark.parametrize("text", ["severity", "=x", "1a=x", "a b=x", "a=~("])
def test_a_bad_matcher_is_refused(text: str) -> None:
    """The message quotes it and shows a good one, or says what is wrong with its pattern."""
    with pytest.raises(ValueError, match=r"matcher|pattern"):
        parse_matcher(text)


def node(
    receiver: str, *matchers: str, go_on: bool = False, routes: tuple[Route, ...] = ()
) -> Route:
    """A node with one receiver, or none."""
    return Route(
        receivers=(receiver,) if receiver else (),
        matchers=tuple(parse_matcher(text) for text in matchers),
        routes=routes,
        go_on=go_on,
    )


def receivers(root: Route, **labels: str) -> list[str]:
    """Who gets these labels."""
    return [hop.receiver for hop in route(root, labels)]


def test_the_deepest_first_match_takes_it() -> None:
    """Children are asked in order, the first to match wins, and the root takes the rest."""
    root = node(
        "all",
        routes=(
            node("sev1", "severity=SEV1", routes=(node("chat", "feature=chat"),)),
            node("never", "severity=~SEV1|SEV2"),
        ),
    )
    assert receivers(root, severity="SEV1", feature="chat") == ["chat"]
    assert receivers(root, severity="SEV1", feature="search") == ["sev1"]
    assert receivers(root, severity="SEV2") == ["never"]
    assert receivers(root, severity="SEV3") == ["all"]
    hop = route(root, {"severity": "SEV1", "feature": "chat"})[0]
    assert hop.reason == "root > severity=SEV1 > feature=chat"


def test_continue_goes_on_and_a_child_inherits() -> None:
    """With `continue` a later sibling may take it too; without receivers the parent's are used."""
    root = node(
        "all",
        routes=(
            node("audit", go_on=True),
            node("", "severity=SEV1"),
            node("late"),
        ),
    )
    assert receivers(root, severity="SEV1") == ["audit", "all"]
    assert receivers(root, severity="SEV2") == ["audit", "late"]


def test_a_receiver_gets_it_once() -> None:
    """Two ways to one receiver are one page."""
    root = node("all", routes=(node("x", go_on=True), node("x")))
    assert receivers(root) == ["x"]


# -- pages ------------------------------------------------------------------------------------


def test_every_reason_to_page_or_not() -> None:
    """Each branch of the decision gives its own reason."""
    one, alerts = incident(), [alert()]
    busy = [T0 - timedelta(hours=1), T0 - timedelta(hours=11)]

    def said(page: bool, text: str, due: pages.Due) -> None:
        assert due.page is page
        assert text in due.reason

    said(False, "paged already", pages.due(incident(paged_at=T0), alerts, [], T0))
    said(False, "SEV4 never pages", pages.due(incident(severity="SEV4"), alerts, [], T0))
    never = incident(origin=Origin.NEVER_EVENT)
    said(True, "first occurrence", pages.due(never, [], busy, T0))
    said(True, "declared by a person", pages.due(incident(origin=Origin.DECLARED), [], busy, T0))
    ticket = [alert(tier="ticket")]
    said(False, "ticket only", pages.due(one, ticket, [], T0))
    said(False, "ticket only", pages.due(one, [], [], T0))
    silent = incident(origin=Origin.NO_DATA)
    said(True, "a blind monitor", pages.due(silent, alerts, busy, T0))
    said(False, "folded into the digest", pages.due(one, alerts, busy, T0))
    said(True, "a paging rule fires", pages.due(one, alerts, busy, T0, capped=False))
    said(True, "a paging rule fires", pages.due(one, alerts, busy[:1], T0))
    old = [T0 - timedelta(hours=12), T0 - timedelta(hours=13)]
    said(True, "a paging rule fires", pages.due(one, [*ticket, *alerts], old, T0))


def test_a_page_has_three_lines() -> None:
    """What, how much, why and after what; since when and where; what changed in the hour before."""
    cause = Cause(dimensions={"model": "m2"}, share=0.83, first_seen=T0 - minutes(90))
    one = replace(alert(), causes=(cause,))
    change = ChangeFact("release", "v42", T0 - minutes(17), {})
    what, origin, changed = pages.lines([one], [change])
    assert what == (
        f"{reading().reason}; model m2 explains 83% of it, first seen 07:30 UTC; after release v42"
    )
    assert origin == "since 08:55 UTC: chat in prod"
    assert changed == "release v42 12 min before the onset"


def test_a_new_value_that_explains_half_is_named_before_an_old_one() -> None:
    """A release that came with the onset is what people must hear of, not the biggest feature."""
    old = Cause(dimensions={"tenant": "t_old"}, share=0.6)
    new = Cause(dimensions={"model": "m2"}, share=0.5, first_seen=T0)
    small = replace(new, share=0.4)
    assert "model m2 explains 50%" in pages.lines([replace(alert(), causes=(old, new))], ())[0]
    assert "tenant t_old explains" in pages.lines([replace(alert(), causes=(old, small))], ())[0]


def test_changes_that_came_after_or_long_before_are_not_named() -> None:
    """Only a change within the hour before the onset is news; several are counted."""
    onset = alert().onset_at
    after = ChangeFact("flag", "late", onset + minutes(1), {})
    old = ChangeFact("flag", "old", onset - minutes(61), {})
    assert pages.lines([alert()], [after, old])[2] == "no change recorded in the hour before"
    first = ChangeFact("flag", "first", onset - minutes(60), {})
    last = ChangeFact("release", "v2", onset, {})
    said = pages.lines([alert()], [first, last, after])[2]
    assert said == "release v2 0 min before the onset (+1 more)"


def test_the_strongest_alert_speaks() -> None:
    """Paging before ticket, firing before cleared, then severity, then excess."""
    ticket = alert(tier="ticket", severity="SEV1", excess=900.0)
    cleared = replace(alert(severity="SEV1"), cleared_at=T0)
    small = alert(dimensions=SEARCH, excess=5.0)
    big = alert(excess=80.0)
    assert pages.strongest([ticket, cleared, small, big]) is big
    assert pages.strongest([ticket, cleared]) is cleared
    assert pages.lines([small, big], [])[0].endswith("(+1 more alerts)")
    assert pages.lines([], []) == ()


def test_where_and_title() -> None:
    """The feature first, the environment last, other dimensions named; a ratio with a baseline."""
    assert pages.where(CHAT) == "chat in prod"
    assert pages.where({**CHAT, "risk_tier": "write"}) == "chat, risk_tier write in prod"
    assert pages.where({"environment": "prod", "feature": ""}) == "all in prod"
    assert pages.where({}) == "all"
    assert pages.title(alert(), "Refusals") == "Refusals 5.0x base: chat in prod"
    assert pages.title(alert(baseline=0.0), "No data") == "No data: chat in prod"


def test_the_title_of_a_fall_to_zero_reads_as_a_sentence() -> None:
    """Where nothing is left there is no ratio to a base."""
    title = pages.title(alert(rate=0.0, k=0, excess=-10.0), "Refusals")
    assert title == "Refusals down to none: chat in prod"


def test_an_upgrade_rings_under_a_new_key() -> None:
    """The key is stable for one incident at one severity."""
    assert pages.dedup_key(incident()) == pages.dedup_key(incident(title="x"))
    assert pages.dedup_key(incident()) != pages.dedup_key(incident(severity="SEV1"))


@pytest.mark.parametrize(("excess", "first"), [(40.0, "chat"), (15.0, None)])
def test_a_parent_yields_to_a_child_that_is_nearly_all_of_it(
    excess: float, first: str | None
) -> None:
    """The whole environment names the incident, unless one feature has most of its excess."""
    whole = alert(dimensions={"environment": "prod"}, excess=42.0)
    chat = alert(dimensions={"environment": "prod", "feature": "chat"}, excess=excess)
    placed = by_seniority([whole, chat])
    assert placed[0].dimensions.get("feature") == first
    assert set(map(id, placed)) == {id(whole), id(chat)}


def test_a_rung_is_due_at_its_time_and_says_when_it_is_late() -> None:
    """The first rung with somebody left to ring; a person gets the next whatever the time."""
    first, second = Rung(0, ("day",)), Rung(300, ("day", "night"))
    ladder = (first, second)
    assert pages.next_rung(ladder, (), T0, T0) == (first, ["day"])
    assert pages.next_rung(ladder, ("day",), T0, T0 + timedelta(seconds=299)) is None
    due = T0 + timedelta(seconds=300)
    assert pages.next_rung(ladder, ("day",), T0, due) == (second, ["night"])
    assert pages.next_rung(ladder, ("day",), T0, None) == (second, ["night"])
    assert pages.next_rung(ladder, ("day", "night"), T0, None) is None
    assert pages.late(second, T0, due + pages.LATE) == ""
    assert pages.late(second, T0, due + timedelta(seconds=340)) == ", late by 340 s"
