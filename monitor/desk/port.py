"""What a person can ask and do, as a protocol.

Two things implement it: `monitor.desk.desk.Desk`, inside the daemon (or opened directly as
break-glass), and the client of its socket. The terminal and the command line know only this.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from monitor import views
from monitor.detect_views import Backtest, Explanation
from monitor.rule_views import Budget, RuleChange, RuleMoved, RuleRow, Ticket
from monitor.views import StepAction


class DeskPort(Protocol):
    """Every method may raise `views.DeskError`."""

    # questions ---------------------------------------------------------------------------------

    def whoami(self) -> views.Principal: ...
    def overview(self) -> views.Overview: ...
    def incidents(
        self,
        *,
        state: str = "",
        severity: str = "",
        since: datetime | None = None,
        mine: bool = False,
        limit: int = 200,
    ) -> list[views.IncidentRow]:
        """Newest first. `state`: empty for all, `open`, or one state; `severity`: empty for all."""
        ...

    def incident(self, ref: str) -> views.IncidentView:
        """`ref`: `INC-0142`, `142`, or `latest`: the newest open one, with none open the newest."""
        ...

    def timeline(self, ref: str, *, after: int = 0, limit: int = 500) -> list[views.TimelineEntry]:
        """Entries with a higher `seq` than `after`, oldest first."""
        ...

    def chart(self, ref: str, *, minutes: int = 60) -> views.Chart: ...
    def signals(self) -> list[views.SignalNow]: ...
    def changes(self, *, since: datetime | None = None) -> list[views.ChangeView]: ...
    def notes(self, *, since: datetime | None = None) -> list[views.NoteView]:
        """Levels that changed for good and what fits, newest first."""
        ...

    def quarantine(self, *, limit: int = 100) -> list[views.QuarantineRow]:
        """Findings in records that are not what they should be, newest first."""
        ...

    def runbooks(self, ref: str = "") -> list[views.RunbookRow]:
        """The known runbooks, those that match the incident first."""
        ...

    def runbook_text(self, runbook: str) -> str: ...

    # detection -----------------------------------------------------------------------------------

    def explain(
        self, *, signal: str, dimensions: dict[str, str] | None = None, limit: int = 5
    ) -> list[Explanation]:
        """The series of a signal that match, those that fire and the highest score first."""
        ...

    def backtest(self, *, signal: str, days: int = 14) -> Backtest:
        """What the rule would have done with the traffic that is stored."""
        ...

    # rules and budgets ---------------------------------------------------------------------------

    def budget(self, *, team: str = "") -> list[Budget]:
        """What each team may spend and has spent; of one team where it is named."""
        ...

    def rules(self) -> list[RuleRow]:
        """Every statistical rule, its tier, and whether it is offered for promotion."""
        ...

    def rule_history(self, *, rule: str = "", limit: int = 50) -> list[RuleChange]:
        """Who moved which rule and why, and what was proposed, newest first."""
        ...

    def tickets(self, *, days: int = 1) -> list[Ticket]:
        """Incidents that woke nobody, and why, newest first."""
        ...

    def promote_rule(
        self,
        rule: str,
        *,
        tier: str = "page",
        reason: str = "",
        over_budget: bool = False,
        try_only: bool = False,
    ) -> RuleMoved:
        """Move a rule up with its backtest attached; `try_only` runs the backtest alone."""
        ...

    def demote_rule(self, rule: str, *, tier: str, reason: str) -> RuleMoved: ...
    def judge(self, ref: str, *, verdict: str, reason: str = "") -> views.Done:
        """The verdict on an incident that is over; the last word counts."""
        ...

    # commands ----------------------------------------------------------------------------------

    def declare(self, *, title: str, severity: str, feature: str = "") -> views.Done: ...
    def acknowledge(self, ref: str) -> views.Done: ...
    def take(self, ref: str) -> views.Done:
        """Take command; acknowledges too."""
        ...

    def note(self, ref: str, *, text: str) -> views.Done: ...
    def set_severity(self, ref: str, *, severity: str, reason: str) -> views.Done: ...
    def escalate(self, ref: str, *, reason: str = "") -> views.Done: ...
    def mitigate(self, ref: str, *, reason: str = "") -> views.Done: ...
    def resolve(self, ref: str, *, verdict: str, reason: str = "") -> views.Done:
        """Refused without a passed verification unless `reason` says why it is safe."""
        ...

    def reopen(self, ref: str, *, reason: str) -> views.Done: ...
    def close(self, ref: str, *, reason: str = "") -> views.Done: ...
    def add_change(
        self,
        *,
        kind: str,
        title: str,
        at: datetime | None = None,
        dimensions: dict[str, str] | None = None,
    ) -> views.Done: ...
    def start_run(
        self, ref: str, *, runbook: str, params: dict[str, str | int | bool] | None = None
    ) -> views.Done: ...
    def step(
        self,
        ref: str,
        *,
        number: int,
        action: StepAction,
        note: str = "",
        confirm: str = "",
        captured: dict[str, str] | None = None,
    ) -> views.Done: ...
    def abort_run(self, ref: str, *, reason: str) -> views.Done: ...
    def review(self, ref: str, *, form: str = "md") -> str:
        """The review as `md` or `json` text."""
        ...

    # the configuration ---------------------------------------------------------------------------

    def config_history(self, *, limit: int = 50) -> list[views.ConfigRevision]:
        """Newest first, without their bodies."""
        ...

    def config_revision(self, *, number: int = 0) -> views.ConfigRevision:
        """One with its body; 0 is the one in force."""
        ...

    def reload_config(self) -> views.ConfigReloaded:
        """Take the configuration as it is on disk now, whole or not at all; for admins."""
        ...

    # the ways in, for admins ---------------------------------------------------------------------

    def tokens(self, *, limit: int = 100) -> list[views.TokenRow]:
        """Newest first; never their text."""
        ...

    def create_token(
        self, *, name: str, role: str = "responder", seconds: int = 2_592_000
    ) -> views.TokenMade:
        """A token for the person `name`, good for `seconds` (30 days, a year at most)."""
        ...

    def revoke_token(self, token: str) -> views.Done:
        """End a token by its id; its own one everybody may end."""
        ...

    def audit(self, *, limit: int = 100) -> list[views.AuditLine]:
        """Refusals, and changes of the ways in, newest first."""
        ...
