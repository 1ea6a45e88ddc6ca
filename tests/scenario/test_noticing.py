"""Stories of what is noticed besides moved rates: new values, limits, burnt budgets, judges ..."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detectors.columns import pack
from monitor.incidents.model import Incident, Origin
from monitor.stream.rules import BurnRateRule, Rule, StaticRule, watched
from runbooks.durations import Duration
from tests.scenario.conftest import QUIET, StageFor
from tests.scenario.stage import Stage
from tests.scenario.traffic import event

MINUTE = timedelta(minutes=1)
NAMES = iter(range(10_000_000, 99_999_999))
"""Ids of events; each is used once."""


def turns(
    at: datetime, count: int = 20, *, feature: str = "chat", source: str = "", **data: Any
) -> list[dict[str, Any]]:
    """The turns of one minute; `bad` of them end in an error, `refused` in a refusal.

    `data` adds sections to each.
    """
    bad, refused = data.pop("bad", 0), data.pop("refused", 1)
    made = []
    for number in range(count):
        status = "error" if number < bad else "refused" if number < bad + refused else "answered"
        when = at + timedelta(seconds=2 + 50 * number / max(count, 1))
        one = event(when, next(NAMES), feature=feature, status=status, **data)
        made.append({**one, "source": source or one["source"]})
    return made


def play(stage: Stage, minutes: int, **data: Any) -> None:
    """Let minutes pass with the turns of two features; `data` is of `chat` alone."""
    for _ in range(minutes):
        stage.feed(turns(stage.now, data.get("count", 20), feature="search"))
        stage.feed(turns(stage.now, **data))
        stage.advance()


def texts(stage: Stage, incident: Incident, kind: str) -> list[str]:
    """Texts of its entries of one kind."""
    return [i.entry.text for i in stage.timeline(incident) if i.entry.kind == kind]


def of(stage: Stage, signal: str) -> list[Incident]:
    """The incidents that an alert of this signal opened."""
    return [incident for incident in stage.incidents() if incident.signal == signal]


# -- first seen ---------------------------------------------------------------------------------


def call(tool: str, tier: str = "read") -> dict[str, Any]:
    """One call of a tool."""
    return {"tool_calls": [{"tool": tool, "risk_tier": tier, "decision": "allowed"}]}


def test_a_tool_never_seen_before_is_one_ticket(stage_for: StageFor) -> None:
    """After the first day's silence a new tool is told within minutes, with its uses, and wakes
    nobody; seen again it is no news; nobody need close the ticket."""
    stage = stage_for()
    for minute in range(8):
        new = minute in (1, 2, 4)
        stage.feed(turns(stage.now, 1, **call("wire_transfer", "financial"))) if new else None
        play(stage, 1)
    (ticket,) = of(stage, "new_tool")
    assert ticket.title == "New tool: chat, tool wire_transfer in prod"
    assert texts(stage, ticket, "DETECT") == [
        "New tool: wire_transfer first seen at 12:01 in chat, 3 uses in 5 min"
    ]
    assert stage.rings() == []
    assert ticket.paged_at is None
    stage.feed(turns(stage.now, 5, **call("wire_transfer", "financial")))
    play(stage, 75)
    assert [str(one.state) for one in stage.incidents()] == ["closed"]


def test_a_thousand_new_names_are_one_ticket_that_hides_nothing(stage_for: StageFor) -> None:
    """Whoever invents names gets one line an hour, in which the tool that acts comes first."""
    stage = stage_for()
    for minute in range(5):
        for number in range(200):
            junk = call(f"junk_{minute}_{number}")
            refused = int(number % 20 == 0)
            stage.feed(turns(stage.now, 1, feature="attacked", refused=refused, **junk))
        if minute == 3:
            stage.feed(turns(stage.now, 1, **call("drop_tables", "destructive")))
        play(stage, 1)
    play(stage, 10)
    (ticket,) = of(stage, "new_tool")
    (told,) = texts(stage, ticket, "DETECT")
    assert told.startswith("New tool: 1001 never seen before: drop_tables first seen at 12:03")
    assert told.endswith("; and 996 more")
    assert len(told) < 500
    stage.feed(turns(stage.now, 1, **call("one_more")))
    play(stage, 20)
    assert len(of(stage, "new_tool")) == 1
    assert stage.rings() == []


def test_the_first_hours_of_an_installation_are_no_news(stage_for: StageFor) -> None:
    """All tools are new at first; nothing is told of it."""
    stage = stage_for(fresh=True)
    play(stage, 30, **call("search_web"))
    assert stage.incidents() == []


def test_a_ticket_before_the_page_does_not_set_its_times(stage_for: StageFor) -> None:
    """What pages half an hour after a ticket of the same feature has its own onset and detection;
    the ticket stays on the timeline."""
    stage = stage_for()
    stage.feed(turns(stage.now, 1, **call("wire_transfer", "financial")))
    play(stage, 30)
    (ticket,) = of(stage, "new_tool")
    began = stage.now
    play(stage, 12, refused=14)
    (page,) = stage.incidents()
    assert (page.name, page.signal) == (ticket.name, "refusal_rate")
    assert page.paged_at is not None
    assert page.impact_at is not None
    assert began - MINUTE <= page.impact_at <= began + 3 * MINUTE
    assert began < page.detected_at <= page.paged_at
    assert texts(stage, page, "DETECT")[0].startswith("New tool: wire_transfer")


def test_what_is_new_joins_the_incident_it_explains_and_rings_nobody(stage_for: StageFor) -> None:
    """A new tool in a feature whose refusals have paged is a line there, and no second page."""
    stage = stage_for()
    play(stage, 10, refused=10)
    assert stage.rings() == ["trigger"]
    play(stage, 8, refused=10, **call("wire_transfer", "financial"))
    incident = stage.only()
    assert any("wire_transfer first seen" in text for text in texts(stage, incident, "ALERT"))
    assert stage.rings() == ["trigger"]


# -- rules people know --------------------------------------------------------------------------

LIMIT = StaticRule(
    name="refusals_high",
    signal="error_rate",
    title="Too many errors",
    rate=0.2,
    min_n=50,
    hold=Duration(minutes=3),
    tier="page",
    where={"feature": "chat"},
)
SLO = BurnRateRule(name="errors_slo", signal="error_rate", objective=0.99, tier="page")


def quiet(stage_for: StageFor, *rules: Rule) -> Stage:
    """An installation in which only these rules page."""
    return stage_for(profile="quiet", rules=rules)


def test_a_static_limit_pages_after_its_time_and_resolves(stage_for: StageFor) -> None:
    """Held for three minutes it rings with the limit in its first line; back below, it is over."""
    stage = quiet(stage_for, LIMIT)
    play(stage, 4, bad=10)
    assert stage.incidents() == []
    play(stage, 3, bad=10)
    incident = stage.only()
    assert (incident.title, incident.signal) == (
        "Too many errors: chat in prod",
        "refusals_high",
    )
    assert stage.rings() == ["trigger"]
    first = stage.pages()[0]["lines"][0]
    assert first.startswith("Too many errors: rate")
    assert "limit 20.0 %, for 3 min" in first
    play(stage, 20)
    assert stage.rings() == ["trigger", "resolve"]


def test_a_limit_is_not_told_as_kept_while_there_is_no_traffic(stage_for: StageFor) -> None:
    """A surface that falls silent beyond its limit may still be there: only traffic ends it."""
    stage = quiet(stage_for, LIMIT)
    play(stage, 8, bad=10)
    (incident,) = of(stage, "refusals_high")
    for _ in range(30):
        stage.feed(turns(stage.now, feature="search"))
        stage.advance()
    assert not [text for text in texts(stage, incident, "CLEAR") if "Too many errors" in text]
    play(stage, 10)
    (over,) = (text for text in texts(stage, incident, "CLEAR") if "Too many errors" in text)
    assert "chat in prod: back to normal: Too many errors: rate 0 %" in over


def test_a_slow_burn_is_a_ticket_and_a_fast_one_pages(stage_for: StageFor) -> None:
    """The workbook's windows: what three days bear no more is told at once, what an hour does not
    bear rings, and both are one incident."""
    stage = quiet(stage_for, SLO)
    play(stage, 8, bad=16)
    incident = stage.only()
    assert incident.signal == "errors_slo_3d"
    assert stage.rings() == []
    play(stage, 8, bad=16)
    assert stage.only().uuid == incident.uuid
    assert stage.rings()[0] == "trigger"
    (said,) = texts(stage, incident, "ALERT")
    assert said.startswith("Errors: burns its budget of 1.0 % 1")
    assert "30 days of budget would last" in said


def test_a_rule_that_is_taken_out_lets_go_of_its_alert(stage_for: StageFor) -> None:
    """A reload without the rule ends what it had said, in words."""
    stage = quiet(stage_for, LIMIT)
    play(stage, 8, bad=10)
    assert stage.rings() == ["trigger"]
    without = quiet(stage_for).configured
    stage.decide.take(without, {})
    play(stage, 2, bad=10)
    assert stage.rings() == ["trigger", "resolve"]
    (over,) = texts(stage, stage.only(), "CLEAR")
    assert over.endswith("the rule is no longer configured")


def test_a_limit_that_is_crossed_again_rings_once(stage_for: StageFor) -> None:
    """Back above its limit ten minutes after it fell below, it is the same firing: nobody is called
    twice; and a snapshot of an older version is replayed from the counts, so that it goes on."""
    stage = quiet(stage_for, LIMIT)
    play(stage, 8, bad=10)
    play(stage, 10)
    (one,) = watched([LIMIT], stage.configured.plan.signals, bucket_s=60)
    old = pack(("tocsin-static", 1), {"bins": [], "hold": [None, 0, 0], "last": None}, {})
    rules = {one.name: (one.definition, [(("prod", "chat"), old)])}
    with stage.store.write() as tx:
        at = int(stage.now.timestamp()) // 60 * 60 - 60
        tx.decisions.save_snapshot("rules", at, msgspec.msgpack.encode(rules))
    stage.restart()
    play(stage, 6, bad=10)
    assert stage.rings() == ["trigger"]
    play(stage, 25)
    assert stage.rings() == ["trigger", "resolve"]


def test_a_rule_that_is_new_knows_what_its_window_reads(stage_for: StageFor) -> None:
    """A limit added while the rate is beyond it does not wait for a window of its own."""
    stage = quiet(stage_for)
    play(stage, 10, bad=10)
    stage.decide.take(quiet(stage_for, LIMIT).configured, {})
    play(stage, 1, bad=10)
    assert [one.signal for one in stage.incidents()] == ["refusals_high"]


# -- absence ------------------------------------------------------------------------------------


def test_a_lost_source_is_a_ticket_while_its_feature_goes_on(stage_for: StageFor) -> None:
    """One of two gateways of a feature falls silent: that is told, and wakes nobody."""
    stage = stage_for()

    def minute(*sources: str) -> None:
        for source in sources:
            stage.feed(turns(stage.now, 10, source=source, refused=0))
        play(stage, 1)

    for _ in range(70):
        minute("//gateway/a", "//gateway/b")
    for _ in range(12):
        minute("//gateway/a")
    (ticket,) = of(stage, "lost_source")
    assert ticket.title == "Lost source: source //gateway/b in prod"
    assert ticket.origin is Origin.NO_DATA
    assert stage.rings() == []
    for _ in range(12):
        minute("//gateway/a", "//gateway/b")
    assert ticket.severity == "SEV3"
    assert of(stage, "lost_source")[0].normal_at is not None


def check(result: str, version: str = "2.0") -> dict[str, Any]:
    """One word of a guardrail."""
    return {
        "category": "privacy.pii",
        "check_id": "pii",
        "detector_version": version,
        "result": result,
        "action": "annotate" if result == "violation" else "none",
        "mode": "enforce",
    }


def checked(
    at: datetime, count: int, flagged: int, *, version: str = "2.0", result: str = "violation"
) -> list[dict[str, Any]]:
    """Turns that a guardrail judged, the flagged ones first."""
    return [
        one
        for number in range(count)
        for one in turns(
            at + timedelta(seconds=number),
            1,
            refused=0,
            policy_checks=[check(result if number < flagged else "pass", version)],
        )
    ]


@pytest.fixture(scope="session")
def judged_hours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], datetime]:
    """Five hours of a feature in which a guardrail flags one turn of twenty."""
    path = tmp_path_factory.mktemp("judged") / "x.db"
    stage = Stage(path, QUIET.onset)
    for minute in range(310):
        stage.feed(checked(stage.now + timedelta(minutes=minute), 10, minute % 2))
    stage.now += timedelta(minutes=310)
    stage.tick()
    assert stage.incidents() == []
    stage.close()
    return path, stage.tape.records, stage.now


@pytest.fixture
def judged_stage(judged_hours: tuple[Path, list[Any], datetime], tmp_path: Path) -> Iterable[Stage]:
    """An installation at the end of these hours."""
    import shutil

    path, records, now = judged_hours
    shutil.copy(path, tmp_path / "x.db")
    stage = Stage(tmp_path / "x.db", now, records=records)
    yield stage
    stage.close()


def test_checks_that_fail_are_an_outage_not_safety(judged_stage: Stage) -> None:
    """Half of the checks end in an error: the violations fall, and the outage pages."""
    stage = judged_stage
    for _ in range(10):
        stage.feed(checked(stage.now, 20, 10, result="error"))
        stage.advance()
    assert of(stage, "guardrail_outage")
    assert "trigger" in stage.rings()


def test_refusals_that_fall_to_nothing_page(stage_for: StageFor) -> None:
    """No refusal any more may mean that the guardrail is down."""
    stage = stage_for()
    play(stage, 30, refused=0)
    (incident,) = of(stage, "refusal_rate")
    assert "none left" in texts(stage, incident, "DETECT")[0]


# -- judges -------------------------------------------------------------------------------------


def judge_lines(stage: Stage) -> tuple[str, list[str]]:
    """The first line of the first page, and what the timeline says of the judge."""
    (incident,) = of(stage, "violations_delivered")
    return stage.pages()[0]["lines"][0], texts(stage, incident, "JUDGE")


def test_a_new_judge_that_flags_more_is_told_as_such_and_still_pages(judged_stage: Stage) -> None:
    """The guardrail's version changes and with it all that it says: the page rings as ever, and
    its first line says that the judge changed."""
    stage = judged_stage
    for _ in range(12):
        stage.feed(checked(stage.now, 20, 8, version="2.1"))
        stage.advance()
    first, said = judge_lines(stage)
    assert first.startswith("the judge changed, not the product (pii 2.1): 2.1 flags 4")
    assert "took over 100%" in first
    assert said
    assert said[0].startswith("the judge changed")
    assert stage.rings()[0] == "trigger"
    (incident,) = of(stage, "violations_delivered")
    view = stage.desk().incident(incident.name)
    assert view.causes[0].dimensions == {"judge": "pii 2.1"}
    assert view.causes[0].share > 0.8


def test_side_by_side_the_old_version_is_the_witness(judged_stage: Stage) -> None:
    """Half of the turns are judged by the new version and only there the rate moved."""
    stage = judged_stage
    for _ in range(12):
        stage.feed(checked(stage.now, 20, 1) + checked(stage.now, 20, 8, version="2.1"))
        stage.advance()
    first, _ = judge_lines(stage)
    assert first.startswith("the judge changed")
    assert "the old one beside it" in first


def test_a_product_that_changed_is_not_blamed_on_the_judge(judged_stage: Stage) -> None:
    """The same versions flag more: nothing is said of judges."""
    stage = judged_stage
    for _ in range(12):
        stage.feed(checked(stage.now, 20, 8))
        stage.advance()
    first, said = judge_lines(stage)
    assert first.startswith("Violations delivered: rate")
    assert said == []


def test_a_new_version_beside_a_product_that_moved_is_no_excuse(judged_stage: Stage) -> None:
    """Old and new version flag more alike: the product changed, and the timeline says why."""
    stage = judged_stage
    for _ in range(12):
        stage.feed(checked(stage.now, 20, 8) + checked(stage.now, 20, 8, version="2.1"))
        stage.advance()
    first, said = judge_lines(stage)
    assert first.startswith("Violations delivered: rate")
    assert said
    assert said[-1].startswith("the product changed, not the judge: 2.1 flags")


def test_judge_and_product_together_are_told_as_both(judged_stage: Stage) -> None:
    """The version changes and errors that no check decides rise with it: nobody is acquitted."""
    stage = judged_stage
    for _ in range(12):
        stage.feed(checked(stage.now, 20, 8, version="2.1"))
        stage.feed(turns(stage.now, 6, bad=6))
        stage.advance()
    first, _ = judge_lines(stage)
    assert first.startswith("judge and product changed together (pii 2.1)")
    assert "errors moved as well" in first


def test_what_could_not_be_told_at_first_is_told_later(judged_stage: Stage) -> None:
    """When it rings the new version has judged a dozen turns; ten minutes later enough, and
    whoever was rung hears it."""
    stage = judged_stage
    for _ in range(20):
        stage.feed(checked(stage.now, 20, 1) + checked(stage.now, 4, 4, version="2.1"))
        stage.advance()
    first, said = judge_lines(stage)
    assert first.startswith("the judge has a new version (pii 2.1), and it cannot be told yet")
    assert [text.partition(" (")[0] for text in said] == [
        "the judge has a new version",
        "the judge changed, not the product",
    ]
    update = next(page for page in stage.pages() if page["kind"] == "update")
    assert update["lines"][0].startswith("the judge changed, not the product")
