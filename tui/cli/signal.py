"""`tocsin signal` and `tocsin detect`: the watched rates and the verdicts on them."""

from __future__ import annotations

from monitor.views import AlertView, SignalNow
from tui.cli.command import Call, command
from tui.cli.inc_read import REF
from tui.cli.output import Cell, table
from tui.lines import report
from tui.lines.face import Face, ratio, share
from tui.lines.line import Line, Role

_ROLES: dict[str, Role] = {"firing": "bad", "warming": "dim", "quiet": "ok"}


def _table(rows: list[SignalNow], face: Face) -> list[Line]:
    if not rows:
        return [report.nothing("no series yet: nothing has been counted")]
    body: list[list[Cell]] = [
        [
            (row.state, _ROLES[row.state]),
            row.signal,
            face.pairs(row.dimensions),
            share(row.rate),
            share(row.baseline),
            ratio(row.rate, row.baseline),
            f"{row.score:.2f}/{row.threshold:.2f}",
            row.tier,
        ]
        for row in rows
    ]
    heads = ("STATE", "SIGNAL", "WHERE", "RATE", "BASE", "TIMES", "SCORE/LIMIT", "TIER")
    return table(heads, body, face)


@command("list", examples="tocsin signal list --json")
def list_(call: Call) -> None:
    """Each paging series: rate, baseline, verdict."""
    rows = call.desk().signals()
    call.answer("signals", rows, lambda: _table(rows, call.face))


@command("list", examples="tocsin detect list")
def detect_list(call: Call) -> None:
    """The series that fire or warm up; quiet ones are left out."""
    rows = [row for row in call.desk().signals() if row.state != "quiet"]
    nothing = [report.nothing("all series are quiet")]
    call.answer("signals", rows, lambda: _table(rows, call.face) if rows else nothing)


def _explain(alerts: list[AlertView], face: Face) -> list[Line]:
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
        lines.extend(Line.of((f"  {name:<12}", "dim"), face.say(text)) for name, text in facts)
    return lines


@command("explain", examples="tocsin detect explain latest")
@REF
def explain(call: Call, ref: str) -> None:
    """Why the alerts of an incident fired: figures, baseline, score and reason."""
    alerts = call.desk().incident(ref).alerts
    call.answer("alerts", alerts, lambda: _explain(alerts, call.face))
