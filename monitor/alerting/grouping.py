"""Which incident an alert belongs to: a pure decision with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.alerting.alerts import Alert
from monitor.incidents.model import Incident, Origin

ECLIPSED = 0.8
"""A child with this share of its parent's excess is what the parent is about."""
MANY = 99
DOMINANT = 0.5
"""A cause that explains this share of the excess stands for the alert."""
ONSET_WINDOW = timedelta(minutes=30)
"""Relatives whose onsets lie this close together are one incident."""
SILENT = frozenset({"no_data", "lost_source"})
"""A source that is lost silences features: their alerts are one story."""
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
    if {alert.signal, other.signal} <= SILENT:
        same = alert.dimensions.get("environment") == other.dimensions.get("environment")
        return "sibling" if same else None
    mine = {tuple(sorted(c.dimensions.items())) for c in alert.causes if c.share >= DOMINANT}
    theirs = {tuple(sorted(c.dimensions.items())) for c in other.causes if c.share >= DOMINANT}
    return "one cause with" if mine & theirs else None


def by_seniority(opened: Sequence[Alert]) -> list[Alert]:
    """Alerts of one bucket in the order in which they are placed; the first names the incident.

    Paging first, then the severest; a parent before its children, which then join it, unless one
    child is nearly all of it: then it is the child's incident.
    """

    def eclipsed(alert: Alert) -> bool:
        excess = abs(alert.reading.excess)
        return any(
            relation(alert, one) == "ancestor" and abs(one.reading.excess) >= ECLIPSED * excess
            for one in opened
        )

    return sorted(
        opened,
        key=lambda a: (
            a.tier != "page",
            a.severity,
            MANY if eclipsed(a) else len(a.dimensions),
            a.fingerprint,
        ),
    )


def groups_of(alert: Alert, group_by: Sequence[str]) -> frozenset[str]:
    """The route groups an alert speaks of: its own, and that of the value which explains it."""
    groups = {group_key(alert.dimensions, group_by)}
    if alert.causes and alert.causes[0].share >= DOMINANT:
        groups.add(group_key({**alert.causes[0].dimensions, **alert.dimensions}, group_by))
    return frozenset(groups)


def place(alert: Alert, candidates: Iterable[Candidate], group_by: Sequence[str]) -> Place:
    """Where `alert` belongs: the incident of its route group, one with a kin, or a new one."""
    groups = groups_of(alert, group_by)
    for candidate in candidates:
        if not candidate.incident.is_open:
            continue
        if shared := groups & candidate.incident.groups:
            known = any(relation(alert, one) == "ancestor" for one in candidate.alerts)
            return Place(candidate.incident, f"same route group {min(shared)}", news=not known)
        for other in candidate.alerts:
            kin = relation(alert, other)
            if kin in {"ancestor", "descendant"} and other.firing:
                reason = f"{kin} of an alert that fires there: it counts the same interactions"
                return Place(candidate.incident, reason, news=kin != "ancestor")
            if kin and abs(alert.onset_at - other.onset_at) <= ONSET_WINDOW:
                reason = f"{kin} of an alert there, onsets within 30 minutes"
                return Place(candidate.incident, reason)
    return Place(None, f"no open incident of route group {' or '.join(sorted(groups))}")


def led_by(incident: Incident, alert: Alert, others: Iterable[Alert], title: str) -> Incident:
    """The incident by what wakes people, where until now it was only a ticket: its name and times.

    A ticket may be long over, and of something else: it stays on the timeline and times nothing.

    Args:
        incident: that `alert` joins.
        alert: the newcomer.
        others: alerts of the incident so far.
        title: what it is called after `alert`.
    """
    if alert.tier != "page" or any(other.tier == "page" for other in others):
        return incident
    if incident.origin is not Origin.ALERT or incident.paged_at is not None:
        return incident
    named = dict(alert.dimensions)
    return replace(
        incident,
        title=title,
        signal=alert.signal,
        dimensions=named,
        detected_at=alert.detected_at,
        impact_at=alert.onset_at,
    )


def leads(alert: Alert, incident: Incident) -> bool:
    """Whether an alert speaks for an incident: a ticket does not, once it has paged."""
    return alert.tier == "page" or incident.paged_at is None


def about(alerts: Sequence[Alert]) -> Sequence[Alert]:
    """Those that an incident is over without: which may page, or all where none may."""
    return [one for one in alerts if one.tier == "page"] or alerts


def unjudged(alerts: Iterable[Alert], since: datetime) -> bool:
    """Whether any of them was given up, from `since` on, because there was no traffic to judge."""
    lost = (one.cleared_at for one in alerts if one.unjudged_since is not None)
    return any(at is not None and at >= since for at in lost)


def joined(
    incident: Incident, alert: Alert, others: Iterable[Alert], groups: frozenset[str]
) -> Incident:
    """The incident with `alert` in it. A ticket wakes nobody, not by joining what has paged.

    Args:
        incident: that `alert` joins, as `led_by` gave it, firing again where `alert` leads.
        alert: the newcomer.
        others: alerts of the incident so far.
        groups: route groups that come with it.
    """
    leading = leads(alert, incident)
    times = leading and (alert.tier == "page" or all(other.tier != "page" for other in others))
    return replace(
        incident,
        groups=incident.groups | groups,
        severity=min(incident.severity, alert.severity) if leading else incident.severity,
        impact_at=min(incident.impact_at or alert.onset_at, alert.onset_at)
        if times
        else incident.impact_at,
    )
