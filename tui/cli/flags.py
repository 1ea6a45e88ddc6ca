"""The global flags of `tocsin`, accepted before and after the subcommand, and from `TOCSIN_*`.

The last one wins in this order: default, environment, before the subcommand, after it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import click

from tui.lines.face import Face

_KEY = "tocsin.flags"

Output = Literal["text", "json", "id"]


@dataclass(frozen=True, slots=True)
class Flags:
    """The global flags of one call."""

    config: Path | None = None
    store: str | None = None
    socket: Path | None = None
    desk: str | None = None
    output: Output = "text"
    quiet: bool = False
    no_color: bool = False
    ascii: bool = False
    local: bool = False
    read_only: bool = False
    yes: bool = False

    @property
    def face(self) -> Face:
        """How this call draws; a standard output that is not UTF-8 gets ASCII."""
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
        return Face(ascii=self.ascii or encoding != "utf8", local=self.local)

    @property
    def color(self) -> bool:
        """Whether colours may be written to standard output."""
        dumb = os.environ.get("TERM", "") in {"", "dumb"}
        return not (self.no_color or "NO_COLOR" in os.environ or dumb) and sys.stdout.isatty()


def flags_of(ctx: click.Context) -> Flags:
    """The flags of the call that `ctx` belongs to."""
    found: Flags = ctx.find_root().meta.get(_KEY, Flags())
    return found


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    assert param.name is not None
    if ctx.get_parameter_source(param.name) is click.core.ParameterSource.DEFAULT:
        return
    meta = ctx.find_root().meta
    name = param.name
    if _goes_by(ctx, name, meta):
        return
    if name == "json_":
        if not value:
            return
        name, value = "output", "json"
    assert name in {field.name for field in fields(Flags)}
    meta[_KEY] = replace(meta.get(_KEY, Flags()), **{name: value})


def _goes_by(ctx: click.Context, name: str, meta: dict[str, Any]) -> bool:
    """Whether a desk of the environment is passed over; a store or socket that is typed does it.

    A desk, where one is left, goes before store and socket: the last one typed wins.
    """
    typed = click.core.ParameterSource.COMMANDLINE
    if name in {"store", "socket"} and ctx.get_parameter_source(name) is typed:
        meta[_KEY] = replace(meta.get(_KEY, Flags()), desk=None)
    if name == "desk" and ctx.get_parameter_source(name) is not typed:
        return any(ctx.get_parameter_source(other) is typed for other in ("store", "socket"))
    return False


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"tocsin {version('tocsin')}")
    ctx.exit()


def _option(*names: str, root: bool, env: str | None, help_text: str, **more: Any) -> click.Option:
    return click.Option(
        list(names),
        expose_value=False,
        callback=_keep,
        envvar=f"TOCSIN_{env}" if root and env else None,
        show_envvar=bool(root and env),
        hidden=not root,
        help=help_text,
        **more,
    )


def global_options(*, root: bool) -> list[click.Option]:
    """The options; those of a subcommand are hidden in its help and read no environment."""
    path = click.Path(path_type=Path)
    made = [
        _option(
            "-c",
            "--config",
            root=root,
            env="CONFIG",
            help_text="Configuration: a file, or a folder of *.yaml. Default: tocsin.yaml here, "
            "else ~/.config/tocsin/tocsin.yaml; none with --store.",
            type=path,
        ),
        _option(
            "--store", root=root, env="STORE", help_text="Database URL, e.g. sqlite:///tocsin.db."
        ),
        _option(
            "--socket",
            root=root,
            env="SOCKET",
            help_text="The daemon's Unix socket. Default: see `tocsin config paths`.",
            type=path,
        ),
        _option(
            "--desk",
            root=root,
            env="DESK",
            help_text="A desk you logged in to, by name or address; local: this machine's.",
        ),
        _option(
            "-o",
            "--output",
            root=root,
            env="OUTPUT",
            help_text="Form of the answer.",
            type=click.Choice(["text", "json", "id"]),
        ),
        _option("--json", "json_", root=root, env=None, help_text="-o json.", is_flag=True),
        _option("-q", "--quiet", root=root, env="QUIET", help_text="No messages.", is_flag=True),
        _option("--no-color", root=root, env=None, help_text="No colours.", is_flag=True),
        _option("--ascii", root=root, env="ASCII", help_text="ASCII only.", is_flag=True),
        _option(
            "--local/--utc",
            "local",
            root=root,
            env="LOCAL",
            help_text="Times in your zone or in UTC (default).",
        ),
        _option(
            "--read-only",
            root=root,
            env="READ_ONLY",
            help_text="Refuse every command that changes something.",
            is_flag=True,
        ),
        _option(
            "-y", "--yes", root=root, env=None, help_text="Answer yes to questions.", is_flag=True
        ),
    ]
    if root:
        made.append(
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_version,
                help="Show the version and end.",
            )
        )
    return made
