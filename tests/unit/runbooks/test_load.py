"""Runbook files: what loads, what is refused and where, and the shipped library."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # it ships no type information
import pytest

from runbooks.allow import AllowedHttp, AllowList
from runbooks.lint import check
from runbooks.load import library, load_runbook, load_with_places, match, schema
from runbooks.model import Command, Effect, Http, Manual, WaitSignal
from runbooks.problems import Problems
from runbooks.yaml import load_yaml

HEAD = "apiVersion: runbook/v1\nid: x\nversion: 1\ntitle: T\n"
GOOD = (
    HEAD
    + """
match: {signal: refusal_rate, severity: [SEV1, SEV2]}
params:
  tool: {type: enum, values: [shell, mail], required: true}
  api: {type: url, default: "http://127.0.0.1:1"}
secrets: {T: {from: env, name: API_TOKEN}}
steps:
  - {id: look, type: manual, title: "Look at ${params.tool}", capture: {verdict: {type: string}}}
  - id: act
    type: command
    title: Act
    effect: reversible
    argv: [ctl, disable, "${params.tool}", "${incident.id}", "${steps.look.verdict}"]
    env: {CTL_TOKEN: "${secrets.T}"}
    if: steps.look.verdict != 'benign' and params.tool == 'mail'
    needs: [look]
    rollback: {type: command, argv: [ctl, enable, "${params.tool}"]}
  - {id: call, type: http, title: C, effect: read_only, method: GET,
     base: "${params.api}", path: /x}
  - {id: wait, type: wait_signal, title: W, signal: "${incident.signal}", op: "<", value: 0.1,
     for: 5m, timeout: 20m, needs: [act]}
"""
)


def refused(steps: str, head: str = HEAD) -> str:
    with pytest.raises(Problems) as caught:
        load_runbook(head + steps, "r.yaml")
    return str(caught.value)


def test_a_good_file_loads_and_is_pinned_by_its_digest() -> None:
    """All step types are built; the digest is of the bytes."""
    runbook = load_runbook(GOOD, "r.yaml")
    assert [type(step) for step in runbook.steps] == [Manual, Command, Http, WaitSignal]
    assert runbook.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert load_runbook(GOOD.encode(), "r.yaml").sha256 == runbook.sha256
    assert load_runbook(GOOD + "# more", "r.yaml").sha256 != runbook.sha256
    act = runbook.step("act")
    assert isinstance(act, Command)
    assert act.effect is Effect.REVERSIBLE
    assert runbook.step("nope") is None


def step(body: str, kind: str = "command") -> str:
    extra = "effect: read_only, argv: [ctl], " if kind == "command" else ""
    return f"steps: [{{id: a, type: {kind}, title: T, {extra}{body}}}]\n"


BAD: dict[str, tuple[str, str]] = {
    "unknown parameter": (step('env: {A: "${params.q}"}'), "there is no parameter 'q'"),
    "unknown secret": (step('env: {A: "${secrets.q}"}'), "there is no secret 'q'"),
    "unknown step": (step('env: {A: "${steps.q.v}"}'), "there is no step 'q'"),
    "own capture": (step('env: {A: "${steps.a.v}"}'), "stands behind this one"),
    "event labels": (step('env: {A: "${incident.labels}"}'), "incident.labels is not allowed here"),
    "incident severity in a machine's place": (
        step('env: {A: "${incident.severity}"}'),
        "incident.severity is not allowed here",
    ),
    "mixed element": (step('env: {A: "x${incident.id}"}'), "mixes text and a reference"),
    "template": (step('env: {A: "{{event.tool}}"}'), "there are no templates"),
    "needs a later step": (
        "steps:\n - {id: a, type: manual, title: T, needs: [b]}\n"
        " - {id: b, type: manual, title: T}\n",
        "stands behind this one",
    ),
    "needs itself": (step("needs: [a]"), "stands behind this one"),
    "needs nothing known": (step("needs: [z]"), "there is no step 'z'"),
    "duplicate id": (
        "steps:\n - {id: a, type: manual, title: T}\n - {id: a, type: manual, title: T}\n",
        "exists already",
    ),
    "condition of unknown name": (step("if: steps.z.v == 'x'"), "there is no step 'z'"),
    "condition of an event": (step("if: event.tool == 'x'"), "'event.tool' is unknown"),
    "condition that does not parse": (step("if: a =="), "at character"),
    "auto on a change": (
        "steps: [{id: a, type: command, title: T, effect: reversible, argv: [x], auto: true}]",
        "only a read_only step may start by itself",
    ),
    "retry on a change": (
        "steps: [{id: a, type: command, title: T, effect: reversible, argv: [x], retry: {max: 1}}]",
        "never repeated without a person",
    ),
    "retry on a destructive step": (
        "steps: [{id: a, type: command, title: T, effect: destructive, argv: [x],"
        " idempotent: true, retry: {max: 1}}]",
        "never repeated without a person",
    ),
    "zero timeout": (step("timeout: 0s"), "more than nothing"),
    "endless timeout": (step("timeout: 25h"), "at most 24h"),
    "huge retry": (step("retry: {max: 99}"), "<= 10"),
    "loader variable": (step("env: {LD_PRELOAD: x}"), "would change what runs"),
    "path variable": (step("env: {PATH: /tmp}"), "would change what runs"),
    "inline secret": (step("env: {API_TOKEN: abc}"), "looks like a secret"),
    "bad capture pattern": (
        step('capture: {x: {pointer: /a, pattern: "(a+)+"}}'),
        "repeats a repeat",
    ),
    "bad pointer": (step("capture: {x: {pointer: a}}"), "capture.x.pointer"),
    "missing effect": (
        "steps: [{id: a, type: command, title: T, argv: [x]}]",
        "'effect' is missing",
    ),
    "unknown type": ("steps: [{id: a, type: script, title: T}]", "'script' is not one of"),
    "no steps": ("steps: []", "length >= 1"),
    "bad id": ("steps: [{id: A_b, type: manual, title: T}]", "steps[0].id"),
    "unknown key": ("steps: [{id: a, type: manual, title: T, tilte: x}]", "did you mean 'title'?"),
    "secret value inline": (
        "secrets: {T: {from: env, name: 'sk-123abc'}}\nsteps: [{id: a, type: manual, title: T}]",
        "is not the name of an environment variable",
    ),
    "secret file relative": (
        "secrets: {T: {from: file, name: token}}\nsteps: [{id: a, type: manual, title: T}]",
        "absolute path",
    ),
    "secret shown": (
        'secrets: {T: {from: env, name: X}}\nsteps: [{id: a, type: manual, title: "${secrets.T}"}]',
        "would show a secret",
    ),
    "evil pattern": (
        'params: {p: {type: string, pattern: "(a+)+$"}}\nsteps: [{id: a, type: manual, title: T}]',
        "could run for ever",
    ),
    "default that does not fit": (
        "params: {p: {type: int, max: 3, default: 9}}\nsteps: [{id: a, type: manual, title: T}]",
        "9 is outside",
    ),
    "default that is an option": (
        "params: {p: {type: string, default: --x}}\nsteps: [{id: a, type: manual, title: T}]",
        "read as an option",
    ),
    "required with a default": (
        "params: {p: {type: string, default: x, required: true}}\n"
        "steps: [{id: a, type: manual, title: T}]",
        "required says nothing",
    ),
}
BAD_ARGV = {
    "[]": "length >= 1",
    '["${params.tool}"]': "must be a literal",
    "['ctl disable x']": "there is no shell",
    "[./ctl]": "absolute path",
    "[bin/ctl]": "absolute path",
    "[/usr/../ctl]": "absolute path",
    '[ctl, "${secrets.T}"]': "env and headers only",
    '[ctl, "--t=${incident.id}"]': "mixes text",
    "[ctl, '$(id)']": "no templates and no shell",
    "[ctl, '`id`']": "no templates and no shell",
    "ctl disable": "expected a list",
    "[ctl, 5]": "expected text",
}
BAD_HTTP = {
    'base: "http://x/?q=1"': "not a plain http",
    'base: "file:///etc/passwd"': "not a plain http",
    'base: "http://2130706433"': "odd spelling",
    'base: "http://user:pw@x"': "not a plain http",
    'base: "http://x", path: releases': "starts with /",
    'base: "http://x", path: /a/../b': "dot segment",
    'base: "http://x", path: "/a/${incident.id}"': "mixes text",
    'base: "http://x", path: "${incident.id}"': "is a list",
    'base: "http://x", path: ["${secrets.T}"]': "env and headers only",
    'base: "http://x", query: {t: "${secrets.T}"}': "env and headers only",
    'base: "http://x", headers: {Authorization: "Bearer abc"}': "looks like a secret",
    'base: "http://x", headers: {X-Api-Key: abc}': "looks like a secret",
    'base: "http://x", headers: {Host: z}': "set by the sender",
    'base: "http://x", headers: {"A b": z}': "headers",
    'base: "http://x", json: {a: 1}': "carries no body",
    'base: "http://x", method: TRACE': "'TRACE' is not one of",
    'base: "http://x", expect: {status: [999]}': "<= 599",
}
BAD_WAIT = {
    'value: 0.1, for: 0s, signal: s, op: "<"': "more than nothing",
    'value: 0.1, for: 5m, timeout: 5m, signal: s, op: "<"': "before 5m can have passed",
    'value: 0.1, for: 5 m, signal: s, op: "<"': "not a duration",
    'value: high, for: 5m, signal: s, op: "<"': "no number and no reference",
    'value: "${secrets.T}", for: 5m, signal: s, op: "<"': "env and headers only",
    'value: 0.1, for: 5m, signal: "${incident.title}", op: "<"': "is not allowed here",
    'value: 0.1, for: 5m, signal: s, op: "~"': "'~' is not one of",
    'value: .nan, for: 5m, signal: s, op: "<"': "not a number",
    'value: 0.1, for: 5m, signal: s, op: "<", no_data: pass': "'pass' is not one of",
    'value: 0.1, for: 5m, signal: s, op: "<", times: 0': "> 0",
    'value: 0.1, for: 5m, signal: s, op: "<", effect: destructive': "'effect' is unknown",
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_runbook_must_not_say_is_refused(name: str) -> None:
    """Each unsafe or senseless thing is refused with words that say what."""
    text, said = BAD[name]
    assert said in refused(text)


HEAD_WITH_NAMES = (
    HEAD + "params: {tool: {type: string}}\nsecrets: {T: {from: env, name: API_TOKEN}}\n"
)


@pytest.mark.parametrize("argv", BAD_ARGV)
def test_an_argument_list_is_literals_and_single_references(argv: str) -> None:
    """No shell string, no relative command, no secret, no half reference gets into argv."""
    text = f"steps: [{{id: a, type: command, title: T, effect: read_only, argv: {argv}}}]\n"
    assert BAD_ARGV[argv] in refused(text, HEAD_WITH_NAMES)


@pytest.mark.parametrize("body", BAD_HTTP)
def test_an_http_step_goes_where_it_says(body: str) -> None:
    """URLs are plain, values stand alone, secrets come by reference in headers."""
    method = "" if "method:" in body else "method: GET, "
    text = f"steps: [{{id: a, type: http, title: T, effect: read_only, {method}{body}}}]\n"
    assert BAD_HTTP[body] in refused(text, HEAD_WITH_NAMES)


@pytest.mark.parametrize("body", BAD_WAIT)
def test_a_wait_can_pass_and_can_end(body: str) -> None:
    """A wait has a number, a stretch and an end that fit together."""
    text = f"steps: [{{id: a, type: wait_signal, title: T, {body}}}]\n"
    assert BAD_WAIT[body] in refused(text, HEAD_WITH_NAMES)


def test_problems_of_shape_and_sense_come_together() -> None:
    """A broken step hides no other step's mistakes, and still counts as a step that exists."""
    said = refused(
        "vresion: 2\n"
        "steps:\n"
        " - {id: a, type: manual, titel: T, capture: {v: {type: string}}}\n"
        " - {id: b, type: command, title: T, effect: read_only, argv: [ctl, '${steps.a.v}']}\n"
        " - {id: c, type: command, title: T, effect: read_only, argv: [x y, '${steps.a.w}']}\n"
    )
    for expected in (
        "r.yaml:5:1: error[unknown-key]: the key 'vresion' is unknown",
        "r.yaml:7:4: error[missing-key]: steps[0]: the key 'title' is missing",
        "r.yaml:7:26: error[unknown-key]: steps[0]: the key 'titel' is unknown",
        "r.yaml:9:63: error[command]: 'x y' is not one command",
        "r.yaml:9:68: error[reference]: 'a' captures no 'w'",
    ):
        assert expected in said
    assert "there is no step" not in said


def test_an_error_message_is_safe_to_print() -> None:
    """Hostile text of the file does not reach the terminal through its own error message."""
    said = refused('steps: [{id: a, type: manual, title: T, "x\\u009b2J[/b]": 1}]')
    assert "\\x9b" in said or "U+009B" in said
    assert "\x9b" not in said


def test_the_newest_format_only() -> None:
    """Another apiVersion is refused by name."""
    assert "'runbook/v2' is not one of" in refused(
        GOOD.removeprefix(HEAD), HEAD.replace("runbook/v1", "runbook/v2")
    )


def test_the_library_ships_two_sound_runbooks() -> None:
    """They load, have no weakness but age, and are allowed by a list that names a change API."""
    runbooks = {runbook.id: runbook for runbook in library()}
    assert set(runbooks) == {"refusal-spike", "tool-misuse"}
    allow = AllowList(
        http=(
            AllowedHttp(
                origin="http://127.0.0.1:8090",
                methods=("GET", "POST"),
                paths=("/",),
                max_effect=Effect.REVERSIBLE,
            ),
        )
    )
    for runbook in runbooks.values():
        path = Path("runbooks") / runbook.file
        loaded, document = load_with_places(path.read_bytes(), str(path))
        assert loaded.sha256 == runbook.sha256
        assert check(loaded, document, None, allow) == []


def test_a_runbook_is_suggested_by_labels() -> None:
    """All labels asked for must fit; the most specific comes first."""
    general = load_runbook(
        HEAD + "match: {signal: refusal_rate}\nsteps: [{id: a, type: manual, title: T}]", "g"
    )
    special = load_runbook(GOOD, "s")
    silent = load_runbook(HEAD + "steps: [{id: a, type: manual, title: T}]", "n")
    every = [general, special, silent]
    assert match(every, {"signal": "refusal_rate", "severity": "SEV1"}) == [special, general]
    assert match(every, {"signal": "refusal_rate", "severity": "SEV4"}) == [general]
    assert match(every, {"signal": "other"}) == []
    found = match(library(), {"signal": "tool_misuse"})
    assert [runbook.id for runbook in found] == ["tool-misuse"]


def test_the_schema_describes_the_format() -> None:
    """The published schema is valid and accepts the shipped runbooks."""
    described: dict[str, Any] = schema()
    jsonschema.Draft202012Validator.check_schema(described)
    validator = jsonschema.Draft202012Validator(described)
    assert validator.is_valid(load_yaml(GOOD, "r").data)
    for runbook in library():
        source = (Path("runbooks") / runbook.file).read_bytes()
        assert validator.is_valid(load_yaml(source, "r").data)
    assert not validator.is_valid({"apiVersion": "runbook/v1"})
