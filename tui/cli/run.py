"""`tocsin run` and `tocsin demo`: flags in, the monitor does the work."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from monitor.config.options import DemoOptions, DemoResult, RunOptions, find_config
from tui.cli.command import Call, command
from tui.cli.output import PROBLEMS, plain_json, tell, write
from tui.cli.problems import say_problems

if TYPE_CHECKING:
    from monitor.desk.port import DeskPort
    from runbooks.problems import Problems


@command(
    "run",
    examples="""
    tocsin run --source kafka://localhost:9092/ai-interactions
    tocsin run --source file:EVENTS.ndjson.gz --store sqlite:///x.db --profile loud --until-end
    tocsin run --source simulate:s2_release --store sqlite:///x.db --profile loud --until-end
    tocsin run --check -c tocsin.yaml
    """,
)
@click.option(
    "--source",
    help="kafka://HOST:PORT/TOPIC, file:PATH (.gz too), - or simulate:SCENARIO, which is demo, "
    "s0_quiet, s1_injection, s2_release, s3_guardrail_outage, s4_redactor, s5_jailbreaks, "
    "s6_emitter_loss, s7_new_tool or s8_detector_bump.",
)
@click.option(
    "--profile",
    type=click.Choice(["quiet", "page", "loud"]),
    help="quiet (default: rates stay in shadow), page (offered rules page) or loud (all, at once).",
)
@click.option("--until-end", is_flag=True, help="Stop when the source ends.")
@click.option("--from", "start", help="Where a first start begins: earliest, latest or a time.")
@click.option("--page", is_flag=True, help="Let a recording page for real; else it only logs.")
@click.option(
    "--check",
    is_flag=True,
    help="Look at configuration, secrets, source and store; change nothing.",
)
@click.option("--roles", help="What this machine does: of ingest,decide,deliver,runs (all).")
@click.option(
    "--workers",
    type=click.IntRange(min=0, max=64),
    help="Processes that read the stream (0: a core less than there are).",
)
@click.option("--http", metavar="HOST:PORT", help="Where /metrics and /healthz are served.")
def run(
    call: Call,
    *,
    source: str | None,
    profile: str | None,
    until_end: bool,
    start: str | None,
    page: bool,
    check: bool,
    roles: str | None,
    workers: int | None,
    http: str | None,
) -> int:
    """Read the stream, detect, page, and serve the desk: the daemon. SIGTERM drains and ends it."""
    from runbooks.problems import Problems

    if not check:
        call.writes()
    flags = call.flags
    options = RunOptions(
        config=flags.config,
        store=flags.store,
        source=source,
        profile=profile,
        until_end=until_end,
        page=page,
        socket=flags.socket,
        http=http,
        roles=roles,
        workers=workers,
        start=start,
    )
    if flags.store is not None and flags.config is None:
        _say_left_out(call)
    try:
        return _check(call, options) if check else _start(options)
    except Problems as problems:
        return _refuse(call, problems)


def _say_left_out(call: Call) -> None:
    if (path := find_config(None, os.environ)) is not None:
        tell(f"{path} is not read beside --store: name it with -c if it is meant", call.flags)


def _start(options: RunOptions) -> int:
    from monitor.processes.start import start

    return start(options)


def _check(call: Call, options: RunOptions) -> int:
    from monitor.config.preflight import preflight
    from tui.lines.home import parts

    found = preflight(options, os.environ)
    call.answer("run_check", found.parts, lambda: parts(found.parts, call.face))
    return found.status


def _refuse(call: Call, problems: Problems) -> int:
    """Standard output is for what a daemon's receivers write, so text goes to standard error."""
    if call.flags.output == "json":
        return say_problems(call, "config_check", problems.problems)
    for line in str(problems).splitlines():
        sys.stderr.write(call.face.say(line, limit=None) + "\n")
    return PROBLEMS


@command(
    "demo",
    examples="""
    tocsin demo
    tocsin demo --headless --json
    """,
)
@click.option(
    "--speed",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Times real time.",
)
@click.option("--headless", is_flag=True, help="Play it without a terminal, to the end.")
def demo(call: Call, *, speed: float, headless: bool) -> int:
    """An incident to practise on: simulated stream, fake pager, no Kafka, no network.

    Opens the terminal on the story; with --headless it is played in the same way, and with
    --json the last line of standard output is one JSON object with what happened.
    """
    if not headless:
        from tui.cli.screen import need_screen

        need_screen("tocsin demo --headless --json")
    from monitor.demo import play
    from tui.desk_client import SocketDesk

    flags = call.flags
    options = DemoOptions(
        speed=speed,
        headless=headless,
        json=flags.output == "json",
        store=flags.store,
    )

    def face(desk: DeskPort) -> int:
        from tui.cli.screen import show_screen

        return show_screen(call, desk, ref="")

    def show(line: str) -> None:
        tell(call.face.say(line, limit=None), call.flags)

    result: DemoResult = play(options, SocketDesk, None if headless else face, show)
    if result.summary is not None:
        _sum_up(call, result.summary)
    return result.status


def _sum_up(call: Call, summary: dict[str, Any]) -> None:
    if call.flags.output == "json":
        write(plain_json(summary))
        return
    for name, value in summary.items():
        shown = plain_json(value) if isinstance(value, dict | list) else str(value)
        write(call.face.say(f"{name:<16} {shown}", limit=None))
