"""`tocsin budget` and `tocsin tickets`: what false pages may cost, and what woke nobody."""

from __future__ import annotations

import click

from monitor.rule_views import Budget, Spend, Ticket
from tui.cli.command import Call, command
from tui.cli.output import Cell, table
from tui.lines import report
from tui.lines.face import SEVERITY_ROLES, Face
from tui.lines.line import Line, Role

BAR = 24
"""Characters of a whole budget."""


def bar(spent: float, unjudged: float, whole: float, face: Face) -> Line:
    """What is spent, what is open to judgement and what is left, to scale."""
    full, half, none = ("#", "?", ".") if face.ascii else ("█", "▒", "░")
    scale = BAR / max(whole, spent + unjudged, 1e-9)
    first = min(BAR, round(spent * scale))
    second = min(BAR - first, round(unjudged * scale))
    role: Role = "bad" if spent > whole else "warn" if spent >= whole else "ok"
    return Line.of(
        (full * first, role), (half * second, "accent"), (none * (BAR - first - second), "dim")
    )


@command(
    "budget",
    examples="""
    tocsin budget
    tocsin budget --team payments
    tocsin budget --json
    """,
)
@click.option("--team", default="", help="This one only.")
def budget(call: Call, *, team: str) -> None:
    """False pages: what each team bears (`paging.budget`), what is spent, by which rule.

    A page is spent once somebody resolves its incident as false_positive, benign_shift or
    test_traffic. EXPECTED is what the division leaves a rule: its series times the budget of one;
    (fleet) is the rule on all series of an environment tested together, and on the heaviest
    tenants, models and releases one by one. The column sums up to the budget.
    """
    found = call.desk().budget(team=team)
    if call.flags.output == "id":
        call.ids([one.team for one in found])
        return
    call.answer("budget", found, lambda: [line for one in found for line in _team(one, call.face)])


def _team(view: Budget, face: Face) -> list[Line]:
    weeks = "week" if view.weeks == 1 else f"{view.weeks} weeks"
    unjudged = f", {view.unjudged} open to judgement" if view.unjudged else ""
    said = f"  {view.spent} of {view.false_pages:g} spent in {weeks}, {view.left:g} left"
    lines = [
        Line.of((f"team {face.say(view.team)}", "bold"), ("  OVERSPENT" * view.overspent, "bad")),
        Line.of("  ")
        + bar(view.spent, view.unjudged, view.false_pages, face)
        + Line.of(said, (unjudged, "accent")),
        _fact("division", _division(view)),
        _fact("since", f"{face.stamp(view.divided_at)}: {face.say(view.divided_why)}")
        if view.divided_at is not None
        else _fact("since", "not divided yet: nothing was judged"),
        _fact("shift", _shift(view, face)),
    ]
    if view.crowded:
        lines.append(Line.of(("  too many  ", "warn"), face.say(view.crowded, limit=1000)))
    if view.rules:
        lines += [Line.of("  ") + line for line in _rules(view.rules, face)]
    for one in view.proposals:
        lines.append(
            Line.of(
                ("  propose   ", "warn"), f"demote {face.say(one.rule)}: {face.say(one.reason)}"
            )
        )
        lines.append(Line.of("            ", (face.say(one.command), "accent")))
    return [*lines, Line()]


def _fact(label: str, text: str) -> Line:
    return Line.of((f"  {label:<10}", "dim"), text)


def _division(view: Budget) -> str:
    if not view.series + view.fleets:
        return "no statistical rule may page this team"
    noun = "series" if view.series > 1 or view.fleets else "series alone"
    if view.fleets:
        noun += f" and {view.fleets} fleet{'' if view.fleets == 1 else 's'}"
    own = "; the profile keeps its own threshold" if view.shift_cap is None else ""
    return f"{view.series} {noun}, {view.per_series_week:.2g} false pages each a week{own}"


def _shift(view: Budget, face: Face) -> str:
    paged = f"{view.shift_paged} incidents paged in twelve hours"
    if view.shift_cap is None:
        return f"{paged}; the profile has no cap"
    if view.shift_free_at is None:
        return f"{view.shift_paged} of {view.shift_cap} incidents paged in twelve hours"
    until = f"the next may page at {face.stamp(view.shift_free_at)}, until then: tocsin tickets"
    return f"{view.shift_paged} of {view.shift_cap} incidents paged in twelve hours; {until}"


def _rules(rules: list[Spend], face: Face) -> list[Line]:
    most = max([1.0, *(max(one.expected, one.false + one.unjudged) for one in rules)])
    body: list[list[Cell]] = [
        [
            one.rule,
            one.tier,
            str(one.series),
            f"{one.expected:.2f}",
            (str(one.false), "bad" if one.false > one.expected else ""),
            str(one.true),
            (str(one.unjudged), "accent" if one.unjudged else ""),
            bar(one.false, one.unjudged, most, face).text if one.false or one.unjudged else "",
        ]
        for one in rules
    ]
    heads = ("RULE", "TIER", "SERIES", "EXPECTED", "FALSE", "TRUE", "OPEN", "")
    return table(heads, body, face)


@command(
    "tickets",
    examples="""
    tocsin tickets
    tocsin tickets --days 7 --json
    """,
)
@click.option(
    "--days", type=click.IntRange(1, 366), default=1, show_default=True, help="How far back."
)
def tickets(call: Call, *, days: int) -> None:
    """The digest: incidents that woke nobody, and why not, newest first."""
    found = call.desk().tickets(days=days)
    if call.flags.output == "id":
        call.ids([one.id for one in found])
        return
    call.answer("tickets", found, lambda: _tickets(found, days, call.face))


def _tickets(found: list[Ticket], days: int, face: Face) -> list[Line]:
    if not found:
        span = "day" if days == 1 else f"{days} days"
        return [report.nothing(f"no tickets in the last {span}; --days N looks further back")]
    body: list[list[Cell]] = [
        [
            one.id,
            (one.severity, SEVERITY_ROLES.get(one.severity, "")),
            one.state,
            face.stamp(one.detected_at),
            one.title,
            one.reason or "-",
        ]
        for one in found
    ]
    return table(("ID", "SEV", "STATE", "DETECTED", "WHAT", "WHY NOT PAGED"), body, face)
