"""Stories of one night: what is found, who is rung, what people do, and what ends by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from monitor.incidents.model import Origin, State
from tests.scenario.conftest import QUIET, StageFor
from tests.scenario.stage import MINUTE, Stage
from tests.scenario.traffic import event

ONSET = QUIET.onset


def minute(
    at: datetime, *, feature: str = "chat", count: int = 20, refused: int = 1
) -> list[dict[str, Any]]:
    """The turns of one feature in one minute, the refused ones first."""
    begin = int(at.timestamp()) * 1000 + hash_of(feature)
    return [
        event(
            at + timedelta(seconds=2 + 50 * number / max(count, 1)),
            begin + number,
            feature=feature,
            status="refused" if number < refused else "answered",
        )
        for number in range(count)
    ]


def hash_of(feature: str) -> int:
    """A small number for a feature, to keep ids apart."""
    return 100 * sum(map(ord, feature)) % 100_000


def play(
    stage: Stage, minutes: int, *, refused: Mapping[str, int] | None = None, **counts: int
) -> None:
    """Let minutes pass with traffic: 20 turns and 1 refusal of each feature unless told else."""
    for _ in range(minutes):
        for feature in ("chat", "search"):
            count = counts.get(feature, 20)
            stage.feed(
                minute(
                    stage.now,
                    feature=feature,
                    count=count,
                    refused=min(count, (refused or {}).get(feature, 1)),
                )
            )
        stage.advance()


def until_incident(stage: Stage, limit: int = 15, **options: Any) -> None:
    """Play until an incident is there."""
    for _ in range(limit):
        play(stage, 1, **options)
        if stage.incidents():
            return
    pytest.fail("no incident")


def texts(stage: Stage, kind: str) -> Iterable[str]:
    """Texts of the entries of a kind of the only incident."""
    return [item.entry.text for item in stage.timeline(stage.only()) if item.entry.kind == kind]


def test_a_spike_rings_says_it_is_normal_and_closes(stage_for: StageFor) -> None:
    """One incident and one page; when the rate is back the receiver is told, and 60 quiet minutes
    later the incident that nobody acknowledged closes itself."""
    stage = stage_for()
    play(stage, 10, refused={"chat": 6})
    incident = stage.only()
    assert incident.origin is Origin.ALERT
    assert dict(incident.dimensions) == {"environment": "prod", "feature": "chat"}
    assert ONSET < incident.detected_at <= ONSET + 10 * MINUTE
    assert stage.rings() == ["trigger"]
    page = stage.pages()[0]
    assert page["incident"] == "INC-0001"
    assert page["command"] == "tocsin open INC-0001"
    assert page["title"].startswith("Refusals ")
    play(stage, 40)
    normal = stage.only()
    assert normal.normal_at is not None
    assert stage.rings() == ["trigger", "resolve"]
    assert normal.state is State.TRIAGE
    play(stage, 62)
    closed = stage.only()
    assert closed.state is State.CLOSED
    assert closed.resolved_at == normal.normal_at
    assert stage.rings() == ["trigger", "resolve"]
    assert stage.kinds(closed) == [
        "DETECT", "PAGE", "SENT", "ALERT", "CLEAR", "CLEAR", "NORMAL", "SENT", "CLOSED",
    ]  # fmt: skip


def test_a_surface_that_falls_silent_while_it_fires_is_not_over(stage_for: StageFor) -> None:
    """Nobody is told that it is over, and nothing closes itself, while there is no traffic to
    judge; when traffic is back at its usual rate it is over."""
    stage = stage_for()
    play(stage, 10, refused={"chat": 6})
    opened = stage.only()
    play(stage, 65, chat=0)
    incident = stage.incidents()[0]
    assert (incident.uuid, incident.normal_at) == (opened.uuid, None)
    assert incident.is_open
    assert "resolve" not in stage.rings()
    with stage.store.read() as tx:
        (chat,) = (
            one
            for one in tx.incidents.alerts_of(incident.uuid)
            if one.signal == "refusal_rate" and "feature" in one.dimensions
        )
    assert chat.firing
    assert "not judged since" in chat.reason
    play(stage, 20)
    with stage.store.read() as tx:
        (chat,) = (
            one
            for one in tx.incidents.alerts_of(incident.uuid)
            if one.fingerprint == chat.fingerprint
        )
    assert not chat.firing
    cleared = [item.entry.text for item in stage.timeline(incident) if item.entry.kind == "CLEAR"]
    assert any("chat in prod: back to normal: Refusals: rate" in text for text in cleared)
    assert not any("no traffic" in text for text in cleared)


def test_two_features_are_one_incident(stage_for: StageFor) -> None:
    """Siblings whose onsets are near are one incident and one page."""
    stage = stage_for()
    play(stage, 12, refused={"chat": 8, "search": 8})
    incident = stage.only()
    assert {
        '{environment="prod", feature="chat"}',
        '{environment="prod", feature="search"}',
    } <= incident.groups
    assert stage.kinds(incident).count("ALERT") == 2  # one of them for the whole environment
    assert stage.rings().count("trigger") == 1


def test_an_acknowledgement_stops_the_escalation(stage_for: StageFor) -> None:
    """Rungs are climbed at their times until somebody acknowledges; each is rung once."""
    stage = stage_for(
        receivers=("oncall", "second", "manager"), escalation=((300, "second"), (900, "manager"))
    )
    until_incident(stage, refused={"chat": 8})
    paged = stage.only().paged_at
    assert paged is not None
    assert stage.rings("second") == []
    while stage.now < paged + 5 * MINUTE:
        assert stage.rings("second") == []
        play(stage, 1, refused={"chat": 8})
    assert stage.rings("second") == ["trigger"]
    assert stage.rings("oncall") == ["trigger"]
    stage.desk().acknowledge("INC-0001")
    play(stage, 15, refused={"chat": 8})
    assert stage.rings("manager") == []
    assert stage.rings("second") == ["trigger", "acknowledge"]
    assert "nobody acknowledged in 300 s" in list(texts(stage, "PAGE"))[1]


def test_the_last_rung_is_rung_when_nobody_answers(stage_for: StageFor) -> None:
    """Without an acknowledgement all rungs are climbed, in order, and no more."""
    stage = stage_for(
        receivers=("oncall", "second", "manager"), escalation=((300, "second"), (900, "manager"))
    )
    until_incident(stage, refused={"chat": 8})
    play(stage, 25, refused={"chat": 8})
    assert [stage.rings(name) for name in ("oncall", "second", "manager")] == [["trigger"]] * 3
    assert len(list(texts(stage, "PAGE"))) == 3


def test_a_rise_of_the_severity_rings_again(stage_for: StageFor) -> None:
    """An acknowledged incident rings anew at its higher severity, under a new key; a fall does not
    ring, and is told under both keys."""
    stage = stage_for()
    until_incident(stage, refused={"chat": 8})
    stage.desk().acknowledge("INC-0001")
    stage.desk().set_severity("INC-0001", severity="SEV1", reason="money")
    stage.tick()
    assert stage.rings() == ["trigger", "acknowledge", "trigger"]
    first, last = stage.pages()[0], stage.pages()[-1]
    assert last["severity"] == "SEV1"
    assert first["id"] != last["id"]
    stage.desk().set_severity("INC-0001", severity="SEV3", reason="less")
    stage.tick()
    assert stage.rings()[3:] == ["update", "update"]


def test_it_fires_again_before_anybody_acknowledged(stage_for: StageFor) -> None:
    """What was told to be normal and comes back joins its incident and rings again."""
    stage = stage_for()
    play(stage, 10, refused={"chat": 8})
    play(stage, 40)
    assert stage.only().normal_at is not None
    play(stage, 15, refused={"chat": 8})
    incident = stage.only()
    assert incident.normal_at is None
    assert stage.rings() == ["trigger", "resolve", "trigger"]


def bad_call(at: datetime, number: int, **changes: Any) -> dict[str, Any]:
    """A denied call that went through."""
    call = {"tool": "refunds.create", "decision": "denied", "status": "ok", **changes}
    return event(at, number, tool_calls=[call])


def test_a_never_event_rings_at_once_and_once(stage_for: StageFor) -> None:
    """On the first day, before any bucket is complete; repeats of rule and source are entries."""
    stage = stage_for(fresh=True, profile="quiet")
    stage.feed([bad_call(stage.now, 1), bad_call(stage.now + timedelta(seconds=1), 2)])
    stage.tick()
    incident = stage.only()
    assert incident.origin is Origin.NEVER_EVENT
    assert incident.severity == "SEV1"
    assert incident.detected_at == ONSET
    assert stage.rings() == ["trigger"]
    assert stage.pages()[0]["title"] == "A denied tool ran: chat in prod"
    stage.feed([bad_call(stage.now + 5 * MINUTE, 3)])
    stage.tick()
    stage.restart()
    stage.tick()
    assert stage.only().number == 1
    assert stage.rings() == ["trigger"]
    assert stage.kinds(stage.only()).count("NEVER") == 1
    grave = {"risk_tier": "financial", "decision": "allowed", "decided_by": "none"}
    stage.feed([bad_call(stage.now + 6 * MINUTE, 4, **grave)])
    stage.tick()
    assert len(stage.incidents()) == 2
    assert stage.rings() == ["trigger", "trigger"]


def test_a_secret_in_an_event_is_a_never_event(stage_for: StageFor) -> None:
    """A confirmed secret rings, is not in the page, and the event still counts."""
    secret = "AKIA" + "IOSFODNN7EXAMPLE"[:16]
    stage = stage_for(fresh=True, profile="quiet")
    made = event(stage.now, 1)
    made["data"]["gen_ai"]["request_model"] = secret
    stage.feed([made])
    stage.tick()
    assert stage.only().signal == "confirmed_leak"
    assert secret not in stage.out["oncall"].getvalue()
    with stage.store.read() as tx:
        rows = tx.stream.quarantined()
        assert rows
        assert secret not in repr(rows)


def test_the_quiet_profile_rings_for_no_rate(stage_for: StageFor) -> None:
    """A new installation records a spike in shadow: no incident, no page."""
    stage = stage_for(profile="quiet")
    play(stage, 25, refused={"chat": 15})
    assert stage.incidents() == []
    assert stage.rings() == []
    with stage.store.read() as tx:
        assert {alert.tier for alert in tx.incidents.recent_alerts()} <= {"shadow"}


def test_a_feature_that_falls_silent_is_no_data(stage_for: StageFor) -> None:
    """When its usual volume stays away while others go on, that rings; coming back resolves it."""
    stage = stage_for()
    play(stage, 12, chat=0)
    incident = stage.only()
    assert incident.origin is Origin.NO_DATA
    assert dict(incident.dimensions) == {"environment": "prod", "feature": "chat"}
    assert stage.rings() == ["trigger"]
    play(stage, 3)
    assert stage.rings() == ["trigger", "resolve"]


def test_a_feature_tried_out_once_is_not_missed(stage_for: StageFor) -> None:
    """Three turns of a new feature and then none for two hours: nothing is wrong."""
    stage = stage_for()
    stage.feed(minute(stage.now, feature="beta", count=3, refused=0))
    play(stage, 130)
    assert stage.incidents() == []


def test_a_feature_known_for_hours_is_not_missed_by_the_quiet_profile(stage_for: StageFor) -> None:
    """On day one only the silence of the whole stream rings: nobody knows yet what is usual."""
    stage = stage_for(profile="quiet")
    play(stage, 30, chat=0)
    assert stage.incidents() == []
    stage.advance(11)
    assert stage.only().origin is Origin.NO_DATA
    assert stage.rings() == ["trigger"]


def test_a_silent_stream_is_no_data_by_the_wall_clock(stage_for: StageFor) -> None:
    """When nothing comes at all, event time stands still; ten minutes of the wall clock ring. The
    silence of each feature, found when it is over, is the same incident."""
    stage = stage_for()
    play(stage, 2)
    stage.advance(9)
    assert stage.incidents() == []
    stage.advance(2)
    incident = stage.only()
    assert incident.origin is Origin.NO_DATA
    assert stage.rings() == ["trigger"]
    play(stage, 3)
    assert stage.only().number == incident.number
    assert stage.rings() == ["trigger", "update", "resolve"]


def test_lost_records_are_told_with_their_range(stage_for: StageFor) -> None:
    """A gap in the log opens an incident that names the offsets, and rings once."""
    stage = stage_for(profile="quiet")
    lost = len(stage.tape.records)
    stage.tick()
    stage.tape.records += [stage.tape.records[-1]._replace(offset=lost + n) for n in range(5)]
    stage.tape.lose(lost, lost + 4)
    stage.tape.start(stage.tape.partition, lost + 5)
    stage.tick()
    incident = stage.only()
    assert "5 records of interactions-0 lost" in incident.title
    assert f"offsets {lost} to {lost + 4} (retention)" in next(iter(texts(stage, "DETECT")))
    stage.tick()
    assert stage.rings() == ["trigger"]


def test_two_incidents_ring_in_a_shift(stage_for: StageFor) -> None:
    """The third incident within twelve hours is a ticket that says why; a never-event still
    rings."""
    stage = stage_for(capped=True)
    with stage.store.write() as tx:
        for number in (1, 2):
            earlier = make_incident(number, stage.now - timedelta(hours=number))
            tx.incidents.save(earlier)
    play(stage, 12, refused={"chat": 8})
    third = stage.incidents()[-1]
    assert third.number == 3
    assert third.paged_at is None
    assert stage.rings() == []
    ticket = [i.entry.text for i in stage.timeline(third) if i.entry.kind == "TICKET"]
    assert ticket == ["not paged: 2 incidents paged within 12 hours: folded into the digest"]
    stage.feed([bad_call(stage.now, 1)])
    stage.tick()
    assert stage.rings() == ["trigger"]
    stage.desk().escalate("INC-0003", reason="customers call")
    stage.tick()
    assert stage.rings() == ["trigger", "trigger"]


def make_incident(number: int, paged_at: datetime) -> Any:
    """An earlier incident that rang and is over."""
    from tests.making import incident

    return incident(
        uuid=f"{number:032x}",
        number=number,
        state=State.CLOSED,
        detected_at=paged_at,
        paged_at=paged_at,
        closed_at=paged_at + MINUTE,
    )


def test_a_declared_incident_rings(stage_for: StageFor) -> None:
    """A person who sees more than the detectors rings the same receivers."""
    stage = stage_for(profile="quiet")
    stage.desk().declare(title="Answers in the wrong language", severity="SEV2", feature="chat")
    stage.tick()
    assert stage.rings() == ["trigger"]
    assert stage.pages()[0]["lines"] == []
    assert stage.kinds(stage.only()) == ["DECLARED", "PAGE", "SENT"]


def test_a_change_before_the_onset_is_in_the_page(stage_for: StageFor) -> None:
    """A release recorded in the hour before is named in the page and on the timeline."""
    stage = stage_for()
    stage.desk().add_change(kind="release", title="prompt v42")
    play(stage, 10, refused={"chat": 8})
    assert stage.pages()[0]["lines"][2].startswith("release prompt v42")
    assert "CHANGE" in stage.kinds(stage.only())


def test_what_a_kill_leaves_is_delivered_once_more(stage_for: StageFor) -> None:
    """A page queued when the process dies is sent by the next one; one that was sent is not."""
    stage = stage_for()
    for _ in range(15):
        stage.feed(minute(stage.now, refused=8))
        stage.feed(minute(stage.now, feature="search"))
        stage.now += MINUTE
        stage.ingest.step(stage.now, timeout_s=0)
        stage.decide.step(stage.now)
        if stage.incidents():
            break
    assert stage.rings() == []
    stage.restart()
    stage.tick()
    assert stage.rings() == ["trigger"]
    stage.restart()
    stage.tick()
    assert stage.rings() == ["trigger"]
