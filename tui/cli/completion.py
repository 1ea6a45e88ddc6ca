"""`tocsin completion`: what a shell needs to complete commands and flags."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tui.cli.command import Call, command
from tui.cli.output import write


@command(
    "completion",
    examples="""
    tocsin completion bash > ~/.local/share/bash-completion/completions/tocsin
    tocsin completion fish > ~/.config/fish/completions/tocsin.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(_call: Call, shell: str) -> None:
    """A completion script for SHELL, on standard output."""
    made = get_completion_class(shell)
    assert made is not None
    write(
        made(
            click.get_current_context().find_root().command, {}, "tocsin", "_TOCSIN_COMPLETE"
        ).source()
    )
