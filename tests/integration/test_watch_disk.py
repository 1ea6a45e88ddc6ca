"""The disk is full: the reserve is let go, a page goes out, and nothing is damaged."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from monitor.store.store import Store, StoreUnavailable
from monitor.watch.reserve import Reserve
from tests.integration.test_watch_storage import paged, resolved, told
from tests.integration.watch_stage import secrets, sqlite, stage

MEBIBYTE = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tocsin-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # Not a failure under CI: a container may well forbid it, and the parts are tested beside.
        pytest.skip(f"needs a small file system: run as root with CAP_SYS_ADMIN ({done.stderr})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more goes in."""
    path = folder / "somebody-elses.log"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        _without_end(file)
    return path


def _without_end(file: FileIO) -> None:
    while True:
        file.write(b"x" * 65536)


def test_a_full_disk_pages_lets_the_reserve_go_and_takes_it_back(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full: the page goes out and the store writes again; roomy: the end, and a new reserve."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    url = sqlite(small_disk)
    with stage(url, {}, reserve=4) as on_stage:
        on_stage.tick(2)
        (reserve,) = on_stage.places.reserves
        assert reserve.stat().st_blocks * 512 >= 4 * MEBIBYTE
        culprit = fill(small_disk)
        on_stage.until(lambda: paged(on_stage), ticks=10)
        assert not reserve.exists()
        assert "disk full" in on_stage.pagerduty.incidents[0].summary
        store = Store(url)
        with store.write() as tx:
            tx.touch()
        culprit.unlink()
        on_stage.until(lambda: resolved(on_stage) and not on_stage.auditor._road.episodes)
        assert reserve.stat().st_blocks * 512 >= 4 * MEBIBYTE
        store.close()
        title, kinds, _ = told(url)
        assert "disk full" in title
        assert {"PAGE", "SENT", "NORMAL", "CLOSED"} <= set(kinds)
    with sqlite3.connect(small_disk / "tocsin.db") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()


def test_a_disk_without_a_reserve_pages_all_the_same(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither store nor spool can be written: the page goes out from memory."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    url = sqlite(small_disk)
    with stage(url, {}, reserve=0) as on_stage:
        on_stage.tick(2)
        culprit = fill(small_disk)
        on_stage.until(lambda: paged(on_stage), ticks=10)
        with pytest.raises(StoreUnavailable):
            Store(url)
        culprit.unlink()
        on_stage.until(lambda: resolved(on_stage) and not on_stage.auditor._road.episodes)
        assert "disk full" in told(url)[0]


def test_a_reserve_is_really_there_and_really_given_back(tmp_path: Path) -> None:
    """Allocated blocks, not a hole in a file."""
    reserve = Reserve(tmp_path / "reserve", MEBIBYTE)
    assert reserve.hold()
    assert reserve.held() >= MEBIBYTE
    assert reserve.path.stat().st_mode & 0o777 == 0o600
    assert reserve.release() >= MEBIBYTE
    assert not reserve.path.exists()
    assert reserve.release() == 0


def test_a_reserve_that_does_not_fit_leaves_nothing_behind(small_disk: Path) -> None:
    """More than the disk has."""
    reserve = Reserve(small_disk / "reserve", 64 * MEBIBYTE)
    assert not reserve.hold()
    assert not reserve.path.exists()
    assert reserve.exhausted


def test_no_reserve_is_asked_for_where_none_is_wanted(tmp_path: Path) -> None:
    """`reserve: 0`."""
    reserve = Reserve(tmp_path / "reserve", 0)
    assert reserve.hold()
    assert not reserve.path.exists()
