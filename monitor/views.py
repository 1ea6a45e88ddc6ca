"""What the desk answers: frozen values that travel as JSON, and nothing else.

The terminal, the command line and the review are built on these. Text fields are raw: whoever shows
them encodes them (`monitor.text`). Times are aware UTC; an absent time is None.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from monitor.incidents import actions

StepAction = Literal["run", "done", "fail", "skip", "undo"]
VERDICTS = actions.VERDICTS
"""What a person says of an incident when resolving it; tuning and precision feed on it."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all views."""


class Principal(View, frozen=True, kw_only=True):
    """Who is asking, and what they may do."""

    name: str
    role: Literal["reader", "responder", "admin"]
    via: Literal["socket", "tls", "direct", "slack", "pagerduty", "system"] = "socket"
    """`direct` is break-glass: the local owner of the store opened it without a daemon; `tls` is
    another machine, with a token."""
    token: str = ""
    """Id of the token, over `tls`."""
    expires_at: datetime | None = None
    """When that token ends."""


class Health(View, frozen=True, kw_only=True):
    """One part of Tocsin: `ok`, `warn` or `bad`, and a line that says why."""

    name: str
    state: Literal["ok", "warn", "bad"]
    text: str


class Overview(View, frozen=True, kw_only=True):
    """The state of everything on one line, and the parts behind it."""

    now: datetime
    event_now: datetime | None
    """The watermark: verdicts are up to here."""
    open_incidents: int
    unacknowledged: int
    yours: int
    lag_s: float | None
    pager: Health
    parts: list[Health]
    profile: str
    live: bool
    """False for a recording or the demo, and where no daemon runs."""
    revision: int
    """Grows with every change a screen could show; poll it, and read the rest when it moved."""
    daemon: bool = True
    """False: nothing reads the stream, what is told is what is stored."""


class SignalNow(View, frozen=True, kw_only=True):
    """One paging series now."""

    signal: str
    dimensions: dict[str, str]
    state: Literal["warming", "quiet", "firing"]
    rate: float | None
    baseline: float | None
    score: float
    threshold: float
    tier: Literal["shadow", "ticket", "page"]


class QuarantineRow(View, frozen=True, kw_only=True):
    """One finding in a record that is not (or not wholly) what it should be; never its content."""

    topic: str
    partition: int
    offset: int
    rule: str
    path: str
    """Where in the event, as the producer wrote it."""
    length: int
    """Of the record, in bytes."""
    digest: str
    """Keyed digest of the event's id, or of the record where no id could be read."""
    at: datetime


class IncidentRow(View, frozen=True, kw_only=True):
    """One line of the list."""

    id: str
    """The number people say, `INC-0142`."""
    title: str
    state: str
    severity: str
    detected_at: datetime
    acknowledged_at: datetime | None = None
    mitigated_at: datetime | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    dimensions: dict[str, str] = {}
    signal: str | None = None
    """The signal of the first alert; None for a declared incident."""
    owner: str | None = None
    paged: bool = False
    firing: bool = False
    spark: list[float | None] = []
    """The last 60 minutes of the first alert's rate, oldest first, at most 60 values."""
    uuid: str = ""
    """No other incident has it, in any store; the number is this store's own."""


class AlertView(View, frozen=True, kw_only=True):
    """One alert of an incident."""

    fingerprint: str
    signal: str
    dimensions: dict[str, str]
    state: Literal["firing", "cleared"]
    tier: Literal["shadow", "ticket", "page"]
    severity: str
    onset_at: datetime
    detected_at: datetime
    cleared_at: datetime | None
    k: int
    n: int
    rate: float
    baseline: float
    excess: float
    score: float
    threshold: float
    reason: str
    """One sentence: what, how much against which baseline, over which window."""


class Cause(View, frozen=True, kw_only=True):
    """A dimension value that explains part of the excess."""

    dimensions: dict[str, str]
    share: float
    """0..1 of the excess."""
    first_seen: datetime | None = None


class ChangeView(View, frozen=True, kw_only=True):
    """A release, flag or threshold change somebody or something recorded."""

    id: str
    kind: str
    title: str
    at: datetime
    dimensions: dict[str, str]
    actor: str


class NoteView(View, frozen=True, kw_only=True):
    """Something that changed for good; it pages nobody."""

    kind: Literal["level", "judge"]
    """`judge`: what fits is another version of who judges it."""
    signal: str
    dimensions: dict[str, str]
    onset_at: datetime
    at: datetime
    """When it was noticed."""
    before: float | None
    after: float | None
    text: str
    fits: str
    """The change that fits best, in words; empty where none does."""


class Param(View, frozen=True, kw_only=True):
    """A value a runbook asks for before it starts."""

    name: str
    type: str
    description: str = ""
    required: bool = True
    default: str | int | bool | None = None
    values: list[str] = []


class StepView(View, frozen=True, kw_only=True):
    """One step of a run."""

    number: int
    id: str
    type: str
    title: str
    text: str
    state: Literal["pending", "running", "succeeded", "failed", "skipped", "unknown", "rolled_back"]
    effect: Literal["read_only", "reversible", "destructive"]
    request: str = ""
    """The exact command or HTTP request, rendered, as it will be or was sent."""
    confirm: str | None = None
    """What must be typed to run it: None, `y`, or the incident's id."""
    undo: str = ""
    undo_confirm: str | None = None
    """What must be typed to take it back: None, `y`, or the incident's id."""
    asks: list[Param] = []
    """What a manual step wants to keep when it is done."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deadline_at: datetime | None = None
    output: str = ""
    note: str = ""
    current: bool = False
    actions: list[StepAction] = []
    """What may be done with it now."""


class RunView(View, frozen=True, kw_only=True):
    """A runbook being worked, or ready to be."""

    id: str
    runbook: str
    version: int
    title: str
    state: str
    done: int
    total: int
    steps: list[StepView]


class RunbookRow(View, frozen=True, kw_only=True):
    """A runbook that could be started; `suggested` ones match the incident."""

    id: str
    version: int
    title: str
    suggested: bool
    params: list[Param]


class TimelineEntry(View, frozen=True, kw_only=True):
    """One line of the timeline; `seq` grows by one within an incident."""

    seq: int
    kind: str
    """DETECT, PAGE, ACK, CMD, NOTE, STEP, CHANGE, VERIFY, MITIGATED, RESOLVED: upper case."""
    text: str
    actor: str
    occurred_at: datetime
    recorded_at: datetime
    revises: int | None = None
    via: str = ""
    """How the person came in, where the entry says: `socket`, `tls`, `slack` ..."""


class PageView(View, frozen=True, kw_only=True):
    """One page and what became of it."""

    receiver: str
    kind: str
    state: Literal["waiting", "sent", "retrying", "dead"]
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    detail: str


class IncidentView(View, frozen=True, kw_only=True):
    """All of one incident but its timeline."""

    row: IncidentRow
    facts: list[str]
    """At most three lines, as in the page."""
    alerts: list[AlertView]
    causes: list[Cause]
    changes: list[ChangeView]
    commander: str | None
    run: RunView | None
    pages: list[PageView]
    verdict: str | None
    verified: bool
    """A signal condition held after the last mitigation: resolve is open without a reason."""
    resolve_lacks: list[str]
    """What is missing before resolve; empty when it may be resolved."""
    links: dict[str, str]
    review_path: str | None = None


class ChartPoint(View, frozen=True, kw_only=True):
    """One bucket of the incident's signal."""

    at: datetime
    rate: float | None
    baseline: float | None
    n: int


class ChartMark(View, frozen=True, kw_only=True):
    """An event on the chart's time axis."""

    at: datetime
    kind: Literal["onset", "detected", "acknowledged", "step", "change", "mitigated", "resolved"]
    text: str


class Chart(View, frozen=True, kw_only=True):
    """The signal of one incident over time."""

    signal: str
    dimensions: dict[str, str]
    unit: Literal["rate"] = "rate"
    bucket_s: int
    limit: float | None = None
    """The rate from which the signal's floors hold; None where it has no baseline."""
    points: list[ChartPoint]
    marks: list[ChartMark]


class Done(View, frozen=True, kw_only=True):
    """A command was applied: what happened, in words, and where to look."""

    text: str
    incident: str | None = None
    revision: int = 0
    daemon: bool = True
    """False: recorded on the store itself; receivers hear of it when a daemon runs again."""


class ConfigProblem(View, frozen=True, kw_only=True):
    """One thing wrong with a configuration, and where."""

    file: str
    line: int
    """From 1; 0 when the file as a whole is meant."""
    col: int
    severity: Literal["error", "warning"]
    code: str
    text: str
    hint: str


class ConfigReloaded(Done, frozen=True, kw_only=True):
    """What came of a reload: taken whole, or not at all and why."""

    taken: bool
    number: int
    """The revision in force; 0 when it was not taken."""
    changed: list[str]
    """Keys, without values."""
    problems: list[ConfigProblem]


class ConfigRevision(View, frozen=True, kw_only=True):
    """A configuration that was in force from `at` on."""

    number: int
    """People write r7; 0 for one that is in force here and not the last that was stored."""
    at: datetime
    who: str
    """The person who asked for it, or `start`."""
    via: str
    note: str
    """The keys that changed, without values."""
    digest: str
    body: str
    """The whole of it as JSON text, secrets as references; empty in a list."""


class TokenMade(Done, frozen=True, kw_only=True):
    """A new token: the only time its text is shown."""

    id: str
    token: str
    expires_at: datetime


class TokenRow(View, frozen=True, kw_only=True):
    """A token that opens the desk from another machine; its text is nowhere."""

    id: str
    name: str
    role: Literal["reader", "responder", "admin"]
    state: Literal["live", "expired", "revoked"]
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None
    """Last use, to the minute."""


class AuditLine(View, frozen=True, kw_only=True):
    """Somebody was refused, or a way into the desk was changed."""

    at: datetime
    who: str
    """`-` where nobody was recognised."""
    via: str
    """`socket`, `direct`, or `tls` and an address."""
    action: str
    outcome: str
    """`done`, or the reason of a refusal in one word."""
    detail: str


class DeskError(Exception):
    """A question or command that was not answered; `code` decides the exit status.

    Args:
        code: `refused` (exit 5), `not_found` (4), `forbidden` (5), `invalid` (2) or
            `unavailable` (6).
        message: what is wrong.
        hint: what to do about it.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
