"""The spool: what it returned for is there, and nothing else ever is."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.watch.spool import (
    Closed,
    Filed,
    Noted,
    Opened,
    Record,
    Spool,
    SpoolUnavailable,
    Tried,
    compacted,
    encode,
    parse,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.sampled_from(["one", "two", "three"])


def opened(name: str = "one", title: str = "storage down") -> Opened:
    return Opened(
        id=name,
        key="storage",
        check="storage",
        severity="SEV1",
        title=title,
        lines=("a", "b"),
        since=NOW,
        at=NOW,
        receivers=("slack", "pagerduty"),
    )


def sent(episode: str, to: str) -> Tried:
    return Tried(message=f"{episode}:{to}:trigger", episode=episode, at=NOW, outcome="sent")


RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(opened, NAMES, TEXTS),
    st.builds(
        lambda e, o, d: Tried(message=f"{e}:slack:trigger", episode=e, at=NOW, outcome=o, detail=d),
        NAMES,
        st.sampled_from(["sent", "retry", "refused"]),
        TEXTS,
    ),
    st.builds(lambda e, t: Noted(episode=e, at=NOW, text=t), NAMES, TEXTS),
    st.builds(lambda e, t: Closed(episode=e, at=NOW, text=t), NAMES, TEXTS),
    st.builds(lambda e: Filed(episode=e, at=NOW), NAMES),
)


@given(st.lists(RECORDS, max_size=8))
def test_what_is_written_is_read(records: list[Record]) -> None:
    """Every record comes back, in order."""
    found = parse(b"".join(encode(record) for record in records))
    assert list(found.records) == records
    assert (found.torn, found.damaged) == (0, 0)


@given(st.lists(RECORDS, min_size=1, max_size=4), st.data())
def test_a_write_torn_at_any_byte_loses_only_itself(
    records: list[Record], data: st.DataObject
) -> None:
    """Cut anywhere, the records that were whole are there and no other is."""
    lines = [encode(record) for record in records]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(len(line) for line in lines[: i + 1]) for i in range(len(lines))]
    kept = [record for record, end in zip(records, ends, strict=True) if end <= cut]
    found = parse(whole[:cut])
    assert list(found.records) == kept
    assert found.torn == cut - found.end
    assert found.damaged == 0


@given(st.lists(RECORDS, min_size=1, max_size=4), st.data())
def test_a_damaged_byte_never_makes_a_record(records: list[Record], data: st.DataObject) -> None:
    """Any byte may change: what is read is a part of what was written."""
    whole = bytearray(b"".join(encode(record) for record in records))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    found = list(parse(bytes(whole)).records)
    rest = iter(records)
    assert all(any(record == other for other in rest) for record in found)
    assert len(found) >= len(records) - 2


@settings(max_examples=40)
@given(st.lists(RECORDS, max_size=4), RECORDS, st.data())
def test_a_spool_goes_on_after_a_torn_write(
    records: list[Record], last: Record, data: st.DataObject
) -> None:
    """Killed within a write, opened again, written on: all that was acknowledged is there."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "spool"
        spool = Spool(path)
        for record in records:
            spool.append(record)
        spool.close()
        torn = encode(last)
        cut = data.draw(st.integers(0, len(torn) - 1))
        with path.open("ab") as file:
            file.write(torn[:cut])
        again = Spool(path)
        assert again.records == records
        assert bool(again.said) == bool(cut)
        again.append(last)
        again.close()
        assert list(parse(path.read_bytes()).records) == [*records, last]


def test_only_its_owner_may_read_it_and_only_one_auditor_holds_it(tmp_path: Path) -> None:
    """Rights 0600; a second one is refused with what to do."""
    spool = Spool(tmp_path / "spool")
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o600
    with pytest.raises(SpoolUnavailable, match="another auditor"):
        Spool(tmp_path / "spool")
    spool.close()
    Spool(tmp_path / "spool").close()


def test_a_spool_that_was_rewritten_under_us_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder puts a new file in its place between our open and our lock: we are refused."""
    path = tmp_path / "spool"
    holder = Spool(path)
    lock = fcntl.flock

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        holder.rewrite(())
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(SpoolUnavailable, match="another auditor"):
        Spool(path)
    holder.close()


def test_after_a_write_that_failed_the_next_one_is_whole(tmp_path: Path) -> None:
    """A record that the disk had no room for leaves the others readable."""
    spool = Spool(tmp_path / "spool")
    spool.append(opened())
    file = spool._file
    spool._file = os.open("/dev/full", os.O_RDWR)
    try:
        with pytest.raises(SpoolUnavailable, match="make room"):
            spool.append(Noted(episode="one", at=NOW, text="lost"))
    finally:
        os.close(spool._file)
        spool._file = file
    spool.append(Closed(episode="one", at=NOW, text="over"))
    spool.close()
    assert Spool(tmp_path / "spool").records == [
        opened(),
        Closed(episode="one", at=NOW, text="over"),
    ]


def test_it_is_rewritten_at_once_or_not_at_all(tmp_path: Path) -> None:
    """After a rewrite the new content is held, and the lock with it."""
    spool = Spool(tmp_path / "spool")
    spool.append(opened())
    spool.append(opened("two"))
    spool.rewrite([opened("two")])
    spool.append(Filed(episode="two", at=NOW))
    with pytest.raises(SpoolUnavailable):
        Spool(tmp_path / "spool")
    spool.close()
    again = Spool(tmp_path / "spool")
    assert again.records == [opened("two"), Filed(episode="two", at=NOW)]
    again.close()


def test_what_a_daemon_that_is_gone_has_left_is_adopted_once(tmp_path: Path) -> None:
    """Its open episodes go on in ours; a spool that is held, or known already, adds nothing."""
    left = tmp_path / "left"
    other = Spool(left)
    for record in (opened("one"), opened("two"), Filed(episode="one", at=NOW)):
        other.append(record)
    ours = Spool(tmp_path / "ours")
    with pytest.raises(SpoolUnavailable, match="another auditor holds"):
        ours.adopt(left)
    assert left.exists()
    other.close()
    assert ours.adopt(left)
    assert not left.exists()
    assert ours.records == [opened("two")]
    again = Spool(left)
    again.append(opened("two", title="once more"))
    again.close()
    assert not ours.adopt(left)
    assert parse(ours.path.read_bytes()).records == (opened("two"),)
    ours.close()


STEPS = ("open", "flock", "write", "fsync", "rename", "unlink")


class Cut(BaseException):
    """The process is killed."""


def _failing(monkeypatch: pytest.MonkeyPatch, at: int, kill: bool) -> list[str]:
    """Let the call numbered `at` of those that change the disk fail; the calls that were made."""
    made: list[str] = []

    def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            made.append(name)
            if len(made) - 1 == at:
                if name == "write":
                    real(given[0], bytes(given[1])[:40])
                raise Cut if kill else OSError(errno.ENOSPC, "No space left on device")
            return real(*given, **more)

        return call

    monkeypatch.setattr(os, "open", failing("open", os.open))
    monkeypatch.setattr(fcntl, "flock", failing("flock", fcntl.flock))
    monkeypatch.setattr(os, "write", failing("write", os.write))
    monkeypatch.setattr(os, "fsync", failing("fsync", os.fsync))
    monkeypatch.setattr(Path, "rename", failing("rename", Path.rename))
    monkeypatch.setattr(Path, "unlink", failing("unlink", Path.unlink))
    return made


@pytest.mark.parametrize("kill", [False, True], ids=["full disk", "kill"])
def test_a_fault_at_any_moment_of_an_adoption_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: bool
) -> None:
    """Whatever fails, the next adoption has the whole episode, once, with all that was tried."""
    end = Closed(episode="one", at=NOW, text="back")
    owed: list[Record] = [opened("one"), sent("one", "slack"), sent("one", "pagerduty"), end]
    seen: set[str] = set()
    whole, made = False, list[str]()
    for at in range(40):
        ours, left = tmp_path / f"{at}" / "ours", tmp_path / f"{at}" / "left"
        for path, first in ((ours, [opened("own")]), (left, owed)):
            spool = Spool(path)
            spool.rewrite(first)
            spool.close()
        heir = Spool(ours)
        with monkeypatch.context() as faulty, suppress(SpoolUnavailable, Cut):
            made = _failing(faulty, at, kill)
            heir.adopt(left)
        heir.close()
        seen |= set(made)
        whole = len(made) <= at
        heir = Spool(ours)
        assert not heir.said
        if left.exists():
            assert not whole
            heir.adopt(left)
        assert not left.exists()
        assert heir.records == [opened("own"), *owed]
        heir.close()
        if whole:
            break
    assert whole
    assert made[-3:] == ["unlink", "open", "fsync"], "a power cut brings what was adopted back"
    assert seen == set(STEPS)


@given(st.lists(RECORDS, max_size=20))
def test_compacting_keeps_every_episode_that_is_not_filed(records: list[Record]) -> None:
    """No episode, end or last outcome of one that is not in the store yet is left out."""
    filed = {record.episode for record in records if isinstance(record, Filed)}
    kept = compacted(records)
    for record in records:
        if isinstance(record, Opened) and record.id not in filed:
            assert record in kept
        if isinstance(record, Closed) and record.episode not in filed:
            assert record in kept
    last = {record.message: record for record in records if isinstance(record, Tried)}
    assert all(record in kept for record in last.values() if record.episode not in filed)
