"""Pages that do not move, told by the road that needs no outbox.

The ordinary page that says so lies in the very outbox that does not move. It is queued all the
same: another machine, or a receiver that works, often takes it within seconds. Only when nobody has
accepted it after two minutes, and nobody has acknowledged, does the emergency road ring too. It
rings under the key of the queued page: what PagerDuty gets late folds into what it has. The queued
page is never withdrawn, because it is what is left should the emergency road not get through; and
the end is not told before it has rung those whom we have rung, or it would open what PagerDuty has
resolved. Nobody waits for the others: one dead receiver would keep this road shut for a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from monitor.alerting.pages import dedup_key
from monitor.incidents.model import Incident
from monitor.notify.channel import Kind
from monitor.store.store import Tx
from monitor.watch.checks import Finding, span
from monitor.watch.emergency import Road
from monitor.watch.ordinary import group_of

CARRIERS = frozenset({"outbox", "claims", "unreached"})
"""Checks that say that pages do not move."""
AFTER = timedelta(minutes=2)
SEEN_S = 60.0
"""Audits in a row must find it for so long: after an outage of the store, or a start, what waits is
old, and about to move."""
STUCK = "pages"
"""The key of the trouble: one page for all of them, they have one cause."""


class Bypass:
    """Opens and closes the episode of pages that do not move; one for all of its findings."""

    def __init__(self, road: Road, where: str, host: str) -> None:
        self._road = road
        self._where = where
        self._host = host
        self._seen: dict[str, float] = {}
        """Since when each finding is there in every audit, by the steady clock."""

    def forget(self) -> None:
        """An audit came to nothing: nobody knows what it would have found."""
        self._seen = {}

    def step(
        self,
        found: Sequence[Finding],
        told: Mapping[str, str],
        now: datetime,
        steady_s: float,
        *,
        ours: bool,
        waits: bool,
    ) -> None:
        """After an audit.

        Args:
            found: all its findings.
            told: keys of the queued pages about findings that nobody knows of yet, by finding.
            now: the wall clock.
            steady_s: a clock that never jumps, seconds.
            ours: we speak for the installation; else another machine's auditor rings.
            waits: see `waits`.
        """
        stuck = [one for one in found if one.check in CARRIERS]
        self._seen = {one.key: self._seen.get(one.key, steady_s) for one in stuck}
        running = self._road.running(STUCK)
        if running is not None and not stuck and not waits:
            lasted = span(now - running.opened.since)
            self._road.close(STUCK, f"pages move again after {lasted}", now)
        due = [one for one in stuck if one.key in told and self._is_old(one, now, steady_s)]
        if ours and due and running is None:
            self._open(due, told[due[0].key], now)

    def waits(self, tx: Tx) -> bool:
        """Whether the queued page under whose key we ring, if we do, is to ring who has ours."""
        running = self._road.running(STUCK)
        return running is not None and tx.outbox.is_to_ring(running.opened.dedup, running.reached())

    def _is_old(self, finding: Finding, now: datetime, steady_s: float) -> bool:
        return now - finding.since > AFTER and steady_s - self._seen[finding.key] >= SEEN_S

    def _open(self, due: Sequence[Finding], dedup: str, now: datetime) -> None:
        self._road.open(
            STUCK,
            due[0].check,
            "Tocsin: pages do not move, people are not told of incidents",
            (
                "; ".join(one.text for one in due),
                "this page went round the outbox; the one about it still waits there",
                f"{due[0].cure} (found on {self._host})",
            ),
            min(one.since for one in due),
            now,
            where=self._where,
            dedup=dedup,
        )


def untold(tx: Tx, found: Sequence[Finding], own: Sequence[Incident]) -> dict[str, str]:
    """Findings that pages do not move of which nobody knows, with the key of the page about each.

    Args:
        tx: an open transaction.
        found: all findings of an audit.
        own: open incidents about Tocsin itself.

    Returns:
        By the finding's key; an empty text where no page about it is queued.
    """
    by_group = {group: one for one in own for group in one.groups}
    told: dict[str, str] = {}
    for finding in found:
        if finding.check not in CARRIERS:
            continue
        incident = by_group.get(group_of(finding.key))
        if incident is None:
            told[finding.key] = ""
        elif incident.acknowledged_at is None and not _accepted(tx, incident):
            told[finding.key] = dedup_key(incident)
    return told


def _accepted(tx: Tx, incident: Incident) -> bool:
    """Whether somebody took a page of it since it was last over."""
    over = [
        one.entry.occurred_at
        for one in tx.incidents.timeline(incident.uuid)
        if one.entry.kind == "CLEAR"
    ]
    return any(
        page.message.kind is Kind.TRIGGER
        and page.state == "sent"
        and (not over or page.created_at >= over[-1])
        for page in tx.outbox.of_incident(incident.uuid)
    )
