"""The rates of a feature as one vector: which are taken, and when it is begun anew."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from detectors.shift import Bucket
from detectors.vectors import VectorConfig
from monitor.alerting.alerts import Reading
from monitor.config.settings import load, resolve
from monitor.couplings import OTHERS, SETTLED_S, Couplings
from monitor.profiles import PROFILES
from monitor.stream.signals import default_signals, parse_signals, plan
from runbooks.problems import Problems
from runbooks.yaml import load_yaml

BLOCK_S = 1_200
NAMES = ("injection_signals", "jailbreak_signals", "refusal_rate", "rates_together")
PLAN = plan([one for one in default_signals() if one.name in NAMES], bucket_s=BLOCK_S)
CONFIG = VectorConfig(trial_blocks=20, warm_blocks=100)
PROFILE = replace(PROFILES["page"], vectors=CONFIG)
FEATURE = ("prod", "chat")
IDS = {name: "\x1f".join((name, *FEATURE)) for name in NAMES}
TOLD = {"rates_together": "ticket"}
LEARNED = CONFIG.trial_blocks + CONFIG.warm_blocks + 20


class Room:
    """Couplings of one feature, fed blocks of `parts` buckets."""

    def __init__(self, parts: int = 1) -> None:
        self.plan = msgspec.structs.replace(PLAN, bucket_s=BLOCK_S // parts)
        self.parts = parts
        self.couplings = Couplings(self.plan, PROFILE)
        self.know()
        self.at = 0
        self.rng = np.random.default_rng(3)
        self.wave = 0.0

    def know(self) -> None:
        """Make the series known."""
        for signal in PLAN.rates():
            self.couplings.know(IDS[signal.name], signal, FEATURE)

    def restart(self) -> None:
        """Go on from what is stored."""
        restored = Couplings.restore(self.couplings.snapshot(), self.plan, PROFILE)
        assert restored is not None
        self.couplings = restored
        self.know()

    def block(
        self,
        factors: Mapping[str, float] | None = None,
        expected: Mapping[str, float] | None = None,
        firing: frozenset[str] = frozenset(),
        watched: frozenset[str] = frozenset(),
        *,
        restart: bool = False,
    ) -> list[Reading]:
        """One block of a wave that all rates follow, each times its factor."""
        self.wave = 0.7 * self.wave + 0.25 * float(self.rng.normal())
        names = [signal.name for signal in PLAN.rates()]
        e = np.array([{"refusal_rate": 200.0, **(expected or {})}.get(name, 100) for name in names])
        more = np.array([(factors or {}).get(name, 1.0) for name in names])
        e, n, zero = e / self.parts, np.full(len(e), 4_000.0 / self.parts), np.zeros(len(e))
        for part in range(self.parts):
            if restart and part == self.parts // 2:
                self.restart()
            k = self.rng.poisson(e * np.exp(self.wave) * more).astype(float)
            start = self.at * BLOCK_S + part * self.plan.bucket_s
            bucket = Bucket(start, k, n, e, zero, zero, zero, zero, e > 0)
            self.couplings.step([IDS[name] for name in names], bucket, firing)
        self.at += 1
        return self.couplings.readings(watched, TOLD, self.at * BLOCK_S)

    def blocks(self, count: int, **said: Mapping[str, float]) -> list[Reading]:
        """What is said in `count` blocks."""
        return [one for _ in range(count) for one in self.block(**said)]  # type: ignore[arg-type] # values are of the kinds they have


APART = {"refusal_rate": 0.55}


@pytest.fixture
def room() -> Room:
    """One that has learned."""
    made = Room()
    assert made.blocks(LEARNED) == []
    return made


def test_a_rate_that_stops_following_is_a_ticket_that_names_it(room: Room) -> None:
    """The sentence says which rate left the others and by how much; the tier is never a page."""
    said = room.blocks(40, factors=APART)
    assert said[0].firing
    assert said[0].tier == "ticket"
    assert said[0].dimensions == {"environment": "prod", "feature": "chat"}
    words = r"Rates apart: rates no longer move together: refusal_rate is (\d+) % below what the o"
    found = re.match(words, said[0].reason)
    assert found, said[0].reason
    assert 30 <= int(found[1]) <= 60
    begun = (LEARNED - 3) * BLOCK_S <= said[0].onset_at.timestamp() <= (LEARNED + 3) * BLOCK_S
    assert begun, said[0].onset_at
    loud = room.couplings.readings(frozenset(), {"rates_together": "page"}, room.at * BLOCK_S)
    assert [one.tier for one in loud] == ["ticket"]


def test_a_rate_that_fires_by_itself_is_not_said_twice(room: Room) -> None:
    """While a rate of the vector is an alert of its own, the vector is silent."""
    hot = frozenset({IDS["refusal_rate"]})
    for _ in range(40):
        assert room.block(APART, firing=hot) == []


def test_a_rate_too_rare_to_be_judged_is_not_taken() -> None:
    """Two a block say nothing: with one rate left there is no vector at all."""
    room = Room()
    rare = {"injection_signals": 2.0, "jailbreak_signals": 1.0}
    room.blocks(LEARNED, expected=rare)
    assert room.couplings.seen(None) == []
    assert room.blocks(60, expected=rare, factors=APART) == []


def test_a_rate_that_fades_away_begins_the_vector_anew(room: Room) -> None:
    """What it had learned is dropped; an alert that was open is over, with the reason."""
    said = room.blocks(40, factors=APART)
    assert said[-1].firing
    watched = frozenset({IDS["rates_together"]})
    gone = {"jailbreak_signals": 0.5}
    said = [
        one
        for _ in range(2 * CONFIG.trial_blocks)
        for one in room.block(APART, gone, watched=watched)
    ]
    over = next(one for one in said if not one.firing)
    assert "begun anew: jailbreak_signals is too rare to be judged" in over.reason
    assert "still learning" in said[-1].reason


def test_a_rate_that_can_be_judged_later_is_taken_too() -> None:
    """The vector is begun anew with all three, and one that then leaves is found."""
    room = Room()
    room.blocks(3 * CONFIG.trial_blocks, expected={"refusal_rate": 1.0})
    assert room.blocks(LEARNED + CONFIG.trial_blocks) == []
    assert "refusal_rate is" in room.blocks(40, factors=APART)[0].reason


def test_what_is_apart_for_a_week_is_the_usual_from_now_on(room: Room) -> None:
    """A ticket does not stand for ever: the vector learns anew."""
    watched = frozenset({IDS["rates_together"]})
    week = SETTLED_S // BLOCK_S + 2 * CONFIG.trial_blocks
    said = [one for _ in range(week) for one in room.block(APART, watched=watched)]
    over = next(one for at, one in enumerate(said) if not one.firing and said[at - 1].firing)
    assert "begun anew: apart for 7 days" in over.reason
    assert room.blocks(LEARNED, factors=APART) == []


def test_a_stored_state_goes_on_as_if_it_had_never_stopped() -> None:
    """Stored in the trial, in the warm-up, in the midst of blocks and of a firing, it says the same
    and has learned the same."""
    whole, killed = Room(parts=3), Room(parts=3)
    killed.restart()
    for at in range(LEARNED + 40):
        factors = APART if at >= LEARNED else None
        assert killed.block(factors, restart=at % 7 == 5) == whole.block(factors)
    assert killed.couplings.snapshot() == whole.couplings.snapshot()
    assert whole.block(APART)


def test_a_hole_in_the_stream_ends_a_block(room: Room) -> None:
    """Buckets that never came are no news: what was counted before them is judged by itself."""
    for _ in range(10):
        room.block()
        room.at += 30
    assert room.blocks(10) == []


def test_an_alert_whose_vector_is_gone_is_over(room: Room) -> None:
    """After a change of the signals nothing is known of it: the alert ends and says why."""
    fresh = Room()
    said = fresh.couplings.readings(frozenset({IDS["rates_together"]}), TOLD, BLOCK_S)
    assert [(one.firing, OTHERS in one.reason) for one in said] == [(False, True)]
    assert Couplings.restore(room.couplings.snapshot(), PLAN, PROFILES["page"]) is None
    fewer = plan([one for one in PLAN.signals if one.name != NAMES[0]], bucket_s=BLOCK_S)
    assert Couplings.restore(room.couplings.snapshot(), fewer, PROFILE) is None
    with pytest.raises(ValueError, match="not a snapshot of couplings"):
        Couplings.restore(b"\xc1", PLAN, PROFILE)


def test_without_the_signal_nothing_is_learned() -> None:
    """`disable: [rates_together]` switches it off."""
    off = plan([one for one in PLAN.signals if one.kind == "rate"], bucket_s=BLOCK_S)
    couplings = Couplings(off, PROFILE)
    assert couplings.readings(frozenset({IDS["rates_together"]}), TOLD, BLOCK_S) == []


def test_a_signals_file_that_lets_it_page_is_refused() -> None:
    """It is in no budget, so it may not wake anybody."""
    text = """
version: 1
signals:
  - {name: coupled, title: Coupled, kind: together, k: "true", tier: page}
"""
    with pytest.raises(Problems, match="never pages"):
        parse_signals(load_yaml(text, "signals.yaml"))


def test_a_configuration_that_lets_it_page_is_refused(tmp_path: Path) -> None:
    """With the place, and with what it may be instead."""
    file = tmp_path / "tocsin.yaml"
    file.write_text("version: 1\ntiers:\n  rates_together: page\n")
    with pytest.raises(Problems, match="rates_together never pages") as refused:
        load(file)
    assert [(one.line, one.hint) for one in refused.value.problems] == [(3, "shadow or ticket")]
    file.write_text("version: 1\ntiers:\n  rates_together: shadow\n")
    settings, _ = load(file)
    assert resolve(settings).plan.together().tier == "shadow"  # type: ignore[union-attr] # shipped
