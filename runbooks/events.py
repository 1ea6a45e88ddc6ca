"""What can happen to a run, what follows from it, and why something did not happen.

Events come from people (each with its actor), from whoever carries out attempts, and from the
clock. Effects are what the caller must do after it has stored the new run. Entries are facts for
the timeline, written in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runbooks.references import Value
from runbooks.requests import Request
from runbooks.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Begin the run."""

    actor: str
    params: Mapping[str, object] = field(default_factory=dict)
    """What the person filled in."""
    configured: Mapping[str, object] = field(default_factory=dict)
    """What the operator configured, for parameters the person left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """Start a step."""

    step: str
    actor: str
    confirm: str | None = None
    """`y` for a reversible step, the incident's id for a destructive one."""
    request_sha256: str | None = None
    """Digest of the request the person saw; another one is refused."""
    again: bool = False
    """Yes, although it was done, skipped or rolled back, or its outcome is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A person did a manual step, or says that a step of unknown outcome worked."""

    step: str
    actor: str
    note: str = ""
    captured: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """A person says that a step failed."""

    step: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A person leaves a step out."""

    step: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """Take a step back."""

    step: str
    actor: str
    confirm: str | None = None
    request_sha256: str | None = None
    note: str = ""
    """For a rollback by hand: what was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """Stop the run; what is under way is stopped and its outcome unknown."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBegun:
    """Somebody sets about carrying out an attempt; from here on nobody else may."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    """An attempt came back."""

    step: str
    attempt: int
    ok: bool
    """It was carried out; whether its status means success is the step's `expect`."""
    status: int | None = None
    """Exit code or HTTP status."""
    output: str = ""
    """The beginning of what it said; read for captures, never kept."""
    output_sha256: str = ""
    unknown: bool = False
    """It may or may not have taken effect: an answer was lost, a deadline passed."""
    detail: str = ""
    """Why it was not carried out, in few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalObserved:
    """A sample of a watched signal."""

    step: str
    value: float | None
    """A fraction; None when there was no data."""
    at: datetime
    """The sample's own time: the end of its bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseExpired:
    """Whoever carried out an attempt went silent."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """The process starts again: attempts that others have begun have lost their carrier."""

    ours: frozenset[tuple[str, int]] = frozenset()
    """Step and number of those that have one: people are quicker than the first look around."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


PersonEvent = Start | RunStep | Done | Fail | Skip | Undo | Abort
MachineEvent = AttemptBegun | AttemptFinished | SignalObserved | LeaseExpired | Recovered | Tick
Event = PersonEvent | MachineEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAttempt:
    """Carry out a request; answer with `AttemptFinished`."""

    step: str
    attempt: int
    request: Request
    executable: str
    """For a command: the absolute path to start, from the allow-list."""
    timeout: timedelta
    key: str
    """Send as `Idempotency-Key`, hand to a command as `TOCSIN_IDEMPOTENCY_KEY`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Send samples of a signal as `SignalObserved` until the step is no longer running."""

    step: str
    signal: str
    series: Mapping[str, str]


Effect = StartAttempt | Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact for the timeline."""

    kind: str
    """run, step, attempt, signal or capture."""
    text: str
    """In words; it may quote outside text, so a sink encodes it."""
    actor: str
    """Who; `engine` when nobody."""
    step: str = ""
    data: Mapping[str, Value] = field(default_factory=dict)
    """The same in fields, for a machine."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing happened."""

    code: str
    """Short and stable: state, confirm, needs, condition, value, changed, allow, stale, order."""
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """What an event did: the new run, what to do next, what to write down; or a refusal."""

    run: Run
    effects: tuple[Effect, ...] = ()
    entries: tuple[Entry, ...] = ()
    refusal: Refusal | None = None
