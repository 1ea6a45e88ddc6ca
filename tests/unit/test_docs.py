"""What the documents say is so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from monitor.config.settings import Settings
from monitor.stream.signals import default_signals
from runbooks.convert import convert
from runbooks.yaml import load_yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")


def test_the_configuration_of_the_readme_is_valid() -> None:
    """The sample in the README passes the check that `tocsin config check` makes."""
    sample = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert sample is not None
    settings = convert(load_yaml(sample.group(1), "README.md"), Settings)
    assert settings.profile == "quiet"


def test_the_readme_names_every_signal() -> None:
    """The table of signals and the shipped set have the same names; volume is told in words."""
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", README, re.MULTILINE))
    assert rows == {signal.name for signal in default_signals() if signal.kind != "volume"}


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
