"""What the patterns cost: linear in the length of a string, whoever chose it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from monitor.stream import iban, patterns
from monitor.stream.decode import MAX_BYTES, Rejected, decode
from monitor.stream.patterns import confirmed, scan
from monitor.stream.sources.source import Record

SAMPLES = {
    "secret.aws": "AKIAABCDEFGHIJKLMNOP",
    "secret.github": "ghp_" + "aB3" * 12,
    "secret.gitlab": "glpat-" + "x1" * 10,
    "secret.slack": "xoxb-1234567890-abc",
    "secret.google": "AIza" + "Sy0" * 11 + "ab",
    "secret.api_key": "sk-proj-AbCdEf1234567890abcd",
    "secret.jwt": "eyJhbGciOiJI.eyJzdWIiOiIx",
    "secret.private_key": "-----BEGIN RSA PRIVATE KEY",
    "secret.url_password": "postgres://u:p4ss@",
    "secret.bearer": "Bearer abcdefghijklmnop",
    "pattern.email": "jo@ab-c.example.com",
    "pattern.card": "4111 1111 1111 1111",
    "pattern.phone": "+49 30 901820",
    "pattern.iban": "DE89 3704 0044 0532 0130 00",
    "ipv4": "8.8.8.8",
    "ipv6": "2001:4860:4860::8888",
}
_NAMED: dict[str, re.Pattern[str]] = {
    **dict(patterns._SECRETS),
    "secret.jwt": patterns._JWT,
    "pattern.email": patterns._EMAIL,
    "pattern.card": patterns._CARD,
    "pattern.phone": patterns._PHONE,
    "pattern.iban": iban.CANDIDATE,
    "ipv4": patterns._IPV4,
    "ipv6": patterns._IPV6,
}
SHORT, LONG = 512, 128 * 1024


def near_misses(sample: str) -> Iterator[str]:
    """Strings to repeat: what a match begins with, and that with its last letter drawn out."""
    for cut in range(1, len(sample)):
        yield sample[:cut]
        yield sample[:cut] + sample[cut - 1] * 70
    for length in (7, 300, 5000):
        yield from (sample[:cut] + sample[cut - 1] * length for cut in (3, len(sample) // 2))


def cpu_s(work: Callable[[str], object], text: str, times: int) -> float:
    """The least CPU time that `times` calls took, of three tries."""
    took = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(times):
            work(text)
        took.append(time.process_time() - began)
    return min(took)


def steep(work: Callable[[str], object], unit: str) -> tuple[float, float] | None:
    """The times of as many bytes in short strings and in one long one, if length is dear."""
    long = (unit * (LONG // len(unit) + 1))[:LONG]
    began = time.process_time()
    work(long)
    if time.process_time() - began < 0.05:
        return None  # over 2 MB/s: whatever it does, it does not grow
    short = (unit * SHORT)[:SHORT]
    one, many = cpu_s(work, long, 1), cpu_s(work, short, LONG // SHORT)
    return (many, one) if one > 5 * many + 0.05 else None


@pytest.mark.parametrize("rule", sorted(_NAMED))
def test_a_byte_costs_the_same_in_a_long_string(rule: str) -> None:
    """Of no near miss of a pattern does a long string cost more a byte than short ones."""
    assert SAMPLES.keys() == _NAMED.keys()
    pattern = _NAMED[rule]
    assert pattern.search(SAMPLES[rule])
    for unit in near_misses(SAMPLES[rule]):
        found = steep(lambda text: sum(1 for _ in pattern.finditer(text)), unit)
        assert found is None, (rule, unit[:60], found)


def test_the_test_sees_a_pattern_that_begins_anew_everywhere() -> None:
    """The pattern of a token as it once was is found by its own near misses."""
    old = re.compile(r"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8}")
    assert any(steep(old.search, unit) for unit in ("eyJ", "eyJh"))


@pytest.mark.parametrize("unit", ["eyJ", "eyJaaaaaaaa.", "sk-", "4 ", "a@a.", "A", "://a:", "\xff"])
def test_the_largest_record_is_refused_at_once(unit: str) -> None:
    """A record of the largest size, full of near misses, costs far less than a step may take."""
    value = ('{"x":"' + unit * MAX_BYTES).encode("latin-1")[: MAX_BYTES - 2] + b'"}'

    def refuse(_: str) -> None:
        assert isinstance(decode(Record(0, value), key=b"k"), Rejected)

    assert cpu_s(refuse, "", 4) < 4 * 0.5


@pytest.mark.parametrize(
    "text",
    [
        "eyJaeyJbbbbbbbbb.eyJzdWIiOiIx",
        "eyJ" + "a" * 9000 + ".eyJzdWIiOiIx",
        r'{"note":"x\neyJhbGciOiJI.eyJzdWIiOiIx"}',
        "token%3DeyJhbGciOiJI.eyJzdWIiOiIx",
        "eyJ.eyJaaaaaaaa.eyJzdWIiOiIx",
    ],
)
def test_a_token_is_found_wherever_it_begins(text: str) -> None:
    """Behind an escape, a letter or another `eyJ`, and however long its first part is."""
    assert confirmed(text) == ["secret.jwt"]


@pytest.mark.parametrize(
    "text", ["eyJ", "eyJaaaaaaaa.eyJ", "eyJaaaaaaa.eyJzdWIiOiIx", "a.eyJbbbbbbbb"]
)
def test_what_only_begins_like_a_token_is_none(text: str) -> None:
    """A part that is missing or too short, at the end of the string or before more text."""
    assert confirmed(text) == confirmed(text + " and more") == []


def test_confirmed_is_the_confirmed_part_of_a_scan() -> None:
    """Each sample, between others: the same rules as of the whole scan."""
    for sample in SAMPLES.values():
        text = f"x {sample} y"
        assert confirmed(text) == [one.rule for one in scan(text) if one.confirmed]
