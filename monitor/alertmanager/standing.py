"""What stands now, in Alertmanager's words: the series that fire, and incidents without a series.

Reads rows only, so that a daemon that was killed says the same as before. What came from an
Alertmanager, a drill or a rule that is only recorded is not among it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.alerting.alerts import Alert
from monitor.alerting.pages import where
from monitor.incidents.model import Incident, Origin
from monitor.notify.alertmanager import SEVERITY, Posted, label_set
from monitor.notify.alertmanager_settings import RESERVED
from monitor.notify.channel import Link
from monitor.notify.links import sound_links
from monitor.paging import render_links
from monitor.store.store import Tx
from monitor.text import vis

OURS = "tocsin"
"""The label that marks what we sent: what comes back with it is not taken in."""
ENDED_WITHIN = timedelta(hours=1)
"""Ends are looked for so far back: a stream that lags clears at an event time long past."""
_GENERATORS = ("panel", "dashboard", "evidence")
_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Naming:
    """What the configuration adds to each alert."""

    labels: Mapping[str, str]
    links: Mapping[str, str]
    """Templates by name; see `monitor.paging.render_links`."""
    tiers: tuple[str, ...] = ("page",)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the store says, before it is put into words."""

    alerts: Sequence[Alert]
    incidents: Mapping[str, Incident]
    """Those of the alerts, by uuid."""
    bare: Sequence[Incident]
    """Those without an alert."""


def read(tx: Tx, now: datetime) -> Rows:
    """Everything that fires, and what ended lately; `now` is the real time."""
    since = now - ENDED_WITHIN
    alerts = [*tx.incidents.cleared_since(since), *tx.incidents.firing().values()]
    named = {alert.incident for alert in alerts if alert.incident is not None}
    return Rows(alerts, tx.kin.of(named), tx.kin.bare(since))


def standing(rows: Rows, naming: Naming, now: datetime) -> list[Posted]:
    """Each alert and bare incident as Alertmanager takes it, one for an identity."""
    posted = [
        *(of_series(alert, incident, naming) for alert, incident in _series(rows, naming)),
        *(of_incident(incident, naming, now) for incident in rows.bare if _sent(incident)),
    ]
    # A series that cleared and fires again has one identity: what fires comes last, and wins.
    return list({one.key: one for one in sorted(posted, key=_rank)}.values())


def _rank(one: Posted) -> tuple[bool, datetime]:
    return one.ended_at is None, one.ended_at or one.starts_at


def _series(rows: Rows, naming: Naming) -> Iterator[tuple[Alert, Incident]]:
    for alert in rows.alerts:
        incident = rows.incidents.get(alert.incident or "")
        if incident is not None and alert.tier in naming.tiers and _sent(incident):
            yield alert, incident


def _sent(incident: Incident) -> bool:
    return not incident.drill and incident.origin is not Origin.ALERTMANAGER


def of_series(alert: Alert, incident: Incident, naming: Naming) -> Posted:
    """A series that fires or has cleared."""
    about = replace(incident, signal=alert.signal, dimensions=alert.dimensions)
    named = {"signal": alert.signal, "tier": alert.tier}
    title = f"{alert.signal}: {where(alert.dimensions)}"
    return _posted(
        about,
        naming,
        labels={**named, "severity": SEVERITY.get(alert.severity, "critical")},
        texts=(title, alert.reading.reason),
        times=(alert.detected_at, alert.cleared_at),
    )


def of_incident(incident: Incident, naming: Naming, now: datetime) -> Posted:
    """An incident that no series stands for: a never-event, lost records, one that was declared."""
    ended = incident.normal_at or incident.resolved_at or incident.closed_at
    if not incident.is_open and ended is None:
        ended = now
    return _posted(
        incident,
        naming,
        labels={
            "signal": incident.signal or str(incident.origin),
            "severity": SEVERITY.get(incident.severity, "critical"),
            "incident": incident.name,
        },
        texts=(incident.title, f"{incident.name} is {incident.state}"),
        times=(incident.detected_at, ended),
    )


def _posted(
    incident: Incident,
    naming: Naming,
    *,
    labels: Mapping[str, str],
    texts: tuple[str, str],
    times: tuple[datetime, datetime | None],
) -> Posted:
    links = sound_links(render_links(naming.links, incident))
    given = {
        **naming.labels,
        **{k: v for k, v in incident.dimensions.items() if k not in RESERVED - _PLACES},
        **labels,
        "alertname": _camel(labels["signal"]),
        OURS: "1",
    }
    summary, description = texts
    return Posted(
        labels=label_set(given),
        annotations={
            "summary": vis(" ".join(summary.split()), limit=_TEXT),
            "description": vis(" ".join(description.split()), limit=_TEXT),
            "incident": incident.name,
            "command": f"tocsin open {incident.name}",
            **{f"{vis(link.text, limit=60)}_url": link.href for link in links},
        },
        starts_at=times[0],
        ended_at=times[1],
        generator=_generator(links),
        incident=incident.uuid,
    )


_PLACES = frozenset({"environment", "feature"})


def _generator(links: list[Link]) -> str:
    """Where its figures are to be seen, if the configuration has a link for that."""
    by_name = {link.text: link.href for link in links}
    return next((by_name[name] for name in _GENERATORS if name in by_name), "")


def _camel(signal: str) -> str:
    """`refusal_rate` as alerts are named: `TocsinRefusalRate`."""
    return "Tocsin" + "".join(part.capitalize() for part in signal.split("_"))
