"""Weeks of six rates of one feature, some of which share a cause; and days on which they do not.

Attempts come in waves: each raises jailbreak signals, blocked violations and a half of the refusals
together. Another wave moves errors and bad ratings. Each rate wanders a little by itself. On bad
days, one in three:

decoupled    refusals follow a wave of their own: as high and as low as ever, at the wrong times
weakened     two in five of the refusals that a wave should bring do not come
combination  four rates move by 13 to 15 %, each against those it usually moves with
double       refusals double: what a rate's own test is for
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.columns import Bools, Floats, Ints

NAMES = ("jailbreak", "blocked", "refused", "error", "feedback", "misuse")
KINDS = ("decoupled", "weakened", "combination", "double")
DAY, WARM_DAYS, EVERY = 1_440, 7, 3
_BASE = np.array([0.02, 0.015, 0.06, 0.01, 0.10, 0.004])
_SMALL = np.array([0.87, 1.15, 0.87, 1.0, 1.15, 1.0])
_RATED = 0.1


@dataclass(frozen=True, slots=True)
class BadDay:
    """What happened to one feature; minutes, the end not included."""

    feature: int
    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Counts of shape (features, rates, minutes), and the bad days in them."""

    k: Ints
    n: Ints
    days: tuple[BadDay, ...]


def scene(seed: int, *, features: int, days: int, per_minute: float, bad: bool) -> Scene:
    """Draw one. Features have 1 to 4 times `per_minute` interactions, fewer at night."""
    rng = np.random.default_rng([seed, int(bad)])
    minutes, shape = days * DAY, (features, days * DAY)
    clock = 1 + 0.5 * np.sin(2 * np.pi * np.arange(minutes) / DAY)
    volume = per_minute * np.exp(rng.uniform(0, np.log(4), (features, 1))) * clock
    turns = rng.poisson(volume)
    n = np.repeat(turns[:, None], len(NAMES), axis=1)
    n[:, 4] = rng.binomial(turns, _RATED)
    wave, other = (_wave(rng, shape, 60, 0.4) for _ in range(2))
    load = _wave(rng, shape, 90, 0.2)
    found = _bad_days(rng, features, days) if bad else ()
    on = {kind: _mask(shape, found, kind) for kind in KINDS}
    answered = np.where(on["decoupled"], other, wave) * np.where(on["weakened"], 0.6, 1.0)
    ones = np.ones(shape)
    factors = (wave, wave, 0.5 + 0.5 * answered, load, 0.6 + 0.4 * load, ones)
    p = np.stack(factors, axis=1) * _BASE[:, None]
    p *= np.exp(rng.uniform(-0.5, 0.5, (features, len(NAMES), 1)))
    p *= _wave(rng, (features * len(NAMES), minutes), 60, 0.08).reshape(p.shape)
    p *= np.where(on["combination"][:, None], _SMALL[:, None], 1.0)
    p[:, 2] *= np.where(on["double"], 2.0, 1.0)
    return Scene(rng.binomial(n, np.clip(p, 0.0, 0.95)), n, found)


def _wave(rng: np.random.Generator, shape: tuple[int, int], minutes: float, sd: float) -> Floats:
    """A factor around 1: log-normal, correlated over `minutes`."""
    keep = np.exp(-1 / minutes)
    log: Floats = rng.normal(0, sd, shape)
    log[:, 1:] *= np.sqrt(1 - keep**2)
    for at in range(1, shape[1]):
        log[:, at] += keep * log[:, at - 1]
    return np.exp(log - sd**2 / 2)


def _bad_days(rng: np.random.Generator, features: int, days: int) -> tuple[BadDay, ...]:
    found = []
    for feature in range(features):
        for place, day in enumerate(range(WARM_DAYS, days - 2, EVERY)):
            start = day * DAY + int(rng.integers(0, DAY))
            kind = KINDS[(place + feature) % len(KINDS)]
            found.append(BadDay(feature, start, start + DAY, kind))
    return tuple(found)


def _mask(shape: tuple[int, int], days: tuple[BadDay, ...], kind: str) -> Bools:
    on = np.zeros(shape, np.bool_)
    for day in days:
        if day.kind == kind:
            on[day.feature, day.start : day.end] = True
    return on
