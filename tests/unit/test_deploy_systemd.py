"""The systemd unit and the example configuration that belongs to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.missing import missing
from tests.servers.prometheus_server import promtool

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "tocsin.service"
EXAMPLE = DEPLOY / "example" / "tocsin.yaml"
COMMAND = "/opt/tocsin/bin/tocsin"
TOCSIN = str(Path(sys.executable).parent / "tocsin")
CREDENTIALS = "/run/credentials/tocsin.service"
SECRETS = {
    "slack": "xoxb-1234567890-abcdefghijkl",
    "pagerduty": "0123456789abcdef0123456789abcdef",
    "kafka": "a password",
    "heartbeat": "https://alarm.example.com/tocsin",
}
MOST_EXPOSED = 20
"""Tenths of systemd's own scale, on which 10.0 is a service without any protection."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it is, with the command of this environment: systemd looks for the file."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text("utf-8").replace(COMMAND, TOCSIN))
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze`; where systemd is not installed the test is skipped, under CI it fails."""
    found = shutil.which("systemd-analyze")
    if found is None:
        missing("needs systemd-analyze; on Debian, as root: apt-get install systemd")
    command = [found, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_systemd_takes_the_unit(unit: Path) -> None:
    """Every directive is known and well formed, and the commands can be run."""
    done = analyze("verify", str(unit))
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_unit_is_shut_in(unit: Path) -> None:
    """Systemd's own rating of what the service could do is among the best."""
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_example_is_taken_with_its_secrets(tmp_path: Path) -> None:
    """Not even a warning is left once the secrets that the unit hands over are there."""
    text = EXAMPLE.read_text("utf-8")
    for name in handed_over():
        (tmp_path / name).write_text(SECRETS[name])
        (tmp_path / name).chmod(0o400)
    config = tmp_path / "tocsin.yaml"
    config.write_text(text.replace(CREDENTIALS, str(tmp_path)))
    command = [TOCSIN, "config", "check", "--strict", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_hands_over_what_the_example_wants() -> None:
    """The secrets of the example and the credentials of the unit have the same names."""
    wanted = re.findall(rf"file: {CREDENTIALS}/([\w-]+)", EXAMPLE.read_text("utf-8"))
    assert sorted(set(wanted)) == sorted(handed_over())


def handed_over() -> list[str]:
    """Names of the credentials that the unit loads."""
    return re.findall(r"^LoadCredential=([\w-]+):", UNIT.read_text("utf-8"), re.MULTILINE)


def test_the_configurations_of_the_deployments_are_taken() -> None:
    """Compose's and each overlay's configuration has no error; their secrets are not here."""
    paths = [DEPLOY / "compose" / "tocsin.yaml", *DEPLOY.glob("kubernetes/overlays/*/tocsin.yaml")]
    assert len(paths) == 3
    command = [TOCSIN, "config", "check", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in done.stdout.splitlines() if "warning[" in line]
    assert all("cannot read the secret in file /run/secrets/" in line for line in warnings)


def test_the_scrape_job_has_the_name_that_the_rules_want() -> None:
    """`job="tocsin"` of the rules is what the configuration of Prometheus calls it."""
    rules = (DEPLOY / "prometheus" / "tocsin.rules.yml").read_text("utf-8")
    assert set(re.findall(r'job="(\w+)"', rules)) == {"tocsin"}
    config = DEPLOY / "compose" / "prometheus.yml"
    assert "job_name: tocsin\n" in config.read_text("utf-8")
    promtool("check", "config", "--syntax-only", str(config))
