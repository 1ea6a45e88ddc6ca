"""`tocsin open` and `tocsin tui`: the terminal application."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from tui.cli.command import Call, command
from tui.cli.output import NEEDS_TERMINAL, ExitError

if TYPE_CHECKING:
    from monitor.desk.port import DeskPort

THEMES = ("dark", "light", "contrast", "ansi")


def need_screen(instead: str) -> None:
    """Refuse where no screen can be drawn.

    Raises:
        ExitError: input or output is not a terminal, or it is a dumb one.
    """
    dumb = os.environ.get("TERM", "") in {"", "dumb"}
    if sys.stdin.isatty() and sys.stdout.isatty() and not dumb:
        return
    why = "this terminal cannot move its cursor (TERM)" if dumb else "this needs a terminal"
    raise ExitError(NEEDS_TERMINAL, "needs_terminal", why, f"without one: {instead}")


def show_screen(
    call: Call,
    desk: DeskPort,
    *,
    ref: str,
    theme: str | None = None,
    mouse: bool = False,
    fps: float = 2.0,
) -> int:
    """Run the terminal application on `desk`; the exit status."""
    from monitor.config.options import state_dir
    from tui.app import Look, TocsinApp
    from tui.drafts import Drafts

    flags = call.flags
    look = Look(
        face=flags.face,
        theme=theme or "dark",
        color=not flags.no_color,
        read_only=flags.read_only,
        fps=fps,
        desk=getattr(desk, "name", ""),
    )
    drafts = Drafts(state_dir(os.environ) / "drafts.json")
    app = TocsinApp(desk, look=look, drafts=drafts, ref=ref)
    app.run(mouse=mouse)
    return app.return_code or 0


_LOOK = (
    click.option("--theme", type=click.Choice(THEMES), envvar="TOCSIN_THEME", help="Colours."),
    click.option("--mouse", is_flag=True, help="Use the mouse (your terminal's selection goes)."),
    click.option("--fps", type=click.FloatRange(0.1, 2), default=2.0, help="Looks a second."),
)


@command(
    "open",
    examples="""
    tocsin open
    tocsin open INC-0142
    """,
)
@click.argument("ref", metavar="[INC]", default="latest")
@_LOOK[0]
@_LOOK[1]
@_LOOK[2]
def open_(call: Call, ref: str, *, theme: str | None, mouse: bool, fps: float) -> int:
    """The terminal, on incident INC; left out: the newest open one, with none open the newest."""
    need_screen(f"tocsin inc show {ref}; tocsin inc watch {ref}")
    desk = call.desk()
    name = desk.incident(ref).row.id
    return show_screen(call, desk, ref=name, theme=theme, mouse=mouse, fps=fps)


@command("tui", examples="tocsin tui --theme light")
@_LOOK[0]
@_LOOK[1]
@_LOOK[2]
def tui(call: Call, *, theme: str | None, mouse: bool, fps: float) -> int:
    """The terminal, on the list of incidents."""
    need_screen("tocsin inc list; tocsin inc watch latest")
    return show_screen(call, call.desk(), ref="", theme=theme, mouse=mouse, fps=fps)
