"""`paging.digest`: what it means, and what is wrong with it where."""

from __future__ import annotations

from datetime import UTC, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from monitor.config.reloadable import takes
from monitor.config.revisions import changed_keys
from monitor.config.settings import Settings, load, resolve
from runbooks.problems import Problem, Problems

RECEIVERS = """
paging:
  receivers:
    - {type: pagerduty, name: phone, routing_key: {env: KEY}}
    - {type: slack, name: chat, token: {env: TOKEN}, channel: C0123456789}
    - {type: log, name: journal}
  route: {receivers: [phone]}
"""


def settings(path: Path, text: str) -> Settings:
    """A configuration as loaded."""
    file = path / "tocsin.yaml"
    file.write_text("version: 1" + text, "utf-8")
    return load(file)[0]


def problem(path: Path, digest: str) -> Problem:
    """The only thing that is wrong with this digest."""
    with pytest.raises(Problems) as caught:
        settings(path, RECEIVERS + f"  digest: {digest}\n")
    (found,) = caught.value.problems
    return found


def test_nobody_is_told_unless_somebody_says_so(tmp_path: Path) -> None:
    """Absent, there is no digest."""
    assert resolve(settings(tmp_path, RECEIVERS)).policy.digest is None


def test_what_is_not_said_is_nine_in_utc(tmp_path: Path) -> None:
    """Receivers are all that it needs; one named twice is told once."""
    made = settings(tmp_path, RECEIVERS + "  digest: {receivers: [chat, journal, chat]}\n")
    daily = resolve(made).policy.digest
    assert daily is not None
    assert (daily.receivers, daily.at, daily.zone) == (("chat", "journal"), time(9), UTC)
    assert daily.tiers["refusal_rate"] == "shadow"


def test_a_time_and_a_place(tmp_path: Path) -> None:
    """By the clock of where the team is."""
    text = '  digest: {receivers: [chat], at: "07:30", timezone: Europe/Paris}\n'
    daily = resolve(settings(tmp_path, RECEIVERS + text)).policy.digest
    assert daily is not None
    assert (daily.at, daily.zone) == (time(7, 30), ZoneInfo("Europe/Paris"))


def test_the_log_there_is_without_receivers_takes_it(tmp_path: Path) -> None:
    """As every other place that names receivers."""
    assert settings(tmp_path, "\npaging: {digest: {receivers: [log]}}\n").paging.digest


@pytest.mark.parametrize(
    ("digest", "said", "hint"),
    [
        (
            "{receivers: [phone]}",
            "8:24 value 'phone' is of type pagerduty, which can only page; a digest wakes nobody",
            "name chat or journal",
        ),
        ("{receivers: [chap]}", "8:24 unknown no receiver 'chap'", "did you mean 'chat'?"),
        (
            "{receivers: [chat], timezone: Europe/paris}",
            "8:41 unknown no time zone 'Europe/paris'",
            "did you mean 'Europe/Paris'?",
        ),
        ("{receivers: [chat], timezone: ../../etc}", "8:41 unknown no time zone '../../etc'", None),
        ("{receivers: [chat], timezone: Europe}", "8:41 unknown no time zone 'Europe'", None),
        ("{receivers: []}", "8:23 value", None),
        ("{}", "8:11 missing-key", None),
        ('{receivers: [chat], at: "9:00"}', "8:35 value", None),
        ('{receivers: [chat], at: "24:00"}', "8:35 value", None),
        ("{receivers: [chat], att: x}", "8:31 unknown-key", None),
    ],
)
def test_what_is_wrong_is_told_where(
    tmp_path: Path, digest: str, said: str, hint: str | None
) -> None:
    """Line and column, and what to write instead."""
    found = problem(tmp_path, digest)
    assert f"{found.line}:{found.col} {found.code} {found.text}".startswith(said)
    if hint is not None:
        assert found.hint == hint


def test_what_only_rings_is_told_when_nothing_else_is_there(tmp_path: Path) -> None:
    """Then the hint names what to add."""
    with pytest.raises(Problems) as caught:
        settings(
            tmp_path,
            "\npaging:\n"
            "  receivers: [{type: pagerduty, name: phone, routing_key: {env: KEY}}]\n"
            "  digest: {receivers: [phone]}\n",
        )
    (found,) = caught.value.problems
    assert found.hint == "name a receiver of type slack, webhook or log"


def test_a_reload_takes_it(tmp_path: Path) -> None:
    """To begin it, to change it and to end it."""
    none = settings(tmp_path, RECEIVERS)
    one = settings(tmp_path, RECEIVERS + "  digest: {receivers: [chat]}\n")
    other = settings(tmp_path, RECEIVERS + '  digest: {receivers: [chat], at: "10:00"}\n')
    for before, after in ((none, one), (one, other), (other, none)):
        keys = changed_keys(before, after)
        assert keys
        assert all(takes(each) for each in keys)
