"""What every store keeps of digests; on PostgreSQL as the daemon's role."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from monitor.notify.channel import NO_INCIDENT, Kind, Message
from monitor.store.digest_rows import Mark
from monitor.store.note_rows import NoteRow
from monitor.store.store import Store
from tests.making import T0, alert, level_note, minutes

DAY = date(2026, 11, 16)
NEXT = date(2026, 11, 17)
SOON = minutes(1)

DIGEST = Message(
    id="digest:slack:2026-11-16",
    kind=Kind.DIGEST,
    dedup_key="tocsin:digest:slack:2026-11-16",
    incident=NO_INCIDENT,
    severity="",
    state="",
    title="2 tickets",
    lines=("one", "two"),
)


def note(number: int) -> NoteRow:
    """A level that changed."""
    return level_note(
        at=T0 + minutes(number), onset_at=T0 - minutes(60), text=f"level {number}", key=f"n{number}"
    )


def test_each_receiver_is_told_of_a_day_once(store: Store) -> None:
    """A day that is done stays as it was written; other receivers and days are their own."""
    with store.write() as tx:
        assert tx.digests.done(DAY) == set()
        assert tx.digests.last("slack") is None
        tx.digests.add("slack", DAY, Mark(T0, 7, 70, 3))
    with store.write() as tx:
        tx.digests.add("slack", DAY, Mark(T0 + SOON, 9, 9, 9))
        tx.digests.add("log", NEXT, Mark(T0 + SOON, 8, 80, 4))
    with store.read() as tx:
        assert (tx.digests.done(DAY), tx.digests.done(NEXT)) == ({"slack"}, {"log"})
        assert tx.digests.last("slack") == Mark(T0, 7, 70, 3)


def test_the_mark_of_a_receiver_only_rises(store: Store) -> None:
    """Also where the clock was put back: what was told is not told again."""
    with store.write() as tx:
        tx.digests.add("slack", NEXT, Mark(T0 + timedelta(days=1), 9, 90, 5))
        tx.digests.add("slack", DAY, Mark(T0, 9, 90, 4))
        assert tx.digests.last("slack") == Mark(T0 + timedelta(days=1), 9, 90, 5)


def test_a_refused_digest_told_nothing(store: Store) -> None:
    """The next one begins where the one before it ended, and people can be told of it."""
    with store.write() as tx:
        tx.digests.add("slack", DAY - timedelta(days=1), Mark(T0 - SOON, 1, 1, 1))
        tx.digests.add("slack", DAY, Mark(T0, 7, 70, 3))
        tx.digests.add("other", DAY, Mark(T0, 7, 70, 3))
        tx.outbox.put(NO_INCIDENT, "slack", DIGEST, T0)
        assert tx.digests.last("slack") == Mark(T0, 7, 70, 3)
    with store.queue() as tx:
        (page,) = tx.outbox.claim("us", T0)
    with store.write() as tx:
        tx.outbox.dead(page, "us", "no such channel")
        assert tx.digests.last("slack") == Mark(T0 - SOON, 1, 1, 1)
        assert tx.digests.last("other") == Mark(T0, 7, 70, 3)
        assert tx.digests.refused() == {"slack"}
        tx.digests.add("slack", NEXT, Mark(T0 + SOON, 8, 80, 4))
        assert tx.digests.refused() == set()


def test_notes_are_found_by_their_number(store: Store) -> None:
    """Those that were stored after a mark, however old their onset; the newest first."""
    with store.write() as tx:
        assert tx.notes.newest() == 0
        tx.notes.add(note(1))
        mark = tx.notes.newest()
        for number in (2, 3):
            tx.notes.add(note(number))
        assert [row.text for row in tx.notes.noticed(T0, after=mark)] == ["level 3", "level 2"]
        assert [row.text for row in tx.notes.noticed(T0 + minutes(3))] == ["level 3"]
        assert tx.notes.noticed(T0, after=tx.notes.newest()) == []


def test_alerts_are_found_by_their_number(store: Store) -> None:
    """Those that were stored after a mark, oldest first; one that goes on is no new one."""
    with store.write() as tx:
        assert tx.incidents.newest_alert() == 0
        tx.incidents.save_alert(alert())
        mark = tx.incidents.newest_alert()
        tx.incidents.save_alert(replace(alert(), updated_at=T0 + minutes(5)))
        for feature in ("search", "mail"):
            tx.incidents.save_alert(alert(dimensions={"feature": feature}))
        found = tx.incidents.alerts_after(mark, T0)
        assert [one.dimensions["feature"] for one in found] == ["search", "mail"]
        assert tx.incidents.alerts_after(mark, T0 + SOON) == []


def test_a_digest_of_no_incident_goes_its_way(store: Store) -> None:
    """It is queued once, takes no receipt of another day, and never counts as a page: nobody has
    to get up because it waits."""
    with store.write() as tx:
        assert tx.outbox.put(NO_INCIDENT, "slack", DIGEST, T0)
        assert not tx.outbox.put(NO_INCIDENT, "slack", DIGEST, T0 + SOON)
        assert (tx.outbox.counts(), tx.outbox.oldest()) == ({}, None)
        assert (tx.watch.queue(T0 + SOON).due, tx.watch.queue(T0 + SOON).waiting) == (0, 0)
    with store.queue() as tx:
        (page,) = tx.outbox.claim("us", T0)
        assert page.message == replace(DIGEST, fresh=True)
    with store.write() as tx:
        assert tx.outbox.sent(page, "us", {"channel": "C1", "ts": "1.0"}, "", T0)
        assert tx.outbox.counts() == {}
        assert tx.outbox.delivered() == 0
        other = replace(DIGEST, id="digest:slack:2026-11-17")
        assert tx.outbox.put(NO_INCIDENT, "slack", other, T0)
    with store.queue() as tx:
        (later,) = tx.outbox.claim("us", T0)
        assert later.message.receipt == {}
        tx.outbox.dead(later, "us", "no such channel")
        assert tx.outbox.counts() == {}


def test_the_daemon_rewrites_no_mark(postgres_store_url: str) -> None:
    """On a server its role adds days and no more."""
    store = Store(postgres_store_url)
    with store.write() as tx:
        tx.digests.add("slack", DAY, Mark(T0, 7, 70, 3))
    for text in ("UPDATE digests SET incident = 99", "DELETE FROM digests"):
        with pytest.raises(sa.exc.ProgrammingError, match="denied"), store.engine.begin() as link:
            link.execute(sa.text(text))
    store.close()
