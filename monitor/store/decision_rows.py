"""Rows of decide: how far it is, the series it saw, detector snapshots, rule tiers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.upserts import upsert


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One series at one bucket, as a detector saw and judged it."""

    dims: tuple[str, ...]
    """Values of the signal's dimensions, in their order."""
    k: int
    n: int
    baseline: float | None
    score: float
    state: str
    """`w`arming, `q`uiet or `f`iring."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All series of one signal at one bucket."""

    signal: str
    bucket: int
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class TierRow:
    """A rule's tier where a person has set it."""

    signal: str
    tier: str
    actor: str
    reason: str
    at: datetime


_POINTS = msgspec.msgpack.Decoder(list[Point])


class DecisionRows:
    """The decisions' rows within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def position(self, pipeline: int) -> int | None:
        """End of the last decided bucket (unix seconds), or None before the first."""
        p = t.position
        return self._c.execute(sa.select(p.c.bucket).where(p.c.pipeline == pipeline)).scalar()

    def move(self, pipeline: int, bucket: int, event_now: datetime) -> None:
        """Every bucket that ends by `bucket` is decided."""
        self._c.execute(
            upsert(self._c, t.position),
            {"pipeline": pipeline, "bucket": bucket, "event_now": event_now},
        )

    def event_now(self, pipeline: int) -> datetime | None:
        """The watermark of decisions."""
        p = t.position
        return self._c.execute(sa.select(p.c.event_now).where(p.c.pipeline == pipeline)).scalar()

    def save_points(self, seen: Iterable[Seen]) -> None:
        """Keep what the detectors saw."""
        rows = [
            {"signal": one.signal, "bucket": one.bucket, "data": msgspec.msgpack.encode(one.points)}
            for one in seen
        ]
        if rows:
            self._c.execute(upsert(self._c, t.points), rows)

    def points(self, signal: str, first: int, end: int) -> dict[int, list[Point]]:
        """By bucket start, buckets in [first, end)."""
        p = t.points
        rows = self._c.execute(
            sa.select(p.c.bucket, p.c.data)
            .where(p.c.signal == signal, p.c.bucket >= first, p.c.bucket < end)
            .order_by(p.c.bucket)
        )
        return {bucket: _POINTS.decode(data) for bucket, data in rows}

    def counted(self, signal: str, first: int, end: int) -> bool:
        """Whether a series of `signal` had an n in buckets of [first, end)."""
        p = t.points
        query = sa.select(p.c.data).where(
            p.c.signal == signal, p.c.bucket >= first, p.c.bucket < end
        )
        with self._c.execute(query.order_by(p.c.bucket.desc())) as rows:
            return any(point.n for (data,) in rows for point in _POINTS.decode(data))

    def first_counted(self, signal: str) -> int | None:
        """Start of the first bucket in which a series of `signal` was counted."""
        p = t.points
        return self._c.execute(
            sa.select(sa.func.min(p.c.bucket)).where(p.c.signal == signal)
        ).scalar()

    def all_points(
        self, signals: Iterable[str], first: int, end: int
    ) -> list[tuple[int, str, list[Point]]]:
        """(bucket, signal, points) of these signals, by bucket: to rebuild detectors from."""
        p = t.points
        where = (p.c.signal.in_(list(signals)), p.c.bucket >= first, p.c.bucket < end)
        rows = self._c.execute(p.select().where(*where).order_by(p.c.bucket, p.c.signal))
        return [(r.bucket, r.signal, _POINTS.decode(r.data)) for r in rows]

    def first_point(self, signals: Iterable[str], first: int, end: int) -> int | None:
        """The first bucket from `first` to before `end` that has points of these signals."""
        p = t.points
        where = (p.c.signal.in_(list(signals)), p.c.bucket >= first, p.c.bucket < end)
        found: int | None = self._c.execute(
            sa.select(sa.func.min(p.c.bucket)).where(*where)
        ).scalar()
        return found

    def snapshot(self, name: str) -> tuple[int, bytes] | None:
        """(bucket end, data) of the newest snapshot."""
        s = t.snapshots
        row = self._c.execute(s.select().where(s.c.name == name)).one_or_none()
        return None if row is None else (row.bucket, row.data)

    def save_snapshot(self, name: str, bucket: int, data: bytes) -> None:
        """Replace the snapshot."""
        self._c.execute(
            upsert(self._c, t.snapshots), {"name": name, "bucket": bucket, "data": data}
        )

    def profile(self) -> str:
        """The profile the last daemon ran with; empty before the first."""
        stored = self.snapshot("profile")
        return "" if stored is None else stored[1].decode(errors="replace")

    def save_profile(self, name: str) -> None:
        """A daemon runs with this profile."""
        self.save_snapshot("profile", 0, name.encode())

    def tiers(self) -> dict[str, TierRow]:
        """Tiers set by people, by signal."""
        return {
            r.signal: TierRow(r.signal, r.tier, r.actor, r.reason, r.at)
            for r in self._c.execute(t.tiers.select())
        }

    def set_tier(self, row: TierRow) -> None:
        """A person promotes or demotes a rule."""
        self._c.execute(
            upsert(self._c, t.tiers),
            {
                "signal": row.signal,
                "tier": row.tier,
                "actor": row.actor,
                "reason": row.reason,
                "at": row.at,
            },
        )
