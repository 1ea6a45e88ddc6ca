"""Rules on Tocsin itself and dashboards: they parse, they fire, and what they name exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.metrics import Metrics, _Processes
from tests.servers.prometheus_server import promtool

DEPLOY = Path(__file__).parents[2] / "deploy"
README = Path(__file__).parents[2] / "README.md"
RULES = DEPLOY / "prometheus" / "tocsin.rules.yml"
RULE_TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*_test.yml"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
NAME = re.compile(r"\b(?:tocsin|process)_[a-z_]+\b")
COMMAND = re.compile(r"`(?:tocsin|systemctl|journalctl|ls|df) ")


def rules() -> list[dict[str, Any]]:
    """All rules on Tocsin itself."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, Any]]:
    """All panels of a dashboard; these have none within a row."""
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["panels"]
    return found


def expressions(path: Path) -> list[str]:
    """What the panels of a dashboard ask, with Grafana's variables filled in."""
    texts = [t["expr"] for panel in panels(path) for t in panel.get("targets", [])]
    return [
        text.replace("$__rate_interval", "5m")
        .replace("$job", ".+")
        .replace("$instance", ".+")
        .replace("$signal", ".+")
        for text in texts
    ]


def served() -> set[str]:
    """Names of all samples that a daemon can serve."""
    families = [*Metrics().registry.collect(), *_Processes(dict).collect()]
    return {name for family in families for name in samples_of(family)}


def samples_of(family: Any) -> set[str]:
    """Names of the samples of a family, as they are in the exposition."""
    ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {family.name + end for end in ends.get(family.type, [""])}


def used() -> dict[str, str]:
    """Names of metrics that rules, their tests, dashboards and the README use, and where."""
    found = {}
    for path in [RULES, *RULE_TESTS]:
        for name in NAME.findall(_code(path)):
            found[name] = path.name
    for path in DASHBOARDS:
        for name in NAME.findall("\n".join(expressions(path))):
            found[name] = path.name
    # Names of two words there are users of the database.
    for name in re.findall(r"`(tocsin_[a-z]+_[a-z_]+)[`{]", README.read_text("utf-8")):
        found[name] = "README.md"
    return found


def _code(path: Path) -> str:
    lines = path.read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def test_every_metric_that_is_used_is_served() -> None:
    """No rule, panel or sentence names a metric that the daemon does not have."""
    missing = {name: where for name, where in used().items() if name not in served()}
    assert missing == {}


def test_promtool_is_content_with_the_metrics() -> None:
    """Names, units and help texts are as Prometheus wants them, before anything was counted."""
    assert promtool("check", "metrics", text=Metrics().render().decode()) == ""


def test_promtool_is_content_with_the_rules() -> None:
    """Every expression and template of the rules parses."""
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_rules_fire_when_they_must(path: Path) -> None:
    """The cases beside the rules hold in Prometheus' own engine."""
    assert "SUCCESS" in promtool("test", "rules", str(path))


@pytest.mark.parametrize("path", [README, DEPLOY / "README.md"], ids=lambda path: path.parent.name)
def test_the_documents_count_the_rules_rightly(path: Path) -> None:
    """How many alerts there are is said as it is."""
    counts = re.findall(
        r"(\d+) (?:alerts|Prometheus rules) on Tocsin itself", path.read_text("utf-8")
    )
    assert counts == [str(len(rules()))]


def test_every_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    """Nobody adds a rule without showing when it is loud and when it is silent."""
    loud: set[str] = set()
    silent: set[str] = set()
    for path in RULE_TESTS:
        for case in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for expected in case["promql_expr_test"]:
                name = re.search(r'alertname="(\w+)"', expected["expr"])
                assert name is not None, expected
                (loud if expected["exp_samples"] else silent).add(name[1])
    names = {rule["alert"] for rule in rules()}
    assert loud == names
    assert silent == names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_rule_says_what_to_type(rule: dict[str, Any]) -> None:
    """A severity, a summary, a description with a command, and a link to its own runbook."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    notes = rule["annotations"]
    assert len(notes["summary"]) < 120
    assert COMMAND.search(notes["description"]), notes["description"]
    assert notes["runbook_url"].endswith("/" + rule["alert"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    """Ids are unique, panels do not overlap, and each has a title, a description and its source."""
    board = json.loads(path.read_text("utf-8"))
    assert board["uid"] == path.stem
    assert board["schemaVersion"] >= 39
    variables = {each["name"] for each in board["templating"]["list"]}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in _rows(at)}
        assert at["x"] + at["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own
        assert panel["title"]
        if panel["type"] != "row":
            _check_panel(panel, variables)


def _rows(at: dict[str, int]) -> range:
    return range(at["y"], at["y"] + at["h"])


def _check_panel(panel: dict[str, Any], variables: set[str]) -> None:
    assert panel["description"], panel["title"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for target in panel["targets"]:
        named = {name for name in re.findall(r"\$(\w+)", target["expr"]) if name[0] != "_"}
        assert named <= variables, target["expr"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_expression_of_a_dashboard_parses(path: Path, tmp_path: Path) -> None:
    """Each expression, made a recording rule, passes Prometheus' own parser."""
    made = [{"record": f"panel:{i}", "expr": e} for i, e in enumerate(expressions(path))]
    generated = tmp_path / "rules.yml"
    generated.write_text(yaml.safe_dump({"groups": [{"name": path.stem, "rules": made}]}))
    assert f"{len(made)} rules found" in promtool("check", "rules", str(generated))


def test_the_safety_view_shows_every_signal() -> None:
    """A signal that ships is on the safety view by name."""
    from monitor.stream.signals import default_signals

    text = "\n".join(expressions(DEPLOY / "grafana" / "dashboards" / "tocsin-safety.json"))
    named = set(re.findall(r"[a-z_]+", text))
    assert {s.name for s in default_signals() if s.kind == "rate"} <= named
