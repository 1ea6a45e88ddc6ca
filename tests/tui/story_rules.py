"""The part of the story's desk about rules and budgets: one rule, one team, moves that are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.detect_views import Backtest, Episode
from monitor.rule_views import (
    Budget,
    Proposed,
    RuleChange,
    RuleMoved,
    RuleRow,
    Spend,
    Ticket,
    Tier,
)
from monitor.views import DeskError, Done

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
TESTED = Backtest(
    signal="refusal_rate",
    profile="quiet",
    thresholds=[8.4],
    meanings=["pages at what a quiet series reaches once in 12 weeks"],
    since=AT - timedelta(weeks=4),
    without="without tenant, model and release series: no counts by tenant are stored",
    until=AT,
    weeks=4.0,
    series=3,
    series_weeks=11.9,
    episodes=[
        Episode(
            dimensions={"environment": "prod", "feature": "chat"},
            onset_at=AT - timedelta(days=3),
            detected_at=AT - timedelta(days=3) + timedelta(minutes=6),
            ended_at=AT - timedelta(days=3) + timedelta(minutes=66),
            duration_s=3600,
            k=90,
            n=400,
            baseline=0.05,
            peak_ratio=4.5,
            excess=70.0,
            score=14.0,
            page=True,
            incidents=["INC-0137"],
            verdict=None,
        )
    ],
    pages=1,
    true=0,
    false=0,
    unjudged=1,
    false_per_week=0.25,
)


class StoryRules:
    """Rules of the story; `spent` false pages decide what a promotion meets."""

    tier: Tier = "shadow"
    spent = 0
    crowded = False
    dress: Callable[[str], str]
    log: list[tuple[str, dict[str, Any]]]

    def budget(self, *, team: str = "") -> list[Budget]:
        if team not in {"", "default"}:
            raise DeskError("not_found", f"no team {team!r}", "there are: default")
        proposed = Proposed(
            rule="refusal_rate",
            tier="ticket",
            reason=self.dress(f"team default had {self.spent} false pages in 4 weeks, 1 allowed"),
            command="tocsin rule demote refusal_rate --to ticket --reason TEXT",
        )
        return [
            Budget(
                team="default",
                false_pages=1.0,
                weeks=4,
                since=AT - timedelta(weeks=4),
                spent=self.spent,
                unjudged=1,
                left=max(0.0, 1.0 - self.spent),
                overspent=self.spent > 1,
                series=3,
                fleets=1,
                per_series_week=1 / 16,
                crowded=self.dress("31 series page team default") if self.crowded else "",
                rules=[
                    Spend(
                        rule="refusal_rate",
                        tier=self.tier,
                        series=3,
                        expected=0.75,
                        false=self.spent,
                        true=2,
                        unjudged=1,
                    ),
                    Spend(
                        rule="refusal_rate (fleet)",
                        tier=self.tier,
                        series=1,
                        expected=0.25,
                        false=0,
                        true=0,
                        unjudged=0,
                    ),
                ],
                proposals=[proposed] * (self.spent > 1),
                shift_paged=2,
                shift_cap=2,
                shift_free_at=AT + timedelta(hours=5),
                divided_at=AT - timedelta(days=2),
                divided_why=self.dress("refusal_rate pages now: 3 series"),
            )
        ]

    def rules(self) -> list[RuleRow]:
        return [
            RuleRow(
                name="refusal_rate",
                title="Refusals",
                tier=self.tier,
                set_by=self.dress("profile"),
                since=None,
                reason="",
                offered=self.tier == "shadow",
                offer=self.dress("in shadow since 2026-11-01: tocsin rule promote refusal_rate"),
                counted_since=AT - timedelta(days=19),
                series=3,
                fired=1,
                tested_at=None,
                tested_weeks=None,
                tested_pages=None,
                tested_true=None,
            )
        ]

    def rule_history(self, *, rule: str = "", limit: int = 50) -> list[RuleChange]:
        change = RuleChange(
            at=AT,
            rule="refusal_rate",
            kind="proposal",
            was="page",
            tier="ticket",
            actor=self.dress("tocsin"),
            via="",
            reason=self.dress("two for nothing"),
            backtest=None,
        )
        return [change][:limit] if rule in {"", change.rule} else []

    def tickets(self, *, days: int = 1) -> list[Ticket]:
        ticket = Ticket(
            id="INC-0139",
            title=self.dress("Tool misuse 3.0x base: search in prod"),
            severity="SEV3",
            state="triage",
            signal="tool_misuse",
            dimensions={"environment": "prod", "feature": "search"},
            detected_at=AT,
            reason=self.dress("2 incidents paged within 12 hours: folded into the digest"),
        )
        return [ticket] if days > 1 else []

    def promote_rule(
        self,
        rule: str,
        *,
        tier: str = "page",
        reason: str = "",
        over_budget: bool = False,
        try_only: bool = False,
    ) -> RuleMoved:
        if rule != "refusal_rate":
            raise DeskError("not_found", f"no rate {rule!r}", "list them: tocsin signal list")
        against = "refusal_rate would overspend the budget of team default" * (self.spent > 0)
        if against and not over_budget and not try_only:
            raise DeskError("refused", against, "--over-budget --reason TEXT")
        return self._move("promote_rule", tier, against, TESTED, reason=reason, moved=not try_only)

    def demote_rule(self, rule: str, *, tier: str, reason: str) -> RuleMoved:
        return self._move("demote_rule", tier, "", None, reason=reason, moved=rule != "")

    def judge(self, ref: str, *, verdict: str, reason: str = "") -> Done:
        self.log.append(("judge", {"ref": ref, "verdict": verdict, "reason": reason}))
        return Done(text=f"{ref}: verdict {verdict}", incident=ref)

    def _move(
        self,
        name: str,
        tier: str,
        against: str,
        tested: Backtest | None,
        *,
        reason: str,
        moved: bool,
    ) -> RuleMoved:
        was = self.tier
        if moved:
            self.log.append((name, {"tier": tier, "reason": reason}))
            self.tier = tier  # type: ignore[assignment] # one of the three
        return RuleMoved(
            text=f"refusal_rate is at {tier}, was at {was}",
            rule="refusal_rate",
            was=was,
            tier=tier,  # type: ignore[arg-type] # one of the three
            moved=moved,
            objection=against,
            backtest=tested,
        )
