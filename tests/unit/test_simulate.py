"""The simulator: valid events, the same ones for the same seed, and the stories it promises."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

import msgspec
import pytest

from monitor.stream.decode import Decoded, decode
from monitor.stream.event import Amend, Interaction, completeness
from monitor.stream.sources.scenario import ScenarioError, load_scenario, names
from monitor.stream.sources.simulate import (
    START,
    Emission,
    SimulatedSource,
    Simulation,
    traffic_level,
    write_ndjson,
)
from monitor.stream.sources.source import Assigned, Chunk, Partition, Record

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)


def decoded(emissions: Iterable[Emission]) -> list[tuple[Emission, Decoded]]:
    """Each emission with its event; every one must be valid."""
    made = []
    for emission in emissions:
        found = decode(Record(0, emission.value), key=b"key")
        assert isinstance(found, Decoded), found
        made.append((emission, found))
    return made


def turns(
    name: str, feature: str | None = None, *, volume: float = 1.0
) -> list[tuple[float, str | None, Interaction]]:
    """Hour, cause and event of each interaction of a scenario, or of one feature of it."""
    wanted = f'"feature":"{feature}"'.encode() if feature else b""
    scenario = msgspec.structs.replace(load_scenario(name), volume=volume)
    emissions = [one for one in Simulation(scenario) if wanted in one.value]
    return [
        ((emission.time - START.timestamp()) / 3600, emission.cause, found.event)
        for emission, found in decoded(emissions)
        if isinstance(found.event, Interaction)
    ]


def share(events: list[tuple[float, str | None, Interaction]], status: str) -> float:
    """Share of the turns that ended so."""
    return sum(event.data.outcome.status == status for _, _, event in events) / len(events)


def test_every_scenario_gives_valid_complete_clean_events() -> None:
    """Each ships a name, decodes whole, and only the redactor's story trips the wire."""
    assert names()[0] == "demo"
    assert [name[:2] for name in names()[1:]] == [f"s{n}" for n in range(9)]
    for name in names():
        scenario = load_scenario(name)
        assert scenario.name == name
        simulation = Simulation(scenario)
        pairs = decoded(islice(simulation, 12_000 if name == "s4_redactor" else 3000))
        assert bool([1 for _, found in pairs if found.quarantine]) == (name == "s4_redactor")
        assert all(a.time <= b.time for (a, _), (b, _) in pairwise(pairs))
        assert all(emission.time < simulation.end.timestamp() for emission, _ in pairs)
        absent = set(completeness(pairs[0][1].event))
        assert absent <= {"grounding.result"}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    """A simulation is a function of scenario, seed and start."""
    scenario = load_scenario("demo")
    first = list(Simulation(scenario, seed=3))
    simulation = Simulation(scenario, seed=3)
    assert list(simulation) == list(simulation) == first
    other = list(Simulation(scenario, seed=4))
    assert {one.value for one in first}.isdisjoint(one.value for one in other)


def test_it_can_be_placed_in_time() -> None:
    """By its start or by its end, and by nothing that is ambiguous."""
    scenario = load_scenario("demo")
    assert Simulation(scenario, end=NOON).start == NOON - timedelta(hours=2, minutes=45)
    assert Simulation(scenario, start=NOON).start == NOON
    assert START.weekday() == 0
    with pytest.raises(ValueError, match="not both"):
        Simulation(scenario, start=NOON, end=NOON)
    with pytest.raises(ValueError, match="zone"):
        Simulation(scenario, start=NOON.replace(tzinfo=None))


def test_traffic_follows_day_and_week() -> None:
    """Afternoon over night, weekday over weekend, never more than the peak."""

    def level(moment: datetime) -> float:
        return traffic_level(moment.timestamp(), 0.6, 0.5)

    afternoon, night = NOON.replace(hour=14), NOON.replace(hour=2)
    assert level(afternoon) == pytest.approx(1.0)
    assert level(night) == pytest.approx(0.4)
    assert level(afternoon + timedelta(days=3)) == pytest.approx(0.5)


def test_a_quiet_day_has_the_volume_the_product_says() -> None:
    """Arrivals agree with the rate under the curve, and tenants follow Zipf's law."""
    events = turns("s0", volume=0.4)
    expected = 55 * 60 * 24 * (1 - 0.6 / 2) * 0.4
    assert len(events) == pytest.approx(expected, rel=0.03)
    tenants = Counter(event.data.actor.tenant for _, _, event in events)
    ranked = [count for _, count in tenants.most_common()]
    assert len(ranked) == 12
    assert ranked[0] / ranked[1] == pytest.approx(2, rel=0.25)
    assert all(cause is None for _, cause, _ in events)
    sessions = sum(event.data.actor.turn == 1 for _, _, event in events)
    assert 0.35 < sessions / len(events) < 0.55


def test_the_demo_is_two_quiet_hours_and_then_refusals_by_a_release() -> None:
    """History first; then one feature refuses ten times as often under the new prompt."""
    events = turns("demo", "chat")
    before = [one for one in events if one[0] < 2]
    during = [one for one in events if 2 <= one[0] < 2.5]
    assert 10 <= len(before) / 120 <= 15
    assert share(before, "refused") < 0.06
    assert 0.25 < share(during, "refused") < 0.45
    assert {event.data.gen_ai.prompt.version for _, _, event in before} == {"v40"}
    assert {event.data.gen_ai.prompt.version for _, _, event in during} == {"v41"}
    assert {cause for _, cause, _ in during} == {"prompt-v41"}
    announced = Simulation(load_scenario("demo")).announcements()
    assert [one.kind for one in announced] == ["release", "release"]
    assert announced[0].at == START + timedelta(hours=1, minutes=58)


def test_an_injection_shows_as_tools_outside_the_expected_set() -> None:
    """Nothing before the onset; afterwards only the tenant and feature it aims at."""
    events = turns("s1", "order_help") + turns("s1", "chat")
    out = [
        (hour, event)
        for hour, _, event in events
        if any(call.in_expected_set is False for call in event.data.tool_calls)
    ]
    assert len(out) > 60
    assert min(hour for hour, _ in out) >= 4
    assert {event.data.deployment.feature for _, event in out} == {"order_help"}
    assert len({event.data.actor.tenant for _, event in out}) == 1
    assert all(
        call.status == "not_executed"
        for _, event in out
        for call in event.data.tool_calls
        if call.decision == "denied"
    )


def test_a_release_is_a_change_of_model_and_prompt() -> None:
    """The benign cause can be read off the dimensions."""
    events = turns("s2", "travel")
    after = [one for one in events if one[0] >= 4]
    assert {event.data.gen_ai.request_model for _, _, event in after} == {"claude-3-haiku"}
    before = share([one for one in events if one[0] < 4], "refused")
    assert share(after, "refused") > 3 * before


def test_a_guardrail_outage_looks_like_safety() -> None:
    """Errors and missing checks rise while violations of that check fall."""
    events = turns("s3", "chat")
    results = {
        outage: Counter(
            check.result
            for hour, _, event in events
            if (4 <= hour < 6) == outage
            for check in event.data.policy_checks
            if check.check_id == "azure.jailbreak"
        )
        for outage in (False, True)
    }
    assert results[True]["error"] > 0.7 * results[True].total()
    assert results[False]["error"] < 0.01 * results[False].total()
    missing = [hour for hour, _, event in events if event.data.coverage.checks_missing]
    assert missing
    assert min(missing) >= 4.5


def test_a_redactor_that_fails_is_caught_at_one_source() -> None:
    """Only the broken source leaks, and what leaked never reaches the event."""
    pairs = decoded(islice(Simulation(load_scenario("s4")), 14_000))
    leaks = [(emission, found) for emission, found in pairs if found.quarantine]
    assert {found.event.source for _, found in leaks} == {"//gateway/eu-1/orders"}
    rules = Counter(row.rule for _, found in leaks for row in found.quarantine)
    assert set(rules) == {"pattern.email", "pattern.iban"}
    assert all(emission.cause for emission, _ in leaks)
    assert "example.com" not in repr([found.event for _, found in leaks])


def test_a_lossy_emitter_leaves_gaps_in_its_sequence() -> None:
    """Sequences are contiguous but where events were lost."""
    events = turns("s6", "order_help")
    numbers = [(hour, int(event.sequence or 0)) for hour, _, event in events]
    gaps = [hour for (_, a), (hour, b) in pairwise(numbers) if b != a + 1]
    assert len(gaps) > 50
    assert all(5 <= hour <= 6.6 for hour in gaps)
    whole = [int(event.sequence or 0) for _, _, event in turns("s6", "chat")]
    assert whole == list(range(1, len(whole) + 1))


def test_a_new_tool_and_a_new_detector_appear_when_they_are_said_to() -> None:
    """S7 brings a tool never seen before, S8 another version whose violations are more."""
    tools = [
        hour
        for hour, _, event in turns("s7", "code_review")
        if any(call.tool == "cloud.delete_bucket" for call in event.data.tool_calls)
    ]
    assert tools
    assert min(tools) >= 3
    checks = [
        (hour >= 4, check.detector_version, check.result)
        for hour, _, event in turns("s8", "chat")
        for check in event.data.policy_checks
        if check.check_id == "llama_guard.hate"
    ]
    assert {(after, version) for after, version, _ in checks} == {(False, "3.1"), (True, "4.0")}
    violations = Counter(after for after, _, result in checks if result == "violation")
    assert violations[True] > 4 * violations[False]


def test_ratings_amend_interactions_that_came_before() -> None:
    """A thumb names its turn, repeats its dimensions and comes later."""
    seen: dict[str, Interaction] = {}
    amends = 0
    for _, found in decoded(islice(Simulation(load_scenario("demo")), 4000)):
        if isinstance(found.event, Amend):
            amends += 1
            about = seen[found.event.amends]
            assert about.time < found.event.time
            assert about.data.deployment == found.event.data.deployment
            assert about.data.actor == found.event.data.actor
        else:
            seen[found.event.id] = found.event
    assert 0.05 < amends / len(seen) < 0.11
    assert len(seen) + amends == 4000


def test_an_unknown_scenario_is_refused_with_the_list() -> None:
    """A name that is not there is answered with those that are."""
    with pytest.raises(ScenarioError, match="s1_injection"):
        load_scenario("s9")
    assert load_scenario("S1").name == "s1_injection"


def test_a_file_holds_events_and_another_the_truth(tmp_path: Path) -> None:
    """NDJSON, packed by its name; the labels lie aside and point at lines."""
    path, labels = tmp_path / "events.ndjson.gz", tmp_path / "labels.ndjson"
    simulation = Simulation(load_scenario("demo"))
    count = write_ndjson(simulation, path, labels)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    assert lines == [emission.value for emission in simulation]
    assert len(lines) == count
    truth = [json.loads(line) for line in labels.read_bytes().splitlines()]
    touched = json.loads(lines[truth[0]["line"] - 1])
    assert truth[0]["cause"] == "prompt-v41"
    assert touched["data"]["gen_ai"]["prompt"]["version"] == "v41"
    assert not any(b"prompt-v41" in line for line in lines)


def read_all(source: SimulatedSource, offsets: dict[int, int | None]) -> dict[int, list[Record]]:
    """Play a source to its end from the offsets given."""
    (assigned,) = source.poll(0)
    assert isinstance(assigned, Assigned)
    for partition in assigned.partitions:
        source.start(partition, offsets.get(partition.number))
    got: dict[int, list[Record]] = {partition.number: [] for partition in assigned.partitions}
    while not source.exhausted:
        for chunk in source.poll(0):
            assert isinstance(chunk, Chunk)
            assert chunk.next_offset == chunk.records[-1].offset + 1
            got[chunk.partition.number] += chunk.records
    return got


def test_as_a_source_it_hands_out_every_partition_in_offset_order() -> None:
    """All records come once, in order, in four partitions that hold each tenant together."""
    simulation = Simulation(load_scenario("demo"))
    got = read_all(SimulatedSource(simulation), {})
    emissions = list(simulation)
    for number, records in got.items():
        assert [record.offset for record in records] == list(range(len(records)))
        expected = [one.value for one in emissions if one.partition == number]
        assert [record.value for record in records] == expected
    tenants = {
        emission.partition: {found.event.partitionkey} for emission, found in decoded(emissions[:1])
    }
    assert set(tenants) <= set(got) == {0, 1, 2, 3}


def test_as_a_source_it_resumes_where_it_is_told() -> None:
    """Started at other offsets it hands out exactly the rest, and knows how far it is."""
    simulation = Simulation(load_scenario("demo"))
    whole = read_all(SimulatedSource(simulation), {})
    source = SimulatedSource(simulation, max_records=333)
    rest = read_all(source, {0: 10, 1: 500, 2: None, 3: len(whole[3])})
    for number, start in ((0, 10), (1, 500), (2, 0), (3, len(whole[3]))):
        assert rest[number] == whole[number][start:]
    assert [(lag.position, lag.end) for lag in source.lags()] == [
        (len(whole[number]), len(whole[number])) for number in range(4)
    ]
    assert source.topology().partitions == (0, 1, 2, 3)
    assert source.finite
    assert source.poll(0) == []


def test_as_a_source_it_waits_until_all_is_started_and_while_paused() -> None:
    """Nothing is handed out before the caller said from where, or while it is paused."""
    source = SimulatedSource(Simulation(load_scenario("demo")))
    (assigned,) = source.poll(0)
    assert isinstance(assigned, Assigned)
    source.start(assigned.partitions[0], None)
    assert source.poll(0) == []
    for partition in assigned.partitions[1:]:
        source.start(partition, None)
    source.pause()
    assert source.poll(0) == []
    source.resume()
    assert source.poll(0)
    assert isinstance(assigned.partitions[0], Partition)
    source.close()
