"""Each signal of an environment as one fleet.

A weak shock on all of its series, which none of them would tell alone, is an alert of the signal as
a whole: the same alert that its series of the whole environment has.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import UTC, datetime

from detectors.fleet import Fleet
from detectors.pool import Pool
from detectors.shift import Bucket
from monitor.alerting.alerts import Reading
from monitor.profiles import Profile
from monitor.stream.series import Dims, dimension_names, named
from monitor.stream.signals import Plan, Signal

ENVIRONMENT = "environment"


class Fleets:
    """The pool and what its groups are about. A group has the name of the series of the whole."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._bucket_s = plan.bucket_s
        self._profile = profile
        self._pool = Pool(profile.fleets, bucket_s=plan.bucket_s)
        self._groups: dict[str, tuple[Signal, Dims]] = {}

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
        names = dimension_names(signal)
        if (
            not signal.whole
            or names[:1] != (ENVIRONMENT,)
            or len(dims) != len(names)
            or name == whole
        ):
            return
        self._groups[whole] = (signal, dims[:1])
        floor = self._profile.alarm(signal, self._bucket_s).min_excess
        self._pool.add(name, whole, watch=signal.direction, min_excess=floor)

    def step(
        self, ids: Sequence[str], bucket: Bucket | None, watched: Set[str]
    ) -> dict[str, Fleet]:
        """What is said of the fleets that fire or are watched, by the id of the whole."""
        if bucket is None:
            return {}
        asked = watched & self._groups.keys()
        told = self._pool.step(ids, bucket, asked=asked)
        return {fleet.group: fleet for fleet in told if fleet.group in self._groups}

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
        )
