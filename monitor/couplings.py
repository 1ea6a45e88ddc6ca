"""The rates of each feature as one vector: a ticket when they no longer move together.

Which rates make the vector is decided by evidence when it is begun, after a trial: those that can
be judged in most of the blocks in which the feature has traffic. From then on the set is fixed. It
is begun anew, and what it had learned dropped, when one of them can no longer be judged, when
another can, or when they have been apart for a week. A block in which one of the rates fires by
itself is left out: that has been said.

Memory: at most one vector of `VectorConfig.rates` for each feature that the vocabulary admits (200)
in each environment (8), about 5 kB each.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import msgspec
import numpy as np

from detectors.columns import Floats
from detectors.model import State, Verdict
from detectors.shift import Bucket
from detectors.vectors import BLOCK_S, LEAST_EXPECTED, VectorDetector
from monitor.alerting.alerts import Reading
from monitor.blocks import Block, Blocks
from monitor.profiles import Profile
from monitor.store.decision_rows import Point, Seen
from monitor.stream.series import Dims, dimension_names, named
from monitor.stream.signals import Plan, Signal
from monitor.stream.vocabulary import RESERVED

logger = logging.getLogger(__name__)

JOINS, STAYS = 0.5, 0.25
"""Share of a trial's blocks in which a rate must be judgeable to become one of a vector, or to
stay one."""
SETTLED_S = 7 * 86_400
"""What has been apart for so long is the usual from now on."""
OTHERS = "begun anew: the signals or the settings are others"
_LETTERS = {State.WARMING: "w", State.QUIET: "q", State.FIRING: "f"}


class _Stored(msgspec.Struct, array_like=True):
    definition: str
    blocks: bytes
    tried: bytes
    trials: list[tuple[Dims, int]]
    vectors: list[tuple[Dims, dict[str, str], bytes]]


@dataclass(frozen=True, slots=True)
class _Vector:
    """The rates of one feature: ids of series by what people call them."""

    rates: Mapping[str, str]
    detector: VectorDetector

    @property
    def verdict(self) -> Verdict | None:
        return self.detector.verdict


class Couplings:
    """Which rates make which vector, and what is said of each."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._config = profile.vectors
        self._signal = plan.together()
        self._blocks = Blocks(-(-BLOCK_S // plan.bucket_s) * plan.bucket_s, plan.bucket_s)
        by = self._signal.by if self._signal is not None else None
        self._rates = {signal.name: signal for signal in plan.rates() if signal.by == by}
        self._definition = f"{by} {sorted(self._rates)} {self._blocks.block_s} {self._config}"
        self._tried: Floats = np.zeros((2, 0))
        """Blocks of the trial in which a row could be judged, and what was expected in all."""
        self._trials: dict[Dims, int] = {}
        self._vectors: dict[Dims, _Vector] = {}
        self._ended: dict[Dims, str] = {}
        """Why the vector of a feature was begun anew at this bucket."""

    def know(self, name: str, signal: Signal, dims: Dims) -> None:
        """Take in a series, if it is a rate of a feature.

        Args:
            name: id of the series.
            signal: the signal.
            dims: values of its dimensions.
        """
        if signal.name not in self._rates or len(dims) != len(dimension_names(signal)):
            return
        if RESERVED & set(dims):
            return
        feature, value = dims[: len(signal.by)], dims[len(signal.by) :]
        rate = " ".join((signal.name, *value))
        self._blocks.know(name, feature, rate)

    def step(self, ids: Sequence[str], bucket: Bucket | None, firing: Set[str]) -> None:
        """Take in one bucket; at the end of a block each vector is judged.

        Args:
            ids: every series of the bank, in its order.
            bucket: what was expected of them, as the bank that judged it says.
            firing: ids of those that fire by themselves.
        """
        self._ended = {}
        if self._signal is None or bucket is None:
            return
        for block in self._blocks.take(ids, bucket, firing):
            self._close(block)

    def _close(self, block: Block) -> None:
        """Judge what is complete, and count it for the trials."""
        more = len(block.e) - self._tried.shape[1]
        self._tried = np.pad(self._tried, ((0, 0), (0, more)))
        self._tried += np.stack((block.e >= LEAST_EXPECTED, block.e))
        for feature in self._blocks.busy(block.e):
            vector = self._vectors.get(feature)
            if vector is not None and not block.hot & set(vector.rates.values()):
                self._judge(vector, block)
            self._trials[feature] = self._trials.get(feature, 0) + 1
            if self._trials[feature] >= self._config.trial_blocks:
                self._review(feature, block.start_s + self._blocks.block_s)

    def _judge(self, vector: _Vector, block: Block) -> None:
        counts: dict[str, float] = {"t": block.start_s}
        for rate, name in vector.rates.items():
            row = self._blocks.row(name)
            counts |= {
                f"k.{rate}": block.k[row],
                f"n.{rate}": block.n[row],
                f"e.{rate}": block.e[row],
            }
        vector.detector.learn_one(counts)
        vector.detector.close()

    # -- which rates ------------------------------------------------------------------------------

    def _review(self, feature: Dims, end: int) -> None:
        """The end of a trial: begin a vector, anew where it must be, or leave it as it is."""
        series = self._blocks.series(feature)
        rows = [self._blocks.row(name) for name in series.values()]
        judged, expected = self._tried[:, rows]
        shares = dict(zip(series, (judged / self._trials[feature]).tolist(), strict=True))
        heavy = dict(zip(series, expected.tolist(), strict=True))
        self._tried[:, rows] = 0.0
        self._trials[feature] = 0
        fit = sorted((r for r in series if shares[r] >= JOINS), key=lambda r: (-heavy[r], r))
        wanted = sorted(fit[: self._config.rates])
        vector = self._vectors.get(feature)
        if vector is not None:
            why = _why_anew(vector, wanted, shares, end)
            if not why:
                return
            del self._vectors[feature]
            self._ended[feature] = f"begun anew: {why}"
            logger.info("the rates of %r are %s", feature, self._ended[feature])
        if len(wanted) >= 2:
            self._vectors[feature] = self._begun({rate: series[rate] for rate in wanted})

    def _begun(self, rates: Mapping[str, str]) -> _Vector:
        detector = VectorDetector(
            threshold=self._config.threshold,
            block_s=self._blocks.block_s,
            warm_blocks=self._config.warm_blocks,
        )
        return _Vector(rates, detector)

    # -- what is said -----------------------------------------------------------------------------

    def seen(self, bucket: Bucket | None) -> list[Seen]:
        """How each feature with traffic stands, to be stored as the points of the signal."""
        if self._signal is None or bucket is None or not self._vectors:
            return []
        points = []
        for feature in sorted(self._blocks.busy(bucket.n)):
            vector = self._vectors.get(feature)
            if vector is not None and vector.verdict is not None:
                verdict = vector.verdict
                letter = _LETTERS[verdict.state]
                points.append(Point(feature, 0, 0, None, round(verdict.score, 3), letter))
        return [Seen(self._signal.name, bucket.start_s, points)] if points else []

    def readings(self, watched: Set[str], tiers: Mapping[str, str], at: int) -> list[Reading]:
        """What is said of those that fire or are watched.

        Args:
            watched: ids of series whose alert is firing.
            tiers: the tier of each rule; this one's is never above a ticket.
            at: end of the bucket, unix seconds.
        """
        signal = self._signal
        if signal is None:
            return []
        tier = "shadow" if tiers.get(signal.name, signal.tier) == "shadow" else "ticket"
        ids = (name.split("\x1f") for name in watched)
        asked = {tuple(dims) for name, *dims in ids if name == signal.name}
        verdicts = {feature: vector.verdict for feature, vector in self._vectors.items()}
        told = {f for f, one in verdicts.items() if one is not None and one.state is State.FIRING}
        return [
            self._reading(signal, feature, verdicts.get(feature), tier, at)
            for feature in sorted(told | asked)
        ]

    def _reading(
        self, signal: Signal, feature: Dims, verdict: Verdict | None, tier: str, at: int
    ) -> Reading:
        onset = None if verdict is None else verdict.onset
        reason = self._ended.get(feature, OTHERS if verdict is None else verdict.reason)
        return Reading(
            signal=signal.name,
            dimensions=named(signal, feature),
            tier=tier,
            severity=signal.severity,
            firing=verdict is not None and verdict.state is State.FIRING,
            at=datetime.fromtimestamp(at, UTC),
            onset_at=datetime.fromtimestamp(at if onset is None else onset, UTC),
            k=0 if verdict is None else verdict.k,
            n=0 if verdict is None else verdict.n,
            # A rate in its usual range is no "1.0x base".
            rate=0.0,
            baseline=0.0,
            excess=0.0,
            score=0.0 if verdict is None else verdict.score,
            threshold=self._config.threshold,
            reason=f"{signal.title}: {reason}",
        )

    # -- what is kept -----------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything learned; the rows are those of the bank's snapshot."""
        return msgspec.msgpack.encode(
            _Stored(
                self._definition,
                self._blocks.snapshot(),
                self._tried.tobytes(),
                list(self._trials.items()),
                [
                    (feature, dict(one.rates), one.detector.snapshot())
                    for feature, one in self._vectors.items()
                ],
            )
        )

    @classmethod
    def restore(cls, data: bytes, plan: Plan, profile: Profile) -> Self | None:
        """Those that `snapshot` stored; their series are to be made known again.

        Returns:
            None where it was with other signals or settings: all is begun anew.

        Raises:
            ValueError: it is no snapshot of couplings.
        """
        try:
            stored = msgspec.msgpack.decode(data, type=_Stored)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a snapshot of couplings: {error}") from error
        made = cls(plan, profile)
        if stored.definition != made._definition:
            logger.warning("the rates that move together are learned again: %s", OTHERS)
            return None
        made._blocks = Blocks.restore(stored.blocks, made._blocks.block_s, plan.bucket_s)
        made._tried = np.frombuffer(stored.tried).reshape(2, -1).copy()
        made._trials = dict(stored.trials)
        for feature, rates, snapshot in stored.vectors:
            made._vectors[feature] = made._begun(rates)
            made._vectors[feature].detector.restore(snapshot)
        return made


def _why_anew(vector: _Vector, wanted: Sequence[str], shares: Mapping[str, float], end: int) -> str:
    """Why a vector is not to go on as it is; empty where it is."""
    lost = [rate for rate in vector.rates if shares.get(rate, 0.0) < STAYS]
    if lost:
        return f"{lost[0]} is too rare to be judged"
    onset = None if vector.verdict is None else vector.verdict.onset
    if onset is None:
        new = sorted(set(wanted) - vector.rates.keys())
        return f"{new[0]} can be judged too" if new and vector.rates.keys() < set(wanted) else ""
    days = SETTLED_S // 86_400
    return f"apart for {days} days, the usual from now on" if end - onset >= SETTLED_S else ""
