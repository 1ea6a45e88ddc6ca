"""Which threshold each series has: a team's budget, divided over the series that may page it.

Shares change at the end of a bucket: at once when a person changes a tier or a budget, else each
hour, as series come and go. Each change is a row that says why, written with the bucket it follows,
and the detectors are snapshotted with it: a killed daemon finds the thresholds of an unkilled one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from detectors.model import Alarm
from monitor.alerting.alerts import labels
from monitor.alerting.budget import Budgets, Share, change, divide, outdated
from monitor.profiles import Profile
from monitor.store.rule_rows import Divided
from monitor.store.store import Tx
from monitor.stream.series import Dims, named
from monitor.stream.signals import Plan, Signal

Series = Iterable[tuple[Signal, Dims]]

NOMINAL = 1 / (4 * 30)
"""False pages a series-week that the profiles' thresholds were calibrated to: one page in four
weeks over thirty series."""
LEAST = 1.0
"""No threshold is below this, in nats, however much a team is ready to bear."""


def threshold(nominal: float, per_series_week: float) -> float:
    """The threshold at another budget, in nats: e times rarer is one nat more.

    That is what a likelihood ratio promises, and near the calibrated point it holds.
    """
    return max(LEAST, nominal + math.log(NOMINAL / per_series_week))


class Division:
    """The shares in force, and what follows for each series."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._plan = plan
        self._profile = profile
        self._budgets = Budgets()
        self._shares: dict[str, Share] = {}

    def rebuild(self, tx: Tx, budgets: Budgets) -> None:
        """Find the shares in force."""
        self._budgets = budgets
        names = budgets.names()
        self._shares = {t: row.share for t, row in tx.rules.shares().items() if t in names}

    def alarm(self, signal: Signal, dims: Dims) -> Alarm:
        """When a series fires: its share where it pages, the profile's calibration elsewhere."""
        alarm = self._profile.alarm(signal, self._plan.bucket_s)
        if not self._profile.capped:
            return alarm
        share = self._shares.get(self._budgets.team_of(_labels(signal, dims)))
        if share is None or signal.name not in share.rules:
            return alarm
        return replace(alarm, threshold=threshold(alarm.threshold, share.per_series_week))

    def promote(self, signal: Signal, series: Iterable[Dims]) -> None:
        """Divide as if a rule with these series paged too; nothing is written down."""
        counts = Counter(self._budgets.team_of(_labels(signal, dims)) for dims in series)
        for team in self._budgets.names():
            known = self._shares.get(team)
            rules = {**(known.rules if known is not None else {}), signal.name: counts[team]}
            self._shares[team] = Share(team, self._budgets.of(team), rules)

    def renew(
        self,
        tx: Tx,
        end: int,
        tiers: Mapping[str, str],
        budgets: Budgets,
        series: Series,
        *,
        hourly: bool,
    ) -> bool:
        """Divide anew where it is time; whether any share is another now.

        Args:
            tx: the open transaction.
            end: of the bucket just judged, unix seconds; the shares hold from there on.
            tiers: the tier of each rule.
            budgets: what each team may spend.
            series: all that are known.
            hourly: it is time to count series.
        """
        rules = [signal.name for signal in self._plan.rates() if tiers[signal.name] == "page"]
        self._budgets = budgets
        if not hourly and not outdated(self._shares, budgets, rules):
            return False
        paging = [_labels(signal, dims) for signal, dims in series if signal.name in rules]
        new = divide(budgets, rules, paging)
        changed = [
            Divided(end, share, change(self._shares.get(team), share))
            for team, share in new.items()
            if share != self._shares.get(team)
        ]
        tx.rules.divide(changed)
        self._shares = new
        return bool(changed)


def _labels(signal: Signal, dims: Dims) -> dict[str, str]:
    return labels(signal.name, named(signal, dims), signal.severity)
