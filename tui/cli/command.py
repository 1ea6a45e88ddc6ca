"""Commands that know the global flags, groups that load theirs late, and the way to a desk."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tui.cli.flags import Flags, flags_of, global_options

if TYPE_CHECKING:
    from monitor.desk.port import DeskPort
    from monitor.views import Done
    from tui.lines.face import Face
    from tui.lines.line import Line

R = TypeVar("R")


class Command(click.Command):
    """A command that accepts the global flags too and shows its examples."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        taken = {option for param in self.params for option in param.opts}
        self.params.extend(o for o in global_options(root=False) if not taken & set(o.opts))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _examples(self.examples, formatter)
        if ctx.parent is not None:
            formatter.write_paragraph()
            formatter.write_text("Global flags: see `tocsin --help`.")


class Group(click.Group):
    """A group whose commands are imported when they are called, not for a list of them.

    Args:
        late: name -> ("module:attribute", short help).
        examples: lines shown at the end of the help.
    """

    def __init__(
        self,
        *args: Any,
        late: Mapping[str, tuple[str, str]] | None = None,
        examples: str = "",
        root: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.late = dict(late or {})
        self.examples = examples
        self.params.extend(global_options(root=root))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.late, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self.late.get(cmd_name)
        if found is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = found[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, short) for name, (_, short) in self.late.items()]
        for name in super().list_commands(ctx):
            command = self.commands[name]
            if not command.hidden:
                rows.append((name, command.get_short_help_str(100)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _examples(self.examples, formatter)
        if ctx.parent is not None:
            formatter.write_paragraph()
            formatter.write_text("Global flags: see `tocsin --help`.")


def _examples(text: str, formatter: click.HelpFormatter) -> None:
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines:
        return
    with formatter.section("Examples"):
        for line in lines:
            formatter.write(f"{' ' * formatter.current_indent}{line}\n")


@dataclass(slots=True)
class Call:
    """One call of a command: its flags, its desk, and how it answers."""

    flags: Flags
    _desk: list[DeskPort] = field(default_factory=list)

    @property
    def face(self) -> Face:
        return self.flags.face

    def desk(self) -> DeskPort:
        """The desk, found at the first use.

        Raises:
            ExitError: no desk can be reached.
        """
        if not self._desk:
            from tui.cli.output import tell
            from tui.cli.place import place_of
            from tui.desk_client import connect

            desk = connect(place_of(self.flags), warn=lambda text: tell(text, self.flags))
            self._desk.append(desk)
            hang_up = getattr(desk, "hang_up", None)
            if hang_up is not None:
                click.get_current_context().find_root().call_on_close(hang_up)
            if self.where and self.flags.output == "text":
                tell(f"desk {self.where}", self.flags)
        return self._desk[0]

    @property
    def where(self) -> str:
        """Name and address of the desk that was found; empty for this machine's."""
        from tui.desk_client import place_name

        return place_name(self._desk[0]) if self._desk else ""

    def writing_desk(self) -> DeskPort:
        """The desk for a command that changes something.

        Raises:
            ExitError: this call is read-only.
        """
        self.writes()
        return self.desk()

    def writes(self) -> None:
        """Refuse to change anything where that was asked for.

        Raises:
            ExitError: this call is read-only.
        """
        if self.flags.read_only:
            from tui.cli.output import REFUSED, ExitError

            raise ExitError(
                REFUSED, "refused", "this call is read-only", "leave out --read-only to change it"
            )

    def done(self, method: str, done: Done) -> None:
        """Say what happened; the command ends with 6 where no daemon could carry it on."""
        from tui.cli.output import tell, to_json, write

        if self.flags.output == "json":
            write(to_json(method, done))
        elif self.flags.output == "id":
            write(self.face.say(done.incident or ""))
        else:
            write(self.face.say(done.text, limit=2000))
        if not done.daemon:
            tell("recorded, no daemon running: receivers hear of it when one does", self.flags)
            sys.exit(6)

    def answer(self, method: str, data: Any, lines: Callable[[], list[Line]]) -> None:
        """Data as JSON, or the lines for a person."""
        from tui.cli.output import show, to_json, write

        if self.flags.output == "json":
            write(to_json(method, data))
        else:
            show(lines(), self.flags)

    def ids(self, names: list[str]) -> None:
        """One identifier on each line."""
        from tui.cli.output import write

        for name in names:
            write(self.face.say(name))

    def confirm(self, question: str) -> bool:
        """Ask for a yes on the terminal.

        Raises:
            ExitError: there is no terminal and no `--yes`.
        """
        if self.flags.yes:
            return True
        self.need_terminal(question, "repeat the command with --yes")
        sys.stderr.write(f"{self.face.say(question, limit=2000)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def need_terminal(self, question: str, hint: str) -> None:
        """Refuse to ask where nobody can answer.

        Raises:
            ExitError: standard input is not a terminal.
        """
        if not sys.stdin.isatty():
            from tui.cli.output import NEEDS_TERMINAL, ExitError

            raise ExitError(NEEDS_TERMINAL, "needs_terminal", question, hint)


def command(name: str, *, examples: str = "") -> Callable[[Callable[..., R]], click.Command]:
    """A command for a group's late table; its function gets the `Call` first."""

    def decorate(function: Callable[..., R]) -> click.Command:
        @functools.wraps(function)
        def body(*args: Any, **kwargs: Any) -> R:
            return function(Call(flags_of(click.get_current_context())), *args, **kwargs)

        made: Callable[[Any], click.Command] = click.command(name, cls=Command, examples=examples)
        return made(body)

    return decorate
