"""Each point at which a test may kill a process is passed, and is deadly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.faults import POINTS, armed
from tests.fault.events import event
from tests.integration.process_stage import rows
from tests.servers.faults import status
from tests.servers.webhook_server import SECRET, WebhookServer

RECORDING = ("K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9")


@pytest.fixture
def receiver() -> Iterator[WebhookServer]:
    """Refuses once, then takes everything."""
    with WebhookServer() as server:
        server.fail_next(status(503))
        yield server


def play(folder: Path, receiver: WebhookServer, fault: str) -> int:
    """Play a recording of never-events, with escalation; the exit status."""
    recording = folder / "events.ndjson"
    if not recording.exists():
        recording.write_bytes(b"\n".join(event(number) for number in range(0, 1200, 60)) + b"\n")
    hook = {"type": "webhook", "secret": {"env": "HOOK_SECRET"}, "url": receiver.hook}
    config = folder / "tocsin.yaml"
    config.write_text(
        json.dumps(
            {
                "version": 1,
                "store": f"sqlite:///{folder / 'x.db'}",
                "profile": "loud",
                "source": {"type": "file", "path": str(recording)},
                "paging": {
                    "receivers": [{**hook, "name": "day"}, {**hook, "name": "night"}],
                    "route": {"receivers": ["day"]},
                    "escalation": [{"after": "1m", "receivers": ["night"]}],
                },
            }
        )
    )
    command = [sys.executable, "-m", "tui.cli", "run", "-c", str(config), "--until-end", "--page"]
    return run(command, fault)


def run(command: list[str], fault: str) -> int:
    """Its exit status."""
    environment = {**os.environ, "HOOK_SECRET": SECRET, "TOCSIN_FAULT": fault}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    if done.returncode not in {0, -signal.SIGKILL}:
        pytest.fail(done.stderr.decode()[-3000:])
    return done.returncode


@pytest.mark.parametrize("point", RECORDING)
def test_a_recording_dies_at_each_point_on_its_road(
    tmp_path: Path, receiver: WebhookServer, point: str
) -> None:
    """From the poll to the page that is tried again."""
    assert play(tmp_path, receiver, f"{point}:1") == -signal.SIGKILL


def test_what_died_on_the_road_goes_on(tmp_path: Path, receiver: WebhookServer) -> None:
    """After a kill within a transaction and one before a send, each page arrives all the same."""
    assert play(tmp_path, receiver, "K3:1") == -signal.SIGKILL
    assert play(tmp_path, receiver, "K5:1") == -signal.SIGKILL
    assert play(tmp_path, receiver, "") == 0
    incidents = rows(f"sqlite:///{tmp_path / 'x.db'}", "SELECT uuid FROM incidents")
    rung = {document["incident"] for document in receiver.documents}
    assert (len(incidents), len(rung)) == (20, 20)


@pytest.mark.parametrize("point", ["K11", "K12"])
def test_a_runbook_step_dies_before_and_after_it_is_done(tmp_path: Path, point: str) -> None:
    """K11 leaves nothing done, K12 leaves it done and not recorded."""
    command = [sys.executable, "-m", "tests.integration.run_stage", str(tmp_path)]
    assert run(command, f"{point}:1") == -signal.SIGKILL
    assert (tmp_path / "marked").exists() == (point == "K12")


def test_a_migration_dies_and_leaves_no_half_of_it(tmp_path: Path) -> None:
    """K13: the next start finds an empty store and makes the schema whole."""
    store = f"sqlite:///{tmp_path / 'x.db'}"
    command = [sys.executable, "-c", f"from monitor.store.store import Store; Store({store!r})"]
    assert run(command, "K13:1") == -signal.SIGKILL
    assert rows(store, "SELECT name FROM sqlite_master WHERE type = 'table'") == []
    assert run(command, "") == 0
    assert rows(store, "SELECT count(*) FROM incidents") == [(0,)]


@pytest.mark.parametrize("text", ["K15:1", "K1", "K1:0", "K1:x", "K1:1:sleep", ":1"])
def test_a_fault_that_is_none_is_refused(text: str) -> None:
    """A test with a typing error must not pass because nothing happened."""
    with pytest.raises(ValueError, match="POINT:N"):
        armed(text)


def test_every_point_says_where_it_is() -> None:
    """K1 to K14, each with its place in words."""
    assert list(POINTS) == [f"K{number}" for number in range(1, 15)]
    assert all(len(text) > 20 for text in POINTS.values())
