"""The `tocsin` command."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Sequence

import click

from tui.cli.command import Group
from tui.cli.flags import Flags, flags_of

root = Group(
    "tocsin",
    root=True,
    help="Watch an AI product in production and help people through what is found.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    late={
        "run": ("tui.cli.run:run", "Read the stream, detect, page: the daemon."),
        "demo": ("tui.cli.run:demo", "An incident to practise on; no Kafka, no network."),
        "open": ("tui.cli.screen:open_", "The terminal, on the newest open incident or on INC."),
        "tui": ("tui.cli.screen:tui", "The terminal, on the list of incidents."),
        "inc": ("tui.cli.groups:inc", "Incidents: list, show, acknowledge, step, resolve ..."),
        "change": ("tui.cli.groups:change", "Record and list releases, flags, thresholds."),
        "review": ("tui.cli.groups:review", "The document after an incident."),
        "runbook": ("tui.cli.groups:runbook", "Runbooks: list, show, check, schema."),
        "signal": ("tui.cli.groups:signal", "The watched rates and where they stand."),
        "detect": ("tui.cli.groups:detect", "Score counts, explain a series, try a rule."),
        "rule": ("tui.cli.groups:rule", "Rules: shadow, ticket, page; promote and demote."),
        "budget": ("tui.cli.budget:budget", "False pages: what a team bears, and what is spent."),
        "tickets": ("tui.cli.budget:tickets", "The digest: what was found and woke nobody."),
        "quarantine": ("tui.cli.groups:quarantine", "What was wrong with records, by rule."),
        "config": ("tui.cli.groups:config", "Check and show the configuration; schemas; paths."),
        "metrics": ("tui.cli.groups:metrics", "The metrics that /metrics serves."),
        "store": ("tui.cli.groups:store", "The database: check, backup, restore, migrate, roles."),
        "doctor": ("tui.cli.doctor:doctor", "Look at terminal, store, daemon and configuration."),
        "login": ("tui.cli.login:login", "Log in to the desk of another machine."),
        "logout": ("tui.cli.login:logout", "Forget a login; --revoke ends its token."),
        "whoami": ("tui.cli.login:whoami", "Who the desk takes you for."),
        "token": ("tui.cli.groups:token", "Tokens for other machines: create, list, revoke."),
        "audit": ("tui.cli.groups:audit", "Whom the desk turned away."),
        "completion": ("tui.cli.completion:completion", "Shell completion."),
    },
    examples="""
    tocsin demo
    tocsin run --source kafka://localhost:9092/ai-interactions --store sqlite:///tocsin.db
    tocsin open INC-0142
    tocsin inc list --json
    """,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tocsin`; the exit status (the README lists what each means)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "_TOCSIN_COMPLETE" in os.environ:
        root.main(words, prog_name="tocsin")
    ctx: click.Context | None = None
    try:
        with root.make_context("tocsin", list(words)) as ctx:
            result = root.invoke(ctx)
            sys.stdout.flush()
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader went away (`| head`): keep Python from flushing into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.ClickException as error:
        return _usage(error, words)
    except _ends() as error:
        return _fail(error, flags_of(ctx) if ctx is not None else Flags())


def _ends() -> tuple[type[Exception], ...]:
    """The errors a command ends with; their modules are loaded only when one is in flight."""
    from monitor.views import DeskError
    from tui.cli.output import ExitError

    return (ExitError, DeskError)


def _fail(error: Exception, flags: Flags) -> int:
    from monitor.views import DeskError
    from tui.cli.output import ExitError, fail

    end = ExitError.of(error) if isinstance(error, DeskError) else error
    assert isinstance(end, ExitError)
    return fail(end, flags)


def _usage(error: click.ClickException, words: list[str]) -> int:
    """A wrong command line, on standard error or as JSON."""
    wants_json = "--json" in words or "-ojson" in words or "--output=json" in words
    pairs = {("-o", "json"), ("--output", "json")}
    if wants_json or pairs & set(itertools.pairwise(words)):
        from tui.cli.output import ExitError, error_json, write

        write(error_json(ExitError(error.exit_code, "usage", error.format_message())))
    else:
        error.show()
    return error.exit_code
