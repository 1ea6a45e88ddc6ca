"""What may happen to an incident, every refusal, and the chain of its timeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.incidents import actions
from monitor.incidents.actions import Refusal, Result, Step
from monitor.incidents.model import OPEN, Incident, Origin, State
from monitor.incidents.timeline import Entry, Linked, broken_at, link
from tests.making import T0, incident, minutes

NOW = T0 + minutes(10)
CLOSED_STATES = sorted(set(State) - OPEN)


def step(result: Result) -> Step:
    """A result that must be a step."""
    assert isinstance(result, Step), result
    return result


def refusal(result: Result) -> Refusal:
    """A result that must be a refusal."""
    assert isinstance(result, Refusal), result
    return result


def kinds(result: Result) -> list[str]:
    """Kinds of the entries that tell a step."""
    return [entry.kind for entry in step(result).entries]


VERIFICATION = "a passed verification is missing (run the runbook's verify step, or give a reason)"


def test_acknowledging_stops_the_pager_once() -> None:
    """The first acknowledgement counts and says how long it took; the second names the first."""
    first = step(actions.acknowledge(incident(), "ada", NOW, via="slack"))
    assert first.incident.acknowledged_at == NOW
    assert first.incident.acknowledged_by == "ada"
    assert first.incident.state is State.ACTIVE
    assert first.entries[0].text == "acknowledged 600 s after detection"
    assert first.entries[0].data == {"via": "slack"}
    again = step(actions.acknowledge(first.incident, "bob", NOW))
    assert again.entries == ()
    assert again.text == "INC-0007 was acknowledged by ada"
    mitigated = incident(state=State.MITIGATED)
    assert step(actions.acknowledge(mitigated, "ada", NOW)).incident.state is State.MITIGATED


def test_taking_command_acknowledges() -> None:
    """Who takes command has acknowledged; taking over names whom from; twice changes nothing."""
    first = step(actions.take(incident(), "ada", NOW))
    assert kinds(first) == ["ACK", "CMD"]
    assert first.incident.commander == "ada"
    again = step(actions.take(first.incident, "ada", NOW))
    assert again.entries == ()
    over = step(actions.take(first.incident, "bob", NOW))
    assert over.entries[0].text == "takes command from ada"


def test_a_note_is_always_welcome() -> None:
    """People may add what they know to any incident, but not an empty line."""
    for state in State:
        assert kinds(actions.note(incident(state=state), " seen it \n", "ada", NOW)) == ["NOTE"]
    assert refusal(actions.note(incident(), " \n", "ada", NOW)).hint == "type the note's text"


def test_severity_changes_with_its_reason() -> None:
    """Another severity of the list is taken; the same or an unknown one is refused."""
    changed = step(actions.set_severity(incident(), "SEV1", "money", "ada", NOW))
    assert changed.incident.severity == "SEV1"
    assert changed.entries[0].text == "SEV2 -> SEV1: money"
    assert "already" in refusal(actions.set_severity(incident(), "SEV2", "", "a", NOW)).message
    unknown = refusal(actions.set_severity(incident(), "P1", "", "a", NOW))
    assert unknown.hint == "one of SEV1, SEV2, SEV3, SEV4"


def test_mitigation_needs_a_proof_or_a_reason() -> None:
    """Without a verification a reason must be typed; the time is the verification's."""
    assert "nothing shows" in refusal(actions.mitigate(incident(), "", "ada", NOW)).message
    typed = step(actions.mitigate(incident(), "flag off", "ada", NOW))
    assert typed.incident.mitigated_at == NOW
    assert typed.incident.state is State.MITIGATED
    proven = actions.verified(incident(), "held for 10m", "tocsin", NOW - minutes(3))
    assert kinds(proven) == ["VERIFY"]
    shown = step(actions.mitigate(proven.incident, "", "ada", NOW))
    assert shown.incident.mitigated_at == NOW - minutes(3)
    assert shown.entries[0].text == "verified"
    assert step(actions.mitigate(shown.incident, "", "ada", NOW)).entries == ()


def test_resolving_needs_a_verdict_and_what_lacks_or_a_reason() -> None:
    """What is missing is listed; a reason overrides; the verdict is one of the list."""
    bare = incident()
    assert actions.resolve_lacks(bare) == [VERIFICATION, "the signal has not returned to normal"]
    lacking = refusal(actions.resolve(bare, "attack", "", "ada", NOW))
    assert "cannot be resolved yet" in lacking.message
    assert lacking.hint == "say why it is safe without: --reason TEXT"
    assert "unknown verdict" in refusal(actions.resolve(bare, "bad", "x", "ada", NOW)).message
    done = step(actions.resolve(bare, "attack", "blocked the tenant", "ada", NOW))
    assert kinds(done) == ["MITIGATED", "RESOLVED"]
    assert done.incident.state is State.RESOLVED
    assert done.incident.resolved_at == done.incident.mitigated_at == NOW
    assert actions.resolve_lacks(done.incident) == []
    good = incident(verified_at=NOW, normal_at=NOW, mitigated_at=T0)
    assert kinds(actions.resolve(good, "regression", "", "ada", NOW)) == ["RESOLVED"]
    wrong = step(actions.resolve(good, "false_positive", "", "ada", NOW))
    assert wrong.incident.state is State.FALSE_POSITIVE


def test_a_declared_incident_has_no_signal_to_wait_for() -> None:
    """Without a signal only the verification lacks."""
    declared = incident(origin=Origin.DECLARED, signal=None)
    assert actions.resolve_lacks(declared) == [VERIFICATION]


def test_a_verdict_on_an_open_incident_is_for_later() -> None:
    """It is refused in plain words, with the command that gives one."""
    early = refusal(actions.judge(incident(), "attack", "", "ada", NOW))
    assert early.message == "INC-0007 is still open; give the verdict when you resolve it"
    assert early.hint == "tocsin inc resolve INC-0007 --verdict attack"


@pytest.mark.parametrize("state", CLOSED_STATES)
def test_what_is_over_refuses_work(state: State) -> None:
    """A resolved, closed, merged, cancelled or false incident takes no work, and says how on."""
    over = incident(state=state)
    for result in (
        actions.acknowledge(over, "ada", NOW),
        actions.take(over, "ada", NOW),
        actions.set_severity(over, "SEV1", "x", "ada", NOW),
        actions.mitigate(over, "x", "ada", NOW),
        actions.resolve(over, "attack", "x", "ada", NOW),
    ):
        assert refusal(result).message.startswith(f"INC-0007 is {state}")
        assert "tocsin inc reopen INC-0007" in refusal(result).hint


def resolved(**changes: object) -> Incident:
    """A resolved incident."""
    base = incident(
        state=State.RESOLVED,
        resolved_at=T0,
        mitigated_at=T0,
        verified_at=T0,
        verdict="attack",
        acknowledged_at=T0,
    )
    return replace(base, **changes)  # type: ignore[arg-type] # fields by name


def test_reopening() -> None:
    """Within a day and with a reason work goes on; what proved the end is forgotten."""
    back = step(actions.reopen(resolved(), "it is back", "ada", NOW)).incident
    assert back.state is State.ACTIVE
    assert (back.resolved_at, back.mitigated_at, back.verified_at, back.verdict) == (None,) * 4
    assert (back.acknowledged_at, back.normal_at, back.paged_at) == (T0, None, None)
    assert "is open" in refusal(actions.reopen(incident(), "x", "ada", NOW)).message
    assert "reason" in refusal(actions.reopen(resolved(), "", "ada", NOW)).message
    merged = resolved(state=State.MERGED)
    assert "merged" in refusal(actions.reopen(merged, "x", "ada", NOW)).message
    late = refusal(actions.reopen(resolved(), "x", "ada", T0 + timedelta(hours=24, seconds=1)))
    assert "tocsin inc declare" in late.hint
    closed = resolved(state=State.CLOSED, closed_at=T0 + timedelta(hours=20))
    step(actions.reopen(closed, "x", "ada", T0 + timedelta(hours=40)))


def test_who_opens_it_again_has_taken_it() -> None:
    """It closed itself and nobody had: it is theirs, and its escalation begins anew."""
    closed = resolved(state=State.CLOSED, acknowledged_at=None, normal_at=T0, paged_at=T0)
    again = actions.reopen(closed, "it was real", "ada", NOW)
    assert kinds(again) == ["REOPENED", "ACK"]
    back = step(again).incident
    assert (back.acknowledged_by, back.acknowledged_at, back.paged_at) == ("ada", NOW, NOW)
    assert back.normal_at is None
    assert actions.close_by_itself(back, NOW + timedelta(days=1)) is None


@pytest.mark.parametrize("taken", [None, T0])
@pytest.mark.parametrize("paged", [None, T0])
@pytest.mark.parametrize(("quiet", "another"), [(0, False), (10, False), (10.1, True), (-60, True)])
def test_what_fires_again(
    quiet: float, another: bool, paged: datetime | None, taken: datetime | None
) -> None:
    """Ten minutes after the end it is another outage: the acknowledgement lapses, with its reason,
    and the next page is its first. What was never paged is not paged for that alone."""
    one = incident(state=State.ACTIVE if taken else State.TRIAGE, paged_at=paged)
    one = replace(one, acknowledged_at=taken, acknowledged_by="ada" if taken else None)
    assert actions.fires_again(one, NOW, told=False).incident == one
    over = replace(one, normal_at=NOW - minutes(quiet))
    again = actions.fires_again(over, NOW, told=False)
    assert again.incident.normal_at is None
    assert again.incident.state is (State.ACTIVE if taken and not another else State.TRIAGE)
    assert again.incident.acknowledged_at == (None if another else taken)
    assert again.incident.paged_at == (None if another else paged)
    assert bool(again.page) == (paged is not None and (another or taken is None))
    assert [entry.kind for entry in again.entries] == (["LAPSED"] if another and taken else [])


def test_who_catches_up_tells_outages_apart_by_the_events_time() -> None:
    """Forty minutes of events are decided within a second: it is another outage all the same."""
    one = incident(state=State.ACTIVE, acknowledged_at=T0, acknowledged_by="ada", paged_at=T0)
    over = replace(one, normal_at=NOW)
    assert actions.fires_again(over, NOW, minutes(10), told=False).incident.acknowledged_at == T0
    again = actions.fires_again(over, NOW, minutes(40), told=False)
    assert again.incident.acknowledged_at is None
    assert again.page


def test_what_was_mitigated_and_fires_again_is_still_called_so() -> None:
    """A person said it, with a time; only the acknowledgement lapses."""
    one = incident(state=State.MITIGATED, acknowledged_at=T0, normal_at=T0, paged_at=T0)
    again = actions.fires_again(one, T0 + minutes(11), told=False)
    assert again.incident.state is State.MITIGATED


def test_who_was_told_the_end_is_paged_however_soon_it_fires_again() -> None:
    """An acknowledgement that came after the end was told answers nothing that fires after it."""
    one = incident(state=State.ACTIVE, acknowledged_at=T0, acknowledged_by="ada", paged_at=T0)
    again = actions.fires_again(replace(one, normal_at=NOW - minutes(1)), NOW, told=True)
    assert (again.incident.acknowledged_at, again.incident.paged_at) == (None, None)
    assert again.page


def test_what_was_never_paged_stays_with_who_took_it() -> None:
    """A ticket was told to nobody: when it flaps its acknowledgement holds."""
    one = incident(state=State.ACTIVE, acknowledged_at=T0, acknowledged_by="ada", paged_at=None)
    again = actions.fires_again(replace(one, normal_at=NOW - minutes(1)), NOW, told=True)
    assert again.incident == one
    assert not again.entries


@pytest.mark.parametrize(
    ("apart", "taken", "lapses"), [(59, 99, False), (60, 99, True), (99, 59, False), (99, 60, True)]
)
def test_an_acknowledged_never_event_answers_for_an_hour(
    apart: float, taken: float, lapses: bool
) -> None:
    """After an hour without one the next is another occasion, but not who catches up and reads of
    hours within seconds; nobody's stays as it is."""
    at = NOW - minutes(taken)
    one = incident(state=State.ACTIVE, acknowledged_at=at, acknowledged_by="ada", paged_at=at)
    again = actions.comes_again(one, NOW - minutes(apart), NOW, NOW)
    assert (again.incident.acknowledged_at is None) == bool(again.page) == lapses
    nobodys = incident(paged_at=T0)
    assert actions.comes_again(nobodys, T0, NOW, NOW).incident == nobodys


def test_closing_files_what_is_resolved() -> None:
    """An open incident is not closed; a closed one stays as it is."""
    assert refusal(actions.close(incident(), "", "ada", NOW)).hint == "resolve it first"
    closed = step(actions.close(resolved(), "", "ada", NOW))
    assert closed.incident.state is State.CLOSED
    assert closed.incident.closed_at == NOW
    assert step(actions.close(closed.incident, "", "ada", NOW)).entries == ()


def test_an_unattended_incident_closes_itself() -> None:
    """After 60 quiet minutes that nobody acknowledged; never when somebody did."""
    normal = actions.signal_normal(incident(), T0).incident
    assert normal.normal_at == T0
    assert actions.close_by_itself(normal, T0 + minutes(59)) is None
    closed = actions.close_by_itself(normal, T0 + minutes(60))
    assert closed is not None
    assert closed.incident.state is State.CLOSED
    assert closed.incident.resolved_at == T0
    assert closed.incident.closed_at == T0 + minutes(60)
    assert actions.close_by_itself(incident(), T0 + minutes(600)) is None
    attended = replace(normal, acknowledged_at=T0)
    assert actions.close_by_itself(attended, T0 + minutes(600)) is None
    assert actions.close_by_itself(closed.incident, T0 + minutes(600)) is None


# -- the chain --------------------------------------------------------------------------------


def chain(count: int) -> list[Linked]:
    """A timeline of notes."""
    links: list[Linked] = []
    for number in range(count):
        entry = Entry(
            kind="NOTE",
            text=f"note {number}",
            actor="ada",
            occurred_at=T0 + minutes(number),
            data={"b": number, "a": [1, "x"]},
        )
        links.append(link(links[-1] if links else None, entry, T0 + minutes(number)))
    return links


def test_a_chain_verifies() -> None:
    """Untouched it is intact, empty and cut at the end too."""
    whole = chain(5)
    assert [item.seq for item in whole] == [1, 2, 3, 4, 5]
    assert broken_at(whole) is None
    assert broken_at([]) is None
    assert broken_at(whole[:3]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other"},
        {"kind": "ACK"},
        {"actor": "eve"},
        {"occurred_at": T0},
        {"data": {"b": 2, "a": [1, "y"]}},
        {"revises": 1},
    ],
)
def test_a_changed_entry_breaks_the_chain(change: dict[str, object]) -> None:
    """Any field of an entry that is changed shows at that entry."""
    whole = chain(5)
    entry = replace(whole[2].entry, **change)  # type: ignore[arg-type] # fields by name
    assert broken_at([*whole[:2], replace(whole[2], entry=entry), *whole[3:]]) == 3


def test_a_removed_moved_or_backdated_entry_breaks_the_chain() -> None:
    """Deletion, reordering and another recording time show too."""
    whole = chain(5)
    assert broken_at([*whole[:2], *whole[3:]]) == 4
    assert broken_at([whole[1], whole[0], *whole[2:]]) == 2
    backdated = replace(whole[0], recorded_at=T0 - minutes(1))
    assert broken_at([backdated, *whole[1:]]) == 1
    assert broken_at(whole[1:]) == 2
