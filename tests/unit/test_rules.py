"""Rules as configuration: what is refused with its place, and what a rule watches."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.settings import Settings, load, resolve
from monitor.stream.rules import BurnRateRule, BurnWindow, StaticRule, names, watched
from monitor.stream.signals import default_signals
from runbooks.durations import Duration
from runbooks.problems import Problems

RULES = """\
version: 1
rules:
  - name: checkout_slo
    signal: error_rate
    detector: burn_rate
    objective: 0.995
    tier: page
    where: {feature: checkout}
  - name: pii_high
    signal: violations_delivered
    detector: static
    rate: 0.02
    for: 10m
    where: {category: privacy.pii}
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a configuration, as `line:col text`."""
    path = tmp_path / "tocsin.yaml"
    path.write_text(text)
    with pytest.raises(Problems) as found:
        load(path)
    return [f"{p.line}:{p.col} {p.text}" for p in found.value.problems]


def test_rules_are_read_and_watch_their_signals(tmp_path: Path) -> None:
    """A burn rate alerts under a name for each window, no louder than rule and window allow."""
    path = tmp_path / "tocsin.yaml"
    path.write_text(RULES)
    settings, _ = load(path)
    found = list(watched(settings.rules, default_signals(), bucket_s=60))
    assert [(one.name, one.alias.tier) for one in found] == [
        ("checkout_slo_1h", "page"),
        ("checkout_slo_6h", "page"),
        ("checkout_slo_3d", "ticket"),
        ("pii_high", "ticket"),
    ]
    assert [one.alias.severity for one in found] == ["SEV3", "SEV3", "SEV3", "SEV2"]
    configured = resolve(settings)
    counted = configured.counted("checkout_slo_6h")
    assert counted is not None
    assert counted.name == "error_rate"
    assert configured.counted("nothing") is None
    assert list(watched(settings.rules, (), bucket_s=60)) == []


def test_a_rule_that_can_never_fire_is_an_error_with_its_place(tmp_path: Path) -> None:
    """The sanity bound of a burn rate is checked where the rule is written."""
    (said,) = problems(tmp_path, RULES.replace("0.995", "0.93"))
    assert said.startswith("3:5 rules[0]: burns at most 14.3x with an objective of 93 %, so 14.4x")
    own = "windows: [{factor: 12, over: 2h}]"
    path = tmp_path / "own.yaml"
    path.write_text(RULES.replace("0.995", f"0.93\n    {own}"))
    (rule, _) = load(path)[0].rules
    assert names(rule) == ["checkout_slo_2h"]


def test_what_a_rule_refers_to_must_be_there(tmp_path: Path) -> None:
    """A rate that is none, a dimension it has not and a name that is taken: all at once."""
    text = (
        RULES.replace("error_rate", "volume")
        .replace("category: privacy.pii", "feature: chat, tool: x")
        .replace("pii_high", "refusal_rate")
        .replace("rate: 0.02", "rate: 2")
    )
    assert problems(tmp_path, text) == [
        "4:13 no rate 'volume'",
        "9:11 the name 'refusal_rate' is taken: alerts of two rules could not be told apart",
        "12:11 rules[1].rate: expected a number <= 1.0",
        "14:28 no dimension 'tool'",
    ]


def test_windows_that_make_no_sense_are_refused() -> None:
    """A short window that is not shorter, and two windows with one name."""
    with pytest.raises(ValueError, match="shorter than over"):
        BurnWindow(factor=2, over=Duration(hours=1), and_over=Duration(hours=1))
    with pytest.raises(ValueError, match="5m to 7d"):
        BurnWindow(factor=2, over=Duration(days=8))
    twice = (
        BurnWindow(factor=2, over=Duration(hours=1)),
        BurnWindow(factor=3, over=Duration(hours=1)),
    )
    with pytest.raises(ValueError, match="same length"):
        BurnRateRule(name="a", signal="error_rate", objective=0.9, windows=twice)
    with pytest.raises(ValueError, match="at most 7d"):
        StaticRule(name="a", signal="error_rate", rate=0.5, window=Duration(days=8))
    with pytest.raises(ValueError, match="always fire"):
        StaticRule(name="a", signal="error_rate", rate=1.0, direction="down")


def test_there_are_no_rules_by_default() -> None:
    """A new installation is quiet: limits are a person's to set."""
    assert Settings().rules == ()
