"""`tocsin config` and `tocsin metrics`: the configuration, the schemas, the paths, the metrics."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from monitor.config.options import DEFAULT_STORE, config_paths, find_config, socket_path, state_dir
from monitor.url import without_password
from tui.cli.command import Call, command
from tui.cli.output import NOT_FOUND, USAGE, Cell, ExitError, plain_json, table, to_json, write
from tui.cli.place import config_of, place_of
from tui.cli.problems import say_problems
from tui.lines.line import Line

if TYPE_CHECKING:
    from runbooks.problems import Problem


def _event() -> dict[str, Any]:
    from monitor.stream.event import schema

    return schema()


def _signals() -> dict[str, Any]:
    from monitor.stream.signals import schema

    return schema()


def _config() -> dict[str, Any]:
    from monitor.config.settings import schema

    return schema()


def _runbook() -> dict[str, Any]:
    from runbooks.load import schema

    return schema()


_SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "event": _event,
    "signals": _signals,
    "config": _config,
    "runbook": _runbook,
}


def write_schema(call: Call, schema: dict[str, Any]) -> None:
    """A JSON Schema, indented; with --json in the common envelope."""
    if call.flags.output == "json":
        write(to_json("schema", schema))
    else:
        write(msgspec.json.format(plain_json(schema), indent=2))


@command("schema", examples="tocsin config schema event > event.schema.json")
@click.argument("kind", type=click.Choice(list(_SCHEMAS)), default="config")
def schema(call: Call, kind: str) -> None:
    """A JSON Schema (2020-12): event, signals, config (default) or runbook."""
    write_schema(call, _SCHEMAS[kind]())


@command(
    "check",
    examples="""
    tocsin config check
    tocsin config check /etc/tocsin/conf.d --strict
    tocsin config check tocsin.yaml staging.yaml --json
    """,
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Warnings end with 3 too.")
def check(call: Call, paths: tuple[Path, ...], *, strict: bool) -> int:
    """Every problem of configuration files, with its place. Exit 3 when there are errors."""
    found: list[Problem] = []
    for path in paths or (the_config(call),):
        found.extend(_problems_of(path))
    return say_problems(call, "config_check", found, strict=strict)


def _problems_of(path: Path) -> list[Problem]:
    from monitor.config.advice import advice
    from monitor.config.settings import Settings, look, resolve
    from runbooks.convert import convert
    from runbooks.problems import Problem, Problems, Severity

    try:
        document, found = look(path)
        if document is not None and not any(p.severity is Severity.ERROR for p in found):
            settings = convert(document, Settings)
            resolve(settings)
            found += advice(settings, document)
    except Problems as problems:
        return list(problems.problems)
    except OSError as error:
        return [Problem(str(path), 0, 0, "file", f"cannot be read: {error.strerror or error}")]
    return sorted(found)


def the_config(call: Call) -> Path:
    """The configuration of this call: a file or a folder.

    Raises:
        ExitError: none is named, and none is where one is looked for.
    """
    path = config_of(call.flags)
    if path is None and find_config(None, os.environ) is not None:
        text = "beside a store or a desk that is named no configuration is looked for"
        raise ExitError(NOT_FOUND, "not_found", text, "name it with -c")
    if path is None:
        places = " or ".join(str(place) for place in config_paths(os.environ))
        raise ExitError(
            NOT_FOUND, "not_found", f"there is no configuration at {places}", "name one with -c"
        )
    return path


@command(
    "show",
    examples="""
    tocsin config show
    tocsin config show -c tocsin.yaml --json
    tocsin config show --running
    """,
)
@click.argument("revision", required=False)
@click.option("--running", is_flag=True, help="What the daemon has in force.")
def show_(call: Call, revision: str | None, *, running: bool) -> None:
    """The configuration with its defaults; REVISION (r7) as it was. Secrets are references."""
    from tui.cli.revisions import number_of

    if running or revision is not None:
        found = call.desk().config_revision(number=number_of(revision) if revision else 0)
        data = msgspec.json.decode(found.body)
    else:
        data = of_the_files(call)
    if call.flags.output == "json":
        write(to_json("config", data))
        return
    from runbooks.yaml_text import yaml_text

    write(yaml_text(data))


def of_the_files(call: Call) -> dict[str, object]:
    """The configuration of this call as plain values.

    Raises:
        ExitError: it has mistakes, or cannot be read.
    """
    from monitor.config.effective import plain
    from monitor.config.settings import Settings, load
    from runbooks.problems import Problems

    path = config_of(call.flags)
    try:
        settings = Settings() if path is None else load(path)[0]
    except Problems as problems:
        first = str(problems.problems[0])
        raise ExitError(USAGE, "invalid", first, f"see `tocsin config check {path}`") from problems
    except OSError as error:
        raise ExitError(USAGE, "invalid", f"cannot read {path}: {error.strerror}") from error
    if call.flags.store is not None:
        settings = msgspec.structs.replace(settings, store=call.flags.store)
    return plain(settings)


@command("paths", examples="tocsin config paths --json")
def paths(call: Call) -> None:
    """The files and the socket that a call with these flags uses."""
    place = place_of(call.flags)
    store = place.store or DEFAULT_STORE
    config = config_of(call.flags)
    data = {
        "config": None if config is None else str(config),
        "store": without_password(store),
        "socket": str(socket_path(store, place.socket, os.environ)),
        "state": str(state_dir(os.environ)),
        "drafts": str(state_dir(os.environ) / "drafts.json"),
    }
    call.answer(
        "paths",
        data,
        lambda: [
            Line.of((f"{name:<8}", "dim"), call.face.say(value or "none", limit=None))
            for name, value in data.items()
        ],
    )


@command("list", examples="tocsin metrics list")
def metrics_list(call: Call) -> None:
    """Name, type and meaning of each metric."""
    from monitor.metrics import Metrics

    families = sorted(Metrics().registry.collect(), key=lambda family: family.name)
    data = [
        {
            "name": f"{family.name}_total" if family.type == "counter" else family.name,
            "type": family.type,
            "help": family.documentation,
        }
        for family in families
    ]
    body: list[list[Cell]] = [[row["name"], row["type"], row["help"]] for row in data]
    call.answer("metrics", data, lambda: table(("NAME", "TYPE", "HELP"), body, call.face))
