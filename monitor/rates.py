"""The rates of a plan, judged together: each series, the fleets they make, and lone children.

Whoever drives it decides where counts come from and what its answers are worth: the daemon bucket
by bucket (`detection.py`), a backtest over what is stored (`backtest.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from detectors.fleet import Fleet
from detectors.pool import Pool
from detectors.rate import RateBank
from detectors.verdicts import Verdicts
from monitor.alerting.alerts import Reading
from monitor.alerting.pages import where
from monitor.division import Division
from monitor.fleets import Fleets, fleet_of
from monitor.profiles import Profile
from monitor.readings import reading_of
from monitor.slices import Loud, Slices
from monitor.stream.series import Dims, Pair, kin, named
from monitor.stream.signals import Plan, Signal

Tiers = Mapping[str, str]
"""Tier by signal."""
Children = Mapping[tuple[str, str], Loud]
"""The lone child that speaks, by signal and environment."""
SEPARATOR = "\x1f"


def series_id(signal: str, dims: Dims) -> str:
    """The name of a series in the bank."""
    return SEPARATOR.join((signal, *dims))


@dataclass(frozen=True, slots=True)
class Judged:
    """What was said of one bucket's series and of their fleets."""

    bucket: int
    verdicts: Verdicts
    pairs: list[Pair]
    """K and n of each series, in the order of `verdicts`."""
    born: list[str]
    """Series that had their first traffic."""
    fleets: Mapping[str, Fleet]
    """Those that fire or were asked for, by the id of the whole."""

    @property
    def firing(self) -> set[str]:
        """Ids of the series that fire by themselves."""
        return {self.verdicts.ids[int(row)] for row in self.verdicts.firing_rows()}


class Rates:
    """The series, their fleets and the children of their wholes.

    Args:
        plan: the signals; those that are no rates are left out.
        profile: how they are learned.
        division: the threshold of each series.
    """

    def __init__(self, plan: Plan, profile: Profile, division: Division) -> None:
        self._bucket_s = plan.bucket_s
        self._division = division
        self._signals: dict[str, Signal] = {signal.name: signal for signal in plan.rates()}
        self.bank = RateBank(profile.rates, bucket_s=plan.bucket_s)
        self.fleets = Fleets(plan, profile)
        self.slices = Slices(plan, profile)
        self.known: dict[str, tuple[Signal, Dims]] = {}
        self._kin: dict[Dims, list[str]] = {}
        """Series by what siblings share."""

    def take(self, bank: RateBank, pool: Pool, slices: Slices) -> bool:
        """Go on with what was stored; for one that is new.

        Returns:
            False, and nothing has changed, where it was stored with other settings.
        """
        if bank.config != self.bank.config or bank.bucket_s != self._bucket_s:
            return False
        if not self.fleets.take(pool):
            return False
        self.bank, self.slices = bank, slices
        for name in bank.ids:
            self._know(name)
        return True

    def judge(
        self,
        bucket: int,
        series: Mapping[str, Mapping[Dims, Pair]],
        watched: Set[str] = frozenset(),
    ) -> Judged:
        """Judge one bucket of every series, and the fleets.

        Args:
            bucket: its start, unix seconds.
            series: k and n by signal and dimension values.
            watched: ids of series whose alert is firing.
        """
        counts = {
            series_id(signal, dims): pair
            for signal, found in series.items()
            for dims, pair in found.items()
        }
        # A series is born with its first traffic, as the points will tell it after a restart.
        new = sorted(name for name in counts.keys() - self.known.keys() if counts[name][1])
        born = [name for name in new if self._know(name)]
        ids = list(self.known)
        pairs = [counts.get(name, (0, 0)) for name in ids]
        verdicts = self.bank.step(
            bucket, self._bucket_s, ids, [k for k, _ in pairs], [n for _, n in pairs]
        )
        fleets = self.fleets.step(self.bank.ids, self.bank.latest, watched)
        return Judged(bucket, verdicts, pairs, born, fleets)

    def readings(
        self, judged: Judged, children: Children, watched: Set[str], tiers: Tiers
    ) -> list[Reading]:
        """What could move an alert: of a whole one voice at a time.

        Args:
            judged: what `judge` said.
            children: what `slices` said of the same bucket.
            watched: ids of series whose alert is firing.
            tiers: the tier of each rule.
        """
        firing, fleets, end = judged.firing, judged.fleets, judged.bucket + self._bucket_s
        # A fleet is an alert of the whole, whose own series speaks first where it fires too.
        spoken = {name for name in fleets if fleets[name].firing or name not in self.known}
        loud = {series_id(signal, (env,)): one for (signal, env), one in children.items()}
        loud = {name: one for name, one in loud.items() if name not in firing | spoken}
        spoken -= firing
        own = (firing | watched) - spoken - loud.keys()
        readings = []
        for index, name in enumerate(judged.verdicts.ids):
            if name in own:
                signal, dims = self.known[name]
                tier = tiers[signal.name]
                verdict = judged.verdicts[index]
                readings.append(reading_of(signal, named(signal, dims), verdict, end, tier))
        readings += [self._fleet_reading(fleets[name], end, tiers) for name in sorted(spoken)]
        for one in loud.values():
            readings.append(self.slices.reading(one, tiers[one.child.signal], end))
        return readings

    def retune(self) -> None:
        """The budget is divided anew."""
        for name, (signal, dims) in self.known.items():
            self.bank.add(name, alarm=self._division.alarm(signal, dims))
            self._demand(signal, dims)

    def _fleet_reading(self, fleet: Fleet, end: int, tiers: Tiers) -> Reading:
        signal, dims = self.known.get(fleet.loudest, (None, ()))
        loudest = where(named(signal, dims)) if signal is not None else ""
        name = fleet.group.split(SEPARATOR)[0]
        return self.fleets.reading(fleet, loudest, tiers[name], end)

    def _demand(self, signal: Signal, dims: Dims) -> None:
        """What the fleet of a series and its children must show before they speak."""
        whole = fleet_of(signal, dims)
        if whole is not None:
            more = self._division.demand(signal, whole)
            self.fleets.demand(series_id(signal.name, whole), more)
            self.slices.demand(signal.name, whole[0], more)

    def _know(self, name: str) -> bool:
        signal_name, *dims = name.split(SEPARATOR)
        signal = self._signals.get(signal_name)
        if signal is None:
            return False
        self.known[name] = (signal, tuple(dims))
        siblings = self._kin.setdefault(kin(*self.known[name]), [])
        self.bank.bear(name, siblings, alarm=self._division.alarm(*self.known[name]))
        siblings.append(name)
        whole = series_id(signal_name, tuple(dims[:1]))
        self.fleets.know(name, whole, *self.known[name])
        self._demand(*self.known[name])
        return True
