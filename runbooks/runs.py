"""A run: one working-through of a runbook, as a value that a store keeps.

Everything that must survive a crash is in here, deadlines too, as UTC times. `engine.advance` makes
the next value from this one; nothing else does.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from runbooks.references import Value

FORMAT: Final = 1


class RunState(StrEnum):
    """Where a run as a whole is; all but aborted follow from its steps."""

    PENDING = "pending"
    """Made, not started."""
    RUNNING = "running"
    """A step is at work or waits for its signal."""
    WAITING_INPUT = "waiting_input"
    """A person has the next move."""
    PAUSED = "paused"
    """A step failed; a person decides how to go on."""
    SUCCEEDED = "succeeded"
    """Every step is done, skipped or rolled back."""
    FAILED = "failed"
    """No step is open and at least one failed."""
    ABORTED = "aborted"
    """A person stopped it."""


class StepState(StrEnum):
    """Where one step is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    """It was started and nobody knows what became of it; a person looks and says."""
    ROLLED_BACK = "rolled_back"


OPEN_STEPS: Final = frozenset({StepState.PENDING, StepState.RUNNING, StepState.UNKNOWN})
DONE_STEPS: Final = frozenset({StepState.SUCCEEDED, StepState.SKIPPED, StepState.ROLLED_BACK})


class Purpose(StrEnum):
    """Why an attempt was made."""

    RUN = "run"
    ROLLBACK = "rollback"


class Outcome(StrEnum):
    """What became of an attempt."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the run knows of its incident, fixed when the run is made."""

    id: str
    severity: str = ""
    signal: str = ""
    """Name of the signal that fired; empty when a person declared it."""
    series: dict[str, str] = {}
    """Its dimension values."""
    baseline: float | None = None
    """What the rate was before, as a fraction."""
    threshold: float | None = None
    """What the rate had to pass to fire, as a fraction."""

    def values(self) -> dict[str, Value]:
        """What references may name."""
        return {
            "id": self.id,
            "severity": self.severity or None,
            "signal": self.signal or None,
            "baseline": self.baseline,
            "threshold": self.threshold,
        }


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a step or its rollback, written down before it starts."""

    number: int
    """From 1, over the whole step."""
    purpose: Purpose
    key: str
    """Stable over automatic repeats, so that the other side folds them."""
    request_sha256: str
    started_at: datetime
    deadline: datetime
    """When silence about it means that its outcome is unknown."""
    actor: str
    """Who confirmed it; `engine` for an automatic one."""
    begun: bool | None = None
    """Whether somebody has set about carrying it out; None in runs of before this was written down:
    perhaps."""
    outcome: Outcome = Outcome.RUNNING
    ended_at: datetime | None = None
    status: int | None = None
    """Exit code or HTTP status."""
    output_sha256: str = ""
    detail: str = ""
    """Why, in few words; from outside, so a sink encodes it."""


class Watching(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a wait."""

    signal: str
    series: dict[str, str]
    op: str
    limit: float
    started_at: datetime
    hold_seconds: float
    timeout_at: datetime | None
    stale_at: datetime
    """When silence breaks the count."""
    since: datetime | None = None
    """The first sample (its own time) of the unbroken stretch on the right side."""
    last_at: datetime | None = None
    """The newest sample's own time."""
    last_value: float | None = None


class StepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run."""

    id: str
    state: StepState = StepState.PENDING
    attempts: tuple[Attempt, ...] = ()
    captured: dict[str, Value] = {}
    watching: Watching | None = None
    retry_at: datetime | None = None
    """When an automatic repeat is due."""
    retries: int = 0
    """Automatic repeats since a person last started it."""
    reason: str = ""
    """Why it is in its state."""
    actor: str = ""
    """Who put it there."""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def under_way(self) -> bool:
        """Whether an attempt is out in the world and nobody has reported on it."""
        return self.attempt is not None and self.attempt.outcome is Outcome.RUNNING


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one runbook for one incident."""

    format: int = FORMAT
    id: str
    runbook_id: str
    runbook_version: int
    runbook_sha256: str
    """Digest of the file it started from; another file is refused."""
    incident: Facts
    created_at: datetime
    state: RunState = RunState.PENDING
    actor: str = ""
    """Who started it."""
    params: dict[str, Value] = {}
    steps: tuple[StepRun, ...]
    started_at: datetime | None = None
    ended_at: datetime | None = None
    revision: int = 0
    """Counts the accepted events: a store compares and sets by it."""

    def step(self, name: str) -> StepRun | None:
        """The step of that id."""
        return next((step for step in self.steps if step.id == name), None)


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Run)


def encode_run(run: Run) -> bytes:
    """The run as JSON; equal runs give equal bytes."""
    return _ENCODER.encode(run)


def decode_run(data: bytes | str) -> Run:
    """The run that `encode_run` wrote.

    Raises:
        msgspec.ValidationError: it is not one, or from a newer release.
    """
    run = _DECODER.decode(data)
    if run.format != FORMAT:
        raise msgspec.ValidationError(f"a run of format {run.format}; this release knows {FORMAT}")
    return run


def next_deadline(run: Run) -> datetime | None:
    """When the run wants its next `Tick`, or None when only an event can move it."""
    times: list[datetime] = []
    for step in run.steps:
        if step.retry_at is not None:
            times.append(step.retry_at)
        if step.state is not StepState.RUNNING:
            continue
        if step.watching is not None:
            times.append(step.watching.stale_at)
            if step.watching.timeout_at is not None:
                times.append(step.watching.timeout_at)
        elif step.attempt is not None and step.attempt.outcome is Outcome.RUNNING:
            times.append(step.attempt.deadline)
    return min(times, default=None)
