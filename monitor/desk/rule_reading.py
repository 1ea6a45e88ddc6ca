"""From stored values to what the desk answers about rules and budgets: reading only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import msgspec

from monitor.alerting.alerts import Alert
from monitor.alerting.grouping import ONSET_WINDOW
from monitor.alerting.ledger import Ledger, RuleSpend, demotion, proposals
from monitor.alerting.promotion import offer, pages_of, span_of
from monitor.detect_views import Backtest
from monitor.incidents.model import Incident
from monitor.rule_views import Budget, Proposed, RuleChange, RuleRow, Spend, Ticket, Tier
from monitor.spending import Shift
from monitor.store.decision_rows import TierRow
from monitor.store.rule_rows import Divided, RuleEvent
from monitor.store.store import Tx

KEPT_EPISODES = 200
"""So many of a backtest are kept with the promotion; its figures count all."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a row of the list is made of."""

    name: str
    title: str
    tier: str
    worth: bool
    series: int
    fired: int
    move: TierRow | None
    counts: str
    """The signal whose counts it judges."""

    def row(self, tx: Tx, until: datetime, *, by_file: bool) -> RuleRow:
        """The row; `until`: end of what was judged; `by_file`: the configuration names its tier."""
        move = self.move
        first = tx.decisions.first_counted(self.counts)
        counted = None if first is None else datetime.fromtimestamp(first, UTC)
        since = counted
        if counted is not None and move is not None:
            since = max(counted, move.at)
        worth = offer(self.name, self.tier, worth=self.worth, since=since, until=until)
        moves = tx.rules.events(self.name, kind="tier", limit=50)
        tested = next((event for event in moves if event.body), None)
        found = None if tested is None else msgspec.json.decode(tested.body, type=Backtest)
        return RuleRow(
            name=self.name,
            title=self.title,
            tier=cast("Tier", self.tier),
            set_by=move.actor if move is not None else "configuration" if by_file else "profile",
            since=None if move is None else move.at,
            reason="" if move is None else move.reason,
            offered=worth.offered,
            offer=worth.reason,
            counted_since=counted,
            series=self.series,
            fired=self.fired,
            tested_at=None if tested is None else tested.at,
            tested_weeks=None if found is None else found.weeks,
            tested_pages=None if found is None else found.pages,
            tested_true=None if found is None else found.true,
        )


def budget_view(found: Ledger, shift: Shift, divided: Divided | None, cap: int | None) -> Budget:
    """One team's budget."""
    return Budget(
        team=found.team,
        false_pages=found.allowance.false_pages,
        weeks=found.allowance.weeks,
        since=found.since,
        spent=found.spent,
        unjudged=found.open,
        left=found.left,
        overspent=found.overspent,
        series=found.share.series,
        fleets=found.share.parts - found.share.series,
        per_series_week=found.share.per_series_week,
        crowded=found.crowded,
        rules=[spend for one in found.rules for spend in _spends(one)],
        proposals=[
            Proposed(
                rule=one.rule,
                tier=cast("Tier", one.tier),
                reason=one.reason,
                command=demotion(one.rule, one.tier),
            )
            for one in proposals(found)
        ],
        shift_paged=len(shift.paged),
        shift_cap=cap,
        shift_free_at=None if cap is None else shift.free_at,
        divided_at=None if divided is None else datetime.fromtimestamp(divided.bucket, UTC),
        divided_why="" if divided is None else divided.reason,
    )


def _spends(one: RuleSpend) -> Iterator[Spend]:
    tier = cast("Tier", one.tier)
    yield Spend(
        rule=one.rule,
        tier=tier,
        series=one.series,
        expected=one.expected,
        false=one.false,
        true=one.true,
        unjudged=one.open,
    )
    if one.fleets:
        yield Spend(
            rule=f"{one.rule} (fleet)",
            tier=tier,
            series=one.fleets,
            expected=one.expected_together,
            false=0,
            true=0,
            unjudged=0,
        )


def times_fired(alerts: Sequence[Alert]) -> Counter[str]:
    """By rule; alerts whose onsets are near are one."""
    last: dict[str, datetime] = {}
    found: Counter[str] = Counter()
    for alert in sorted(alerts, key=lambda one: one.onset_at):
        before = last.get(alert.signal)
        if before is None or alert.onset_at - before > ONSET_WINDOW:
            found[alert.signal] += 1
            last[alert.signal] = alert.onset_at
    return found


def change_view(event: RuleEvent) -> RuleChange:
    """Something that happened to a rule."""
    return RuleChange(
        at=event.at,
        rule=event.rule,
        kind=event.kind,
        was=cast("Tier", event.was),
        tier=cast("Tier", event.tier),
        actor=event.actor,
        via=event.via,
        reason=event.reason,
        backtest=msgspec.json.decode(event.body, type=Backtest) if event.body else None,
    )


def ticket_view(tx: Tx, incident: Incident) -> Ticket:
    """An incident that woke nobody, and why not."""
    said = [i.entry.text for i in tx.incidents.timeline(incident.uuid) if i.entry.kind == "TICKET"]
    return Ticket(
        id=incident.name,
        title=incident.title,
        severity=incident.severity,
        state=str(incident.state),
        signal=incident.signal,
        dimensions=dict(incident.dimensions),
        detected_at=incident.detected_at,
        reason=said[-1].removeprefix("not paged: ") if said else "",
    )


def judged_weeks(tested: Backtest) -> float:
    """Weeks that a backtest judged; 0 where no series was warm."""
    return tested.weeks if tested.series_weeks > 0 else 0.0


def kept(tested: Backtest) -> Backtest:
    """What of a backtest stays with a promotion."""
    return msgspec.structs.replace(tested, episodes=tested.episodes[:KEPT_EPISODES])


def summary(tested: Backtest) -> str:
    """A backtest in one line."""
    return (
        f"{pages_of(tested.pages)} in {span_of(tested.weeks)} of {tested.series} series, "
        f"{tested.true} true, {tested.false} false, {tested.unjudged} not judged"
    )


def listed(names: Sequence[str]) -> str:
    """Names, one after the other."""
    return ", ".join(names)
