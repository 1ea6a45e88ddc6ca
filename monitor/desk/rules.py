"""Rules and budgets, at the desk: where each rule is in its life, and who moves it on."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec

from monitor import backtest as replays
from monitor.alerting.alerts import labels
from monitor.alerting.digest import is_ticket
from monitor.alerting.ledger import demotion
from monitor.alerting.pages import PAGED_PER_SHIFT
from monitor.alerting.promotion import LEAST_DAYS, TIERS, overspends, rises, untried
from monitor.desk import reading
from monitor.desk.detect import DetectDesk, Span
from monitor.desk.rule_reading import (
    Listed,
    budget_view,
    change_view,
    judged_weeks,
    kept,
    listed,
    summary,
    ticket_view,
    times_fired,
)
from monitor.desk.trials import WAIT_S as TRIAL_WAIT_S
from monitor.desk.trials import Outcome
from monitor.detect_views import Backtest
from monitor.incidents import actions
from monitor.incidents.actions import Refusal
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry
from monitor.rule_views import Budget, RuleChange, RuleMoved, RuleRow, Ticket, Tier
from monitor.spending import ledgers, note_proposals, shifts, tiers_of
from monitor.store.decision_rows import TierRow
from monitor.store.rule_rows import RuleEvent
from monitor.store.store import Tx
from monitor.stream.rules import Watched, watched
from monitor.stream.series import Dims
from monitor.stream.signals import NO_PAGES, Signal
from monitor.views import DeskError, Done

TEST_TIME = timedelta(days=28)
"""A promotion's backtest covers so much, after what it learns from, where so much is stored."""
_RECENT = timedelta(days=28)
_UNTESTED = frozenset({"first_seen", "judge", "together"})
"""Kinds of signals that no backtest could speak for, and that may be below where they begin."""
_KEY = "tiers: {{{}: page}} in the configuration, then: tocsin config reload"


class RuleDesk(DetectDesk):
    """Questions and commands about rules and budgets."""

    # -- questions ------------------------------------------------------------------------------

    def budget(self, *, team: str = "") -> list[Budget]:
        """Every team's, or one's."""
        now, budgets = self._clock(), self._configured.policy.budgets
        if team and team not in budgets.names():
            raise DeskError(
                "not_found", f"no team {team!r}", f"there are: {listed(budgets.names())}"
            )
        with self._reading() as tx:
            tiers = self._tiers(tx)
            divided, shift = tx.rules.shares(), shifts(tx, budgets, now)
            capped = self._configured.policy.capped
            cap = PAGED_PER_SHIFT if capped else None
            return [
                budget_view(found, shift[found.team], divided.get(found.team), cap)
                for found in ledgers(tx, budgets, tiers, now, capped=capped)
                if team in {"", found.team}
            ]

    def rules(self) -> list[RuleRow]:
        """Every statistical rule."""
        now, plan, settings = self._clock(), self._configured.plan, self._configured.settings
        beside = list(watched(settings.rules, plan.signals, bucket_s=plan.bucket_s))
        by_file = {*settings.tiers, *(one.name for one in beside)}
        with self._reading() as tx:
            tiers = self._tiers(tx)
            series: Counter[str] = Counter()
            for row in tx.rules.shares().values():
                series.update(row.share.rules)
            fired = times_fired(tx.incidents.alerts_since(now - _RECENT))
            moves = {row.signal: row for row in tx.decisions.tiers().values()}
            named = [(one.name, one.title, one.offered, one.name) for one in plan.rates()]
            if (together := plan.together()) is not None:
                named.append((together.name, together.title, together.offered, together.name))
            named += [(one.name, one.alias.title, False, one.signal.name) for one in beside]
            end = reading.decided_until(tx, self._configured, now)
            until = datetime.fromtimestamp(end, UTC)
            return [
                Listed(
                    name,
                    title,
                    tiers[name],
                    worth,
                    series[name],
                    fired[name],
                    moves.get(name),
                    counts,
                ).row(tx, until, by_file=name in by_file)
                for name, title, worth, counts in named
            ]

    def rule_history(self, *, rule: str = "", limit: int = 50) -> list[RuleChange]:
        """What happened to one rule or to all, newest first."""
        with self._reading() as tx:
            found = tx.rules.events(rule, limit=min(max(limit, 0), 1000))
        return [change_view(event) for event in found]

    def tickets(self, *, days: int = 1) -> list[Ticket]:
        """What woke nobody in the last days, newest first: the digest."""
        if not 1 <= days <= 366:
            raise DeskError("invalid", f"a digest is of 1 to 366 days, not {days}")
        with self._reading() as tx:
            since = self._clock() - timedelta(days=days)
            return [
                ticket_view(tx, incident)
                for incident in tx.incidents.search(since=since, limit=1000)
                if is_ticket(incident)
            ]

    # -- commands -------------------------------------------------------------------------------

    def promote_rule(
        self,
        rule: str,
        *,
        tier: str = "page",
        reason: str = "",
        over_budget: bool = False,
        try_only: bool = False,
    ) -> RuleMoved:
        """Move a rule up, with its backtest attached."""
        self._must("responder")
        if self._needs_no_test(rule, tier):
            return self._untested(rule, tier, reason, try_only=try_only)
        known, now = self._promotable(rule), self._clock()
        was = self._movable(rule, tier, up=True)
        if over_budget and not reason.strip():
            raise DeskError("invalid", "over the budget a reason is needed", "--reason TEXT")
        outcome = self._tested(known, tier, now)
        tested = outcome.backtest
        if tested is None:
            if not try_only:
                text = f"the backtest of {rule} is under way ({outcome.progress:.0%})"
                raise DeskError("unavailable", text, "nothing was moved; ask again in a while")
            text = f"{rule}: the backtest is under way"
            moved = self._moved(text, rule, was, tier, "", None, moved=False)
            return msgspec.structs.replace(moved, progress=min(outcome.progress, 0.99))
        against, but = self._against(known, tier, tested, now)
        if against and not over_budget and not try_only:
            hint = f"tocsin rule promote {rule} --over-budget --reason TEXT does it all the same"
            self._refuse(Refusal(against, hint))
        if not try_only:
            why = reason.strip() or f"its backtest: {summary(tested)}"
            self._move(rule, was, tier, f"{why} ({but})" if against else why, tested)
        verb = "could be" if try_only else "is"
        text = f"{rule} {verb} at {tier}, was at {was}: {summary(tested)}"
        return self._moved(text, rule, was, tier, against, tested, moved=not try_only)

    def _needs_no_test(self, rule: str, tier: str) -> bool:
        """Whether no backtest could speak for a rule, and none is needed to raise it to `tier`.

        What is no rate wakes nobody as a ticket; and where the configuration says that it does,
        only a person had put it lower.
        """
        configured = self._configured
        found = next((one for one in configured.plan.signals if one.name == rule), None)
        if found is None or found.kind not in _UNTESTED:
            return False
        return tier == "ticket" or tier == configured.profile.tier(found)

    def _untested(self, rule: str, tier: str, reason: str, *, try_only: bool) -> RuleMoved:
        """Move up what no backtest could speak for, to where nobody need answer for it."""
        was = self._movable(rule, tier, up=True)
        why = "as configured" if tier == "page" else "it wakes nobody"
        if not try_only:
            self._move(rule, was, tier, reason.strip() or why, None)
        text = f"{rule} {'could be' if try_only else 'is'} at {tier}, was at {was}"
        return self._moved(text, rule, was, tier, "", None, moved=not try_only)

    def demote_rule(self, rule: str, *, tier: str, reason: str) -> RuleMoved:
        """Move a rule down; at once, and without a test."""
        self._must("responder")
        was = self._movable(self._demotable(rule), tier, up=False)
        if not reason.strip():
            raise DeskError("invalid", "a demotion needs a reason", "--reason TEXT")
        self._move(rule, was, tier, reason.strip(), None)
        text = f"{rule} is at {tier}, was at {was}"
        return self._moved(text, rule, was, tier, "", None, moved=True)

    def judge(self, ref: str, *, verdict: str, reason: str = "") -> Done:
        """Give a verdict on an incident that is over, or another one."""
        self._must("responder")
        now = self._clock()
        with self._writing() as tx:
            before = self._ended(tx, ref)
            result = actions.judge(before, verdict, reason, self._who.name, now)
            if isinstance(result, Refusal):
                self._refuse(result)
            tx.incidents.apply(result, now)
            self._spent(tx, result.incident, now)
            return self._done(tx, result.text, result.incident)

    # -- inside ---------------------------------------------------------------------------------

    def _spent(self, tx: Tx, incident: Incident, now: datetime) -> None:
        """A verdict was given: propose what follows from it, on the timeline and nowhere louder."""
        tiers = self._tiers(tx)
        for one in note_proposals(tx, self._configured.policy.budgets, tiers, now):
            text = f"{one.reason}; to demote it: {demotion(one.rule, one.tier)}"
            entry = Entry(kind="BUDGET", text=text, actor="tocsin", occurred_at=now)
            tx.incidents.append(incident.uuid, (entry,), now)

    def _movable(self, rule: str, tier: str, *, up: bool) -> Tier:
        """Where the rule is.

        Raises:
            DeskError: it cannot go from there to `tier` in this direction.
        """
        if tier not in TIERS:
            raise DeskError("invalid", f"unknown tier {tier!r}", listed(TIERS))
        with self._reading() as tx:
            was = self._tiers(tx)[rule]
        if was == tier or rises(was, tier) != up:
            verb, other = ("demote", "below") if up else ("promote", "above")
            hint = "" if was == tier else f"tocsin rule {verb} {rule} --to {tier}"
            place = "already" if was == tier else f", {tier} is {other} that"
            self._refuse(Refusal(f"{rule} is at {was} {place}".replace(" ,", ","), hint))
        return cast("Tier", was)

    def _tested(self, rule: Signal | Watched, tier: str, now: datetime) -> Outcome:
        """The rule over what is stored of it, with the thresholds it would have at `tier`."""
        configured = self._configured
        with self._reading() as tx:
            end = reading.decided_until(tx, configured, now)
            until = datetime.fromtimestamp(end, UTC)
            since = until - TEST_TIME
            incidents = tx.incidents.search(since=since - replays.LEARN, limit=10_000)
            division = self._division(tx)
            if tier == "page" and not isinstance(rule, Watched):
                division.promote(rule, self._seen(tx, rule, end))
        span = Span(since, until)
        return self._replayed(rule, division, incidents, span, tier, wait_s=TRIAL_WAIT_S)

    @staticmethod
    def _seen(tx: Tx, signal: Signal, end: int) -> set[Dims]:
        """The series that had traffic in the last day."""
        return {
            point.dims
            for points in tx.decisions.points(signal.name, end - 86_400, end).values()
            for point in points
        }

    def _against(
        self, rule: Signal | Watched, tier: str, tested: Backtest, now: datetime
    ) -> tuple[str, str]:
        """What speaks against a promotion, and how it is remembered; a ticket wakes nobody."""
        if tier != "page":
            return "", ""
        budgets = self._configured.policy.budgets
        signal = rule.alias if isinstance(rule, Watched) else rule
        unexplained = Counter(
            budgets.team_of(labels(signal.name, one.dimensions, signal.severity))
            for one in tested.episodes
            if one.page and one.verdict not in replays.TRUE
        )
        with self._reading() as tx:
            tiers = self._tiers(tx)
            found = ledgers(tx, budgets, tiers, now)
        weeks = judged_weeks(tested)
        if over := overspends(signal.name, unexplained, weeks, found):
            return over, "over the budget"
        # What pages at once, for demos and tests, asks for traffic but for no week of it.
        least = LEAST_DAYS if self._configured.profile.capped else 0
        return untried(signal.name, weeks, tested.judged_days, least), "on little evidence"

    def _move(self, rule: str, was: str, tier: str, reason: str, tested: Backtest | None) -> None:
        now, who = self._clock(), self._who
        body = "" if tested is None else msgspec.json.encode(kept(tested)).decode()
        with self._writing() as tx:
            tiers = self._tiers(tx)
            if tiers[rule] != was:
                text = f"somebody has moved {rule} to {tiers[rule]} meanwhile"
                self._refuse(Refusal(text, f"see: tocsin rule history {rule}"))
            tx.decisions.set_tier(TierRow(rule, tier, who.name, reason, now))
            event = RuleEvent(
                at=now,
                rule=rule,
                kind="tier",
                tier=tier,
                was=was,
                actor=who.name,
                via=who.via,
                reason=reason,
                body=body,
            )
            tx.rules.log(event)
            tx.touch()
        self._trials.forget(rule)

    def _moved(
        self,
        text: str,
        rule: str,
        was: str,
        tier: str,
        against: str,
        tested: Backtest | None,
        *,
        moved: bool,
    ) -> RuleMoved:
        with self._reading() as tx:
            revision = tx.revision()
        return RuleMoved(
            text=text,
            revision=revision,
            daemon=not moved or self._who.via != "direct",
            rule=rule,
            was=cast("Tier", was),
            tier=cast("Tier", tier),
            moved=moved,
            objection=against,
            backtest=tested,
        )

    def _tiers(self, tx: Tx) -> dict[str, str]:
        configured = self._configured
        return tiers_of(tx, configured.plan, configured.profile, configured.settings.rules)

    def _promotable(self, rule: str) -> Signal | Watched:
        """The rate, the fixed limit or the burn rate: only these have a backtest.

        Raises:
            DeskError: there is none, or its tier is the configuration's.
        """
        for signal in self._configured.plan.signals:
            if signal.name != rule or signal.kind == "rate":
                continue
            if signal.kind == "together":
                self._refuse(Refusal(NO_PAGES.format(rule), "see: tocsin rule list"))
            text = f"{rule} is no rate, learned or limited, so that no backtest could speak for it"
            self._refuse(Refusal(text, self._by_file(rule)))
        return self._rule(rule)

    def _by_file(self, rule: str) -> str:
        """What to do so that a rule pages that nothing can be tested of."""
        with self._reading() as tx:
            moved = rule in tx.decisions.tiers()
        # What a person has set stands over the configuration.
        return _KEY.format(rule) + f", and again: tocsin rule promote {rule}" * moved

    def _demotable(self, rule: str) -> str:
        """Its name, which may be of a fixed limit, a burn rate or what is seen first, too.

        Raises:
            DeskError: there is none, or it must not be silenced.
        """
        for signal in self._configured.plan.signals:
            if signal.name == rule and signal.kind in {"never", "volume"}:
                text = f"{rule} pages on the first occurrence, whoever finds it loud"
                self._refuse(Refusal(text, "leave it out with `disable` in the configuration"))
        with self._reading() as tx:
            known = self._tiers(tx)
        if rule not in known:
            raise DeskError("not_found", f"no rule {rule!r}", "list them: tocsin rule list")
        return rule
