"""What the store knows of tiers and budgets, gathered for the desk, the loops and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.alerting.budget import Budgets, Share
from monitor.alerting.ledger import Ledger, Paged, Proposal, blamed, ledger, proposals
from monitor.alerting.pages import PAGED_PER_SHIFT, SHIFT
from monitor.paging import trusted_labels
from monitor.profiles import Profile
from monitor.store.rule_rows import RuleEvent
from monitor.store.store import Tx
from monitor.stream.rules import Rule, watched
from monitor.stream.signals import Plan


@dataclass(frozen=True, slots=True)
class Shift:
    """How near a team is to the cap of paged incidents."""

    paged: tuple[datetime, ...]
    """Within the last shift, oldest first."""

    @property
    def left(self) -> int:
        """How many incidents may still page it."""
        return max(0, PAGED_PER_SHIFT - len(self.paged))

    @property
    def free_at(self) -> datetime | None:
        """When the next one may; None where one may now."""
        return None if self.left else self.paged[-PAGED_PER_SHIFT] + SHIFT


def tiers_of(tx: Tx, plan: Plan, profile: Profile, rules: Iterable[Rule] = ()) -> dict[str, str]:
    """The tier of every rule: as a person set it, else the configuration's or the profile's.

    Args:
        tx: knows what people set.
        plan: the signals.
        profile: how eager their own detectors are.
        rules: fixed limits and burn rates beside them.
    """
    return moved(tx, configured_tiers(plan, profile, rules))


def configured_tiers(plan: Plan, profile: Profile, rules: Iterable[Rule] = ()) -> dict[str, str]:
    """The tier of every rule by the configuration or the profile, whatever people have set."""
    configured = {signal.name: str(profile.tier(signal)) for signal in plan.signals}
    beside = watched(tuple(rules), plan.signals, bucket_s=plan.bucket_s)
    return configured | {one.name: str(one.alias.tier) for one in beside}


def moved(tx: Tx, configured: Mapping[str, str]) -> dict[str, str]:
    """These tiers, but for rules that people have moved."""
    people = {name: row.tier for name, row in tx.decisions.tiers().items()}
    return {name: people.get(name, tier) for name, tier in configured.items()}


def ledgers(
    tx: Tx, budgets: Budgets, tiers: Mapping[str, str], now: datetime, *, capped: bool = True
) -> list[Ledger]:
    """Every team's ledger, by name of the team; `capped` as in `monitor.alerting.ledger`."""
    stored = tx.rules.shares()
    shares = [
        replace(stored[team].share, allowance=budgets.of(team))
        if team in stored
        else Share(team, budgets.of(team), {})
        for team in budgets.names()
    ]
    weeks = max(share.allowance.weeks for share in shares)
    pages = _paged(tx, budgets, now - timedelta(weeks=weeks))
    return [ledger(share, pages, tiers, now, capped=capped) for share in shares]


def _paged(tx: Tx, budgets: Budgets, since: datetime) -> list[Paged]:
    found = []
    for incident in tx.incidents.paged(since):
        team = budgets.team_of(trusted_labels(incident))
        page = blamed(incident, tx.incidents.alerts_of(incident.uuid), team)
        if page is not None:
            found.append(page)
    return found


def shifts(tx: Tx, budgets: Budgets, now: datetime) -> dict[str, Shift]:
    """How near each team is to the cap, by team."""
    times: dict[str, list[datetime]] = {team: [] for team in budgets.names()}
    for incident in tx.incidents.paged(now - SHIFT):
        if incident.paged_at is not None and now - incident.paged_at < SHIFT:
            times[budgets.team_of(trusted_labels(incident))].append(incident.paged_at)
    return {team: Shift(tuple(found)) for team, found in times.items()}


def note_proposals(
    tx: Tx, budgets: Budgets, tiers: Mapping[str, str], now: datetime
) -> list[Proposal]:
    """Write down the proposals that are new; those. Nobody is woken by them.

    A rule is proposed once, until somebody moves it or it has kept within its share again for as
    long as the budget is counted.
    """
    new = []
    for found in ledgers(tx, budgets, tiers, now):
        for proposal in proposals(found):
            last = next(iter(tx.rules.events(proposal.rule, limit=1)), None)
            if last is not None and last.kind == "proposal" and last.at > found.since:
                continue
            tx.rules.log(
                RuleEvent(
                    at=now,
                    rule=proposal.rule,
                    kind="proposal",
                    tier=proposal.tier,
                    was=tiers[proposal.rule],
                    actor="tocsin",
                    reason=proposal.reason,
                )
            )
            new.append(proposal)
    return new
