"""The detectors by name, with their parameters, for configuration and its schema."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detectors.absence import AbsenceDetector
from detectors.burn_rate import BurnRateDetector
from detectors.drift import LevelDetector
from detectors.first_seen import FirstSeenDetector
from detectors.model import Detector
from detectors.series import RateDetector
from detectors.static import StaticDetector
from detectors.vectors import VectorDetector

Kind = type[
    RateDetector
    | AbsenceDetector
    | LevelDetector
    | StaticDetector
    | BurnRateDetector
    | FirstSeenDetector
    | VectorDetector
]


class UnknownDetectorError(ValueError):
    """No detector or parameter of that name; the message lists the known ones."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting of a detector."""

    name: str
    default: float | int | str | bool
    description: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of detector."""

    name: str
    kind: Kind
    description: str
    parameters: tuple[Parameter, ...]


def _entry(name: str, kind: Kind) -> Entry:
    parameters = tuple(
        Parameter(one.name, one.default, kind.PARAMETERS[one.name])
        for one in inspect.signature(kind).parameters.values()
    )
    description = (kind.__doc__ or "").strip().splitlines()[0]
    return Entry(name, kind, description, parameters)


CATALOG: Mapping[str, Entry] = {
    name: _entry(name, kind)
    for name, kind in (
        ("rate", RateDetector),
        ("absence", AbsenceDetector),
        ("level", LevelDetector),
        ("static", StaticDetector),
        ("burn_rate", BurnRateDetector),
        ("first_seen", FirstSeenDetector),
        ("vector", VectorDetector),
    )
}


def entry(name: str) -> Entry:
    """The detector of that name.

    Raises:
        UnknownDetectorError: there is none.

    >>> entry("rte")
    Traceback (most recent call last):
    detectors.catalog.UnknownDetectorError: unknown detector 'rte'; known: absence, burn_rate, \
first_seen, level, rate, static, vector
    """
    if name not in CATALOG:
        known = ", ".join(sorted(CATALOG))
        raise UnknownDetectorError(f"unknown detector {name!r}; known: {known}")
    return CATALOG[name]


def build(name: str, **parameters: Any) -> Detector:
    """A new detector.

    Raises:
        UnknownDetectorError: no such detector, or it has no such parameter.
        ValueError: a parameter is out of range.
    """
    found = entry(name)
    known = [one.name for one in found.parameters]
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise UnknownDetectorError(
            f"detector {name!r} has no parameter {', '.join(unknown)}; known: {', '.join(known)}"
        )
    return found.kind(**parameters)
