"""Text that tries to steer a terminal, break a layout or be taken for markup."""

from __future__ import annotations

PAYLOADS = (
    "\x1b]52;c;U1RPTEVO\x07",  # clipboard
    "\x1b]0;PWNED\x07",  # window title
    "\x1b]8;;http://evil.invalid\x1b\\link",  # link
    "\x1b[2J\x1b[H",  # clear
    "\x1b[6n",  # a report that comes back as keys
    "\x1b]2;unterminated",
    "\x1bP+q544e\x1b\\",  # device control
    "\x9b31mC1",
    "\x9d0;C1 title\x9c",
    "\u202e\u2066txet\u2069",  # bidi
    "a\u200b\u200d\ufeffb",
    "[@click=app.exit]click[/]",
    "[/b] tool [red]x",
    "[link=http://evil.invalid]y[/link]",
    "e" + "\u0301" * 60,  # a tower of marks
    "漢字" * 30,
    "line\nline\r\x0b\x0c\x85\u2028next",
    "tab\there\x08\x7f",
    "\U000e0041\U000f0000",
    "${jndi:x} $(reboot) `id` {0} %s",
)

ALL = "|".join(PAYLOADS)

FORBIDDEN = (
    b"\x1b]52",
    b"\x1b]0;",
    b"\x1b]2;",
    b"\x1b]8;",
    b"\x1b[6n",
    b"\x1bP+q",
    b"\x07",
    b"\xc2\x85",
    b"\xc2\x9b",
    b"\xc2\x9d",
    "\u202e".encode(),
    "\u2066".encode(),
    "\u200b".encode(),
    "\u2028".encode(),
    "\ufeff".encode(),
    "\U000e0041".encode(),
    b"\x7f",
    b"\x0b",
)
"""Bytes that only the payloads have: the application itself writes none of them."""
