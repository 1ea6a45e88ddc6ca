"""`tocsin run` while nobody reads its log: a collector that stands still stops nobody."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from pathlib import Path

from tests.integration.process_stage import Tree, wait_for
from tests.integration.test_processes import settings

ENDS_S = 30.0
"""The drain, the last words of each process, and a slow machine."""


def stands_still(pipe: int) -> None:
    """Fill it up, to the last byte."""
    for size in (4096, 1):
        try:
            while True:
                os.write(pipe, b"x" * size)
        except BlockingIOError:
            continue


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_daemon_whose_log_nobody_reads_does_its_work_and_ends(tmp_path: Path) -> None:
    """Children that are killed are started again, it answers, and SIGTERM ends it in order."""
    tree = Tree(tmp_path / "a", settings(tmp_path, "127.0.0.1:1", "none"))
    address = f"127.0.0.1:{free_port()}"
    tree.settings["http"] = address
    tree.folder.mkdir()
    os.mkfifo(tree.log)
    pipe = os.open(tree.log, os.O_RDWR | os.O_NONBLOCK)

    def answers(path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
                return b"tocsin_log_lines_dropped_total" in answer.read()
        except OSError:
            return False

    try:
        stands_still(pipe)
        tree.start()
        wait_for(lambda: answers("/metrics"), "it works")
        wait_for(lambda: tree.working("control", "auditor", "ingest-0"), "all are there")
        for name in ("ingest-0", "control"):
            tree.wait_for_another(name, tree.kill_child(name))
        wait_for(lambda: answers("/metrics"), "it works again")
        began = time.monotonic()
        assert tree.end() == 0
        assert time.monotonic() - began < ENDS_S
    finally:
        os.close(pipe)
        tree.close()
