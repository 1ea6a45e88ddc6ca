"""The small parts of a step: references, parameters, URLs, requests."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runbooks.durations import Duration
from runbooks.model import Command, Effect, Http, Secret
from runbooks.params import (
    Address,
    Choice,
    Flag,
    Number,
    ParamError,
    Span,
    Text,
    Whole,
    bind,
    check_pattern,
)
from runbooks.references import Reference, Value, displayed, reference, references
from runbooks.requests import (
    CommandRequest,
    HttpRequest,
    RenderError,
    Request,
    SecretAt,
    digest,
    render,
)
from runbooks.urls import plain_url, segment


def test_an_element_is_a_literal_or_one_reference() -> None:
    """A reference stands alone; other text is a literal."""
    assert reference("--tenant") is None
    assert reference("cost $5") is None
    assert reference("${params.tool}") == Reference("params", "tool")
    assert reference("${steps.pull-it.id}") == Reference("steps", "pull-it", "id")
    assert str(Reference("steps", "a", "b")) == "${steps.a.b}"


@pytest.mark.parametrize(
    "text",
    [
        "x${params.a}",
        "${params.a}${params.b}",
        "${params.a",
        "${params}",
        "${params.a.b}",
        "${steps.a}",
        "${event.tool}",
        "${params.a-}x",
        "{{event.tool}}",
        "{% raw %}",
        "$(id)",
        "`id`",
        "${ params.a }",
        "${incident.labels.tool}",
    ],
)
def test_mixed_text_and_templates_are_refused(text: str) -> None:
    """Nothing is concatenated and nothing is evaluated."""
    with pytest.raises(ValueError, match=r"mixes|templates|form|names"):
        reference(text)


def test_text_for_the_eyes_may_mix() -> None:
    """Titles are filled in; what has no value stays as it is."""
    values: dict[str, Value] = {"a": "x", "n": True}
    text = "roll ${params.a} back (${params.n}) to ${steps.s.v}"
    assert displayed(text, lambda r: values.get(r.name)) == "roll x back (true) to ${steps.s.v}"
    assert [str(r) for r in references(text)] == ["${params.a}", "${params.n}", "${steps.s.v}"]
    with pytest.raises(ValueError, match="misspells"):
        references("${params.a")


PARAMS: list[tuple[Any, object, object]] = [
    (Text(), "hi", "hi"),
    (Text(pattern="[a-z]+"), "abc", "abc"),
    (Text(allow_dash=True), "--help", "--help"),
    (Whole(), 3, 3),
    (Whole(), "12", 12),
    (Number(), 0.5, 0.5),
    (Number(), "0.25", 0.25),
    (Flag(), True, True),
    (Flag(), "false", False),
    (Choice(values=("a", "b")), "b", "b"),
    (Span(), "5m", "5m"),
    (Span(max=Duration(hours=1)), Duration(minutes=60), "1h"),
    (Address(), "http://127.0.0.1:8090", "http://127.0.0.1:8090"),
]
WRONG: list[tuple[Any, object]] = [
    (Text(), 3),
    (Text(), "-rf"),
    (Text(), "--config=/etc/x"),
    (Text(), "a\x00b"),
    (Text(), "a\nb"),
    (Text(), "a\x1b[2J"),
    (Text(), "a\u202eb"),
    (Text(max_length=3), "abcd"),
    (Text(pattern="[a-z]+"), "abc1"),
    (Text(pattern="[a-z]+"), "abc\n"),
    (Text(pattern=r"\d+"), "\u0665"),
    (Whole(), True),
    (Whole(), -1),
    (Whole(max=5), 6),
    (Whole(), "1_0"),
    (Whole(), "\u0665"),
    (Number(), float("nan")),
    (Number(), True),
    (Flag(), "yes"),
    (Flag(), 1),
    (Choice(values=("a",)), "b"),
    (Choice(values=("a",)), None),
    (Span(), "5 m"),
    (Span(min=Duration(minutes=1)), "5s"),
    (Address(), "javascript:alert(1)"),
    (Address(), 3),
]


@pytest.mark.parametrize(("param", "given", "kept"), PARAMS)
def test_a_parameter_accepts_what_fits(param: Any, given: object, kept: object) -> None:
    """A value that fits is kept in its own type."""
    assert str(param.accept(given)) == str(kept)


@pytest.mark.parametrize(("param", "given"), WRONG)
def test_a_parameter_refuses_what_does_not(param: Any, given: object) -> None:
    """Options, control characters, other types and other digits are refused with a reason."""
    with pytest.raises(ParamError):
        param.accept(given)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a*)*", "(a|a)*b", "([a-z]+)*x", "(a+){5}", r"(a)\1", "(?=a)b", "(", "a**"],
)
def test_a_pattern_that_can_run_for_ever_is_refused(pattern: str) -> None:
    """Repeats of repeats, repeated choices and back references do not load."""
    with pytest.raises(ValueError, match="pattern"):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["[a-z0-9-]{1,40}", r"v\d+(\.\d+)?", "a|b", r"[*+]+", "x?y"])
def test_ordinary_patterns_load_and_run_fast(pattern: str) -> None:
    """What people write is accepted, and 2,000 hostile characters cost nothing."""
    check_pattern(pattern)
    start = time.process_time()
    with pytest.raises(ParamError):
        Text(pattern=pattern, max_length=2000).accept("a" * 1_999 + "!")
    assert time.process_time() - start < 0.05


def test_bind_takes_the_person_before_the_configuration_before_the_default() -> None:
    """All mistakes come in one sentence, and configuration may know more than one runbook uses."""
    specs: dict[str, Any] = {"a": Text(default="d"), "b": Text(), "c": Whole(required=True)}
    assert bind(specs, {"a": "x", "c": "2"}, {"a": "y", "b": "z", "other": 1}) == {
        "a": "x",
        "b": "z",
        "c": 2,
    }
    assert bind(specs, {"c": 1}) == {"a": "d", "b": None, "c": 1}
    with pytest.raises(ParamError, match=r"q: no such parameter; a: a leading.*; c: is required"):
        bind(specs, {"q": 1, "a": "-x"})


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090", ""),
        ("https://Change.Example.com", "https://change.example.com:443", ""),
        ("http://localhost/api/v1/", "http://localhost:80", "/api/v1/"),
        ("http://[::1]:80/x", "http://[::1]:80", "/x"),
    ],
)
def test_plain_urls_are_read(url: str, origin: str, path: str) -> None:
    """Origin always has its port; the host is in small letters."""
    assert (plain_url(url).origin, plain_url(url).path) == (origin, path)


ODD_URLS = [
    "",
    "change.example.com",
    "//change.example.com",
    "ftp://x",
    "file:///etc/passwd",
    "gopher://x",
    "HTTP://x",
    "http://",
    "http://user@x",
    "http://user:pw@x",
    "http://x@127.0.0.1",
    "http://x#@y",
    "http://x?q=1",
    "http://x/#f",
    "http://x\\@y",
    "http://x/../admin",
    "http://x/./a",
    "http://x//a",
    "http://x/%2e%2e/a",
    "http://x/a%00",
    "http://x y",
    "http://x\n",
    "http://x\r\nHost: y",
    "http://x\t",
    " http://x",
    "http://2130706433",
    "http://0x7f.1",
    "http://0x7f000001",
    "http://0177.0.0.1",
    "http://127.1",
    "http://127.0.1",
    "http://127.0.0.1.",
    "http://127.0.0.256",
    "http://1.2.3.4.5",
    "http://\u2460\u2461\u2466.0.0.1",
    "http://\u4f8b\u3048.jp",
    "http://x\u3002y",
    "http://x..y",
    "http://-x",
    "http://x-",
    "http://[::ffff:127.0.0.1]",
    "http://[::]",
    "http://[fe80::1%25eth0]",
    "http://x:0",
    "http://x:65536",
    "http://x:99999",
    "http://x:",
    "http://x:8o",
    "http://x:80:80",
    "http:/x",
    "http:x",
    "http:///x",
    "http://.x",
    "http://${params.a}",
    "http://x/{{a}}",
    "http://x/<script>",
    "http://x/a|b",
    'http://x/"',
    "http://x/`id`",
    "http://x_y",
    "http://" + "a" * 300,
    "http://x/" + "a" * 3000,
    "data:text/html,x",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("url", ODD_URLS)
def test_odd_urls_are_refused(url: str) -> None:
    """What two readers could take for two hosts, or a walk upwards, is no URL here."""
    with pytest.raises(ValueError, match=r"URL|port|host|path"):
        plain_url(url)


def test_a_path_segment_cannot_leave_its_place() -> None:
    """Separators and dot segments are refused, other characters are escaped."""
    assert segment("shell tool?") == "shell%20tool%3F"
    for value in ("", ".", "..", "a/b", "a\\b", "%2e%2e", "a\x00"):
        with pytest.raises(ValueError, match="segment"):
            segment(value)


VALUES: dict[str, Value] = {"api": "http://127.0.0.1:8090", "tool": "mail", "n": 3, "f": True}
SECRETS = {"T": Secret(source="env", name="TOKEN", prefix="Bearer ")}


def rendered(step: Http | Command) -> Request:
    return render(step, lambda r: VALUES.get(r.name), SECRETS.__getitem__)


def test_a_command_is_rendered_without_its_secrets() -> None:
    """Each element becomes one argument; secrets stay names."""
    step = Command(
        id="a",
        title="t",
        effect=Effect.READ_ONLY,
        argv=("ctl", "disable", "${params.tool}", "${params.n}", "${params.f}"),
        env={"A": "x", "CTL_TOKEN": "${secrets.T}"},
    )
    request = rendered(step)
    assert request == CommandRequest(
        ("ctl", "disable", "mail", "3", "true"),
        Effect.READ_ONLY,
        {"A": "x"},
        (SecretAt("CTL_TOKEN", "env", "TOKEN", "Bearer "),),
    )
    assert request.shown == "ctl disable mail 3 true"


def test_an_http_request_is_rendered_part_by_part() -> None:
    """Segments and query are escaped, the body is JSON of typed values."""
    step = Http(
        id="a",
        title="t",
        effect=Effect.REVERSIBLE,
        method="POST",
        base="${params.api}",
        path=("tools", "${params.tool}"),
        query={"q": "a&b=c"},
        headers={"Authorization": "${secrets.T}"},
        json={"n": "${params.n}", "f": "${params.f}", "x": 1.5, "s": "lit"},
    )
    request = rendered(step)
    assert isinstance(request, HttpRequest)
    assert request.url == "http://127.0.0.1:8090/tools/mail?q=a%26b%3Dc"
    assert request.body == '{"f":true,"n":3,"s":"lit","x":1.5}'
    assert request.headers == {"Content-Type": "application/json"}
    assert request.secrets[0].place == "Authorization"
    assert len(digest(request)) == 64


def test_a_missing_value_is_said_by_name() -> None:
    """A step whose value is not there yet does not render."""
    step = Command(id="a", title="t", effect=Effect.READ_ONLY, argv=("x", "${steps.s.v}"))
    with pytest.raises(RenderError, match=r"steps\.s\.v.*no value yet"):
        rendered(step)


def test_arguments_are_shown_so_that_they_cannot_be_mistaken() -> None:
    """The line a person confirms quotes what a shell would split."""
    request = CommandRequest(("ctl", "a b", "", "it's", "; rm -rf /"), Effect.READ_ONLY)
    assert request.shown == "ctl 'a b' '' 'it'\\''s' '; rm -rf /'"
