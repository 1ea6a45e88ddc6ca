"""What a runbook file must fulfil beyond its shape: references, safety and sense.

Shape (keys, types) is `convert`'s. These checks run on every step that has the right shape, also
when another has not, so that a person sees all mistakes at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from runbooks.document import Document, Path, did_you_mean
from runbooks.model import (
    Automatic,
    Command,
    CommandUndo,
    Common,
    Effect,
    Http,
    HttpUndo,
    Manual,
    ManualUndo,
    Secret,
    Step,
    WaitSignal,
)
from runbooks.nodes import places
from runbooks.params import AnyParam, ParamError, check_pattern
from runbooks.problems import Problem
from runbooks.references import Reference, reference, references
from runbooks.urls import check_path, plain_url

LONGEST_STEP: Final = timedelta(hours=24)
MACHINE_INCIDENT: Final = frozenset({"id"})
"""Fields of the incident that a machine may be given: labels come from events, ids from us."""
SIGNAL_INCIDENT: Final = frozenset({"signal", "baseline", "threshold"})
SHOWN_INCIDENT: Final = frozenset({"id", "severity", "signal", "baseline", "threshold"})

_SECRET_NAME = re.compile(r"(?i)token|secret|passw|api[_-]?key|authorization|cookie|credential")
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_LOADER_NAME = re.compile(
    r"LD_.*|DYLD_.*|PYTHON.*|PATH|IFS|BASH_ENV|ENV|NODE_OPTIONS|PERL5.*|RUBYOPT"
)


@dataclass(slots=True)
class Scope:
    """The names one file defines, read from raw data so that a broken step still counts."""

    params: Mapping[str, Any]
    secrets: Mapping[str, Any]
    captures: dict[str, set[str]] = field(default_factory=dict)
    """Of the steps before the one looked at."""
    all_steps: frozenset[str] = frozenset()

    @classmethod
    def of(cls, data: object) -> Scope:
        """The scope before the first step."""
        root = data if isinstance(data, dict) else {}
        steps = root.get("steps")
        ids = {
            step["id"]
            for step in (steps if isinstance(steps, list) else [])
            if isinstance(step, dict) and isinstance(step.get("id"), str)
        }
        return cls(_mapping(root.get("params")), _mapping(root.get("secrets")), {}, frozenset(ids))

    def add(self, step: object) -> None:
        """Make a step known to those behind it."""
        if isinstance(step, dict) and isinstance(step.get("id"), str):
            self.captures[step["id"]] = set(_mapping(step.get("capture")))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


class StepCheck:
    """The checks of one step; `problems` holds what they found."""

    def __init__(self, document: Document, scope: Scope, step: Step, path: Path) -> None:
        self.document = document
        self.scope = scope
        self.step = step
        self.path = path
        self.problems: list[Problem] = []

    def bad(self, path: Path, code: str, text: str, hint: str = "") -> None:
        self.problems.append(self.document.problem((*self.path, *path), code, text, hint))

    def run(self) -> list[Problem]:
        """All checks, each for itself."""
        step = self.step
        self.common(step)
        if isinstance(step, WaitSignal):
            self.wait(step)
        elif isinstance(step, Manual):
            if step.rollback is not None:
                self.shown(("rollback", "text"), step.rollback.text)
            for name, param in step.capture.items():
                self.problems += param_problems(self.document, (*self.path, "capture", name), param)
        else:
            self.automatic(step)
        return self.problems

    def common(self, step: Common) -> None:
        if step.id in self.scope.captures:
            self.bad(("id",), "duplicate-step", f"the step {step.id!r} exists already")
        for index, needed in enumerate(step.needs):
            self.earlier(("needs", index), needed)
        self.shown(("title",), step.title)
        self.shown(("text",), step.text)
        if step.condition is not None:
            for dotted, _ in places(step.condition.root):
                self.condition_name(dotted)

    def condition_name(self, dotted: str) -> None:
        parts = dotted.split(".")
        if parts[0] == "steps" and len(parts) == 3:
            self.known(("if",), Reference("steps", parts[1].replace("_", "-"), parts[2]))
        elif parts[0] in {"params", "incident"} and len(parts) == 2:
            self.known(("if",), Reference(parts[0], parts[1]), SHOWN_INCIDENT)
        else:
            hint = "names are params.NAME, steps.STEP.NAME and incident.NAME; write - in an id as _"
            self.bad(("if",), "reference", f"the condition's name {dotted!r} is unknown", hint)

    def earlier(self, path: Path, step: str) -> bool:
        """Whether a step of that id stands before this one."""
        if step in self.scope.captures:
            return True
        if step in self.scope.all_steps:
            self.bad(path, "order", f"the step {step!r} stands behind this one", "move it before")
        else:
            hint = did_you_mean(step, self.scope.all_steps)
            self.bad(path, "reference", f"there is no step {step!r}", hint)
        return False

    def known(
        self, path: Path, found: Reference, incident: frozenset[str] = MACHINE_INCIDENT
    ) -> None:
        """Check that a reference points at something that exists and may be used here."""
        if found.space == "params" and found.name not in self.scope.params:
            hint = did_you_mean(found.name, self.scope.params)
            self.bad(path, "reference", f"there is no parameter {found.name!r}", hint)
        elif found.space == "secrets" and found.name not in self.scope.secrets:
            hint = did_you_mean(found.name, self.scope.secrets)
            self.bad(path, "reference", f"there is no secret {found.name!r}", hint)
        elif found.space == "incident" and found.name not in incident:
            hint = f"allowed here: {', '.join(sorted(incident))}"
            self.bad(path, "reference", f"incident.{found.name} is not allowed here", hint)
        elif found.space == "steps" and self.earlier(path, found.name):
            names = self.scope.captures[found.name]
            if found.part not in names:
                hint = did_you_mean(found.part, names)
                self.bad(path, "reference", f"{found.name!r} captures no {found.part!r}", hint)

    def shown(self, path: Path, text: str) -> None:
        """Check text for the eyes: references may stand inside it."""
        try:
            found = references(text)
        except ValueError as error:
            self.bad(path, "reference", str(error))
            return
        for one in found:
            if one.space == "secrets":
                self.bad(path, "secret", f"{one} would show a secret")
            else:
                self.known(path, one, SHOWN_INCIDENT)

    def element(
        self,
        path: Path,
        text: object,
        *,
        secret: bool = False,
        incident: frozenset[str] = MACHINE_INCIDENT,
    ) -> Reference | None:
        """Check what a machine reads: a literal or exactly one reference."""
        if not isinstance(text, str):
            return None
        try:
            found = reference(text)
        except ValueError as error:
            self.bad(path, "reference", str(error))
            return None
        if found is not None and found.space == "secrets" and not secret:
            hint = "arguments and URLs are seen by others; use env or headers"
            self.bad(path, "secret", f"{found} is allowed in env and headers only", hint)
        elif found is not None:
            self.known(path, found, incident)
        return found

    def span(self, path: Path, span: timedelta | None) -> None:
        if span is not None and not timedelta(0) < span <= LONGEST_STEP:
            self.bad(path, "duration", "must be more than nothing and at most 24h")

    def wait(self, step: WaitSignal) -> None:
        self.element(("signal",), step.signal, incident=SIGNAL_INCIDENT)
        self.span(("for",), step.hold)
        self.span(("timeout",), step.timeout)
        self.span(("no_data_after",), step.no_data_after)
        if step.timeout is not None and step.timeout <= step.hold:
            text = f"gives up after {step.timeout}, before {step.hold} can have passed"
            self.bad(("timeout",), "duration", text)
        if isinstance(step.value, str):
            found = self.element(("value",), step.value, incident=SIGNAL_INCIDENT)
            if found is None and not self.problems:
                self.bad(("value",), "value", f"{step.value!r} is no number and no reference")

    def automatic(self, step: Automatic) -> None:
        self.span(("timeout",), step.timeout)
        if step.auto and step.effect is not Effect.READ_ONLY:
            self.bad(("auto",), "unsafe", "only a read_only step may start by itself")
        if step.retry is not None:
            safe = step.effect is Effect.READ_ONLY or (
                step.effect is Effect.REVERSIBLE and step.idempotent
            )
            if not safe:
                text = f"a {step.effect} step is never repeated without a person"
                self.bad(("retry",), "unsafe", text, "a reversible one may say idempotent: true")
            self.span(("retry", "delay"), step.retry.delay)
        for name, capture in step.capture.items():
            self.pattern(("capture", name, "pattern"), capture.pattern)
        if isinstance(step, (Http, Command)):
            self.call((), step)
        undo = step.rollback
        if isinstance(undo, ManualUndo):
            self.shown(("rollback", "text"), undo.text)
        elif undo is not None:
            self.scope.captures.setdefault(step.id, set(step.capture))
            self.span(("rollback", "timeout"), undo.timeout)
            self.call(("rollback",), undo)

    def pattern(self, path: Path, pattern: str) -> None:
        try:
            check_pattern(pattern)
        except ValueError as error:
            self.bad(path, "pattern", str(error))

    def call(self, path: Path, call: Http | HttpUndo | Command | CommandUndo) -> None:
        if isinstance(call, (Http, HttpUndo)):
            self.http(path, call)
        else:
            self.command(path, call)

    def command(self, path: Path, call: Command | CommandUndo) -> None:
        executable = call.argv[0]
        if reference_or_none(executable) is not None or "$" in executable:
            self.bad((*path, "argv", 0), "command", "the command itself must be a literal")
        elif re.search(r"\s", executable):
            hint = "one element is one argument; there is no shell"
            self.bad((*path, "argv", 0), "command", f"{executable!r} is not one command", hint)
        elif "/" in executable and (not executable.startswith("/") or "/." in executable):
            text = f"{executable!r}: write an absolute path, or a name of the allow-list"
            self.bad((*path, "argv", 0), "command", text)
        for index, element in enumerate(call.argv[1:], 1):
            self.element((*path, "argv", index), element)
        for name, element in call.env.items():
            found = self.element((*path, "env", name), element, secret=True)
            if _LOADER_NAME.fullmatch(name):
                self.bad((*path, "env", name), "unsafe", f"{name} would change what runs")
            self.inline((*path, "env", name), name, found)

    def http(self, path: Path, call: Http | HttpUndo) -> None:
        base = self.element((*path, "base"), call.base)
        if base is None and "${" not in call.base:
            self.url((*path, "base"), call.base)
        parts = (call.path,) if isinstance(call.path, str) else call.path
        for index, part in enumerate(parts):
            place = (*path, "path") if isinstance(call.path, str) else (*path, "path", index)
            found = self.element(place, part)
            if isinstance(call.path, str) and call.path:
                self.literal_path(place, call.path, found)
        for name, element in call.query.items():
            self.element((*path, "query", name), element)
        for name, element in call.headers.items():
            found = self.element((*path, "headers", name), element, secret=True)
            self.inline((*path, "headers", name), name, found)
            if name.lower() in {"host", "content-length", "transfer-encoding", "connection"}:
                self.bad((*path, "headers", name), "unsafe", f"{name} is set by the sender")
        for name, value in (call.json or {}).items():
            self.element((*path, "json", name), value)
        if call.json is not None and call.method in {"GET", "HEAD"}:
            self.bad((*path, "json"), "value", f"{call.method} carries no body")

    def url(self, path: Path, base: str) -> None:
        try:
            plain_url(base)
        except ValueError as error:
            self.bad(path, "url", str(error), "the base is scheme, host, port and a plain path")

    def literal_path(self, path: Path, text: str, found: Reference | None) -> None:
        if found is not None or "${" in text:
            hint = 'write path as a list of segments: [flags, "${params.flag}"]'
            self.bad(path, "url", "a path with values in it is a list", hint)
            return
        try:
            check_path(text)
        except ValueError as error:
            self.bad(path, "url", str(error))

    def inline(self, path: Path, name: str, found: Reference | None) -> None:
        """Refuse a literal where only a secret makes sense."""
        if _SECRET_NAME.search(name) and (found is None or found.space != "secrets"):
            hint = "write ${secrets.NAME} and say under secrets where it is found"
            self.bad(path, "secret", f"{name} looks like a secret and must come by reference", hint)


def reference_or_none(text: str) -> Reference | None:
    """The reference that `text` is; None for a literal and for what is malformed."""
    try:
        return reference(text)
    except ValueError:
        return None


def param_problems(document: Document, path: Path, param: AnyParam) -> Iterator[Problem]:
    """What is wrong with one parameter beyond its shape."""
    if param.default is not None:
        try:
            param.accept(param.default)
        except ParamError as error:
            yield document.problem((*path, "default"), "value", f"the default: {error}")
    if param.required and param.default is not None:
        text = "it has a default, so required says nothing"
        yield document.problem((*path, "required"), "value", text)


def secret_problems(document: Document, path: Path, secret: Secret) -> Iterator[Problem]:
    """What is wrong with one secret beyond its shape."""
    if secret.source == "env" and not _ENV_NAME.fullmatch(secret.name):
        text = f"{secret.name!r} is not the name of an environment variable"
        yield document.problem((*path, "name"), "secret", text, "only its name stands here")
    if secret.source == "file" and (not secret.name.startswith("/") or "/." in secret.name):
        yield document.problem((*path, "name"), "secret", "write the absolute path of the file")
