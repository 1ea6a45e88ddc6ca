"""What the receivers have seen, from their fsynced journals, against what was owed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from monitor.incidents.timeline import broken_at
from monitor.store.store import Store
from tests.fault.ground import Receivers, wait_while_moving
from tests.servers.journal import read_journal

ID_LENGTH = 32
RINGS = ":trigger:"
"""In the id of a message that rings: not of one that tells of an acknowledgement or of the end."""
TRIGGERED = ("accepted: opened", "accepted: appended")
"""How PagerDuty's outcome begins for a trigger that it takes."""
REPEAT = "this may repeat a page already sent"


@dataclass(frozen=True, slots=True)
class Rung:
    """Which incidents rang whom."""

    pagerduty: Mapping[str, int]
    """Times that a dedup key opened an incident; by dedup key."""
    slack: Mapping[str, int]
    """Messages in the channel; by the page's own id."""
    night: Mapping[str, int]
    """Accepted web hooks that ring, repeats too; by the page's own id."""

    def incidents(self) -> set[str]:
        """Ids of those that rang both Slack and PagerDuty."""
        return {of(key) for key in self.pagerduty} & {of(key) for key in self.slack if RINGS in key}

    def pagerduty_duplicates(self) -> int:
        """Dedup keys that opened more incidents than pages were decided under them.

        After a resolve a trigger opens anew. A page that is repeated must not; an incident that is
        normal and fires again before anybody acknowledged is paged anew, and that page may.
        """
        decided = Counter(of(key) for key in self.slack if RINGS in key)
        return sum(count > max(1, decided[of(key)]) for key, count in self.pagerduty.items())


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


def seen(paged: Receivers) -> set[str]:
    """Ids of the incidents that rang both so far, from what the servers remember."""
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
    return opened & posted


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
        resolved: of these, those that a person may have ended before their timer.

    Raises:
        Stuck: it does not get on.
    """
    rang = partial(rung_so_far, paged)
    wait_while_moving(lambda: wanted <= seen(paged), rang, "all incidents ring")
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
    """Owed, and not in both journals."""
    incidents_missing: int
    """Owed, and not in the store."""
    incidents_twice: int
    """Never-events with more than one incident in the store; rings of incidents it has not."""
    pagerduty_duplicates: int
    """Dedup keys under which PagerDuty opened more than one incident."""
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

    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not any(
            getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in {"incidents", "slack_repeats", "resolved", "late_triggers"}
        )


def waiting(url: str) -> int:
    """Pages in the outbox that are not sent."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            query = sa.text("SELECT count(*) FROM outbox WHERE state <> 'sent'")
            return int(connection.execute(query).scalar_one())
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
        tried: of these, those that somebody tried to resolve: their timer may ring or not.
        resolved: of these, those of which somebody was told that it is done, and when (monotonic
            seconds).
    """
    came = rung(folder)
    found, broken = _stored(store)
    ids = {uuid for uuid, _ in found}
    groups = Counter(group for _, group in found)
    repeated = {key: count for key, count in came.slack.items() if count > 1}
    timers = Counter(of(key) for key in came.night)
    return Tally(
        incidents=len(wanted),
        lost=len(wanted - came.incidents()),
        incidents_missing=len(wanted - ids),
        incidents_twice=sum(count > 1 for count in groups.values())
        + len({of(key) for key in came.pagerduty if len(of(key)) == ID_LENGTH} - ids),
        pagerduty_duplicates=came.pagerduty_duplicates(),
        slack_repeats=sum(count - 1 for count in repeated.values()),
        slack_repeats_unmarked=_unmarked(paged, repeated),
        timers_missed=len(wanted - tried - set(timers)),
        timers_twice=sum(timers[uuid] > 1 for uuid in wanted),
        chains_broken=broken,
        unsent=waiting(store),
        resolved=len(resolved),
        left_ringing=len(resolved.keys() & _ringing(paged)),
        late_triggers=len(_rung_late(paged, resolved)),
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


def _stored(url: str) -> tuple[list[tuple[str, str]], int]:
    """(id, group) of the incidents in the store, its own id for a group of none; broken chains."""
    store = Store(url)
    try:
        with store.read() as tx:
            incidents = tx.incidents.search(limit=1_000_000)
            broken = sum(broken_at(tx.incidents.timeline(i.uuid)) is not None for i in incidents)
    finally:
        store.close()
    found = [(i.uuid, g) for i in incidents for g in i.groups if g.startswith("never:")]
    known = {i.uuid for i in incidents}
    found += [(uuid, uuid) for uuid in known - {uuid for uuid, _ in found}]
    return found, broken
