"""The command groups: names, one line about each command, and where its code is."""

from __future__ import annotations

from tui.cli.command import Group

_READ = "tui.cli.inc_read"
_ACT = "tui.cli.inc_act"

inc = Group(
    "inc",
    help="Incidents. INC is INC-0142, 142, or latest: the newest open one, else the newest.",
    late={
        "list": (f"{_READ}:list_", "The incidents, newest first."),
        "show": (f"{_READ}:show_", "All about one."),
        "watch": (f"{_READ}:watch", "Its timeline as plain lines, as they come."),
        "ack": (f"{_ACT}:ack", "Acknowledge: stops the pager."),
        "take": (f"{_ACT}:take", "Take command; acknowledges too."),
        "note": (f"{_ACT}:note", "Write into the timeline."),
        "run": (f"{_ACT}:run_", "Start a runbook."),
        "step": (f"{_ACT}:step", "Run, tick, fail, skip or undo a step."),
        "verify": (f"{_READ}:verify", "Has the signal held after the mitigation?"),
        "sev": (f"{_ACT}:sev", "Change the severity."),
        "escalate": (f"{_ACT}:escalate", "Page the next escalation step."),
        "mitigate": (f"{_ACT}:mitigate", "Mark as mitigated."),
        "resolve": (f"{_ACT}:resolve", "Resolve, with a verdict."),
        "verdict": (f"{_ACT}:verdict", "Say what one was that is over."),
        "reopen": (f"{_ACT}:reopen", "Open again."),
        "close": (f"{_ACT}:close", "Close."),
        "abort": (f"{_ACT}:abort", "Break the running runbook off."),
        "declare": (f"{_ACT}:declare", "Open an incident that no detector found."),
    },
    examples="""
    tocsin inc list --state open
    tocsin inc take latest
    tocsin inc step INC-0142 1 --run
    tocsin inc resolve INC-0142 --verdict attack
    """,
)

change = Group(
    "change",
    help="Releases, flags and thresholds: what changed, and when.",
    late={
        "add": ("tui.cli.change:add", "Record a change."),
        "list": ("tui.cli.change:list_", "The recorded changes."),
    },
    examples="""
    tocsin change add --kind release --title 'safety-prompt v41' --dim model=v41
    tocsin change list
    """,
)

review = Group(
    "review",
    help="The document after an incident, written from what was captured.",
    late={"export": ("tui.cli.review:export", "Write it as Markdown or JSON.")},
    examples="""
    tocsin review export INC-0142 -f md
    tocsin review export latest -f json -d reviews/
    """,
)

runbook = Group(
    "runbook",
    help="Runbooks: YAML files that a person works step by step.",
    late={
        "list": ("tui.cli.runbook:list_", "The known runbooks; with INC those that match first."),
        "show": ("tui.cli.runbook:show_", "The text of one."),
        "check": ("tui.cli.runbook:check", "Every problem of runbook files, with its place."),
        "schema": ("tui.cli.runbook:schema", "The JSON Schema of a runbook file."),
    },
    examples="""
    tocsin runbook list
    tocsin runbook check runbooks/*.yaml
    """,
)

signal = Group(
    "signal",
    help="The watched rates.",
    late={
        "list": ("tui.cli.signal:list_", "Each series: tier, rate, baseline, verdict."),
        "notes": ("tui.cli.signal:notes", "Levels that changed for good, and what fits."),
    },
    examples="""
    tocsin signal list
    tocsin signal list --json
    """,
)

detect = Group(
    "detect",
    help="What the detectors say, and why.",
    late={
        "score": ("tui.cli.detect_score:score_", "A file of counts: how far each rate has moved."),
        "attribute": ("tui.cli.detect_attribute:attribute", "A file of cells: what explains it."),
        "list": ("tui.cli.detect:list_", "The detectors that ship, with their parameters."),
        "explain": ("tui.cli.detect:explain", "What is thought of a series, or why it fired."),
        "backtest": ("tui.cli.detect:backtest", "What a rule would have paged."),
    },
    examples="""
    tocsin detect explain refusal_rate feature=chat
    tocsin detect backtest refusal_rate
    tocsin detect score --counts counts.csv --out scores.csv
    """,
)

rule = Group(
    "rule",
    help="Statistical rules: shadow, ticket, page.",
    late={
        "list": ("tui.cli.rule:list_", "Each rule, its tier, and whether it is offered."),
        "promote": ("tui.cli.rule:promote", "Move one up, after its backtest."),
        "demote": ("tui.cli.rule:demote", "Move one down."),
        "history": ("tui.cli.rule:history", "Who moved which, and why."),
    },
    examples="""
    tocsin rule list
    tocsin rule promote refusal_rate
    tocsin rule demote refusal_rate --to ticket --reason 'three for nothing'
    """,
)

quarantine = Group(
    "quarantine",
    help="Findings in records that are not what they should be; never their content.",
    late={"list": ("tui.cli.quarantine:list_", "The findings, newest first.")},
    examples="""
    tocsin quarantine list
    tocsin quarantine list --limit 10 --json
    """,
)

config = Group(
    "config",
    help="The configuration.",
    late={
        "check": ("tui.cli.config:check", "Every problem, with its place."),
        "show": ("tui.cli.config:show_", "All of it, defaults filled in, secrets as references."),
        "diff": ("tui.cli.revisions:diff", "What a reload would change."),
        "reload": ("tui.cli.revisions:reload", "Take the files as they are now, whole or not."),
        "history": ("tui.cli.revisions:history", "What was in force, since when, by whom."),
        "schema": ("tui.cli.config:schema", "A JSON Schema: event, signals, config or runbook."),
        "paths": ("tui.cli.config:paths", "The files and sockets of this call."),
    },
    examples="""
    tocsin config check tocsin.yaml
    tocsin config diff && tocsin config reload
    tocsin config schema event > event.schema.json
    """,
)

token = Group(
    "token",
    help="Tokens that open the desk from other machines.",
    late={
        "create": ("tui.cli.token:create", "Make one; it is shown once."),
        "list": ("tui.cli.token:list_", "The tokens and when they end."),
        "revoke": ("tui.cli.token:revoke", "End one."),
    },
    examples="""
    tocsin token create ada --role responder --expires 30d
    tocsin token list --json
    tocsin token revoke a2b3c4d5
    """,
)

audit = Group(
    "audit",
    help="Refusals of the desk, and changes of the ways in.",
    late={"list": ("tui.cli.token:audit_list", "Who, where, what and why, newest first.")},
    examples="""
    tocsin audit list
    tocsin audit list --json
    """,
)

metrics = Group(
    "metrics",
    help="The metrics that /metrics serves.",
    late={"list": ("tui.cli.config:metrics_list", "Name, type and meaning of each.")},
    examples="""
    tocsin metrics list
    """,
)

store = Group(
    "store",
    help="The database: look, back up, restore, upgrade, rights.",
    late={
        "check": ("tui.cli.store:check", "File, schema and every timeline's chain."),
        "backup": ("tui.cli.store:backup", "Copy a SQLite store while the daemon goes on."),
        "restore": ("tui.cli.store:restore", "Put a backup in its place; the old one is kept."),
        "migrate": ("tui.cli.store:migrate", "Upgrade the schema."),
        "roles": ("tui.cli.store:roles", "PostgreSQL roles with the least rights."),
    },
    examples="""
    tocsin store check
    tocsin store backup /backup/tocsin.db
    tocsin store restore /backup/tocsin.db
    """,
)
