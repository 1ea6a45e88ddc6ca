"""`tocsin run` on a disk that is full, or becomes so, with its temporary files on it as well."""

from __future__ import annotations

import json
import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.process_stage import Tree, wait_for
from tests.integration.test_watch_disk import fill
from tests.integration.test_watch_start import SILENT, daemon
from tests.servers.pagerduty_server import PagerDutyServer

PAGE_S = 30.0
LARGEST = 32 * 1024
"""Bytes: room for a log, none for a store, nor for the files of metrics."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tocsin-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # Not a failure under CI: a container may well forbid it; the limit below needs no rights.
        pytest.skip(f"needs a small file system: run as root with CAP_SYS_ADMIN ({done.stderr})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def only_small_files() -> Iterator[None]:
    """Whoever is started meanwhile can write no file any larger than `LARGEST`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def kept_full(folder: Path) -> Iterator[None]:
    """What somebody frees, another program takes at once; in the end all of it is free."""
    over = threading.Event()

    def run() -> None:
        with (folder / "greedy.log").open("wb", buffering=0) as file:
            while not over.wait(0.002):
                with suppress(OSError):
                    while file.write(b"x" * 4096):
                        pass

    greedy = threading.Thread(target=run)
    greedy.start()
    try:
        yield
    finally:
        over.set()
        greedy.join()
        (folder / "greedy.log").unlink()


def pages(tree: Tree, pagerduty: PagerDutyServer, words: str) -> None:
    """It says what is wrong, answers, pages, and leaves when told to."""
    wait_for(lambda: SILENT in tree.said(), "the start finds no room")
    took = wait_for(lambda: pagerduty.incidents, "a page")
    assert took <= PAGE_S
    assert words in pagerduty.incidents[0].summary
    wait_for(lambda: tree.health("/readyz").startswith("not ready: waiting"), "it says so")
    assert "tocsin_build_info" in tree.health("/metrics")
    assert tree.working("control", "auditor")
    assert tree.end() == 0


def test_a_start_on_a_full_disk_pages(disk: Path, tmp_path: Path) -> None:
    """Store, key, spool and temporary files have no room: the page goes out all the same."""
    fill(disk)
    with PagerDutyServer() as pagerduty:
        tree = daemon(tmp_path, f"sqlite:///{disk}/x.db", "127.0.0.1:1", "none", pagerduty)
        del tree.settings["digest_key"]
        tree.env = {**tree.env, "TMPDIR": str(disk)}
        try:
            tree.start()
            pages(tree, pagerduty, "disk full")
        finally:
            tree.close()


def test_a_start_that_can_write_nowhere_pages(tmp_path: Path) -> None:
    """Not even in memory is there a temporary folder: it works without, and says so."""
    with PagerDutyServer() as pagerduty:
        url = f"sqlite:///{tmp_path}/x.db"
        tree = daemon(tmp_path, url, "127.0.0.1:1", "none", pagerduty)
        try:
            with only_small_files():
                tree.start()
            pages(tree, pagerduty, "storage down")
        finally:
            tree.close()
        assert "no temporary folder has room" in tree.said()
        short = [line for line in tree.said().splitlines() if "metrics: no room" in line]
        said = [json.loads(line)["process"] for line in short]
        assert {"control", "auditor"} <= set(said)
        assert len(said) == len(set(said)), "once each"


def test_a_disk_of_temporary_files_that_becomes_full_ends_nobody(
    disk: Path, tmp_path: Path
) -> None:
    """A child that is killed meanwhile comes back; room again, and all is told as before."""
    with PagerDutyServer() as pagerduty:
        url = f"sqlite:///{tmp_path}/x.db"
        tree = daemon(tmp_path, url, "127.0.0.1:1", "none", pagerduty)
        tree.env = {**tree.env, "TMPDIR": str(disk)}
        try:
            tree.start()
            wait_for(lambda: "ingest-0 up" in tree.health("/statusz"), "all are up")
            with kept_full(disk):
                for name in ("ingest-0", "control"):
                    tree.wait_for_another(name, tree.kill_child(name))
                wait_for(lambda: "ready: owner" in tree.health("/readyz"), "it answers")
                assert "tocsin_build_info" in tree.health("/metrics")
                wait_for(lambda: "metrics: no room" in tree.said(), "it says so")
                assert "the list of processes is not written" in tree.said()
            wait_for(lambda: "there is room in" in tree.said(), "the metrics have a place again")
            restarts = 'tocsin_process_restarts_total{process="ingest-0"} 1.0'
            wait_for(lambda: restarts in tree.health("/metrics"), "the supervisor's list too")
            assert tree.end() == 0
        finally:
            with suppress(OSError):
                tree.close()
