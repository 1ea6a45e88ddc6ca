"""`tocsin rule`: a statistical rule's life from shadow to ticket to page, and back."""

from __future__ import annotations

import click

from monitor.alerting.promotion import pages_of, span_of
from monitor.detect_views import Backtest, Episode
from monitor.rule_views import RuleChange, RuleMoved, RuleRow
from tui.cli.command import Call, command
from tui.cli.output import REFUSED, Cell, ExitError, show, table, tell
from tui.lines import report
from tui.lines.face import Face
from tui.lines.line import Line, Role

_TIERS: dict[str, Role] = {"shadow": "dim", "ticket": "", "page": "accent"}
SHOWN = 20
"""Episodes of a backtest that are shown; JSON has all."""


@command(
    "list",
    examples="""
    tocsin rule list
    tocsin rule list --json
    """,
)
def list_(call: Call) -> None:
    """Every statistical rule: its tier, since when and by whom, and whether it is offered.

    Rates that are learned, and after them the fixed limits and burn rates of `rules:`.
    FIRED is how often it fired in four weeks, whatever its tier. TESTED is the backtest that its
    last promotion rests on.
    """
    rows = call.desk().rules()
    if call.flags.output == "id":
        call.ids([row.name for row in rows])
        return
    call.answer("rules", rows, lambda: _rows(rows, call.face))


def _rows(rows: list[RuleRow], face: Face) -> list[Line]:
    body: list[list[Cell]] = [
        [
            row.name,
            (row.tier, _TIERS[row.tier]),
            f"{row.since:%Y-%m-%d} {row.set_by}" if row.since is not None else row.set_by,
            str(row.fired),
            _tested(row),
            ("yes", "ok") if row.offered else ("no", "dim"),
            row.offer,
        ]
        for row in rows
    ]
    return table(("RULE", "TIER", "SET", "FIRED", "TESTED", "OFFERED", "WHY"), body, face)


def _tested(row: RuleRow) -> str:
    if row.tested_weeks is None:
        return "-"
    return f"{row.tested_pages} in {span_of(row.tested_weeks)}, {row.tested_true} true"


@command(
    "promote",
    examples="""
    tocsin rule promote refusal_rate
    tocsin rule promote tool_misuse --to ticket --yes
    tocsin rule promote refusal_rate --over-budget --reason 'the two were the outage of May'
    """,
)
@click.argument("rule")
@click.option(
    "--to",
    "tier",
    type=click.Choice(["ticket", "page"]),
    default="page",
    show_default=True,
    help="ticket: an incident that wakes nobody; page: it does.",
)
@click.option("--reason", default="", help="Why; kept with the rule.")
@click.option("--over-budget", is_flag=True, help="Although its backtest says no.")
def promote(call: Call, rule: str, *, tier: str, reason: str, over_budget: bool) -> None:
    """Run RULE over what is stored of it, show what it would have paged, and move it up.

    RULE is a rate, or a fixed limit or burn rate of `rules:` by the name of its alerts.
    Refused (exit 5) where that would overspend a team's budget, or rests on less than seven days
    of traffic, unless --over-budget and a --reason say why. Your name, the reason and the backtest
    stay with the rule. It holds from the next bucket on; what fires already stays as it is.
    """
    desk = call.writing_desk()
    tried = desk.promote_rule(
        rule, tier=tier, reason=reason, over_budget=over_budget, try_only=True
    )
    while tried.progress < 1:
        tell(f"the backtest is under way: {tried.progress:.0%}", call.flags)
        tried = desk.promote_rule(
            rule, tier=tier, reason=reason, over_budget=over_budget, try_only=True
        )
    if call.flags.output == "text":
        show(_outcome(tried, call.face, over_budget=over_budget), call.flags)
    if tried.objection and not over_budget:
        hint = f"tocsin rule promote {rule} --over-budget --reason TEXT does it all the same"
        raise ExitError(REFUSED, "refused", tried.objection, hint)
    if not call.confirm(f"move {rule} from {tried.was} to {tier}?"):
        raise ExitError(REFUSED, "refused", "not confirmed")
    call.done(
        "promote_rule", desk.promote_rule(rule, tier=tier, reason=reason, over_budget=over_budget)
    )


@command(
    "demote", examples="tocsin rule demote refusal_rate --to ticket --reason 'three for nothing'"
)
@click.argument("rule")
@click.option(
    "--to",
    "tier",
    type=click.Choice(["shadow", "ticket"]),
    default="ticket",
    show_default=True,
    help="ticket: an incident that wakes nobody; shadow: a record.",
)
@click.option("--reason", required=True, help="Why; kept with the rule.")
def demote(call: Call, rule: str, *, tier: str, reason: str) -> None:
    """Move RULE down, from the next bucket on. What has fired already stays as it is."""
    call.done("demote_rule", call.writing_desk().demote_rule(rule, tier=tier, reason=reason))


@command(
    "history",
    examples="""
    tocsin rule history
    tocsin rule history refusal_rate --json
    """,
)
@click.argument("rule", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
def history(call: Call, rule: str, *, limit: int) -> None:
    """Who moved RULE (or any) and why, and which demotions were proposed, newest first."""
    rows = call.desk().rule_history(rule=rule, limit=limit)
    call.answer("rule_history", rows, lambda: _history(rows, call.face))


def _history(rows: list[RuleChange], face: Face) -> list[Line]:
    if not rows:
        return [report.nothing("nobody has moved a rule: tocsin rule list")]
    body: list[list[Cell]] = [
        [
            face.stamp(row.at),
            row.rule,
            f"{row.was} -> {row.tier}" + (" proposed" if row.kind == "proposal" else ""),
            f"{row.actor} ({row.via})" if row.via else row.actor,
            row.reason,
        ]
        for row in rows
    ]
    return table(("AT", "RULE", "TIER", "BY", "WHY"), body, face)


def _outcome(found: RuleMoved, face: Face, *, over_budget: bool) -> list[Line]:
    """The backtest, and what the budget says against what is done all the same."""
    lines = [] if found.backtest is None else tested(found.backtest, face)
    if found.objection and over_budget:
        lines.append(Line.of(("against it  ", "bad"), face.say(found.objection, limit=2000)))
    return lines


def tested(view: Backtest, face: Face) -> list[Line]:
    """A backtest: its figures, and the pages it would have made."""
    limits = ", ".join(f"{one:.1f}" for one in view.thresholds) or "-"
    lines = [
        Line.of(
            (f"{face.say(view.signal)}, ", "bold"),
            f"{span_of(view.weeks)} up to "
            f"{face.stamp(view.until)}, {view.series} series, threshold {limits}",
        ),
        Line.of(
            f"{pages_of(view.pages)}: {view.true} true, {view.false} false, "
            f"{view.unjudged} that nobody has judged"
        ),
    ]
    told = [*view.meanings, *([view.without] if view.without else [])]
    lines[1:1] = [Line.of(face.say(one, limit=400)) for one in told]
    pages = [one for one in view.episodes if one.page]
    if pages:
        heads = ("DETECTED", "WHERE", "MINUTES", "PEAK", "EXCESS", "INCIDENTS", "VERDICT")
        lines += table(heads, [_episode(one, face) for one in pages[:SHOWN]], face)
    if len(pages) > SHOWN:
        lines.append(report.nothing(f"and {len(pages) - SHOWN} more: --json has all"))
    return lines


def _episode(one: Episode, face: Face) -> list[Cell]:
    return [
        face.stamp(one.detected_at),
        face.pairs(one.dimensions),
        f"{one.duration_s // 60}",
        "-" if one.peak_ratio is None else f"{one.peak_ratio:.1f}x",
        f"{one.excess:.0f}",
        ", ".join(one.incidents) or "-",
        one.verdict or "-",
    ]
