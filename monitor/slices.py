"""The children of a whole: its heaviest tenants, models and releases, followed one by one.

They never alert in their own name. One of them that moves far, alone, is an alert of the whole that
says which one it is: the whole itself would notice late or never. What many of them do together is
for the series and the fleet to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Self

import msgspec
import numpy as np

from detectors.burst import Bursts
from detectors.model import Verdict
from detectors.rate import RateBank
from detectors.top import Top
from detectors.verdicts import Verdicts
from monitor.alerting.alerts import Reading
from monitor.alerting.pages import where
from monitor.profiles import Profile
from monitor.readings import reading_of
from monitor.stream.series import Base, Dims, Sums, slot_sums
from monitor.stream.signals import DIMENSIONS, Plan, Signal
from monitor.stream.vocabulary import RESERVED

ENVIRONMENT = "environment"
TOP = 16
"""Values of a dimension that are followed."""
CAPACITY = 64
"""Values of a dimension whose weight is known."""
HALF_LIFE_S = 6 * 3600
RENEWED_S = 3600
MOST = 0.5
"""What has this share of the traffic is the whole, not a child of it."""
STIRRING = 0.3
"""Of its threshold, from which a child counts as stirring."""
CROWD = 0.2
"""Where this share of the children stirs, none of them is alone."""


class Slice(msgspec.Struct, frozen=True, array_like=True):
    """One child of the whole of a signal."""

    signal: str
    environment: str
    dimension: str
    value: str

    @property
    def name(self) -> str:
        """Its id in the bank."""
        return "\x1f".join(msgspec.structs.astuple(self))


class _Stored(msgspec.Struct):
    members: list[Slice]
    speaking: list[str]
    hushed: list[str]
    tops: list[tuple[str, str, dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Loud:
    """A child that moved alone."""

    child: Slice
    verdict: Verdict


class Slices:
    """Which values are followed, and the bank that follows them."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._plan = plan
        self._profile = profile
        self._signals = {s.name: s for s in plan.rates() if has_children(s)}
        self._bank = RateBank(profile.children, bucket_s=plan.bucket_s)
        self._bursts = Bursts(profile.bursts, bucket_s=plan.bucket_s)
        self._members: dict[str, Slice] = {}
        self._tops: dict[tuple[str, str], Top] = {}
        self._speaking: set[str] = set()
        self._hushed: set[str] = set()
        """Those that fire, and began to in a crowd."""
        self._more: dict[tuple[str, str], float] = {}
        self._dimensions = [
            name
            for name in DIMENSIONS
            if any(name not in signal.by for signal in self._signals.values())
        ]

    def demand(self, signal: str, environment: str, more: float) -> None:
        """Want so many nats more than the profile's thresholds before a child of it speaks."""
        self._more[signal, environment] = more

    def step(
        self, bucket: int, base: Base, uncounted: Set[str] = frozenset()
    ) -> dict[tuple[str, str], Loud]:
        """Judge one bucket: the loudest lone child, by signal and environment.

        Args:
            bucket: its start, unix seconds.
            base: its cells.
            uncounted: signals of which they do not tell.
        """
        sums = {name: slot_sums(self._plan, base, (ENVIRONMENT, name)) for name in self._dimensions}
        told = self._judge(bucket, sums, uncounted)
        for dimension in self._dimensions:
            self._weigh(dimension, sums[dimension])
        if (bucket + self._plan.bucket_s) % RENEWED_S == 0:
            self._renew()
        return told

    def _judge(
        self, bucket: int, sums: Mapping[str, Sums], uncounted: Set[str]
    ) -> dict[tuple[str, str], Loud]:
        if not self._members:
            return {}
        plan = self._plan
        k, n = [], []
        for one in self._members.values():
            counts = None
            if one.signal not in uncounted:
                counts = sums[one.dimension].get((one.environment, one.value))
            k.append(counts[plan.numerators[one.signal]] if counts else 0)
            n.append(counts[plan.denominators[one.signal]] if counts else 0)
        lasting = self._bank.step(bucket, plan.bucket_s, list(self._members), k, n)
        latest = self._bank.latest
        assert latest is not None
        return self._told(lasting, self._bursts.step(list(self._members), latest))

    def _told(self, lasting: Verdicts, bursts: Verdicts) -> dict[tuple[str, str], Loud]:
        known, firing = self._speaking | self._hushed, dict[str, Verdict]()
        for said in (bursts, lasting):  # a move that lasts has more to say
            for row in said.firing_rows().tolist():
                verdict = self._held(said[row], said.ids[row])
                if said.ids[row] in known or verdict.score >= verdict.threshold:
                    firing[said.ids[row]] = verdict
        begun = firing.keys() - self._speaking - self._hushed
        crowds = _crowds(self._members.values(), (lasting, bursts)) if begun else {}
        lone = {name for name in begun if not crowds[_family(self._members[name])]}
        self._speaking = (self._speaking & firing.keys()) | lone
        self._hushed = (self._hushed & firing.keys()) | (begun - lone)
        told: dict[tuple[str, str], Loud] = {}
        for name in sorted(self._speaking):
            child, verdict = self._members[name], firing[name]
            key = (child.signal, child.environment)
            if key not in told or abs(verdict.excess) > abs(told[key].verdict.excess):
                told[key] = Loud(child, verdict)
        return told

    def _held(self, verdict: Verdict, name: str) -> Verdict:
        """With the threshold that is wanted of the child."""
        child = self._members[name]
        more = self._more.get((child.signal, child.environment), 0.0)
        return replace(verdict, threshold=verdict.threshold + more)

    def _weigh(self, dimension: str, sums: Sums) -> None:
        weights: dict[str, dict[str, float]] = {}
        for (environment, value), counts in sums.items():
            if value and value not in RESERVED and counts[0]:
                weights.setdefault(environment, {})[value] = float(counts[0])
        for environment in weights:
            if (environment, dimension) not in self._tops:
                self._tops[environment, dimension] = self._top()
        for (environment, of), top in self._tops.items():
            if of == dimension:
                top.add(weights.get(environment, {}))

    def _top(self) -> Top:
        return Top(capacity=CAPACITY, half_life=HALF_LIFE_S / self._plan.bucket_s)

    def _renew(self) -> None:
        """Follow those that are heaviest now, and forget the others."""
        wanted = [
            Slice(signal.name, environment, dimension, value)
            for (environment, dimension), top in self._tops.items()
            for value in top.leaders(TOP)
            if top.share(value) < MOST
            for signal in self._signals.values()
            if dimension not in signal.by
        ]
        names = {one.name for one in wanted}
        self._keep(names)
        families: dict[Dims, list[str]] = {}
        for one in self._members.values():
            families.setdefault(_family(one), []).append(one.name)
        for one in wanted:
            if one.name not in self._members:
                alarm = self._profile.child_alarm(self._signals[one.signal], self._plan.bucket_s)
                self._bank.bear(one.name, families.get(_family(one), ()), alarm=alarm)
                self._bursts.add(one.name, min_excess=alarm.min_excess)
                self._members[one.name] = one

    def forget(self, signals: Iterable[str]) -> None:
        """These signals were others so far."""
        gone = set(signals)
        self._keep({name for name, one in self._members.items() if one.signal not in gone})

    def _keep(self, names: set[str]) -> None:
        gone = [name for name in self._members if name not in names]
        if gone:
            self._bank.drop(gone)
            self._bursts.drop(gone)
            self._members = {k: v for k, v in self._members.items() if k in names}
            self._speaking &= names
            self._hushed &= names

    def reading(self, loud: Loud, tier: str, at: int) -> Reading:
        """A child's verdict as one of the whole.

        Args:
            loud: what `step` said.
            tier: of the signal's rule.
            at: end of the bucket, unix seconds.
        """
        child = loud.child
        signal = self._signals[child.signal]
        alone = where({child.dimension: child.value})
        said = reading_of(signal, {ENVIRONMENT: child.environment}, loud.verdict, at, tier)
        reason = f"{signal.title}, {alone} alone: {loud.verdict.reason}"
        return replace(said, firing=True, reason=reason)

    def snapshot(self) -> bytes:
        """Everything learned."""
        tops = [(*key, top.dump()) for key, top in self._tops.items()]
        stored = _Stored(
            list(self._members.values()), sorted(self._speaking), sorted(self._hushed), tops
        )
        header = msgspec.msgpack.encode(stored)
        return msgspec.msgpack.encode((header, self._bank.snapshot(), self._bursts.snapshot()))

    @classmethod
    def restore(cls, data: bytes, plan: Plan, profile: Profile) -> Self | None:
        """Those that `snapshot` stored; None where that was with other settings.

        Raises:
            ValueError: it is no snapshot of slices.
        """
        try:
            header, rates, minutes = msgspec.msgpack.decode(data, type=tuple[bytes, bytes, bytes])
            stored = msgspec.msgpack.decode(header, type=_Stored)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a snapshot of slices: {error}") from error
        made, bank = cls(plan, profile), RateBank.restore(rates)
        if bank.ids != [one.name for one in stored.members]:
            raise ValueError("not a snapshot of slices: its children are not those of its bank")
        if bank.config != profile.children or bank.bucket_s != plan.bucket_s:
            return None
        made._bank, made._bursts = bank, Bursts.restore(minutes, profile.bursts)
        made._members = {one.name: one for one in stored.members}
        made._speaking, made._hushed = set(stored.speaking), set(stored.hushed)
        for environment, dimension, weights in stored.tops:
            made._tops[environment, dimension] = top = made._top()
            top.load(weights)
        made.forget({one.signal for one in stored.members} - made._signals.keys())
        return made


def has_children(signal: Signal) -> bool:
    """Whether there is a whole that its children can speak for."""
    return (
        signal.each is None
        and signal.whole
        and signal.by[:1] == (ENVIRONMENT,)
        and len(signal.by) > 1
    )


def _family(one: Slice) -> Dims:
    return (one.signal, one.environment, one.dimension)


def _crowds(members: Iterable[Slice], said: Iterable[Verdicts]) -> dict[Dims, bool]:
    """Of which families many members stir at once."""
    stirring: dict[Dims, list[bool]] = {}
    stirs_in = [told.score >= STIRRING * told.threshold for told in said]
    hot = np.any(stirs_in, axis=0).tolist()
    for one, stirs in zip(members, hot, strict=True):
        stirring.setdefault(_family(one), []).append(stirs)
    return {family: sum(found) > max(1.0, CROWD * len(found)) for family, found in stirring.items()}
