"""What time it is in one partition, by its records alone, though any of their clocks may be wrong.

Where the broker wrote the times (LogAppendTime) they are believed. Where producers did (CreateTime,
Kafka's default) whoever gives an event a wrong time gives its record the same, so a step ahead is
believed when the others that write there do not contradict it. Where there are none, a large step
is believed when a hundred records agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

FUTURE_S = 60
"""An event may be this far ahead of its record's Kafka timestamp; more is clamped to it. Buckets
this far ahead of the partition's clock are taken back when the log contradicts them."""
JUMP_S = 3600
"""Without record timestamps, a jump of the clock by more than this is doubted ..."""
JUMP_RECORDS = 100
"""... until this many records agree."""
GAP_S = 300
"""A source that is alone may be silent for so long, and its next event is believed at once. Whoever
was not heard of for so long, or says it is so much earlier, is no witness."""
WITNESSES = 64
"""Sources heard last: who knows them knows the time."""
AGREED = (JUMP_RECORDS, 60)
"""Records, and seconds by their own clock, that are believed when nobody contradicts: of a source
that is alone, or of several ..."""
AGREED_ALONE = (1000, GAP_S)
"""... and of one while others, who may only be slower, were heard before; ahead by no more than
`GAP_S` it needs a minute as well."""
ENOUGH = 3
"""Sources that are believed to be ahead by up to `GAP_S`, however many others are silent."""
PACE_RECORDS = 16
PACES = 8
"""A step of so many usual ones is none: of the times between events one in 3,000 is longer."""


class Witness(NamedTuple):
    """What one source said last; a named tuple, because one is made for every event."""

    source: str
    at: float
    """Its time, unix seconds."""
    heard: float | None
    """The partition's clock then."""
    refuted: bool
    """It was far ahead, and another source was not."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """All that a `LogClock` knows; stored, so that a replay goes on as the first reading did."""

    watermark: float | None = None
    """Largest believed time, unix seconds."""
    doubted: tuple[float, ...] = ()
    """Times without a record's timestamp, beyond a jump, not believed yet."""
    witnesses: tuple[Witness, ...] = ()
    since: float | None = None
    """Earliest of the times ahead that nobody has contradicted yet."""
    agreed: int = 0
    """How many there are."""
    pace: float = 0.0
    """Seconds from one event to the next, of late."""


def leaders(state: ClockState) -> Iterator[str]:
    """The sources whose time the clock has."""
    mark = state.watermark
    if mark is not None:
        yield from (one.source for one in state.witnesses if abs(one.at - mark) <= FUTURE_S)


class LogClock:
    """The clock of one partition: the largest event time that is believed."""

    def __init__(self, state: ClockState, lateness_s: int) -> None:
        """Go on from `state`; a step ahead by no more than `lateness_s` is never doubted."""
        self.watermark = state.watermark
        self._near_s = lateness_s
        self._doubted = list(state.doubted)
        self._witnesses = {one.source: one for one in state.witnesses}
        self._since = state.since
        self._agreed = state.agreed
        self._pace = state.pace
        self.turned = False
        """The last time seen has ended a doubt: what was ahead is believed, or contradicted."""

    @property
    def doubts(self) -> bool:
        """Whether times ahead were seen that are neither believed nor contradicted."""
        return self._agreed > 0

    @property
    def witnessed(self) -> bool:
        """Whether producers vouch for times here."""
        return bool(self._witnesses)

    def state(self) -> ClockState:
        """To go on from."""
        return ClockState(
            self.watermark,
            tuple(self._doubted),
            tuple(self._witnesses.values()),
            self._since,
            self._agreed,
            self._pace,
        )

    def see_appended(self, at: float) -> None:
        """A time that the broker vouches for."""
        self.turned = False
        self._reach(at)
        if self._agreed:
            self._contradict()

    def see_bare(self, at: float) -> None:
        """The time of an event whose record has none."""
        self.turned = False
        if self.watermark is None or at <= self.watermark + JUMP_S:
            if self.watermark is None or at > self.watermark:
                self.watermark = at
                self._doubted.clear()
            return
        self._doubted.append(at)
        if len(self._doubted) >= JUMP_RECORDS:
            self.watermark = min(self._doubted)
            self._doubted.clear()

    def see(self, source: str, at: float) -> bool:
        """A time that its producer vouches for; whether the log has contradicted it."""
        self.turned = False
        mark = self.watermark
        if mark is not None and (at <= mark + self._near_s or self._usual(source, at, mark)):
            if at > mark:
                self.watermark = at
            if at >= mark - GAP_S:
                self._walk(at - mark)
                self._hear(source, at, refuted=False)
                if self._agreed:
                    self._contradict()
            return False
        known = self._witnesses.get(source)
        refuted = known is not None and known.refuted and mark is not None and self._ahead(known.at)
        self._hear(source, at, refuted=refuted)
        self._since = at if self._since is None else min(self._since, at)
        self._agreed += 1
        if not self._believable(source, at):
            return refuted
        self._believe(source)
        if mark is not None and self.watermark is not None:
            self._walk(self.watermark - mark)
        refuted = self.see(source, at)
        self.turned = True
        return refuted

    def finish(self) -> None:
        """Nothing more comes: what nothing has refuted is the log's last word."""
        last = [one.at for one in self._witnesses.values() if not one.refuted]
        for at in (max(self._doubted, default=None), max(last, default=None)):
            if at is not None:
                self._reach(at)
        self._doubted.clear()
        self._since, self._agreed = None, 0

    def _reach(self, at: float) -> None:
        if self.watermark is None or at > self.watermark:
            self.watermark = at

    def _walk(self, step: float) -> None:
        self._pace += (min(max(step, 0.0), GAP_S) - self._pace) / PACE_RECORDS

    def _usual(self, source: str, at: float, mark: float) -> bool:
        """Whether a step further than the lateness is what one expects of so few events.

        Only of a source that had the time when it was last heard.
        """
        if at > mark + min(PACES * self._pace, GAP_S):
            return False
        known = self._witnesses.get(source)
        if known is None or known.heard is None or known.refuted:
            return False
        return known.at <= known.heard + self._near_s

    def _ahead(self, at: float) -> bool:
        return self.watermark is None or at > self.watermark + self._near_s

    def _hear(self, source: str, at: float, *, refuted: bool) -> None:
        witnesses = self._witnesses
        witnesses[source] = Witness(source, at, self.watermark, refuted)
        if len(witnesses) > WITNESSES:
            del witnesses[min(witnesses, key=self._heard)]

    def _heard(self, source: str) -> float:
        heard = self._witnesses[source].heard
        return float("-inf") if heard is None else heard

    def _contradict(self) -> None:
        """Somebody who knows the time has spoken: who is ahead of it is wrong."""
        self._since, self._agreed = None, 0
        self.turned = True
        for name, one in self._witnesses.items():
            if self._ahead(one.at) and not one.refuted:
                self._witnesses[name] = Witness(name, one.at, one.heard, refuted=True)

    def _believe(self, source: str) -> None:
        """Time has gone on to the earliest that any of them says; what is ahead of it is doubted.

        At the very first it is the earliest that was said: nobody has a time yet.
        """
        first = self.watermark is None
        said = [one.at for one in self._leading()]
        self.watermark = self._since if first else min(said, default=self._since)
        if first:
            for name, one in self._witnesses.items():
                self._witnesses[name] = one._replace(heard=self.watermark)
        ahead = [one.at for one in self._leading() if one.source != source]
        self._since, self._agreed = min(ahead, default=None), len(ahead)

    def _leading(self) -> list[Witness]:
        """Who is ahead, and not refuted."""
        return [one for one in self._witnesses.values() if self._ahead(one.at) and not one.refuted]

    def _believable(self, source: str, at: float) -> bool:
        """Whether those who are ahead have the time, and not those who were heard before."""
        mark = self.watermark
        everyone = self._witnesses.values()
        ahead, near = len(self._leading()), mark is not None and at <= mark + GAP_S
        others = sum(
            one.source != source
            and not self._ahead(one.at)
            and one.heard is not None
            and mark is not None
            and mark - one.heard < GAP_S
            for one in everyone
        )
        if ahead > 1 and ahead > others:
            return True
        if near and (ahead >= ENOUGH or (ahead == 1 and not others)):
            return True
        records, seconds = AGREED if ahead > 1 or not others else AGREED_ALONE
        lasted = at - (self._since or at)
        return self._agreed >= records or lasted >= (AGREED[1] if near else seconds)
