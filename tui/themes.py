"""Colours: every text colour has a contrast of 7:1 or more on its background.

Greens and blues are from the Okabe-Ito palette or beside it, so that they stay apart for
colour-blind eyes; and no state is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

ROLES = ("dim", "ok", "warn", "bad", "accent")

ANSI: Mapping[str, str] = {
    "dim": "ansi_default",
    "ok": "ansi_green",
    "warn": "ansi_yellow",
    "bad": "ansi_red",
    "accent": "ansi_cyan",
    "rule": "ansi_default",
}
"""Roles in the terminal's own sixteen colours."""


def _theme(name: str, *, dark: bool, background: str, foreground: str, **roles: str) -> Theme:
    return Theme(
        name=name,
        dark=dark,
        primary=roles["accent"],
        secondary=roles["accent"],
        accent=roles["accent"],
        success=roles["ok"],
        warning=roles["warn"],
        error=roles["bad"],
        background=background,
        surface=background,
        panel=background,
        boost=background,
        foreground=foreground,
        text_alpha=1.0,
        variables=roles,
    )


THEMES = (
    _theme(
        "tocsin-dark",
        dark=True,
        background="#101010",
        foreground="#e4e4e4",
        dim="#a4a4a4",
        ok="#3fd0a0",
        warn="#f0c040",
        bad="#ff9a8a",
        accent="#6cc0f0",
        rule="#585858",
    ),
    _theme(
        "tocsin-light",
        dark=False,
        background="#fcfcfc",
        foreground="#1a1a1a",
        dim="#4f4f4f",
        ok="#00563f",
        warn="#6b4300",
        bad="#8f1400",
        accent="#004a80",
        rule="#a0a0a0",
    ),
    _theme(
        "tocsin-contrast",
        dark=True,
        background="#000000",
        foreground="#ffffff",
        dim="#d0d0d0",
        ok="#60ffc0",
        warn="#ffe040",
        bad="#ffb0a0",
        accent="#80d8ff",
        rule="#ffffff",
    ),
)

NAMES: Mapping[str, str] = {
    "dark": "tocsin-dark",
    "light": "tocsin-light",
    "contrast": "tocsin-contrast",
    "ansi": "ansi-dark",
}
"""What `--theme` takes -> the theme's name."""
