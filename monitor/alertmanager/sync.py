"""Keeps every Alertmanager in step with what fires here: state sync, never a page.

All peers are told of a change at once and of everything every minute (`alertmanager.every`), each
firing alert with a lease that outlives several misses. What has ended is said again for five
minutes. The state is the rows': after our kill or theirs, one round makes it whole.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.alertmanager.standing import Naming, read, standing
from monitor.config.settings import Settings
from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.notify.alertmanager import PATIENCE_S, Offender, Peer, Posted, Pushed
from monitor.notify.build import build_peers
from monitor.store.store import Store, StoreUnavailable
from monitor.views import Health
from monitor.watchdog import allow, tick

logger = logging.getLogger(__name__)

LOOK = timedelta(seconds=1)
"""Between two looks at the store."""
COST = 10
"""With thousands of alerts, a tenth of the time at most goes into looking."""
ENDED_FOR = timedelta(minutes=5)
"""How long an end is said again: a peer that was away must hear it."""
LEASE_MISSES = 4
SHORTEST_LEASE = timedelta(minutes=4)
REFUSED_FOR = timedelta(hours=1)
"""An alert that a peer refused is not offered to it again for so long."""

Mark = tuple[str, bool]
"""An alert's identity, and whether it fires."""


@dataclass(slots=True)
class _Standing:
    """What we know of one peer."""

    peer: Peer
    label: str
    """Its name in metrics: bounded, from the configuration."""
    whole_at: datetime | None = None
    """When everything is sent to it next; None: now."""
    failures: int = 0
    problem: str = ""
    pushes: int = 0
    told: dict[Mark, int] = field(default_factory=dict)
    """What it has heard, and in which push; no times, since a clock may be put back."""
    refused: dict[str, datetime] = field(default_factory=dict)
    """Until when an alert is not offered to it, by identity."""

    def whole(self, now: datetime, every: timedelta) -> bool:
        """Whether it is time to send everything; also after a clock was put back."""
        return self.whole_at is None or not now < self.whole_at <= now + every

    def owed(self, alerts: Sequence[Posted], now: datetime, *, whole: bool) -> list[Posted]:
        """What is to be sent to it now: first what it has never heard, or longest ago.

        So a peer that takes only a part in a push's time hears of all in some pushes.
        """
        self.refused = {key: until for key, until in self.refused.items() if until > now}
        if self.failures and not whole:
            return []
        owed = [
            alert
            for alert in alerts
            if alert.key not in self.refused and (whole or _mark(alert) not in self.told)
        ]
        return sorted(owed, key=lambda alert: self.told.get(_mark(alert), 0))


def _mark(alert: Posted) -> Mark:
    return alert.key, alert.ended_at is None


class AlertSync:
    """The loop; `close` it after the last step."""

    def __init__(
        self,
        store: Store,
        settings: Callable[[], Settings],
        metrics: Metrics,
        *,
        peers: Sequence[Peer] | None = None,
    ) -> None:
        """`alertmanager` of the settings must be there, with addresses.

        Args:
            store: what fires.
            settings: what is in force; `alertmanager` is read once, `paging.links` at each look.
            metrics: for counting.
            peers: instead of the configured ones.

        Raises:
            OSError: the configured `ca_file` cannot be read.
        """
        given = settings().alertmanager
        assert given is not None
        self._store = store
        self._metrics = metrics
        self._every = timedelta(seconds=given.every.total_seconds())
        self._lease = max(LEASE_MISSES * self._every, SHORTEST_LEASE)
        self._timeout_s = given.timeout_s
        self._settings, self._given = settings, given
        found = build_peers(given) if peers is None else peers
        self._peers = [_Standing(peer, label) for peer, label in _labelled(found)]
        self._pool = ThreadPoolExecutor(max(1, len(self._peers)), "alertmanager")
        self._look_at: datetime | None = None
        self._pause = LOOK
        self._revision: int | None = None
        self._known: dict[str, Posted] = {}
        self._ends: dict[str, datetime] = {}
        """When we first saw that an alert has ended, by identity."""
        self._read_at: datetime | None = None

    def step(self, now: datetime) -> bool:
        """Look at the store if it is time, and send what is due; whether anything was sent.

        Args:
            now: the real time, on a recording too.

        Raises:
            StoreUnavailable: what was known before was kept alive at the peers all the same.
        """
        if self._look_at is not None and self._look_at > now >= self._look_at - self._pause:
            return False
        self._look_at = now + self._pause
        try:
            began = time.monotonic()
            self._look(now)
            cost = timedelta(seconds=time.monotonic() - began)
            self._pause = min(max(LOOK, COST * cost), self._every)
            return self._send(now)
        except StoreUnavailable:
            # A lease that ran out would tell people that all is well while we are blind.
            self.keep(now)
            raise

    def keep(self, now: datetime) -> bool:
        """Send again what was known before, without the store; whether anything was sent.

        Args:
            now: the real time.
        """
        return self._read_at is not None and self._send(now, write=False)

    def health(self) -> Health:
        """Whether the peers answer: `bad` when none does, `warn` when one does not."""
        if self._read_at is None:
            return Health(name="alertmanager", state="ok", text="nothing was sent from here yet")
        down = [f"{one.label}: {one.problem}" for one in self._peers if one.failures]
        if not down:
            text = f"{len(self._peers)} peers, {self._firing} alerts"
            return Health(name="alertmanager", state="ok", text=text)
        state = "bad" if len(down) == len(self._peers) else "warn"
        return Health(name="alertmanager", state=state, text="; ".join(down))  # type: ignore[arg-type] # one of the three

    def close(self) -> None:
        """Release threads and connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for one in self._peers:
            one.peer.close()

    @property
    def _firing(self) -> int:
        return sum(alert.ended_at is None for alert in self._known.values())

    # -- what is to be said ---------------------------------------------------------------------

    def _look(self, now: datetime) -> None:
        """Read what stands, when something has changed or a round is due."""
        with self._store.read() as tx:
            revision = tx.revision()
            fresh = self._read_at is not None and self._read_at <= now < self._read_at + self._every
            if revision == self._revision and fresh:
                return
            rows = read(tx, now)
        naming = Naming(self._given.labels, self._settings().paging.links, self._given.tiers)
        found = {one.key: one for one in standing(rows, naming, now)}
        self._revision, self._read_at = revision, now
        for key, old in self._known.items():
            if key not in found and (old.ended_at is None or key in self._ends):
                # Its labels have changed or its row is gone: whoever shows it must hear of the end.
                found[key] = old if old.ended_at is not None else replace(old, ended_at=now)
        ended = {key for key, one in found.items() if one.ended_at is not None}
        self._ends = {key: self._ends.get(key, now) for key in ended}
        self._known = {
            key: one
            for key, one in found.items()
            if key not in self._ends or now - self._ends[key] < 2 * ENDED_FOR
        }

    def _said(self, now: datetime) -> list[Posted]:
        """What the peers should hear now: all that fires, and ends for five minutes."""
        return [
            one
            for key, one in self._known.items()
            if one.ended_at is None or now - self._ends.get(key, now) <= ENDED_FOR
        ]

    # -- saying it ------------------------------------------------------------------------------

    def _send(self, now: datetime, *, write: bool = True) -> bool:
        alerts = self._said(now)
        pushes = []
        for one in self._peers:
            whole = one.whole(now, self._every)
            owed = one.owed(alerts, now, whole=whole)
            if owed:
                push = self._pool.submit(one.peer.push, owed, now, self._lease)
            elif whole:
                push = self._pool.submit(_asked, one.peer)
            else:
                continue
            pushes.append((one, push))
        offenders: list[tuple[_Standing, Offender]] = []
        allow(PATIENCE_S + self._timeout_s)
        for one, push in pushes:
            pushed = push.result()
            self._note(one, pushed, alerts, now)
            offenders += [(one, offender) for offender in pushed.offenders]
        tick()
        self._report(offenders, now, write=write)
        return bool(pushes)

    def _note(
        self, one: _Standing, pushed: Pushed, alerts: Iterable[Posted], now: datetime
    ) -> None:
        """Remember what came of a push."""
        one.pushes += 1
        for offender in pushed.offenders:
            one.refused[offender.alert.key] = now + REFUSED_FOR
        self._metrics.alertmanager_up.labels(one.label).set(0 if pushed.problem else 1)
        if pushed.problem:
            one.failures += 1
            said = {_mark(alert) for alert in alerts}
            one.told = {mark: push for mark, push in one.told.items() if mark in said}
            one.told |= {_mark(alert): one.pushes for alert in pushed.taken}
            wait = timedelta(seconds=2 ** min(one.failures, 9))
            one.whole_at = now + min(wait, self._every)
            if pushed.problem != one.problem:
                logger.warning("Alertmanager %s: %s", one.label, pushed.problem)
            one.problem = pushed.problem
            return
        if one.failures:
            logger.info("Alertmanager %s takes alerts again", one.label)
        if one.whole(now, self._every):
            one.whole_at = now + self._every
        one.failures, one.problem = 0, ""
        one.told = dict.fromkeys((_mark(alert) for alert in alerts), one.pushes)

    def _report(
        self, offenders: Sequence[tuple[_Standing, Offender]], now: datetime, *, write: bool
    ) -> None:
        """Count and tell what was refused; on the timeline once for each alert."""
        for one, offender in offenders:
            self._metrics.alertmanager_refused.inc()
            name = offender.alert.labels.get("alertname", "")
            logger.error("Alertmanager %s refuses %s: %s", one.label, name, offender.reason)
        told = [(one, offender) for one, offender in offenders if offender.alert.incident]
        if not told or not write:
            return
        with self._store.write() as tx:
            for one, offender in told:
                tx.incidents.append(offender.alert.incident, (_entry(one, offender, now),), now)
            tx.touch()


def _entry(one: _Standing, offender: Offender, now: datetime) -> Entry:
    name = offender.alert.labels.get("alertname", "an alert")
    return Entry(
        kind="REFUSED",
        text=f"Alertmanager {one.label} does not show {name}: {offender.reason}",
        actor="tocsin",
        occurred_at=now,
        key=f"alertmanager-refused:{offender.alert.key}",
    )


def _asked(peer: Peer) -> Pushed:
    """A round with nothing to say: whether the peer is there."""
    return Pushed(peer.ready())


def _labelled(peers: Sequence[Peer]) -> Iterator[tuple[Peer, str]]:
    """Each peer with a name of its own: its origin, numbered where two have the same."""
    seen: Counter[str] = Counter()
    for peer in peers:
        seen[peer.name] += 1
        number = seen[peer.name]
        yield peer, peer.name if number == 1 else f"{peer.name}#{number}"
