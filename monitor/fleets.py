"""Each signal of an environment as one fleet.

A weak shock on all of its series, which none of them would tell alone, is an alert of the signal as
a whole: the same alert that its series of the whole environment has.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime

from detectors.fleet import Fleet
from detectors.pool import Pool
from detectors.shift import Bucket
from monitor.alerting.alerts import Reading
from monitor.profiles import Profile
from monitor.stream.series import Dims, dimension_names, named
from monitor.stream.signals import Plan, Signal

ENVIRONMENT = "environment"


def fleet_of(signal: Signal, dims: Dims) -> Dims | None:
    """The dimension values of the whole that a series is tested with; None where it is with none.

    Args:
        signal: the series' own.
        dims: values of its dimensions.
    """
    names = dimension_names(signal)
    together = signal.whole and names[:1] == (ENVIRONMENT,) and len(names) > 1
    return dims[:1] if together and len(dims) == len(names) else None


class Fleets:
    """The pool and what its groups are about. A group has the name of the series of the whole."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._bucket_s = plan.bucket_s
        self._profile = profile
        self._pool = Pool(profile.fleets, bucket_s=plan.bucket_s)
        self._groups: dict[str, tuple[Signal, Dims]] = {}
        self._more: dict[str, float] = {}

    def take(self, pool: Pool) -> bool:
        """Go on with a stored pool; its series are to be made known again.

        Returns:
            False, and nothing has changed, where it was stored with other settings.
        """
        if pool.config != self._profile.fleets or pool.bucket_s != self._bucket_s:
            return False
        self._pool = pool
        return True

    def snapshot(self) -> bytes:
        """Everything learned."""
        return self._pool.snapshot()

    def know(self, name: str, whole: str, signal: Signal, dims: Dims) -> None:
        """Take a series into its fleet, unless it is a fleet itself.

        Args:
            name: id of the series.
            whole: id that the series of its whole environment has.
            signal: the signal.
            dims: values of the series' dimensions.
        """
        environment = fleet_of(signal, dims)
        if environment is None:
            return
        self._groups[whole] = (signal, environment)
        floor = self._profile.alarm(signal, self._bucket_s).min_excess
        self._pool.add(name, whole, watch=signal.direction, min_excess=floor)

    def demand(self, whole: str, more: float) -> None:
        """Want so many nats more than the pool's threshold before a quiet fleet is an alert."""
        self._more[whole] = more

    def step(
        self, ids: Sequence[str], bucket: Bucket | None, watched: Set[str]
    ) -> dict[str, Fleet]:
        """What is said of the fleets that fire or are watched, by the id of the whole."""
        if bucket is None:
            return {}
        asked = watched & self._groups.keys()
        told = self._pool.step(ids, bucket, asked=asked)
        held = [self._held(one, asked) for one in told if one.group in self._groups]
        return {one.group: one for one in held if one.firing or one.group in asked}

    def _held(self, fleet: Fleet, watched: Set[str]) -> Fleet:
        """With the threshold that is wanted; what fires is over when the pool says so."""
        limit = fleet.threshold + self._more.get(fleet.group, 0.0)
        fires = fleet.firing and (fleet.score >= limit or fleet.group in watched)
        return replace(fleet, firing=fires, threshold=limit)

    def reading(self, fleet: Fleet, loudest: str, tier: str, at: int) -> Reading:
        """A fleet's verdict in the words of alerting.

        Args:
            fleet: what the pool said.
            loudest: the series with the most of it, for people; empty where there is none.
            tier: of the signal's rule.
            at: end of the bucket, unix seconds.
        """
        signal, dims = self._groups[fleet.group]
        baseline = fleet.expected / fleet.n if fleet.n else 0.0
        most = f", the most in {loudest}" if fleet.firing and loudest else ""
        return Reading(
            signal=signal.name,
            dimensions=named(signal, dims),
            tier=tier,
            severity=signal.severity,
            firing=fleet.firing,
            at=datetime.fromtimestamp(at, UTC),
            onset_at=datetime.fromtimestamp(fleet.onset if fleet.firing else at, UTC),
            k=fleet.k,
            n=fleet.n,
            rate=fleet.k / fleet.n if fleet.n else 0.0,
            baseline=baseline,
            excess=fleet.k - fleet.expected,
            score=fleet.score,
            threshold=fleet.threshold,
            reason=f"{signal.title}: {fleet.reason}{most}",
            blind=fleet.silent,
        )
