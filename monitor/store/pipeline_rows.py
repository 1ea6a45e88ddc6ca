"""Rows of pipelines: what cells are counted under. Another set of signals is another pipeline."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.late_rows import LateRows
from monitor.stream.signals import Plan, Slot


class Definition(msgspec.Struct, frozen=True):
    """All that decides what a cell means, in the order in which its digest is taken."""

    bucket_s: int
    lateness_s: int
    dimensions: tuple[str, ...]
    slots: tuple[Slot, ...]
    each: tuple[tuple[str, str | None, str | None, str, str, tuple[str, ...]], ...]
    """Of each signal with a table of its own: name, list, value, k, n_each, dimensions."""
    sources: bool
    """Whether interactions are counted by source."""


def defined(plan: Plan) -> Definition:
    """What a plan counts."""
    return Definition(
        plan.bucket_s,
        plan.lateness_s,
        plan.dimensions,
        plan.slots,
        tuple((s.name, s.each, s.value, str(s.k), str(s.n_each), s.by) for s in plan.items()),
        plan.volume() is not None,
    )


class PipelineRows(LateRows):
    """The pipelines within one transaction."""

    def known_pipeline(self, plan: Plan) -> int | None:
        """The version under which the cells of `plan` are stored, if there are any."""
        p = t.pipelines
        return self._c.execute(sa.select(p.c.id).where(p.c.digest == _digest(plan))).scalar()

    def pipeline(self, plan: Plan, now: datetime) -> int:
        """The same; a new plan opens a new one."""
        found = self.known_pipeline(plan)
        if found is not None:
            return found
        values = {"digest": _digest(plan), "definition": _text(plan), "created_at": now}
        key = self._c.execute(t.pipelines.insert().values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def definition(self, pipeline: int) -> Definition:
        """What a pipeline counts."""
        p = t.pipelines
        text = self._c.execute(sa.select(p.c.definition).where(p.c.id == pipeline)).scalar_one()
        return msgspec.json.decode(text, type=Definition)


def _text(plan: Plan) -> str:
    return msgspec.json.encode(defined(plan)).decode()


def _digest(plan: Plan) -> str:
    return sha256(_text(plan).encode()).hexdigest()
