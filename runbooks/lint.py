"""What a runbook should not be: valid, and still of no use at three in the morning.

One issue, one small class: a code, a hint and the question it asks. Issues are warnings; errors are
the loader's. `check` runs them all over one loaded document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Protocol

from runbooks.allow import AllowList, allowed
from runbooks.document import Document, Path
from runbooks.model import (
    Automatic,
    Command,
    CommandUndo,
    Effect,
    Http,
    HttpUndo,
    Manual,
    Runbook,
    Step,
    WaitSignal,
)
from runbooks.nodes import Combination, Comparison, Constant, Name, Node
from runbooks.params import Choice
from runbooks.problems import Problem, Severity
from runbooks.references import Reference
from runbooks.requests import LookUp, RenderError, render

STALE_AFTER: Final = timedelta(days=90)
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish", "env", "xargs", "sudo"})
_PLACEHOLDER: Final = "placeholder"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at, and against what."""

    runbook: Runbook
    document: Document
    today: date | None = None
    """Without it age is not judged."""
    allow: AllowList | None = None
    """Without it commands and hosts are not judged."""

    def steps(self) -> Iterator[tuple[Path, Step]]:
        """Each step with its path in the file."""
        for index, step in enumerate(self.runbook.steps):
            yield ("steps", index), step


Finding = tuple[Path, str]
"""A place and what is wrong there."""


class Issue(Protocol):
    """One kind of weakness."""

    @property
    def code(self) -> str:
        """Short and stable."""
        ...

    @property
    def hint(self) -> str:
        """How to mend it."""
        ...

    def find(self, subject: Subject) -> Iterator[Finding]:
        """Where the runbook has it."""


class NeverRuns:
    """A step that no run can reach."""

    code = "unreachable"
    hint = "mend its condition, or take the step out"

    def find(self, subject: Subject) -> Iterator[Finding]:
        captures = {
            (step.id.replace("-", "_"), name): spec.values
            for step in subject.runbook.steps
            if isinstance(step, Manual)
            for name, spec in step.capture.items()
            if isinstance(spec, Choice)
        }
        params = {
            name: spec.values
            for name, spec in subject.runbook.spec.params.items()
            if isinstance(spec, Choice)
        }
        for path, step in subject.steps():
            if step.condition is not None and _never(step.condition.root, captures, params):
                yield (*path, "if"), f"{step.id} can never run: {step.condition} is always false"


def _never(
    node: Node, captures: dict[tuple[str, str], tuple[str, ...]], params: dict[str, tuple[str, ...]]
) -> bool:
    """Whether a condition is false whatever happens, as far as its form shows."""
    if isinstance(node, Constant):
        return not node.value
    if isinstance(node, Combination):
        parts = [_never(part, captures, params) for part in node.parts]
        return any(parts) if node.word == "and" else all(parts)
    if isinstance(node, Comparison) and isinstance(node.left, Name):
        values = _values(node.left, captures, params)
        right = node.right.value if isinstance(node.right, Constant) else None
        if values is not None and node.sign == "==" and isinstance(right, str):
            return right not in values
        if values is not None and node.sign == "in" and isinstance(right, tuple):
            return not set(values) & set(right)
    return False


def _values(
    name: Name,
    captures: dict[tuple[str, str], tuple[str, ...]],
    params: dict[str, tuple[str, ...]],
) -> tuple[str, ...] | None:
    if name.parts[0] == "steps" and len(name.parts) == 3:
        return captures.get((name.parts[1], name.parts[2]))
    return params.get(name.parts[1]) if name.parts[0] == "params" else None


class Unproven:
    """A change to production that nothing measures afterwards."""

    code = "no-verify"
    hint = "add a wait_signal step behind it"

    def find(self, subject: Subject) -> Iterator[Finding]:
        verified = False
        for path, step in reversed(list(subject.steps())):
            verified = verified or (isinstance(step, WaitSignal) and step.verify)
            if step.effect is not Effect.READ_ONLY and not verified:
                yield path, f"no wait_signal behind {step.id} shows that it worked"


class NoWayBack:
    """A change that cannot be taken back, or says it can and does not say how."""

    code = "no-rollback"
    hint = "add a rollback (type http, command or manual)"

    def find(self, subject: Subject) -> Iterator[Finding]:
        for path, step in subject.steps():
            if isinstance(step, WaitSignal) or step.effect is Effect.READ_ONLY:
                continue
            if step.rollback is None:
                yield path, f"{step.id} is {step.effect} and has no rollback"


class EndlessWait:
    """A wait that never gives up."""

    code = "no-timeout"
    hint = "add a timeout: a wait that ends as failed asks for a person"

    def find(self, subject: Subject) -> Iterator[Finding]:
        for path, step in subject.steps():
            if isinstance(step, WaitSignal) and step.timeout is None:
                yield path, f"{step.id} waits without a timeout"


class Unused:
    """A parameter or secret that nothing uses."""

    code = "unused"
    hint = "take it out"

    def find(self, subject: Subject) -> Iterator[Finding]:
        text = repr(subject.document.data)
        for space in ("params", "secrets"):
            for name in getattr(subject.runbook.spec, space):
                if f"{space}.{name}" not in text:
                    yield (space, name), f"{space}.{name} is used nowhere"


class Shell:
    """A command that runs other commands."""

    code = "shell"
    hint = "name the command itself; a shell undoes the care taken with arguments"

    def find(self, subject: Subject) -> Iterator[Finding]:
        for path, call in calls(subject):
            if isinstance(call, (Command, CommandUndo)):
                name = call.argv[0].rsplit("/", 1)[-1]
                if name in _SHELLS:
                    yield (*path, "argv", 0), f"{name} runs whatever it is given"


class NotAllowed:
    """A request that the operator's allow-list does not name."""

    code = "not-allowed"
    hint = "ask the operator to name it, or it will be refused when it is needed"

    def find(self, subject: Subject) -> Iterator[Finding]:
        if subject.allow is None:
            return
        secrets = subject.runbook.spec.secrets
        for path, call in calls(subject):
            try:
                request = render(call, _stand_in(subject.runbook), secrets.__getitem__)
            except RenderError:
                continue  # a base from a parameter without default: known only when it runs
            decision = allowed(request, subject.allow)
            if not decision.allowed:
                yield path, decision.reason


def _stand_in(runbook: Runbook) -> LookUp:
    """Values for a trial: defaults where there are any."""

    def look_up(found: Reference) -> str:
        spec = runbook.spec.params.get(found.name) if found.space == "params" else None
        return str(spec.default) if spec is not None and spec.default is not None else _PLACEHOLDER

    return look_up


class Stale:
    """A runbook that nobody has walked through lately."""

    code = "stale"
    hint = "walk through it in a drill and write the day into reviewed_at"

    def find(self, subject: Subject) -> Iterator[Finding]:
        if subject.today is None:
            return
        reviewed = subject.runbook.spec.reviewed_at
        if reviewed is None:
            yield (), f"{subject.runbook.id} has no reviewed_at"
        elif subject.today - reviewed > STALE_AFTER:
            days = (subject.today - reviewed).days
            yield ("reviewed_at",), f"last reviewed {days} days ago"
        elif reviewed > subject.today:
            yield ("reviewed_at",), f"reviewed on {reviewed}, which is to come"


class NoOwner:
    """A runbook that nobody answers for."""

    code = "no-owner"
    hint = "add owner: the team that keeps it"

    def find(self, subject: Subject) -> Iterator[Finding]:
        if not subject.runbook.spec.owner:
            yield (), f"{subject.runbook.id} has no owner"


class NeverSuggested:
    """A runbook that no alert brings up."""

    code = "no-match"
    hint = "add match, for example {signal: refusal_rate}"

    def find(self, subject: Subject) -> Iterator[Finding]:
        if not subject.runbook.spec.match:
            yield (), f"{subject.runbook.id} matches no alert, so nobody is led to it"


class Bare:
    """A manual step that does not say how."""

    code = "bare-step"
    hint = "add text: what to look at, and how to decide"

    def find(self, subject: Subject) -> Iterator[Finding]:
        for path, step in subject.steps():
            if isinstance(step, Manual) and not step.text.strip():
                yield path, f"{step.id} does not say what to look at"


ISSUES: Final[tuple[Issue, ...]] = (
    NeverRuns(),
    Unproven(),
    NoWayBack(),
    EndlessWait(),
    Unused(),
    Shell(),
    NotAllowed(),
    Stale(),
    NoOwner(),
    NeverSuggested(),
    Bare(),
)


def check(
    runbook: Runbook,
    document: Document,
    today: date | None = None,
    allow: AllowList | None = None,
) -> list[Problem]:
    """Every weakness, as warnings in the order of the file."""
    subject = Subject(runbook, document, today, allow)
    return sorted(
        document.problem(path, issue.code, text, issue.hint, severity=Severity.WARNING)
        for issue in ISSUES
        for path, text in issue.find(subject)
    )


def calls(
    subject: Subject,
) -> Iterator[tuple[Path, Http | HttpUndo | Command | CommandUndo]]:
    """Everything the runbook would carry out, rollbacks too."""
    for path, step in subject.steps():
        if isinstance(step, (Http, Command)):
            yield path, step
        if isinstance(step, Automatic) and isinstance(step.rollback, (HttpUndo, CommandUndo)):
            yield (*path, "rollback"), step.rollback
