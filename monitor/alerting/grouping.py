"""Which incident an alert belongs to: a pure decision with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from monitor.alerting.alerts import Alert
from monitor.incidents.model import Incident

ONSET_WINDOW = timedelta(minutes=30)
"""Relatives whose onsets lie this close together are one incident."""
TOPIC = "topic"
"""The dimension of an alert that is about a stream as a whole."""


@dataclass(frozen=True, slots=True)
class Place:
    """`incident` to join, or None to open one; `reason` goes to the timeline."""

    incident: Incident | None
    reason: str
    news: bool = True
    """False for an ancestor: it counts what is known, and its group would gather strangers."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An open incident with its alerts."""

    incident: Incident
    alerts: Sequence[Alert]


def group_key(dimensions: Mapping[str, str], group_by: Sequence[str]) -> str:
    """The route group of an alert: the values of `group_by`, in Alertmanager's notation."""
    pairs = ", ".join(f'{name}="{dimensions.get(name, "")}"' for name in group_by)
    return "{" + pairs + "}"


def _contains(outer: Mapping[str, str], inner: Mapping[str, str]) -> bool:
    return all(inner.get(name) == value for name, value in outer.items())


def relation(alert: Alert, other: Alert) -> str | None:
    """How two alerts are kin: ancestor, descendant, sibling, one cause; None for strangers.

    An alert of a whole topic is the ancestor of all of its signal: a silent stream silences each
    feature.
    """
    if alert.signal == other.signal:
        if TOPIC in other.dimensions and TOPIC not in alert.dimensions:
            return "descendant"
        if TOPIC in alert.dimensions and TOPIC not in other.dimensions:
            return "ancestor"
        if alert.dimensions.keys() == other.dimensions.keys():
            return "sibling"
        if _contains(alert.dimensions, other.dimensions):
            return "ancestor"
        if _contains(other.dimensions, alert.dimensions):
            return "descendant"
    mine = {tuple(sorted(c.dimensions.items())) for c in alert.causes if c.share >= 0.5}
    theirs = {tuple(sorted(c.dimensions.items())) for c in other.causes if c.share >= 0.5}
    return "one cause with" if mine & theirs else None


def place(alert: Alert, candidates: Iterable[Candidate], group_by: Sequence[str]) -> Place:
    """Where `alert` belongs: the incident of its route group, one with a kin, or a new one."""
    group = group_key(alert.dimensions, group_by)
    for candidate in candidates:
        if not candidate.incident.is_open:
            continue
        if group in candidate.incident.groups:
            return Place(candidate.incident, f"same route group {group}")
        for other in candidate.alerts:
            kin = relation(alert, other)
            if kin in {"ancestor", "descendant"} and other.firing:
                reason = f"{kin} of an alert that fires there: it counts the same interactions"
                return Place(candidate.incident, reason, news=kin != "ancestor")
            if kin and abs(alert.onset_at - other.onset_at) <= ONSET_WINDOW:
                reason = f"{kin} of an alert there, onsets within 30 minutes"
                return Place(candidate.incident, reason)
    return Place(None, f"no open incident of route group {group}")
