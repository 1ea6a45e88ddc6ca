"""What the receivers have seen, from their fsynced journals, against what was owed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from monitor.incidents.timeline import Entry, broken_at
from monitor.store.store import Store
from tests.fault.ground import Receivers, wait_while_moving
from tests.servers.journal import read_journal

ID_LENGTH = 32
RINGS = ":trigger:"
"""In the id of a message that rings: not of one that tells of an acknowledgement or of the end."""
TRIGGERED = ("accepted: opened", "accepted: appended")
"""How PagerDuty's outcome begins for a trigger that it takes."""
REPEAT = "this may repeat a page already sent"
AGAIN = (
    "severity rose to",
    "severity raised to",
    "fires again before anybody acknowledged",
    "fires again, the acknowledgement by",
    "all are rung once more",
)
"""In the reason of a page that is rightly decided although its receiver was rung before."""


Excused = Mapping[str, Set[str]]
"""Ids of incidents that need not ring a receiver, by receiver."""
NOBODY: Excused = MappingProxyType({})


def _both(pagerduty: Set[str], slack: Set[str], excused: Excused) -> set[str]:
    """Those that rang both."""
    nobody: Set[str] = frozenset()
    return {*pagerduty, *excused.get("pagerduty", nobody)} & {*slack, *excused.get("slack", nobody)}


@dataclass(frozen=True, slots=True)
class Rung:
    """Which incidents rang whom."""

    pagerduty: Mapping[str, int]
    """Times that a dedup key opened an incident; by dedup key."""
    slack: Mapping[str, int]
    """Messages in the channel; by the page's own id."""
    night: Mapping[str, int]
    """Accepted web hooks that ring, repeats too; by the page's own id."""

    def incidents(self, excused: Excused = NOBODY) -> set[str]:
        """Ids of those that rang both Slack and PagerDuty, less who need not."""
        posted = {of(key) for key in self.slack if RINGS in key}
        return _both({of(key) for key in self.pagerduty}, posted, excused)

    def pagerduty_duplicates(self) -> int:
        """Dedup keys that opened more incidents than pages were decided under them.

        After a resolve a trigger opens anew. A page that is repeated must not; an incident that is
        normal and fires again before anybody acknowledged is paged anew, and that page may.
        """
        decided = self.decided()
        return sum(count > max(1, decided[of(key)]) for key, count in self.pagerduty.items())

    def decided(self) -> Counter[str]:
        """How many pages of an incident, each with an id of its own, came to Slack; repeats of one
        have its id."""
        return Counter(of(key) for key in self.slack if RINGS in key)

    def decided_twice(
        self, wanted: Set[str], again: Mapping[str, int] = MappingProxyType({})
    ) -> int:
        """Incidents of `wanted` whose first page was decided more than once; `again` are the pages
        after it that were rightly decided, by incident."""
        decided = self.decided()
        return sum(decided[uuid] > 1 + again.get(uuid, 0) for uuid in wanted)


def of(key: str) -> str:
    """The incident's id in a key of ours; an emergency page, made without the store, has none."""
    return next((part for part in key.split(":") if len(part) == ID_LENGTH), key)


def rung(folder: Path) -> Rung:
    """What the journals in `folder` say."""
    opened: Counter[str] = Counter()
    posted: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for row in read_journal(folder / "pagerduty.jsonl"):
        if row["outcome"].startswith("accepted: opened"):
            opened[row["key"]] += 1
    for row in read_journal(folder / "slack.jsonl"):
        if row["outcome"].startswith("accepted") and row["path"].endswith("chat.postMessage"):
            posted[row["key"]] += 1
    for row in read_journal(folder / "night.jsonl"):
        if row["outcome"].startswith("accepted") and RINGS in row["key"]:
            told[row["key"]] += 1
    return Rung(opened, posted, told)


def seen(paged: Receivers, excused: Excused = NOBODY) -> set[str]:
    """Ids of the incidents that rang both so far, from what the servers remember, less who need
    not."""
    opened = {
        of(row["key"])
        for row in paged.pagerduty.journal.rows
        if row["outcome"].startswith("accepted: opened")
    }
    posted = {
        of(row["key"])
        for row in paged.slack.journal.rows
        if row["outcome"].startswith("accepted") and row["path"].endswith("chat.postMessage")
        if RINGS in row["key"]
    }
    return _both(opened, posted, excused)


def paged_at(paged: Receivers) -> list[float]:
    """When each page was accepted, by whomever: monotonic seconds. No look-up, no refusal."""
    slack, pagerduty, night = paged.slack, paged.pagerduty, paged.night
    return [
        *(r["at"] for r in slack.journal.rows if _rang(r) and r["path"].endswith("postMessage")),
        *(r["at"] for r in pagerduty.journal.rows if r["outcome"].startswith(TRIGGERED)),
        *(r["at"] for r in night.journal.rows if _rang(r)),
    ]


def _rang(row: Mapping[str, Any]) -> bool:
    return row["outcome"].startswith("accepted") and RINGS in row["key"]


def rung_so_far(paged: Receivers) -> tuple[int, int, int]:
    """How many messages Slack, PagerDuty and the web hook hold: grows while anything new rings."""
    opened = paged.pagerduty.journal.rows
    return (
        len(paged.slack.messages),
        len({row["key"] for row in opened if row["outcome"].startswith("accepted: opened")}),
        len(paged.night.documents),
    )


def settle(
    paged: Receivers, store: str, wanted: set[str], resolved: Set[str] = frozenset()
) -> None:
    """Wait until all have rung, all timers too, and nothing is left to send, while it gets on.

    Args:
        paged: who was rung.
        store: the daemon's.
        wanted: ids of the incidents that are owed.
        resolved: of these, those that a person may have ended before their timer, or before their
            page went out.

    Raises:
        Stuck: it does not get on.
    """
    rang = partial(rung_so_far, paged)

    def all_rang() -> bool:
        return wanted <= seen(paged) or wanted <= seen(paged, excused(overtaken(store), resolved))

    wait_while_moving(all_rang, rang, "all incidents ring")
    timed = wanted - resolved
    wait_while_moving(lambda: timed <= _woken(paged), rang, "all timers run")
    left = partial(waiting, store)
    wait_while_moving(lambda: not left(), left, "the outbox is empty")


def _woken(paged: Receivers) -> set[str]:
    """Ids of the incidents whose timer has rung."""
    return {of(d["id"]) for d in paged.night.documents if RINGS in d["id"]}


@dataclass(frozen=True, slots=True)
class Tally:
    """What was owed against what came."""

    incidents: int
    lost: int
    """Owed, and not in both journals, less those whose end overtook their page: a person's end, of
    a page that nobody had heard of."""
    incidents_missing: int
    """Owed, and not in the store."""
    incidents_twice: int
    """Never-events with more than one incident in the store; rings of incidents it has not."""
    pagerduty_duplicates: int
    """Dedup keys under which PagerDuty opened more than one incident."""
    decided_twice: int
    """Owed, and their first page has more than one id: each decision rings anew."""
    overtaken_heard: int
    """Pages that were dropped because nobody had heard of them, and that are in Slack."""
    slack_repeats: int
    slack_repeats_unmarked: int
    timers_missed: int
    """Incidents whose escalation has not come, less those that a person may have ended before."""
    timers_twice: int
    chains_broken: int
    unsent: int
    """Pages left in the outbox."""
    resolved: int = 0
    """Incidents of which a person was told that they are resolved."""
    left_ringing: int = 0
    """Of these, those that PagerDuty holds open at the end."""
    late_triggers: int = 0
    """Of these, those whose trigger PagerDuty got after that: each could have opened a second."""
    overtaken: int = 0
    """Pages to Slack and PagerDuty that the end of their incident overtook."""

    def written_twice(self) -> int:
        """What two that both think that the work is theirs would do to it."""
        twice = self.incidents_twice + self.pagerduty_duplicates + self.decided_twice
        return twice + self.chains_broken + self.timers_twice

    def doubled(self) -> int:
        """What rang or was opened twice, but for repeats in Slack that say so."""
        opened = self.incidents_twice + self.pagerduty_duplicates + self.decided_twice
        return opened + self.timers_twice + self.slack_repeats_unmarked

    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not any(
            getattr(self, name) for name in self.__dataclass_fields__ if name not in MERELY_COUNTED
        )


MERELY_COUNTED = {"incidents", "slack_repeats", "resolved", "late_triggers", "overtaken"}
"""In a tally: right and wrong runs have them."""


def waiting(url: str) -> int:
    """Pages in the outbox that are neither sent nor overtaken."""
    query = "SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'overtaken')"
    ((count,),) = _asked(url, query)
    return int(count)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A page that its incident's end overtook."""

    id: str
    incident: str
    receiver: str


def overtaken(url: str) -> list[Dropped]:
    """First pages and later ones, not what only follows them."""
    query = "SELECT key, incident, receiver FROM outbox WHERE state = 'overtaken' AND kind = :kind"
    return [Dropped(*row) for row in _asked(url, query, kind="trigger")]


def excused(dropped: Iterable[Dropped], tried: Set[str]) -> Excused:
    """Who need not ring: what a person tried to resolve, by the receiver that was not rung."""
    found: dict[str, set[str]] = {}
    for page in dropped:
        if page.incident in tried:
            found.setdefault(page.receiver, set()).add(page.incident)
    return found


def _asked(url: str, query: str, **values: str) -> Sequence[Sequence[Any]]:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(sa.text(query), values).all()
    finally:
        engine.dispose()


def tally(
    paged: Receivers,
    folder: Path,
    store: str,
    wanted: set[str],
    *,
    tried: Set[str] = frozenset(),
    resolved: Mapping[str, float] = MappingProxyType({}),
) -> Tally:
    """Count; the daemon is at rest.

    Args:
        paged: who was rung.
        folder: of their journals.
        store: the daemon's.
        wanted: ids of the incidents that are owed.
        tried: of these, those that somebody tried to resolve: their timer may ring or not, and a
            page that nobody has heard of by then need not go out.
        resolved: of these, those of which somebody was told that it is done, and when (monotonic
            seconds).
    """
    came = rung(folder)
    stored = _stored(store)
    dropped = overtaken(store)
    ids = {uuid for uuid, _ in stored.groups}
    groups = Counter(group for _, group in stored.groups)
    repeated = {key: count for key, count in came.slack.items() if count > 1}
    timers = Counter(of(key) for key in came.night)
    return Tally(
        incidents=len(wanted),
        lost=len(wanted - came.incidents(excused(dropped, tried))),
        incidents_missing=len(wanted - ids),
        incidents_twice=sum(count > 1 for count in groups.values())
        + len({of(key) for key in came.pagerduty if len(of(key)) == ID_LENGTH} - ids),
        pagerduty_duplicates=came.pagerduty_duplicates(),
        decided_twice=came.decided_twice(wanted, stored.again),
        overtaken_heard=sum(page.id in came.slack for page in dropped),
        slack_repeats=sum(count - 1 for count in repeated.values()),
        slack_repeats_unmarked=_unmarked(paged, repeated),
        timers_missed=len(wanted - tried - set(timers)),
        timers_twice=sum(timers[uuid] > 1 for uuid in wanted),
        chains_broken=stored.broken,
        unsent=waiting(store),
        resolved=len(resolved),
        left_ringing=len(resolved.keys() & _ringing(paged)),
        late_triggers=len(_rung_late(paged, resolved)),
        overtaken=sum(page.receiver in {"slack", "pagerduty"} for page in dropped),
    )


def _ringing(paged: Receivers) -> set[str]:
    """Ids of the incidents that PagerDuty holds open."""
    return {of(i.dedup_key) for i in paged.pagerduty.incidents if i.state != "resolved"}


def _rung_late(paged: Receivers, resolved: Mapping[str, float]) -> set[str]:
    """Ids of the incidents whose trigger PagerDuty took after somebody was told of their end."""
    return {
        of(row["key"])
        for row in paged.pagerduty.journal.rows
        if row["outcome"].startswith(TRIGGERED)
        if row["at"] > resolved.get(of(row["key"]), inf)
    }


def _unmarked(paged: Receivers, repeated: Iterable[str]) -> int:
    """Messages under one id, less the first and those that said so, when they rang, that they may
    repeat it: the text of a later state, edited in, need not."""
    wrong = 0
    for key in repeated:
        copies = [m for m in paged.slack.messages if _id(m.metadata) == key]
        wrong += sum(REPEAT not in str(copy.posted) for copy in copies[1:])
    return wrong


def _id(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("event_payload", {}).get("id", ""))


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store has."""

    groups: Sequence[tuple[str, str]]
    """(id, group) of the incidents, its own id for a group of none."""
    broken: int
    """Timelines that are not whole."""
    again: Mapping[str, int]
    """Pages that were rightly decided although there was one before, by incident."""


def _stored(url: str) -> _Stored:
    broken, again = 0, Counter[str]()
    store = Store(url)
    try:
        with store.read() as tx:
            incidents = tx.incidents.search(limit=1_000_000)
            for incident in incidents:
                chain = tx.incidents.timeline(incident.uuid)
                broken += broken_at(chain) is not None
                again[incident.uuid] = sum(rings_again(linked.entry) for linked in chain)
    finally:
        store.close()
    found = [(i.uuid, g) for i in incidents for g in i.groups if g.startswith("never:")]
    known = {i.uuid for i in incidents}
    found += [(uuid, uuid) for uuid in known - {uuid for uuid, _ in found}]
    return _Stored(found, broken, again)


def rings_again(entry: Entry) -> bool:
    """Whether a timeline's entry gives a reason to ring anew who was rung."""
    return entry.kind == "PAGE" and any(reason in entry.text for reason in AGAIN)
