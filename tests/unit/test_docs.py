"""What the documents say is so."""

from __future__ import annotations

import importlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.alerting.pages import next_rung
from monitor.alerting.routes import route
from monitor.config.settings import Settings, resolve
from monitor.config.settings import schema as settings_schema
from monitor.profiles import PROFILES
from monitor.stream.signals import default_signals
from runbooks.convert import convert
from runbooks.yaml import load_yaml
from tui.cli.groups import inc

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")


def test_the_configuration_of_the_readme_is_valid() -> None:
    """The sample in the README passes the check that `tocsin config check` makes."""
    assert the_sample().profile == "quiet"


def the_sample() -> Settings:
    """The configuration of the README."""
    sample = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert sample is not None
    return convert(load_yaml(sample.group(1), "README.md"), Settings)


def the_example() -> Settings:
    """The configuration that deploy/ begins with."""
    text = (ROOT / "deploy" / "example" / "tocsin.yaml").read_text("utf-8")
    return convert(load_yaml(text, "tocsin.yaml"), Settings)


def paged_first(settings: Settings, **labels: str) -> list[str]:
    """Whom an incident with these labels pages at once."""
    return [hop.receiver for hop in route(resolve(settings).policy.route, labels)]


@pytest.mark.parametrize("severity", ["SEV1", "SEV2", "SEV3"])
@pytest.mark.parametrize("settings", [the_sample(), the_example()], ids=["readme", "deploy"])
def test_the_escalation_that_is_shown_pages_somebody_new(settings: Settings, severity: str) -> None:
    """Whatever pages in production, a later step pages somebody who was not paged at once."""
    first = paged_first(settings, severity=severity, environment="prod")
    escalation = resolve(settings).policy.escalation
    assert next_rung(escalation, first, datetime(2026, 11, 24, tzinfo=UTC), None) is not None


def test_the_example_calls_nobody_at_once_for_what_is_not_production() -> None:
    """Staging goes to the log first, however severe; what knows no environment is paged."""
    example = the_example()
    assert paged_first(example, severity="SEV1", environment="staging") == ["log"]
    assert paged_first(example, severity="SEV1") == ["slack", "pagerduty"]


def test_the_readme_names_every_signal() -> None:
    """The table of signals and the shipped set have the same names; volume is told in words."""
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", README, re.MULTILINE))
    assert rows == {signal.name for signal in default_signals() if signal.kind != "volume"}


def test_the_readme_tells_severity_and_floor_of_every_signal() -> None:
    """Beside each signal stand its severity and, where it is not the usual one, its floor."""
    table = README[README.index("| signal | k | n |") :].split("\n\n", maxsplit=1)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    told = {cells[0].strip("`"): (cells[-2], cells[-1]) for cells in rows}
    profile = PROFILES["quiet"]
    for signal in default_signals():
        if signal.kind in {"volume", "judge"}:
            continue
        alarm, usual = profile.alarm(signal, 60), profile.rates.alarm
        floor = [f"{alarm.min_ratio:g}x"] if alarm.min_ratio != usual.min_ratio else []
        if alarm.min_excess != usual.min_excess:
            floor.append(f"{alarm.min_excess:g} more")
        if alarm.min_duration_buckets != usual.min_duration_buckets:
            floor.append(f"{alarm.min_duration_buckets} min")
        assert told[signal.name] == (signal.severity, ", ".join(floor)), signal.name
    assert "from 1.5 times its baseline and 10 more than expected on, in two buckets" in README
    usual = profile.rates.alarm
    assert (usual.min_ratio, usual.min_excess, usual.min_duration_buckets) == (1.5, 10, 2)


def test_the_readme_names_every_command_on_an_incident() -> None:
    """Who was paged finds acknowledging, taking command and opening again."""
    part = README[README.index("## When you are paged") : README.index("## A daemon")]
    wanted = {"show", "ack", "take", "run", "step", "escalate", "mitigate", "resolve", "reopen"}
    said = set(re.findall(r"\binc ([a-z]+)", part))
    assert wanted <= said <= inc.late.keys()


def test_the_keys_that_the_readme_names_are_there() -> None:
    """Each key of the table has its place in the configuration's schema."""
    definitions = settings_schema()["$defs"]
    names = {name for each in definitions.values() for name in each.get("properties", {})}
    keys = re.findall(r"^\| `(\w+\.[\w.]+)`", README, re.MULTILINE)
    assert len(keys) > 5
    assert {part for key in keys for part in key.split(".")} <= names


def test_architecture_names_every_module() -> None:
    """The tree of ARCHITECTURE.md has each module of `monitor/`."""
    tree = ARCHITECTURE.split("```")[1]
    modules = {path.name for path in (ROOT / "monitor").glob("*.py")} - {"__init__.py"}
    assert modules == set(re.findall(r"\b(\w+\.py)\b", tree))


HOPS = re.findall(r"^\| (\d) \| `([\w.]+)` \(`([\w/]+)\.py`\)", ARCHITECTURE, re.MULTILINE)


def test_an_event_takes_at_most_seven_hops() -> None:
    """The way from Kafka to a page fits into seven named functions."""
    assert [int(number) for number, _, _ in HOPS] == list(range(1, len(HOPS) + 1))
    assert 0 < len(HOPS) <= 7


@pytest.mark.parametrize(("function", "module"), [(f, m) for _, f, m in HOPS])
def test_each_hop_is_a_function(function: str, module: str) -> None:
    """What ARCHITECTURE.md names is in the file it names."""
    found: object = importlib.import_module(module.replace("/", "."))
    for part in function.split("."):
        found = getattr(found, part)
    assert callable(found)


@pytest.mark.parametrize("folder", ["detectors", "monitor", "runbooks", "tui"])
def test_nothing_is_left_open(folder: str) -> None:
    """No file of the product marks something as still to be done."""
    for path in (ROOT / folder).rglob("*.py"):
        words = re.findall(r"\b(TODO|FIXME|XXX)\b", path.read_text("utf-8"))
        assert not words, path
