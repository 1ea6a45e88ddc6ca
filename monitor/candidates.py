"""The open incidents that the new alerts of one moment may join, read once for all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from monitor.alerting.alerts import Alert
from monitor.alerting.grouping import ONSET_WINDOW, Candidate
from monitor.incidents.model import Incident
from monitor.store.store import Tx


class Candidates:
    """What `grouping.place` chooses from, within one transaction."""

    def __init__(self, tx: Tx, opened: Sequence[Alert]) -> None:
        """Nothing is read before it is asked for.

        Args:
            tx: the open transaction.
            opened: all that are to be placed.
        """
        self._tx = tx
        self._opened = opened
        self._by_uuid: dict[str, Candidate] | None = None

    def all(self) -> Collection[Candidate]:
        """As they are after what was placed so far; alerts that are long over are left out."""
        return self._known().values()

    def took(self, incident: Incident, alert: Alert) -> None:
        """`alert` has opened or joined `incident`, which is taken as it is in the store now."""
        known = self._known()
        old = known.get(incident.uuid)
        alerts = (*(old.alerts if old else ()), alert)
        known[incident.uuid] = Candidate(self._tx.incidents.get(incident.uuid) or incident, alerts)

    def _known(self) -> dict[str, Candidate]:
        if self._by_uuid is None:
            # One that cleared before cannot have begun within the window of any of them.
            since = min(alert.onset_at for alert in self._opened) - ONSET_WINDOW
            found = self._tx.kin.joinable(since)
            self._by_uuid = {one.uuid: Candidate(one, alerts) for one, alerts in found}
        return self._by_uuid
