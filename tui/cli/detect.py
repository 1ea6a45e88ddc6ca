"""`tocsin detect list`, `explain` and `backtest`: the detectors, and what they say of series."""

from __future__ import annotations

import re
from dataclasses import asdict

import click

from monitor.detect_views import Backtest, Episode, Explanation
from monitor.views import AlertView
from tui.cli.command import Call, command
from tui.cli.output import USAGE, Cell, ExitError, table, tell
from tui.lines import report
from tui.lines.face import Face, ratio, share
from tui.lines.line import Line, Role

_INCIDENT = re.compile(r"(INC-)?\d+|latest", re.IGNORECASE | re.ASCII)
_ROLES: dict[str, Role] = {"firing": "bad", "warming": "dim", "quiet": "ok"}


@command("list", examples="tocsin detect list --json")
def list_(call: Call) -> None:
    """The detectors that ship: what each does, and its parameters with their defaults."""
    from detectors.catalog import CATALOG

    entries = list(CATALOG.values())
    data = [
        {
            "name": one.name,
            "description": one.description,
            "parameters": [asdict(parameter) for parameter in one.parameters],
        }
        for one in entries
    ]
    if call.flags.output == "id":
        call.ids([one.name for one in entries])
        return

    def lines() -> list[Line]:
        made: list[Line] = []
        for one in entries:
            made.append(Line.of((one.name, "bold"), f"  {one.description}"))
            rows: list[list[Cell]] = [
                [f"  {parameter.name}", str(parameter.default), parameter.description]
                for parameter in one.parameters
            ]
            made += table(("  PARAMETER", "DEFAULT", "WHAT"), rows, call.face)
        return made

    call.answer("detectors", data, lines)


@command(
    "explain",
    examples="""
    tocsin detect explain refusal_rate
    tocsin detect explain refusal_rate environment=prod feature=chat
    tocsin detect explain INC-0142
    """,
)
@click.argument("what", metavar="SIGNAL|INC")
@click.argument("dims", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 100), default=5, show_default=True)
def explain(call: Call, what: str, dims: tuple[str, ...], *, limit: int) -> None:
    """What the detector thinks of a signal's series now, or why an incident's alerts fired.

    The limit is the one in force: of a series that pages, its share of the team's budget. Of an
    environment as a whole it tells what its alert says, whoever speaks for it: all series together,
    or one tenant, model or release alone.
    """
    if _INCIDENT.fullmatch(what) and not dims:
        alerts = call.desk().incident(what).alerts
        call.answer("alerts", alerts, lambda: _alerts(alerts, call.face))
        return
    wanted = dict(_pair(text) for text in dims)
    found = call.desk().explain(signal=what, dimensions=wanted, limit=limit)
    call.answer("explanations", found, lambda: _explanations(found, call.face))


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ExitError(USAGE, "usage", f"{text!r} is no dimension", "write feature=chat")
    return name, value


def _explanations(found: list[Explanation], face: Face) -> list[Line]:
    if not found:
        return [report.nothing("no such series in the last bucket; see `tocsin signal list`")]
    lines: list[Line] = []
    for one in found:
        head = f"{face.say(one.signal)}  {face.pairs(one.dimensions)}"
        lines.append(Line.of((one.state, _ROLES[one.state]), "  ", (head, "bold")))
        lines.append(Line.of(f"  {face.say(one.sentence, limit=600)}"))
        hours = len(one.spark) * one.spark_s // 3_600
        facts = [
            (f"last {hours} h", face.spark(one.spark, len(one.spark))),
            ("judged", f"{face.stamp(one.at)}, tier {one.tier}"),
            ("score", f"{one.score:.2f}, limit {one.threshold:.2f}"),
        ]
        facts += [("limit", one.meaning)] * bool(one.meaning)
        facts += [
            ("cause", f"{face.pairs(cause.dimensions)}: {share(cause.share)} of it")
            for cause in one.causes
        ]
        facts += [
            ("change", f"{face.stamp(change.at)} {change.kind} {change.title}")
            for change in one.changes
        ]
        if one.incident is not None:
            facts.append(("incident", one.incident))
        lines += [_fact(name, text, face) for name, text in facts]
    return lines


def _fact(name: str, text: str, face: Face) -> Line:
    return Line.of((f"  {name:<12}", "dim"), face.say(text))


def _alerts(alerts: list[AlertView], face: Face) -> list[Line]:
    if not alerts:
        return [report.nothing("no alert: a person declared this incident")]
    lines = []
    for alert in alerts:
        lines.append(Line.of((f"{face.say(alert.signal)}  {face.pairs(alert.dimensions)}", "bold")))
        facts = (
            ("state", f"{alert.state}, {alert.tier}, {alert.severity}"),
            ("onset", face.stamp(alert.onset_at)),
            ("detected", face.stamp(alert.detected_at)),
            ("cleared", face.stamp(alert.cleared_at)),
            ("rate", f"{share(alert.rate)} = {alert.k}/{alert.n}"),
            ("baseline", f"{share(alert.baseline)} ({ratio(alert.rate, alert.baseline)})"),
            ("excess", f"{alert.excess:.0f} interactions"),
            ("score", f"{alert.score:.2f}, limit {alert.threshold:.2f}"),
            ("reason", alert.reason),
            ("fingerprint", alert.fingerprint),
        )
        lines += [_fact(name, text, face) for name, text in facts]
    return lines


@command(
    "backtest",
    examples="""
    tocsin detect backtest refusal_rate
    tocsin detect backtest refusal_rate --days 28 --json > backtest.json
    """,
)
@click.argument("rule")
@click.option(
    "--days",
    type=click.IntRange(1, 28),
    default=14,
    show_default=True,
    help="How far back episodes count; what is stored before is learned from.",
)
def backtest(call: Call, rule: str, *, days: int) -> None:
    """What RULE would have paged: its stored traffic, judged again as it is set now.

    A rate that is learned, at the share of the team's budget that is in force, with its series
    together and its tenants, models and releases alone (where their counts are stored for all of
    that time; else the answer says what it is without); or a rule of `rules:` in the configuration,
    by the name of its alerts.
    """
    desk = call.desk()
    found = desk.backtest(signal=rule, days=days)
    while found.progress < 1:
        tell(f"the backtest is under way: {found.progress:.0%}", call.flags)
        found = desk.backtest(signal=rule, days=days)
    call.answer("backtest", found, lambda: _backtest(found, call.face))


def _backtest(found: Backtest, face: Face) -> list[Line]:
    limits = " to ".join(
        f"{one:.1f}" for one in found.thresholds[:: max(1, len(found.thresholds) - 1)]
    )
    head = (
        f"{found.signal}, {face.stamp(found.since)} to {face.stamp(found.until)}: "
        f"{7 * found.weeks:.1f} days of points, {found.series} series, "
        f"{found.series_weeks:.1f} series-weeks judged; profile {found.profile}, limit {limits}"
    )
    if not found.series:
        return [report.nothing(f"nothing is stored of {found.signal} in that time")]
    known = found.false_per_week
    per_week = "unknown, less than a week of points" if known is None else f"{known:.2f}"
    sums = (
        f"{_many(found.pages, 'page')}: {found.true} true, {found.false} false, "
        f"{found.unjudged} unjudged; false pages a week, the unjudged among them: {per_week}"
    )
    lines = [Line.of((face.say(head, limit=400), "bold"))]
    lines += [Line.of(face.say(one, limit=400)) for one in found.meanings]
    if found.without:
        lines.append(Line.of(face.say(found.without, limit=400)))
    lines.append(Line.of(face.say(sums, limit=400)))
    if not found.episodes:
        return [*lines, report.nothing("it would not have fired")]
    heads = ("DETECTED", "ONSET", "LASTS", "WHERE", "PEAK", "EXCESS", "SCORE", "PAGE", "INCIDENTS")
    return [*lines, *table(heads, [_episode(one, face) for one in found.episodes], face)]


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _episode(one: Episode, face: Face) -> list[Cell]:
    said = ", ".join(one.incidents) or "-"
    return [
        face.stamp(one.detected_at),
        face.stamp(one.onset_at),
        f"{one.duration_s // 60} min" + ("" if one.ended_at else "+"),
        face.pairs(one.dimensions),
        "-" if one.peak_ratio is None else f"{one.peak_ratio:.1f}x",
        f"{one.excess:.0f}",
        f"{one.score:.1f}",
        ("page", "accent") if one.page else "joins",
        said if one.verdict is None else f"{said} ({one.verdict})",
    ]
