"""Attacks and refusals that have always come in the same waves, until refusals come in others."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detectors.vectors import VectorConfig
from monitor.profiles import PROFILES
from monitor.views import DeskError
from tests.scenario.stage import Stage
from tests.scenario.traffic import BEGIN, event

BLOCK = timedelta(minutes=20)
LEARN = timedelta(hours=34)
"""Trial and warm-up, and a few hours; the profiles take days."""
VECTORS = VectorConfig(trial_blocks=18, warm_blocks=72)
HOURS = 9
ONSET = BEGIN + LEARN
PER_BLOCK = 120
SHARES = {"prompt_injection": 0.3, "jailbreak": 0.3, "refused": 0.45}
HIGH, LOW = 1.5, 0.55
"""A wave; twice the usual would be a matter for a rate's own detector."""


def blocks(seed: int, *, apart: bool) -> Iterator[list[dict[str, Any]]]:
    """The recording, block by block; with `apart`, refusals follow a wave of their own at last."""
    rng, number = random.Random(seed), 0
    at = BEGIN
    while at < ONSET + timedelta(hours=HOURS):
        wave, other = rng.choice((HIGH, LOW)), rng.choice((HIGH, LOW))
        refused = SHARES["refused"] * (other if apart and at >= ONSET else wave)
        made = []
        for place in range(PER_BLOCK):
            number += 1
            signs = [
                {"kind": kind}
                for kind in ("prompt_injection", "jailbreak")
                if rng.random() < SHARES[kind] * wave
            ]
            status = "refused" if rng.random() < refused else "answered"
            moment = at + place * BLOCK / PER_BLOCK
            made.append(event(moment, number, status=status, attack_signals=signs))
        yield made
        at += BLOCK


def opened(path: Path, records: list[Any]) -> Stage:
    """An installation with buckets of five minutes, whose vectors learn within a day."""
    stage = Stage(path, ONSET, profile="page", records=records)
    plan = msgspec.structs.replace(stage.configured.plan, bucket_s=300)
    profile = replace(PROFILES["page"], vectors=VECTORS)
    stage.configured = replace(stage.configured, plan=plan, profile=profile)
    stage.restart()
    return stage


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The hours before, in which nothing happens."""
    path = tmp_path_factory.mktemp("together") / "x.db"
    stage = opened(path, [])
    for _, block in zip(range(LEARN // BLOCK), blocks(7, apart=False), strict=False):
        stage.feed(block)
    stage.tick()
    assert stage.incidents() == []
    stage.close()
    return path, stage.tape.records


def night(
    learned: tuple[Path, list[Any]], path: Path, *, apart: bool, kills: frozenset[int] = frozenset()
) -> Stage:
    """The installation after the hours that follow, killed in the midst of some of the blocks."""
    shutil.copy(learned[0], path)
    stage = opened(path, learned[1])
    for at, block in enumerate(list(blocks(7, apart=apart))[LEARN // BLOCK :]):
        if at in kills:
            stage.feed(block[: PER_BLOCK // 2])
            stage.now += BLOCK / 2
            stage.tick()
            stage.restart()
        stage.feed(block[PER_BLOCK // 2 if at in kills else 0 :])
        stage.now = ONSET + (at + 1) * BLOCK
        stage.tick()
    return stage


def told(stage: Stage) -> list[tuple[str, str]]:
    """What the timelines say."""
    return [
        (item.entry.kind, item.entry.text)
        for one in stage.incidents()
        for item in stage.timeline(one)
    ]


def points(stage: Stage) -> list[tuple[int, Any]]:
    """How the vector stood, bucket by bucket."""
    with stage.store.read() as tx:
        return sorted(tx.decisions.points("rates_together", 0, 2**40).items())


@pytest.fixture(scope="module")
def apart(
    learned: tuple[Path, list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """After nine hours in which refusals came in waves of their own."""
    stage = night(learned, tmp_path_factory.mktemp("apart") / "x.db", apart=True)
    yield stage
    stage.close()


def test_rates_that_part_are_one_ticket_and_no_page(apart: Stage) -> None:
    """Each rate is as high and as low as ever, so that no rate fires; within hours one ticket
    says which of them left the others and by how much, and nobody is paged."""
    incident = apart.only()
    assert incident.signal == "rates_together"
    assert incident.title == "Rates apart: chat in prod"
    assert incident.paged_at is None
    assert ONSET < incident.detected_at <= ONSET + timedelta(hours=6)
    assert incident.impact_at is not None
    assert ONSET - 3 * BLOCK <= incident.impact_at < incident.detected_at
    said = apart.timeline(incident)[0].entry
    assert said.kind == "DETECT"
    assert "refusal_rate is" in said.text
    assert "what the others lead one to expect" in said.text
    assert "ticket only" in apart.timeline(incident)[1].entry.text
    assert apart.rings() == []
    with apart.store.read() as tx:
        assert [one.signal for one in tx.incidents.alerts_since(BEGIN)] == ["rates_together"]


def test_what_was_said_is_the_same_after_kills(
    apart: Stage, learned: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    """Killed in the midst of blocks, before and while it fires, it says the same at the same time;
    every stored distance is the same to the digit."""
    stage = night(learned, tmp_path / "x.db", apart=True, kills=frozenset({1, 9, 10, 24}))
    assert told(stage) == told(apart)
    assert points(stage) == points(apart)
    stage.close()


def test_the_desk_knows_it_as_a_rule_that_never_pages(apart: Stage) -> None:
    """It is in the digest and in the lists of rules and signals; a promotion to page is refused,
    and a demotion can be taken back without a backtest."""
    desk = apart.desk()
    assert [one.signal for one in desk.tickets(days=3)] == ["rates_together"]
    rule = next(one for one in desk.rules() if one.name == "rates_together")
    assert (rule.tier, rule.fired, rule.series) == ("ticket", 1, 0)
    row = next(one for one in desk.signals() if one.signal == "rates_together")
    assert (row.state, row.threshold, row.rate) == ("firing", VECTORS.threshold, None)
    with pytest.raises(DeskError, match="rates_together never pages"):
        desk.promote_rule("rates_together")
    assert desk.demote_rule("rates_together", tier="shadow", reason="not now").moved
    assert desk.promote_rule("rates_together", tier="ticket").moved


def test_rates_that_stay_together_are_no_ticket(
    learned: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    """The same hours with refusals that follow: the waves alone are nobody's business."""
    stage = night(learned, tmp_path / "x.db", apart=False)
    assert stage.incidents() == []
    assert points(stage)[-1][1][0].state == "q"
    stage.close()
