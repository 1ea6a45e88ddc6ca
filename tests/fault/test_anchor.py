"""A short slice of `make fault`: the real Alertmanager that ours is held against."""

from __future__ import annotations

from pathlib import Path

from tests.fault.anchor import kill_alertmanager
from tests.servers.alertmanager_server import AlertmanagerUnavailable
from tests.servers.missing import missing


def test_a_client_that_sends_again_loses_nothing_to_a_killed_alertmanager(tmp_path: Path) -> None:
    """All that it took with a 200 before SIGKILL is notified in the end."""
    try:
        done = kill_alertmanager(tmp_path, kills=1, share=20, resend=True)
    except AlertmanagerUnavailable as problem:
        missing(f"needs Alertmanager: {problem}")
    assert (done.kills, done.alerts, done.lost) == (1, 20, 0), done
