"""The runbook format `runbook/v1`: what stands in the file, field by field.

A runbook is a checklist that a person drives: manual steps, HTTP calls and commands that the
operator's allow-list names, and waits for a signal. These are plain values; `load` reads and checks
them, `engine` works a run through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from runbooks.durations import Duration
from runbooks.expressions import Expression
from runbooks.params import AnyParam

Identifier = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,59}$")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,59}$")]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Prose = Annotated[str, msgspec.Meta(max_length=8_000)]
Element = Annotated[str, msgspec.Meta(max_length=4_000)]
"""A literal, or exactly one reference."""
HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,99}$")]
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]
Exit = Annotated[int, msgspec.Meta(ge=0, le=255)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
JsonValue = Element | int | float | bool | None
Argv = Annotated[tuple[Element, ...], msgspec.Meta(min_length=1, max_length=100)]


class Effect(StrEnum):
    """What a step does to the world, which decides how it is confirmed and whether it may rerun."""

    READ_ONLY = "read_only"
    """Looks only: runs on Enter, and again after a crash."""
    REVERSIBLE = "reversible"
    """Can be taken back: confirmed with `y`."""
    DESTRUCTIVE = "destructive"
    """Cannot, or hurts users: confirmed by typing the incident's id."""


EFFECT_ORDER = tuple(Effect)
"""From harmless to harmful."""


class NoData(StrEnum):
    """What a wait does when its signal sends nothing."""

    WAIT = "wait"
    """Start the count afresh with the next sample; the timeout still ends it."""
    FAIL = "fail"
    """Fail the step."""


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """Where a secret is found when a step runs; its value is never in a file or a run."""

    source: Literal["env", "file"]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """The environment variable, or the absolute path of the file."""
    prefix: Annotated[str, msgspec.Meta(max_length=40)] = ""
    """Put before the value: `"Bearer "`."""


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Trying again without a person: read_only steps, and reversible ones that say idempotent."""

    max: Annotated[int, msgspec.Meta(ge=1, le=10)]
    """Attempts after the first."""
    delay: Duration = Duration.from_text("5s")
    """Before each."""
    on_exit: tuple[Exit, ...] = ()
    """Exit codes that are worth it; empty: every failure."""
    on_status: tuple[Status, ...] = ()
    """HTTP statuses that are worth it; empty: every failure."""


class Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What steps use when they say nothing."""

    timeout: Duration = Duration.from_text("60s")


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which answers mean that it worked."""

    status: tuple[Status, ...] = (200, 201, 202, 204)
    exit: tuple[Exit, ...] = (0,)


class Reversal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What rollbacks that a machine does share."""

    effect: Effect = Effect.REVERSIBLE
    expect: Expect = Expect()
    timeout: Duration | None = None


class HttpUndo(Reversal, frozen=True, kw_only=True, tag="http", tag_field="type"):
    """A rollback by HTTP; the fields of an http step."""

    method: Method
    base: Element
    path: str | tuple[Element, ...] = ""
    query: dict[str, Element] = {}
    headers: dict[HeaderName, Element] = {}
    json: dict[str, JsonValue] | None = None


class CommandUndo(Reversal, frozen=True, kw_only=True, tag="command", tag_field="type"):
    """A rollback by command; the fields of a command step."""

    argv: Argv
    env: dict[Name, Element] = {}


class ManualUndo(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="manual",
    tag_field="type",
):
    """A rollback that a person does."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
    effect: Effect = Effect.REVERSIBLE


Undo = HttpUndo | CommandUndo | ManualUndo


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value taken out of a JSON answer, as later steps may use it."""

    pointer: Annotated[str, msgspec.Meta(pattern=r"^(/[^/~]{1,60}){1,8}$")]
    """Where it is (RFC 6901, without escapes): `/change/id`."""
    pattern: Annotated[str, msgspec.Meta(max_length=200)] = r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,119}"
    """The whole value matches; anything else is not taken."""


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all steps share."""

    id: Identifier
    title: Title
    text: Prose = ""
    """What to look at, and how to decide; references are filled in for the eyes."""
    needs: tuple[str, ...] = ()
    """Steps that must be done or skipped before."""
    condition: Expression | None = msgspec.field(default=None, name="if")
    """The step is skipped when this is false; over params, steps.STEP.NAME and incident."""


class Manual(Common, frozen=True, kw_only=True, tag="manual", tag_field="type"):
    """A person does or decides something."""

    effect: Effect = Effect.READ_ONLY
    capture: dict[Name, AnyParam] = {}
    """What the person fills in, for later steps and the review."""
    rollback: ManualUndo | None = None


class Automatic(Common, frozen=True, kw_only=True):
    """What steps that a machine does share."""

    effect: Effect
    expect: Expect = Expect()
    timeout: Duration | None = None
    auto: bool = False
    """Starts by itself as soon as it may; read_only steps only."""
    idempotent: bool = False
    """Doing it twice is doing it once; allows `retry` on a reversible step."""
    retry: Retry | None = None
    rollback: Undo | None = None
    capture: dict[Name, Capture] = {}
    """Values to take out of a JSON answer."""


class Http(Automatic, frozen=True, kw_only=True, tag="http", tag_field="type"):
    """An HTTP call to a place the operator allows."""

    method: Method
    base: Element
    """Scheme, host, port and perhaps a path: a literal or one `${params.x}`."""
    path: str | tuple[Element, ...] = ""
    """Behind the base: a literal, or segments that are each a literal or one reference."""
    query: dict[str, Element] = {}
    headers: dict[HeaderName, Element] = {}
    json: dict[str, JsonValue] | None = None
    """A flat JSON body."""


class Command(Automatic, frozen=True, kw_only=True, tag="command", tag_field="type"):
    """A process without a shell, of a command the operator allows."""

    argv: Argv
    """One element is one argument; the first is a literal that the allow-list knows."""
    env: dict[Name, Element] = {}


class WaitSignal(
    Common,
    frozen=True,
    kw_only=True,
    tag="wait_signal",
    tag_field="type",
    rename={"hold": "for", "condition": "if"},
):
    """Wait until a signal has stayed on the right side of a value for a while."""

    signal: Element
    """The signal's name, or `${incident.signal}`."""
    series: dict[str, str] | None = None
    """Its dimension values; absent: those of the incident."""
    op: Literal["<", "<=", ">", ">="]
    value: float | Element
    """A number, `${params.x}`, `${incident.baseline}` or `${incident.threshold}`."""
    times: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.0
    """The value is multiplied by it: 1.5 times the baseline."""
    hold: Duration
    """How long without a break."""
    timeout: Duration | None = None
    no_data: NoData = NoData.WAIT
    no_data_after: Duration = Duration.from_text("3m")
    """A silence this long breaks the count."""
    auto: bool = False
    verify: bool = True
    """Passing is the proof that a mitigation worked."""

    @property
    def effect(self) -> Effect:
        """A wait only looks."""
        return Effect.READ_ONLY


Step = Manual | Http | Command | WaitSignal
Action = Http | Command | HttpUndo | CommandUndo


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A runbook file."""

    api_version: Literal["runbook/v1"] = msgspec.field(name="apiVersion")
    id: Identifier
    version: Annotated[int, msgspec.Meta(ge=1)]
    title: Title
    summary: Prose = ""
    owner: Annotated[str, msgspec.Meta(max_length=100)] = ""
    reviewed_at: date | None = None
    """When somebody last walked through it."""
    match: dict[str, str | tuple[str, ...]] = {}
    """Labels of an alert or incident that suggest this runbook; a list means any of them."""
    params: dict[Name, AnyParam] = {}
    secrets: dict[Name, Secret] = {}
    defaults: Defaults = Defaults()
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=100)]


@dataclass(frozen=True, slots=True)
class Runbook:
    """A checked runbook, pinned by the digest of its file."""

    spec: Spec
    sha256: str
    """Of the file's bytes, in hexadecimal."""
    file: str

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def title(self) -> str:
        return self.spec.title

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.spec.steps

    def step(self, name: str) -> Step | None:
        """The step of that id."""
        return next((step for step in self.spec.steps if step.id == name), None)

    def matches(self, labels: Mapping[str, str]) -> int:
        """How many labels of `match` fit; 0 when one does not (or none is asked for)."""
        for label, wanted in self.spec.match.items():
            found = labels.get(label)
            if found is None or found not in ((wanted,) if isinstance(wanted, str) else wanted):
                return 0
        return len(self.spec.match)


def timeout_of(spec: Spec, step: Step | Action) -> timedelta | None:
    """How long the step may take; None only for a wait or a manual step that sets nothing."""
    if isinstance(step, Manual):
        return None
    if isinstance(step, WaitSignal):
        return step.timeout
    return step.timeout or spec.defaults.timeout
