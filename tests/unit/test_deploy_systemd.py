"""The systemd units and the example configurations that belong to them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from monitor.app import desk_path
from monitor.clock import WallClock
from monitor.config.options import RunOptions, socket_path
from monitor.config.settings import load, resolve
from monitor.daemon import build_control
from monitor.http.unix import desk_held, listening
from monitor.metrics import Metrics
from monitor.processes.settings import ROLES
from monitor.store.store import Store
from monitor.watch.spool import Spool
from monitor.watch.state import State, places, save
from tests.making import T0
from tests.servers.missing import missing
from tests.servers.prometheus_server import promtool
from tui.cli.flags import Flags
from tui.cli.place import place_of
from tui.cli.run import run

DEPLOY = Path(__file__).parents[2] / "deploy"
SYSTEMD = DEPLOY / "systemd"
UNIT = SYSTEMD / "tocsin.service"
SEVERAL = SYSTEMD / "several.conf"
EXAMPLE = DEPLOY / "example" / "tocsin.yaml"
COMMAND = "/opt/tocsin/bin/tocsin"
TOCSIN = str(Path(sys.executable).parent / "tocsin")
CREDENTIALS = "/run/credentials/tocsin.service"
SECRETS = {
    "slack": "xoxb-1234567890-abcdefghijkl",
    "pagerduty": "0123456789abcdef0123456789abcdef",
    "pagerduty-second": "fedcba9876543210fedcba9876543210",
    "kafka": "a password",
    "heartbeat": "https://alarm.example.com/tocsin",
}
MOST_EXPOSED = 20
"""Tenths of systemd's own scale, on which 10.0 is a service without any protection."""


@pytest.fixture(params=["tocsin", "tocsin-several", "tocsin-store"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit with the command of this environment, since systemd looks for the file.

    `tocsin-several` is the daemon's with the drop-in for a machine that only reads.
    """
    name = str(request.param).removesuffix("-several")
    path = tmp_path / f"{name}.service"
    path.write_text((SYSTEMD / path.name).read_text("utf-8").replace(COMMAND, TOCSIN))
    if request.param == "tocsin-several":
        folder = tmp_path / "tocsin.service.d"
        folder.mkdir()
        text = SEVERAL.read_text("utf-8").replace(COMMAND, TOCSIN)
        (folder / "several.conf").write_text(chosen(text))
    return path


def chosen(text: str) -> str:
    """The drop-in with its first pair of lines taken."""
    return text.replace("#ExecStart=", "ExecStart=", 2)


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


def test_a_wrong_secret_keeps_no_other_receiver_from_paging(tmp_path: Path) -> None:
    """What `config check` refuses the daemon starts with, and no unit asks for a check before."""
    for name in handed_over():
        (tmp_path / name).write_text("xapp-1-A-1-a" if name == "slack" else SECRETS[name])
        (tmp_path / name).chmod(0o400)
    config = tmp_path / "tocsin.yaml"
    config.write_text(EXAMPLE.read_text("utf-8").replace(CREDENTIALS, str(tmp_path)))
    command = [TOCSIN, "config", "check", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    settings, _ = load(config)
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        with closing(
            build_control(resolve(settings), store=store, clock=WallClock(), metrics=Metrics())
        ) as control:
            assert {"slack", "pagerduty"} <= control.deliver.channels.keys()
    finally:
        store.close()
    assert not any("ExecStartPre" in directives(path) for path in SYSTEMD.iterdir())


def directives(path: Path) -> set[str]:
    """The names before the equals signs of a unit."""
    return set(re.findall(r"^(\w+)=", path.read_text("utf-8"), flags=re.MULTILINE))


def test_the_units_hand_over_what_the_examples_want() -> None:
    """The secrets of the examples and the credentials of the units have the same names."""
    text = EXAMPLE.read_text("utf-8")
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert named("\n".join(kept), CREDENTIALS) == set(handed_over())
    assert named(text, CREDENTIALS) == set(handed_over()) | set(handed_over(SEVERAL))
    owner = (EXAMPLE.parent / "owner.yaml").read_text("utf-8")
    theirs = handed_over(SYSTEMD / "tocsin-store.service")
    assert named(owner, "/run/credentials/tocsin-store.service") == set(theirs)


def on_postgresql(folder: Path) -> Path:
    """The example with the lines for several machines in the place of the file."""
    text = re.sub(r"^store: sqlite.*\n", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"^# (store|store_password|digest_key): ", r"\1: ", text, flags=re.MULTILINE)
    path = folder / "tocsin.yaml"
    path.write_text(text)
    return path


def test_the_example_is_taken_on_postgresql(tmp_path: Path) -> None:
    """With the lines for several machines in the place of the file it is a configuration, too."""
    settings, _ = load(on_postgresql(tmp_path))
    assert settings.store.startswith("postgresql://tocsin_daemon@")
    assert settings.store_password is not None
    assert settings.digest_key is not None
    owner, _ = load(EXAMPLE.parent / "owner.yaml")
    assert owner.store == settings.store.replace("tocsin_daemon", "tocsin_owner")


@pytest.mark.parametrize("several", [False, True])
def test_desk_and_findings_are_found_from_every_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    """Who reads the shipped configuration looks where the daemon listens and writes, in the folder
    that the unit gives it."""
    path = on_postgresql(tmp_path) if several else EXAMPLE
    settings, _ = load(path)
    found = set()
    for home in ("/var/lib/tocsin", "/root", "/home/ada"):
        monkeypatch.setattr(os, "environ", {"HOME": home, "XDG_RUNTIME_DIR": f"/run{home}"})
        asked = place_of(Flags(config=path))
        where = places(str(asked.store), settings.watch.spool, os.environ)
        desk = socket_path(asked.store, asked.socket, os.environ)
        found |= {(desk, where.spool, where.state)}
        assert desk == desk_path(settings, RunOptions())
    ((desk, spool, state),) = found
    assert given("StateDirectory") == "tocsin"
    assert {desk.parent, spool.parent, state.parent} == {Path("/var/lib/tocsin")}


BECOME = """
import os, socket, sys
from pathlib import Path
folder = Path(sys.argv[1])
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(65534)
"""
MEET = """
with socket.socket(socket.AF_UNIX) as caller:
    caller.connect(str(folder / "desk.sock"))
print((folder / "x.watch.json").read_text())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
def test_the_group_reaches_desk_and_findings_and_nobody_else_does() -> None:
    """In a folder as the unit makes it a member reads and talks, and may not write; a stranger sees
    nothing."""
    group = 4242
    with TemporaryDirectory() as outer, ExitStack() as stack:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "tocsin"
        folder.mkdir()
        os.chown(folder, 0, group)
        folder.chmod(int(given("StateDirectoryMode"), 8))
        stack.callback(os.umask, os.umask(int(given("UMask"), 8)))
        stack.callback(os.setegid, os.getegid())
        os.setegid(group)
        stack.enter_context(desk_held(folder / "desk.sock"))
        stack.enter_context(listening(folder / "desk.sock"))
        Spool(folder / "x.spool").close()
        assert save(folder / "x.watch.json", State(at=T0, started=T0, pid=1, host="here"))

        def ends(gid: int, code: str) -> str:
            command = [sys.executable, "-I", "-c", BECOME + code, str(folder), str(gid)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            return done.stdout or done.stderr.splitlines()[-1]

        assert '"host":"here"' in ends(group, MEET)
        assert ends(65534, MEET).startswith("PermissionError")
        for code in (
            "(folder / 'x.spool').read_bytes()",
            "(folder / 'desk.sock.lock').read_bytes()",
            "(folder / 'new').touch()",
        ):
            assert ends(group, code).startswith("PermissionError")


def test_the_unit_for_the_store_is_shut_in_as_the_daemon_is() -> None:
    """What one unit may not do the other may not do either."""
    limits = re.compile(r"^((?:Protect|Private|Restrict|System|Capab|No|Lock).*=.*)$", re.MULTILINE)
    mine, theirs = (
        set(limits.findall(text))
        for text in (UNIT.read_text(), (SYSTEMD / "tocsin-store.service").read_text())
    )
    assert mine
    assert mine <= theirs


def test_the_roles_of_a_machine_are_roles() -> None:
    """What the drop-in offers are commands that there are, and two machines of these do all."""
    lines = re.findall(r"^#ExecStart=\S+ run (.+)$", SEVERAL.read_text("utf-8"), re.MULTILINE)
    roles: list[str] = []
    for line in lines:
        with run.make_context("run", line.split()) as context:
            roles += context.params["roles"].split(",")
    assert sorted(roles) == sorted(ROLES)


def given(name: str) -> str:
    """What the daemon's unit says for a directive."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    return str(value)


def named(text: str, folder: str) -> set[str]:
    """Names of the files in a folder that a configuration reads secrets from."""
    return set(re.findall(rf"file: {folder}/([\w-]+)", text))


def handed_over(unit: Path = UNIT) -> list[str]:
    """Names of the credentials that a unit loads."""
    return re.findall(r"^LoadCredential=([\w-]+):", unit.read_text("utf-8"), re.MULTILINE)


def test_the_configurations_of_the_deployments_are_taken() -> None:
    """Each overlay's and compose's configuration has no error; their secrets are not here.

    Compose's Kafka and PostgreSQL are in the clear, on networks of their own machine: that is said,
    and all else is as it should be, a heartbeat included.
    """
    paths = [DEPLOY / "compose" / "tocsin.yaml", *DEPLOY.glob("kubernetes/overlays/*/tocsin.yaml")]
    assert len(paths) == 3
    command = [TOCSIN, "config", "check", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in done.stdout.splitlines() if "warning[" in line]
    others = [w for w in warnings if "cannot read the secret in file /run/secrets/" not in w]
    assert len(others) == 2
    assert all("compose/tocsin.yaml" in each for each in others)
    assert all("warning[plaintext]" in each for each in others)


def test_the_scrape_job_has_the_name_that_the_rules_want() -> None:
    """`job="tocsin"` of the rules is what the configuration of Prometheus calls it."""
    rules = (DEPLOY / "prometheus" / "tocsin.rules.yml").read_text("utf-8")
    assert set(re.findall(r'job="(\w+)"', rules)) == {"tocsin"}
    config = DEPLOY / "compose" / "prometheus.yml"
    assert "job_name: tocsin\n" in config.read_text("utf-8")
    promtool("check", "config", "--syntax-only", str(config))
