"""Ageing: what traffic writes leaves the store when nobody looks so far back.

One owner does it, under the lease of decide and in a loop of its own: a few thousand rows a
transaction and a pause after each, so that no page waits behind it. A round that is killed is done
again from its beginning, and finds gone what is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from monitor.config.settings import Configured
from monitor.evidence import Held, held, parts
from monitor.metrics import Metrics
from monitor.processes.posts import Guard
from monitor.store.ageing_rows import Gone
from monitor.store.errors import StoreDenied
from monitor.store.store import Store, Tx
from monitor.views import Health
from runbooks.durations import spell

logger = logging.getLogger(__name__)

EVERY = timedelta(minutes=10)
"""From the end of a round to the next."""
SETTLE = timedelta(minutes=1)
"""After a start or a take-over the detectors come first."""
ROWS = 2_000
"""Of one transaction: some 20 ms."""
THINNED = 50
"""The same of rows of points, each of which is read and written again."""
LOOKS = 100
"""Spans that one transaction looks at, empty or not."""
TABLES = ("cells", "points", "late", "occurrences", "alerts", "attempts")
"""What ages. All else is what people and incidents did, or is bounded by itself."""


@dataclass(frozen=True, slots=True)
class Span:
    """Something to look for in one table, from `first` on."""

    look: Callable[[Tx, int, int], Gone]
    """Given the transaction, where to begin, and how many rows at most."""
    first: int = 0
    alone: bool = False
    """One look fills a transaction, whatever it removed."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a round is about."""

    until: int
    """Buckets before it age, unix seconds."""
    tables: Sequence[tuple[str, Sequence[Span]]]


def horizon(position: int, now: datetime, kept: timedelta) -> int:
    """Before which bucket everything ages; whole minutes.

    The earlier of both clocks counts: a wall clock that was set ahead takes nothing away, nor does
    a stream that is dated after today; and what is not decided never ages.

    Args:
        position: end of the last decided bucket, unix seconds.
        now: the wall time.
        kept: the retention.
    """
    latest = min(position, int(now.timestamp()))
    return (latest - int(kept.total_seconds())) // 60 * 60


class Retention:
    """Removes what has aged.

    Args:
        store: open.
        configured: what is in force; a reload may change it.
        post: whether it is ours to do.
        metrics: of this process.
    """

    def __init__(
        self, store: Store, configured: Callable[[], Configured], post: Guard, metrics: Metrics
    ) -> None:
        self._store = store
        self._configured = configured
        self._post = post
        self._metrics = metrics
        self._round: Iterator[None] | None = None
        self._due_at: datetime | None = None
        self._kept: timedelta | None = None
        """As it was when the last round began: another one is carried out at once."""
        self._rows = 0
        """Of this round, or of the last."""
        self._refused: dict[str, str] = {}
        """Why a table did not age, by its name."""
        self._state = Health(name="retention", state="ok", text="nothing has aged yet")
        for table in TABLES:
            metrics.aged.labels(table)

    def health(self, _tx: Tx, _now: datetime) -> Health:
        """A line for the overview."""
        return self._state

    def forget(self) -> None:
        """Begin anew, in a while: others may have been at it meanwhile."""
        self._round, self._due_at = None, None

    def step(self, now: datetime) -> bool:
        """One transaction of a round, if one is due; False: a pause is wanted after each.

        Raises:
            StoreUnavailable: the round begins again.
            Fenced: nothing was removed; it is somebody else's now.
        """
        kept = self._configured().settings.store_retention
        if self._due_at is None or not timedelta() <= self._due_at - now <= EVERY:
            late = self._due_at is not None and self._due_at < now
            self._due_at = now if late else now + SETTLE
        if self._kept not in {None, kept}:
            self._round, self._due_at = None, now
        if self._round is None and now >= self._due_at:
            self._kept = kept
            self._round = self._begun(now, kept)
        if self._round is None:
            return False
        round_, self._round = self._round, None  # a round that raises has ended
        if next(round_, True):
            self._due_at = now + EVERY
        else:
            self._round = round_
        return False

    # -- a round ----------------------------------------------------------------------------------

    def _begun(self, now: datetime, kept: timedelta) -> Iterator[None]:
        found = self._found(now, kept)
        if found is None:
            return
        self._rows, self._refused = 0, {}
        for table, spans in found.tables:
            try:
                yield from self._empty(table, spans)
            except StoreDenied as problem:
                self._refused[table] = str(problem)
                logger.warning("%s do not age: %s", table, problem)
        if not self._refused:
            with self._store.write() as tx:
                self._post.guard(tx)
                tx.ageing.move(found.until)
        self._tell(found.until, kept)

    def _found(self, now: datetime, kept: timedelta) -> Round | None:
        """What is to be done; None while nothing is decided."""
        configured = self._configured()
        with self._store.read() as tx:
            pipeline = tx.stream.known_pipeline(configured.plan)
            position = None if pipeline is None else tx.decisions.position(pipeline)
            if pipeline is None or position is None:
                return None
            until = horizon(position, now, kept)
            # A position that went back, of signals counted anew, has points below the mark.
            mark = min(tx.ageing.mark(), until)
            holds = held(configured, tx.ageing.evidence(_at(0)), until)
            return Round(until, _tables(tx, pipeline, holds, mark, until))

    def _empty(self, table: str, spans: Iterable[Span]) -> Iterator[None]:
        """Give way after each transaction."""
        left = list(spans)[::-1]
        while left:
            rows = 0
            with self._store.write() as tx:
                self._post.guard(tx)
                for _ in range(LOOKS):
                    span = left.pop()
                    gone = span.look(tx, span.first, ROWS - rows)
                    rows += gone.rows
                    if gone.onward is not None:
                        left.append(replace(span, first=gone.onward))
                    if not left or span.alone or rows >= ROWS:
                        break
            self._rows += rows
            self._metrics.aged.labels(table).inc(rows)
            yield

    def _tell(self, until: int, kept: timedelta) -> None:
        self._metrics.kept_since.set(until)
        text = f"{spell(kept)} are kept, since {_at(until):%Y-%m-%d %H:%M} UTC"
        if self._rows:
            text += f"; {self._rows:,} rows made room in the last round"
        state = Health(name="retention", state="ok", text=text)
        if self._refused:
            names, why = ", ".join(self._refused), next(iter(self._refused.values()))
            text = f"{names} do not age, the store only grows: {why}"
            state = Health(name="retention", state="warn", text=text)
        self._state = state


def _tables(
    tx: Tx, pipeline: int, holds: Sequence[Held], mark: int, until: int
) -> list[tuple[str, list[Span]]]:
    """What is looked for in each table, the largest first."""
    since, end = _at(mark), _at(until)
    known = tx.ageing.pipelines()
    points = [span for name in tx.ageing.signals() for span in _points(name, holds, mark, until)]
    quiet = list(parts((replace(one, dims=None) for one in holds), 0, until))
    late = [_late(each, part.first, part.end) for each in known for part in quiet if not part.held]
    return [
        ("cells", [_cells(each, until) for each in known]),
        ("points", points),
        ("late", late),
        ("occurrences", [Span(lambda tx, _, most: tx.ageing.occurrences(pipeline, end, most))]),
        ("alerts", [Span(lambda tx, _, most: tx.ageing.alerts(since, end, most))]),
        ("attempts", [Span(lambda tx, first, _: tx.ageing.attempts(first, end))]),
    ]


def _cells(pipeline: int, until: int) -> Span:
    return Span(lambda tx, first, most: tx.ageing.cells(pipeline, first, until, most))


def _late(pipeline: int, first: int, end: int) -> Span:
    return Span(lambda tx, begin, most: tx.ageing.late(pipeline, begin, end, most), first)


def _points(signal: str, holds: Sequence[Held], mark: int, until: int) -> Iterator[Span]:
    """Points of a signal between `mark` and `until`: gone where nobody holds any of them."""
    for part in parts((one for one in holds if one.signal == signal), mark, until):
        if not part.held:
            yield Span(_gone(signal, part.end), part.first)
        elif not part.whole:
            yield Span(_thinned(signal, part.end, part.series), part.first, alone=True)


def _gone(signal: str, end: int) -> Callable[[Tx, int, int], Gone]:
    return lambda tx, first, most: tx.ageing.points(signal, first, end, most)


def _thinned(
    signal: str, end: int, series: frozenset[tuple[str, ...]]
) -> Callable[[Tx, int, int], Gone]:
    return lambda tx, first, _most: tx.ageing.thin(signal, first, end, series, THINNED)


def _at(bucket: int) -> datetime:
    return datetime.fromtimestamp(bucket, UTC)
