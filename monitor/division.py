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

from detectors.calibration import LEAST_BUDGET, MOST_BUDGET, budget_of, threshold_for, weeks_of
from detectors.model import Alarm
from monitor.alerting.alerts import labels
from monitor.alerting.budget import Budgets, Share, change, divide, outdated
from monitor.fleets import fleet_of
from monitor.profiles import Profile
from monitor.store.rule_rows import Divided
from monitor.store.store import Tx
from monitor.stream.series import Dims, named
from monitor.stream.signals import Plan, Signal

Series = Iterable[tuple[Signal, Dims]]

TOGETHER = 0.04
"""False pages a week, at most, of a fleet with the children that are followed one by one, at the
thresholds that ship. Measured, with their parent's: `python -m tests.bench.bench_fleet`, as
shipped; half a nat less of the pool's threshold made it 0.25."""


def threshold(per_series_week: float) -> float:
    """The threshold of a share of a budget, within what a score was calibrated for.

    A share above the calibrated ones is not all spent; one below them (thousands of series that
    page for one team) would need evidence that nobody has measured, and gets the strictest known.
    """
    return threshold_for(min(max(per_series_week, LEAST_BUDGET), MOST_BUDGET))


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
        """When a series fires: its share where it pages, the profile's calibration elsewhere.

        What the profile wants of a rule beyond its own threshold (`Profile.patience`) it wants
        beyond the share's too. A profile without a cap divides nothing: its scores are not on the
        calibrated scale, and it is not for people on call.
        """
        alarm = self._profile.alarm(signal, self._plan.bucket_s)
        share = self._share(signal, dims)
        if share is None:
            return alarm
        beyond = alarm.threshold - self._profile.rates.alarm.threshold
        return replace(alarm, threshold=threshold(share.per_series_week) + beyond)

    def demand(self, signal: Signal, whole: Dims) -> float:
        """Nats more than they ship with that a fleet and its children need to keep their share.

        One more is taken to be e times rarer, as a likelihood ratio has it; measured between 9 and
        9.5 it is rarer still. A larger share than they cost leaves them as they are.

        Args:
            signal: theirs.
            whole: the dimension values of the whole.
        """
        share = self._share(signal, whole)
        return 0.0 if share is None else max(0.0, math.log(TOGETHER / share.per_series_week))

    def meaning(self, signal: Signal, dims: Dims, limit: float) -> str:
        """What a series' threshold means, in words."""
        if not self._profile.rates.curve:
            return f"the {self._profile.name} profile's own limit, calibrated to no budget"
        rare = f"what a quiet series reaches once in {weeks_of(1 / budget_of(limit))}"
        share = self._share(signal, dims)
        if share is None:
            return f"fires at {rare}: the {self._profile.name} profile's own, no budget pays for it"
        return f"pages at {rare}: its share of the budget of team {share.team}"

    def meaning_together(self, signal: Signal, whole: Dims) -> str:
        """What the thresholds of a fleet and of its children mean, in words."""
        if not self._profile.rates.curve:
            return f"the {self._profile.name} profile's own limit, calibrated to no budget"
        share = self._share(signal, whole)
        most = TOGETHER if share is None else min(TOGETHER, share.per_series_week)
        rare = f"what a quiet fleet and its children reach once in {weeks_of(1 / most)}, in nats"
        if share is None:
            return f"fires at {rare}: the {self._profile.name} profile's own, no budget pays for it"
        return f"pages at {rare}: its share of the budget of team {share.team}"

    def _share(self, signal: Signal, dims: Dims) -> Share | None:
        """The share that pays for a series; None where none does."""
        if not self._profile.capped:
            return None
        share = self._shares.get(self._budgets.team_of(_labels(signal, dims)))
        return share if share is not None and signal.name in share.rules else None

    def promote(self, signal: Signal, series: Iterable[Dims]) -> None:
        """Divide as if a rule with these series paged too; nothing is written down."""
        paging = [(signal, dims) for dims in series]
        counts, fleets = (
            Counter(self._budgets.team_of(one) for one in found) for found in _counted(paging)
        )
        for team in self._budgets.names():
            known = self._shares.get(team) or Share(team, self._budgets.of(team), {})
            self._shares[team] = Share(
                team,
                self._budgets.of(team),
                {**known.rules, signal.name: counts[team]},
                {**known.fleets, signal.name: fleets[team]},
            )

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
        alone, together = _counted(one for one in series if one[0].name in rules)
        new = divide(budgets, rules, alone, together)
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


def _counted(series: Series) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The labels of each series, and of each fleet that they make."""
    alone, fleets = [], dict[tuple[str, Dims], dict[str, str]]()
    for signal, dims in series:
        alone.append(_labels(signal, dims))
        whole = fleet_of(signal, dims)
        if whole is not None:
            fleets[signal.name, whole] = _labels(signal, whole)
    return alone, list(fleets.values())
