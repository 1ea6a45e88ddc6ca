"""`tocsin inc` commands: each is the twin of a key in the terminal."""

from __future__ import annotations

import sys

import click

from monitor.incidents.model import SEVERITIES
from monitor.views import VERDICTS, StepAction, StepView
from tui.cli.command import Call, command
from tui.cli.inc_read import REF
from tui.cli.output import NEEDS_TERMINAL, NOT_FOUND, REFUSED, USAGE, ExitError

REASON = click.option("--reason", default="", help="Why; goes into the timeline.")
NEEDED_REASON = click.option("--reason", required=True, help="Why; goes into the timeline.")
SEVERITY = click.Choice(SEVERITIES, case_sensitive=False)


@command("ack", examples="tocsin inc ack INC-0142")
@REF
def ack(call: Call, ref: str) -> None:
    """Acknowledge: the pager stops."""
    call.done("acknowledge", call.writing_desk().acknowledge(ref))


@command("take", examples="tocsin inc take latest")
@REF
def take(call: Call, ref: str) -> None:
    """Take command of an incident; acknowledges it too."""
    call.done("take", call.writing_desk().take(ref))


@command(
    "note",
    examples="""
    tocsin inc note INC-0142 'v41 added a blanket medical refusal'
    kubectl get pods | tocsin inc note INC-0142 -
    """,
)
@REF
@click.argument("text")
def note(call: Call, ref: str, text: str) -> None:
    """Write TEXT into the timeline; - reads it from standard input."""
    words = sys.stdin.read() if text == "-" else text
    if not words.strip():
        raise ExitError(USAGE, "invalid", "an empty note says nothing", "write some words")
    call.done("note", call.writing_desk().note(ref, text=words.rstrip("\n")))


@command(
    "run",
    examples="""
    tocsin inc run INC-0142
    tocsin inc run INC-0142 refusal-spike -p feature=chat
    """,
)
@REF
@click.argument("runbook", required=False)
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter.")
def run_(call: Call, ref: str, runbook: str | None, *, params: tuple[str, ...]) -> None:
    """Start RUNBOOK, or the one that is suggested."""
    desk = call.writing_desk()
    if runbook is None:
        suggested = [row.id for row in desk.runbooks(ref) if row.suggested]
        if not suggested:
            raise ExitError(
                NOT_FOUND, "not_found", "no runbook is suggested", "see `tocsin runbook list`"
            )
        runbook = suggested[0]
    given: dict[str, str | int | bool] = dict(_pairs(params))
    call.done("start_run", desk.start_run(ref, runbook=runbook, params=given or None))


def _pairs(items: tuple[str, ...]) -> dict[str, str]:
    made = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise ExitError(USAGE, "invalid", f"{item!r} is not NAME=VALUE")
        made[name] = value
    return made


@command(
    "step",
    examples="""
    tocsin inc step INC-0142 1 --run
    tocsin inc step INC-0142 3 --run --yes
    tocsin inc step INC-0142 4 --run --confirm INC-0142
    tocsin inc step INC-0142 2 --skip --reason 'no access'
    """,
)
@REF
@click.argument("number", type=click.IntRange(1))
@click.option("--run", "action", flag_value="run", help="Run it.")
@click.option("--done", "action", flag_value="done", help="Tick a manual step.")
@click.option("--fail", "action", flag_value="fail", help="Mark as failed.")
@click.option("--skip", "action", flag_value="skip", help="Skip it.")
@click.option("--undo", "action", flag_value="undo", help="Run its rollback.")
@click.option("--reason", "--note", "reason", default="", help="Goes into the timeline.")
@click.option("--confirm", default="", metavar="TARGET", help="What a dangerous step wants typed.")
@click.option("--capture", multiple=True, metavar="NAME=VALUE", help="What a manual step found.")
def step(
    call: Call,
    ref: str,
    number: int,
    *,
    action: StepAction | None,
    reason: str,
    confirm: str,
    capture: tuple[str, ...],
) -> None:
    """Do something with step NUMBER of the running runbook."""
    if action is None:
        raise ExitError(
            USAGE,
            "usage",
            "what shall be done with the step?",
            "--run, --done, --fail, --skip, --undo",
        )
    if action in {"skip", "fail"} and not reason:
        raise ExitError(USAGE, "usage", f"--{action} needs --reason")
    captured = _pairs(capture) or None
    desk = call.writing_desk()
    if action in {"run", "undo"} and not confirm:
        view = desk.incident(ref)
        steps = view.run.steps if view.run is not None else []
        wanted = next((each for each in steps if each.number == number), None)
        if wanted is not None:
            confirm = _confirmed(call, wanted, action)
    done = desk.step(
        ref, number=number, action=action, note=reason, confirm=confirm, captured=captured
    )
    call.done("step", done)


def _confirmed(call: Call, wanted: StepView, action: StepAction) -> str:
    """What confirms the step, asked for on the terminal where it must be.

    Raises:
        ExitError: nobody can be asked, or the answer is no.
    """
    question = f"step {wanted.number} {wanted.title}: {wanted.request or wanted.text}"
    if action == "undo":
        asked, needs = f"undo {question}", "y"
    elif wanted.confirm is None:
        return ""
    else:
        asked, needs = f"run {question}", wanted.confirm
    if needs == "y":
        if not call.confirm(f"{asked}?"):
            raise ExitError(REFUSED, "refused", "not confirmed")
        return "y"
    if not sys.stdin.isatty():
        raise ExitError(
            NEEDS_TERMINAL,
            "needs_terminal",
            f"{asked} must be confirmed",
            f"repeat the command with --confirm {needs}",
        )
    sys.stderr.write(f"{call.face.say(asked, limit=2000)}\nType {call.face.say(needs)} to run it: ")
    sys.stderr.flush()
    if (typed := sys.stdin.readline().strip()) != needs:
        raise ExitError(REFUSED, "refused", f"{typed!r} is not {needs!r}: nothing was run")
    return typed


@command("sev", examples="tocsin inc sev INC-0142 SEV1 --reason 'three tenants now'")
@REF
@click.argument("severity", type=SEVERITY)
@NEEDED_REASON
def sev(call: Call, ref: str, severity: str, *, reason: str) -> None:
    """Change the severity."""
    call.done(
        "set_severity", call.writing_desk().set_severity(ref, severity=severity, reason=reason)
    )


@command("escalate", examples="tocsin inc escalate INC-0142 --reason 'need the model team'")
@REF
@REASON
def escalate(call: Call, ref: str, *, reason: str) -> None:
    """Page the next escalation step: those of its receivers that were not paged yet."""
    call.done("escalate", call.writing_desk().escalate(ref, reason=reason))


@command(
    "mitigate", examples="tocsin inc mitigate INC-0142 --reason 'v41 is rolled back, refusals fall'"
)
@REF
@REASON
def mitigate(call: Call, ref: str, *, reason: str) -> None:
    """Mark as mitigated: the harm has stopped, the cause may not be gone.

    Refused (exit 5) without a passed verification, unless --reason says why.
    """
    call.done("mitigate", call.writing_desk().mitigate(ref, reason=reason))


@command(
    "resolve",
    examples="""
    tocsin inc resolve INC-0142 --verdict attack
    tocsin inc resolve INC-0142 --verdict regression --reason 'rolled back, signal checked by hand'
    """,
)
@REF
@click.option("--verdict", required=True, type=click.Choice(VERDICTS), help="What it was.")
@REASON
def resolve(call: Call, ref: str, *, verdict: str, reason: str) -> None:
    """Resolve. Refused (exit 5) without a passed verification, unless --reason says why."""
    call.done("resolve", call.writing_desk().resolve(ref, verdict=verdict, reason=reason))


@command(
    "verdict", examples="tocsin inc verdict INC-0142 --verdict benign_shift --reason 'a new model'"
)
@REF
@click.option("--verdict", required=True, type=click.Choice(VERDICTS), help="What it was.")
@REASON
def verdict(call: Call, ref: str, *, verdict: str, reason: str) -> None:
    """Say what an incident was that is over; `tocsin budget` counts by it.

    While one is open, `latest` is refused, as for reopen and close.
    """
    call.done("judge", call.writing_desk().judge(ref, verdict=verdict, reason=reason))


@command("reopen", examples="tocsin inc reopen INC-0142 --reason 'refusals rise again'")
@REF
@NEEDED_REASON
def reopen(call: Call, ref: str, *, reason: str) -> None:
    """Open a resolved incident again."""
    call.done("reopen", call.writing_desk().reopen(ref, reason=reason))


@command("close", examples="tocsin inc close INC-0142")
@REF
@REASON
def close(call: Call, ref: str, *, reason: str) -> None:
    """Close: nothing more is owed."""
    call.done("close", call.writing_desk().close(ref, reason=reason))


@command("abort", examples="tocsin inc abort INC-0142 --reason 'wrong runbook'")
@REF
@NEEDED_REASON
def abort(call: Call, ref: str, *, reason: str) -> None:
    """Break the running runbook off."""
    call.done("abort_run", call.writing_desk().abort_run(ref, reason=reason))


@command(
    "declare",
    examples="""
    tocsin inc declare --sev SEV2 --title 'users report leaked addresses'
    tocsin inc declare --sev SEV1 --title 'guardrail down' --feature chat
    """,
)
@click.option("--sev", "severity", required=True, type=SEVERITY)
@click.option("--title", required=True)
@click.option("--feature", "--service", "feature", default="", help="Where.")
def declare(call: Call, *, severity: str, title: str, feature: str) -> None:
    """Open an incident that no detector found, and page for it; SEV4 pages nobody."""
    desk = call.writing_desk()
    call.done("declare", desk.declare(title=title, severity=severity, feature=feature))
