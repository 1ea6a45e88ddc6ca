"""PagerDuty's web hooks, signed and repeated, against an installation that it was paged by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from monitor.incidents.model import Incident, State
from monitor.notify.loopback.pagerduty import PagerDutyIncident
from tests.integration.answering_stage import PD_ANA, PD_EVE, ROOMS, Stage, root
from tests.servers.pagerduty_people import HOOK_SECRET, PagerDutyPost, event, signature
from tests.servers.pagerduty_server import PagerDutyServer
from tests.servers.slack_people import has_button
from tests.servers.slack_server import SlackServer

TAKEN = {200, 202}


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackServer]:
    with SlackServer(burst=1000, channels=ROOMS) as running:
        yield running


@pytest.fixture(scope="module")
def pagerduty() -> Iterator[PagerDutyServer]:
    with PagerDutyServer(per_minute=1000) as running:
        yield running


@pytest.fixture(scope="module")
def stage(
    slack: SlackServer, pagerduty: PagerDutyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("pagerduty")
    with Stage(folder, slack.base_url, pagerduty.base_url, http=True) as running:
        yield running


@pytest.fixture
def hooks(stage: Stage) -> PagerDutyPost:
    return PagerDutyPost(f"{stage.url}/pagerduty")


@pytest.fixture
def paged(stage: Stage, pagerduty: PagerDutyServer) -> tuple[Incident, PagerDutyIncident]:
    """A new incident, here and there."""
    incident = stage.page()
    return incident, pagerduty.incidents[-1]


def _texts(stage: Stage, incident: Incident, kind: str) -> list[str]:
    return [entry.text for entry in stage.entries(incident, kind)]


def test_acknowledged_there_is_acknowledged_here(
    stage: Stage,
    hooks: PagerDutyPost,
    slack: SlackServer,
    paged: tuple[Incident, PagerDutyIncident],
) -> None:
    """By the mapped person, once; the escalation stops and Slack's message says who."""
    incident, there = paged
    made = event("incident.acknowledged", there, PD_ANA)
    assert hooks.deliver(made) == [200]
    assert hooks.deliver(made) == [202]
    (entry,) = stage.entries(incident, "ACK")
    assert (entry.actor, entry.data["via"]) == ("Ana", "pagerduty")
    assert stage.escalate_when_due(incident) is None
    stage.send()
    assert not has_button(root(slack), "acknowledge")
    assert "Acknowledged by Ana" in str(root(slack).blocks)
    assert stage.audited()[0] == ("Ana", "acknowledge", "done")


def test_resolved_there_is_acknowledged_and_noted_here(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """An incident of ours ends with a verdict, never by a key on a phone."""
    incident, there = paged
    assert hooks.deliver(event("incident.resolved", there, PD_ANA)) == [200]
    after = stage.again(incident)
    assert (after.state, after.acknowledged_by) == (State.ACTIVE, "Ana")
    assert after.resolved_at is None
    assert _texts(stage, incident, "NOTE") == [
        "resolved in PagerDuty; here it stays open until it has a verdict"
    ]


@pytest.mark.parametrize("kind", ["incident.acknowledged", "incident.resolved"])
def test_an_answer_to_an_outage_before_is_none_to_this_one(
    kind: str, stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """It comes late, when the incident was over and is paged anew: it is noted, and the pager goes
    on until somebody answers this one."""
    incident, there = paged
    late = datetime.now(UTC) - timedelta(minutes=2)
    stage.page_anew(incident)
    assert hooks.deliver(event(kind, there, PD_ANA, at=late)) == [200]
    assert stage.again(incident).acknowledged_at is None
    assert stage.escalate_when_due(incident) == "second"
    (note,) = _texts(stage, incident, "NOTE")
    assert f"an answer of {late:%Y-%m-%d %H:%M} UTC from pagerduty came late" in note
    assert stage.audited()[0] == ("Ana", "acknowledge", "refused")
    assert hooks.deliver(event(kind, there, PD_ANA)) == [200]
    assert stage.again(incident).acknowledged_by == "Ana"


def test_what_was_paged_once_is_answered_whatever_their_clock_says(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """Our clock may be ahead: an answer from before the only page can be to nothing else."""
    incident, there = paged
    behind = datetime.now(UTC) - timedelta(minutes=5)
    assert hooks.deliver(event("incident.acknowledged", there, PD_ANA, at=behind)) == [200]
    assert stage.again(incident).acknowledged_by == "Ana"


def test_what_a_stranger_does_there_is_told_and_the_escalation_goes_on(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """PagerDuty is silent from then on, so the timeline must say it, and we go on paging."""
    incident, there = paged
    assert hooks.deliver(event("incident.acknowledged", there, PD_EVE)) == [200]
    assert stage.again(incident).acknowledged_at is None
    (text,) = _texts(stage, incident, "REFUSED")
    assert PD_EVE in text
    assert "the escalation goes on" in text
    assert stage.escalate_when_due(incident) == "second"
    assert stage.audited()[0] == ("-", "acknowledge", "refused")


def test_notes_follow_by_pagerduty_s_own_id(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """A note names only PagerDuty's incident; what was triggered before ties it to ours."""
    incident, there = paged
    assert hooks.deliver(event("incident.triggered", there)) == [200]
    hostile = "seen\x1b[2J <!channel> [x](y)"
    assert hooks.deliver(event("incident.annotated", there, PD_ANA, content=hostile)) == [200]
    assert hooks.deliver(event("incident.unacknowledged", there, PD_ANA)) == [200]
    notes = _texts(stage, incident, "NOTE")
    assert notes[0] == f"in PagerDuty: {hostile}"  # raw here, encoded where it is shown
    assert notes[1].startswith("the acknowledgement in PagerDuty ended")
    assert len(_texts(stage, incident, "PAGERDUTY")) == 1
    assert {entry.actor for entry in stage.entries(incident, "NOTE")} == {"Ana"}


def test_our_own_echo_is_passed_over(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """What our integration did in PagerDuty comes back to us and must do nothing."""
    incident, there = paged
    for kind in ("incident.acknowledged", "incident.resolved"):
        assert hooks.deliver(event(kind, there)) == [202]
    assert stage.again(incident).acknowledged_at is None
    assert _texts(stage, incident, "NOTE") == []


def test_it_comes_again_until_the_store_is_there(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """503 within PagerDuty's five seconds while the store is held; then it is taken, once."""
    incident, there = paged
    made = event("incident.acknowledged", there, PD_ANA)
    with stage.store.write():
        assert hooks.deliver(made, attempts=1) == [503]
    statuses = hooks.deliver(made)
    assert statuses[-1] in TAKEN
    assert len(stage.entries(incident, "ACK")) == 1


@pytest.mark.parametrize(
    "signed",
    [
        "",
        "v1=",
        "v0=" + "0" * 64,
        "v1=" + "0" * 64,
        ",".join(["v1=" + "0" * 64] * 11),
        "garbage \u00e9",
        "v1=" + "f" * 5000,
    ],
)
def test_what_pagerduty_did_not_sign_is_refused(
    signed: str,
    stage: Stage,
    hooks: PagerDutyPost,
    paged: tuple[Incident, PagerDutyIncident],
) -> None:
    """401, and nothing happened."""
    incident, there = paged
    body = json.dumps({"event": event("incident.acknowledged", there, PD_ANA)}).encode()
    if signed.isascii():
        assert hooks.post(body, signed) == 401
    assert hooks.post(body + b" ", signature(body)) == 401
    assert hooks.post(body, signature(body, ["another secret"])) == 401
    assert hooks.post(body, signature(body).upper()) == 401
    assert stage.again(incident).acknowledged_at is None


def test_any_of_several_signatures_will_do(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """While a secret is replaced PagerDuty signs with both."""
    incident, there = paged
    body = json.dumps({"event": event("incident.acknowledged", there, PD_ANA)}).encode()
    assert hooks.post(body, signature(body, ["the next one", HOOK_SECRET])) == 200
    assert stage.again(incident).acknowledged_by == "Ana"


def test_what_is_not_an_event_of_ours_is_answered_and_left(
    stage: Stage, hooks: PagerDutyPost, paged: tuple[Incident, PagerDutyIncident]
) -> None:
    """Pings, other services' incidents, old copies and bad forms: no effect, no endless repeat."""
    incident, there = paged
    good = event("incident.acknowledged", there, PD_ANA)
    old = datetime.now(UTC) - timedelta(days=4)
    cases: list[tuple[object, int]] = [
        ({"event": {**good, "event_type": "pagey.ping"}}, 202),
        ({"event": {**good, "event_type": "service.updated"}}, 202),
        ({"event": {**good, "data": {**good["data"], "incident_key": "theirs"}}}, 202),
        ({"event": {**good, "data": {**good["data"], "incident_key": None}}}, 202),
        ({"event": {**good, "data": {**good["data"], "id": "../../x"}}}, 202),
        ({"event": {**good, "data": {**good["data"], "incident_key": "tocsin:x:sev1"}}}, 200),
        ({"event": event("incident.acknowledged", there, PD_ANA, at=old)}, 202),
        ({"event": {**good, "occurred_at": "2026-11-22T09:00:00"}}, 202),
        ({"event": {**good, "occurred_at": "yesterday"}}, 400),
        ({"event": {k: v for k, v in good.items() if k != "id"}}, 400),
        ({"event": []}, 400),
        ([], 400),
        ("[" * 50_000, 400),
    ]
    for made, status in cases:
        body = made.encode() if isinstance(made, str) else json.dumps(made).encode()
        assert hooks.post(body, signature(body)) == status, made
    assert stage.again(incident).acknowledged_at is None
