"""The configuration: what is accepted, what it refers to, and every mistake at once."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import jsonschema  # type: ignore[import-untyped] # it ships no type information
import pytest

from monitor.config.options import host_port
from monitor.config.references import dangling
from monitor.config.settings import (
    FileSource,
    KafkaSource,
    Settings,
    begin,
    load,
    resolve,
    schema,
)
from monitor.notify.settings import LogSettings
from runbooks.problems import Problems
from runbooks.yaml import load_yaml


def loaded(folder: Path, text: str) -> Settings:
    """The settings of a file with this text."""
    path = folder / "tocsin.yaml"
    path.write_text(text)
    return load(path)[0]


GOOD = """
version: 1
store: sqlite:///here.db
profile: page
source: {type: kafka, bootstrap: ["b:9092"], topic: interactions, start: 2026-11-22T09:00:00Z}
stream: {bucket: 10s, lateness: 30s}
disable: [jailbreak_signals]
tiers: {error_rate: ticket}
paging:
  receivers:
    - {type: log, name: day}
    - {type: log, name: night, stream: stdout}
  route:
    receivers: [day]
    routes:
      - {matchers: ['severity="SEV1"'], receivers: [night], continue: true}
  escalation:
    - {after: 5m, receivers: [night]}
  fallback: night
  links: {wiki: "https://wiki/$signal"}
"""


def test_a_good_file(tmp_path: Path) -> None:
    """Everything said is taken, and resolved into plan, profile and policy."""
    settings = loaded(tmp_path, GOOD)
    assert isinstance(settings.source, KafkaSource)
    configured = resolve(settings)
    assert configured.plan.bucket_s == 10
    assert configured.plan.lateness_s == 30
    assert "jailbreak_signals" not in {s.name for s in configured.plan.signals}
    tiers = {s.name: s.tier for s in configured.plan.signals}
    assert tiers["error_rate"] == "ticket"
    assert configured.policy.capped
    assert [r.after_s for r in configured.policy.escalation] == [300]
    assert configured.policy.route.routes[0].go_on
    assert [r.name for r in configured.receivers] == ["day", "night"]


def test_nothing_said_is_a_quiet_log(tmp_path: Path) -> None:
    """An empty configuration pages to the log, in the quiet profile."""
    configured = resolve(loaded(tmp_path, "version: 1\n"))
    assert configured.profile.name == "quiet"
    assert configured.receivers == (LogSettings(name="log"),)
    assert configured.policy.route.receivers == ("log",)


def test_receivers_without_a_route_get_everything(tmp_path: Path) -> None:
    """Who names receivers and no route means all of them."""
    text = "paging: {receivers: [{type: log, name: a}, {type: log, name: b}]}"
    assert resolve(loaded(tmp_path, text)).policy.route.receivers == ("a", "b")


BAD = """version: 2
profile: silent
stroe: sqlite:///x.db
stream: {bucket: 7s}
source: {type: kafka, bootstrap: [], topic: t, start: yesterday}
paging:
  receivers:
    - {type: log, name: Bad Name}
  route: {matchers: ["severity ~ x"]}
  escalation:
    - {after: 5 minutes, receivers: []}
"""


def test_every_mistake_is_named_with_its_place(tmp_path: Path) -> None:
    """One reading finds all of them, each with file, line and column."""
    with pytest.raises(Problems) as caught:
        loaded(tmp_path, BAD)
    found = {(p.line, p.text) for p in caught.value.problems}
    lines = {line for line, _ in found}
    assert {1, 2, 3, 4, 5, 8, 9, 11} <= lines
    assert len(found) >= 9
    said = str(caught.value)
    assert f"{tmp_path / 'tocsin.yaml'}:3:1" in said
    assert "store" in said


CROSSED = """paging:
  receivers:
    - {type: log, name: oncall}
    - {type: log, name: oncall}
  route: {receivers: [oncal]}
  escalation:
    - {after: 5m, receivers: [nobody, oncall]}
  fallback: onkall
"""


def test_names_that_refer_to_nothing(tmp_path: Path) -> None:
    """Receivers named twice, or nowhere, are all told, with the name that was meant."""
    with pytest.raises(Problems) as caught:
        loaded(tmp_path, CROSSED)
    said = [(p.line, p.text) for p in caught.value.problems]
    assert said == [
        (4, "two receivers are named 'oncall'"),
        (5, "no receiver 'oncal'"),
        (7, "no receiver 'nobody'"),
        (8, "no receiver 'onkall'"),
    ]
    assert "oncall" in caught.value.problems[1].hint


REFERRING = """disable: [jailbreak_signal]
tiers:
  error_rat: ticket
paging:
  route:
    routes:
      - matchers: ['severity=~"SEV1', 'actor="ada"', 'category="x"']
  links:
    local: "javascript:alert($incident)"
    wiki: "https://wiki/$signl"
    cost: "https://wiki/$5"
runbooks:
  defaults: {change_apy: "https://c"}
http: "127.0.0.1:70000"
"""


def test_everything_else_that_refers_to_nothing(tmp_path: Path) -> None:
    """Signals, labels, links, parameters and the address are told, each at its place."""
    with pytest.raises(Problems) as caught:
        loaded(tmp_path, REFERRING)
    said = [(p.line, p.text, p.hint) for p in caught.value.problems]
    assert said == [
        (1, "no signal 'jailbreak_signal'", "did you mean 'jailbreak_signals'?"),
        (3, "no signal 'error_rat'", "did you mean 'error_rate'?"),
        (7, "not a matcher: 'severity=~\"SEV1' has a quote that is not closed", ""),
        (7, "'actor' is no label that a matcher may look at", said[3][2]),
        (9, "the link 'local' is not http:// or https:// with a host", ""),
        (10, "nothing fills in $signl", "did you mean 'signal'?"),
        (11, "the link 'cost' has a $ that begins no name", "write $$ for a dollar sign"),
        (13, "no runbook with a parameter 'change_apy'", "did you mean 'change_api'?"),
        (14, "http: '127.0.0.1:70000' is not HOST:PORT with a port from 0 to 65535", ""),
    ]
    assert "severity" in said[3][2]


def test_shapes_and_references_are_told_in_one_round(tmp_path: Path) -> None:
    """A key of the wrong shape does not hide a name that refers to nothing."""
    text = "versio: 1\n" + CROSSED + "tiers: {error_rate: siren, nothing_rate: page}\n"
    with pytest.raises(Problems) as caught:
        loaded(tmp_path, text)
    assert [p.line for p in caught.value.problems] == [1, 5, 6, 8, 9, 10, 10]


def test_wrong_shapes_are_no_references(tmp_path: Path) -> None:
    """Where a list or mapping should be, anything may stand; the shape alone is told."""
    text = "disable: 5\ntiers: [a]\npaging: {route: [1], links: x, receivers: {a: b}}\nhttp: []\n"
    with pytest.raises(Problems) as caught:
        loaded(tmp_path, text)
    assert {p.code for p in caught.value.problems} == {"type"}


def referred(text: str) -> list[str]:
    """What a configuration with this text refers to and is not there, as it is told."""
    return [str(problem) for problem in dangling(load_yaml(text, "tocsin.yaml"))]


def test_signals_of_your_own_are_the_ones_to_name(tmp_path: Path) -> None:
    """Names are looked up in `signals_file`; one that cannot be read is told at its place."""
    mine = tmp_path / "signals.yaml"
    mine.write_text("version: 1\nsignals:\n  - {name: mine, title: A, k: 'true'}\n")
    assert referred(f"signals_file: {mine}\ntiers: {{mine: page}}\n") == []
    text = f"signals_file: {mine}\ndisable: [error_rate]\n"
    assert ["no signal 'error_rate'" in said for said in referred(text)] == [True]
    mine.write_text("version: 1\nsignals: 5\n")
    assert ["signals.yaml:2" in said for said in referred(text)] == [True]
    mine.unlink()
    assert referred(text)[0].startswith("tocsin.yaml:1:15: error[file]: cannot read")


def test_parameters_of_your_own_runbooks_may_have_defaults(tmp_path: Path) -> None:
    """A name of a folder's runbook is known; a runbook with mistakes is told with its own place."""
    shipped = resources.files("runbooks") / "library" / "refusal-spike.yaml"
    book = shipped.read_text().replace("change_api", "own_api")
    (tmp_path / "refusal-spike.yaml").write_text(book)
    text = f"runbooks: {{folders: [{tmp_path}], defaults: {{own_api: 'https://c'}}}}\n"
    assert referred(text) == []
    (tmp_path / "broken.yaml").write_text("id: 5\n")
    assert all("broken.yaml:" in said for said in referred(text))
    assert referred(text)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:65535", "[::1]:9464"])
def test_an_address(text: str) -> None:
    """Host and port, the brackets of IPv6 taken off."""
    host, port = host_port(text)
    assert text.replace("[", "").replace("]", "") == f"{host}:{port}"


@pytest.mark.parametrize(
    "text", ["", "9464", ":9464", "a:65536", "a:-1", "99:99:99", "::1:5", "a:٣"]
)
def test_no_address(text: str) -> None:
    """Anything else is refused in words."""
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        host_port(text)


def test_a_secret_in_the_file_is_refused(tmp_path: Path) -> None:
    """A literal token is not a reference, and is not shown."""
    token = "xoxb-1234567890-secret"
    text = f"paging: {{receivers: [{{type: slack, name: s, channel: C123, token: {token}}}]}}"
    with pytest.raises(Problems) as caught:
        loaded(tmp_path, text)
    assert token not in str(caught.value)


def test_where_reading_begins() -> None:
    """Three forms are known; a time without a zone is none."""
    assert begin("earliest") == "earliest"
    assert begin("2026-11-22T09:00:00Z") == datetime(2026, 11, 22, 9, tzinfo=UTC)
    for text in ("yesterday", "2026-11-22T09:00:00", ""):
        with pytest.raises(ValueError, match="earliest, latest or a time"):
            begin(text)


def test_own_signals_replace_the_shipped_ones(tmp_path: Path) -> None:
    """A file of signals is read strictly, with its own places."""
    mine = tmp_path / "signals.yaml"
    mine.write_text("version: 1\nsignals:\n  - {name: a, title: A, k: 'true'}\n")
    settings = Settings(signals_file=mine, source=FileSource(path="-"))
    assert [s.name for s in resolve(settings).plan.signals] == ["a"]
    mine.write_text("version: 1\nsignals:\n  - {name: a, title: A, k: 'outcome.staus == 1'}\n")
    with pytest.raises(Problems, match=r"signals\.yaml:3"):
        resolve(settings)


def test_the_schema_accepts_the_example() -> None:
    """The published schema takes a good file and refuses a bad key."""
    validator = jsonschema.Draft202012Validator(schema())
    document = load_yaml(GOOD, "x").data
    validator.validate(document)
    assert list(validator.iter_errors({"stroe": "x"}))
