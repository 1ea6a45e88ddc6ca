"""Logs: one record, one line, whatever is in it."""

from __future__ import annotations

import json
import logging

import pytest

from monitor.logs import LONGEST, JsonLines


def line(text: str, *args: object, **options: object) -> str:
    """A record as it is written."""
    record = logging.LogRecord("monitor.x", logging.WARNING, "f", 1, text, args, None)
    for name, value in options.items():
        setattr(record, name, value)
    return JsonLines().format(record)


def test_a_record_is_one_line_of_json() -> None:
    """Time, level, logger and text, in UTC."""
    record = json.loads(line("%d pages wait", 3, created=1.5))
    assert record == {
        "at": "1970-01-01T00:00:01.500+00:00",
        "level": "warning",
        "logger": "monitor.x",
        "text": "3 pages wait",
    }


@pytest.mark.parametrize(
    "text",
    [
        'one\n{"at": "x", "level": "info"}',
        "\x1b[2J\x9b31m",
        "\u2028\u2029\x85\r",
        "\ud800\udfff",
        "\u202etxet",
        '"} {"level":"x"',
    ],
)
def test_nothing_forges_another_record(text: str) -> None:
    """Control characters, line ends of all kinds and lone surrogates are shown, not obeyed."""
    made = line("%s", text)
    assert made.isascii()
    assert made.isprintable()
    assert json.loads(made)["level"] == "warning"


def test_a_long_text_is_cut_and_says_so() -> None:
    """A record stays small."""
    made = json.loads(line("%s", "x" * 100_000))
    assert len(made["text"]) < LONGEST + 30
    assert made["text"].endswith(f"...[cut {100_000 - LONGEST}]")


def test_a_trace_is_in_the_line() -> None:
    """An exception's trace belongs to its record, on the same line."""
    with pytest.raises(ValueError, match="bad") as caught:
        int("bad\nnews")
    made = line("died", exc_info=(caught.type, caught.value, caught.tb))
    assert "\n" not in made
    assert "ValueError: invalid literal" in json.loads(made)["text"]
