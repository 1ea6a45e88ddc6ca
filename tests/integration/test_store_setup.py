"""PostgreSQL as the README sets it up: the owner makes schema and roles, the daemon runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from monitor.store.store import Store
from tests.scenario.traffic import Story, events, write
from tests.servers.postgres_server import PASSWORD, SIGNED_IN, PostgresServer
from tui.cli import main

Tocsin = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tocsin(tmp_path: Path) -> Tocsin:
    """Calls the command as a process of its own, in an empty folder."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tui.cli", *words]
        env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path.cwd())}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env, timeout=120
        )

    return call


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)["data"]


def test_a_recording_is_played_by_the_least_role_with_a_secret(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path, tocsin: Tocsin
) -> None:
    """Empty database, migrate, roles, run: an incident is there, and no output has the password."""
    done = data(tocsin("--store", postgres_url, "store", "migrate", "--json"))
    assert done["before"] is None
    granted = data(
        tocsin(
            "--store", postgres_url, "store", "roles", "--daemon", SIGNED_IN, "--apply", "--json"
        )
    )
    assert granted["applied"]
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    key = tmp_path / "key"
    key.write_text("a key of this test")
    url = postgres_server.url(postgres_url.rpartition("/")[2], SIGNED_IN)
    config = tmp_path / "tocsin.yaml"
    config.write_text(
        json.dumps(
            {
                "version": 1,
                "store": url.replace("postgresql+psycopg://", "postgresql://"),
                "store_password": {"file": str(secret)},
                "digest_key": {"file": str(key)},
                "profile": "loud",
            }
        )
    )
    recording = write(tmp_path / "e.ndjson.gz", events(Story(seed=1, rate=0.2)))
    words = ("-c", str(config), "--socket", str(tmp_path / "s"))
    ran = tocsin(*words, "run", "--source", f"file:{recording}", "--until-end")
    assert ran.returncode == 0, ran.stderr
    checked = tocsin(*words, "store", "check", "--json")
    assert {part["state"] for part in data(checked)} == {"ok"}
    assert PASSWORD not in ran.stdout + ran.stderr + checked.stdout + checked.stderr
    store = Store(url, password=lambda: PASSWORD)
    with store.read() as tx:
        assert tx.incidents.latest() is not None
        assert tx.outbox.delivered() >= 1
    store.close()


def test_an_upgrade_is_the_owners(
    postgres_server: PostgresServer, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon's role is told the command; after it, and the roles once more, it opens."""
    daemon = postgres_url.replace("tocsin_owner@", "tocsin_daemon@")
    assert main(["--store", daemon, "store", "migrate"]) == 5
    said = capsys.readouterr().err
    assert "`tocsin store migrate` with the URL of the database's owner" in said
    for _ in range(2):
        assert main(["--store", postgres_url, "store", "migrate"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["--store", postgres_url, "store", "roles"]) == 0
    printed = capsys.readouterr().out
    # What is printed may be given to whoever has the right to make roles.
    with postgres_server.connect(postgres_url.rpartition("/")[2]) as connection:
        connection.execute(sql.SQL("SET ROLE tocsin_owner"))
        connection.execute(printed.encode())
    Store(daemon).close()
