"""Advice about a configuration without errors: secrets that do not fit, routes nobody takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.advice import advice, secret_problems
from monitor.config.settings import load
from runbooks.problems import Problem, Problems, Severity

CANARY = "canary-0123456789-canary"


def advised(folder: Path, text: str) -> list[Problem]:
    """What is said about a configuration with this text."""
    path = folder / "tocsin.yaml"
    path.write_text(text)
    return sorted(advice(*load(path)))


def receiver(**parts: str) -> str:
    made = {"type": "slack", "name": "s", "channel": "C0123", "token": "{env: TOKEN}", **parts}
    listed = ", ".join(f"{key}: {value}" for key, value in made.items())
    return f"paging:\n  receivers:\n    - {{{listed}}}\n"


SLACK, PAGER = (
    receiver(),
    receiver(type="pagerduty", routing_key="{env: TOKEN}", name="p", channel="", token="").replace(
        "channel: , token: , ", ""
    ),
)


@pytest.mark.parametrize(
    ("text", "value", "severity", "words"),
    [
        (SLACK, "xapp-1-" + CANARY, "error", "app-level token"),
        (SLACK, "xoxp-" + CANARY, "error", "user's token"),
        (SLACK, "https://hooks.slack.com/" + CANARY, "error", "incoming webhook"),
        (SLACK, CANARY, "warning", "does not look like a bot token"),
        (PAGER, CANARY, "warning", "24 characters; an integration key of PagerDuty has 32"),
    ],
)
def test_a_secret_of_another_kind(
    text: str,
    value: str,
    severity: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known by its form, told at its place, and never shown."""
    monkeypatch.setenv("TOKEN", value)
    (found,) = advised(tmp_path, text)
    assert (found.line, found.code, found.severity) == (3, "secret-kind", severity)
    assert words in found.text
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("text", "value"),
    [(SLACK, "xoxb-" + CANARY), (SLACK, "xoxe.xoxb-" + CANARY), (PAGER, "0123456789abcdef" * 2)],
)
def test_a_secret_that_fits(
    text: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of what is as it should be."""
    monkeypatch.setenv("TOKEN", value)
    assert advised(tmp_path, text) == []


def test_a_secret_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check warns, since it may run elsewhere; a reload takes it for an error."""
    monkeypatch.delenv("TOKEN", raising=False)
    (found,) = advised(tmp_path, SLACK)
    assert (found.line, found.code, found.severity) == (3, "secret", Severity.WARNING)
    assert "env TOKEN is missing or empty" in found.text
    (must,) = secret_problems(*load(tmp_path / "tocsin.yaml"), must=True)
    assert must.severity is Severity.ERROR


def test_a_secret_file_that_everybody_reads(tmp_path: Path) -> None:
    """Readable by others is a warning with the command to type; by the group is not."""
    file = tmp_path / "token"
    file.write_text("xoxb-" + CANARY)
    file.chmod(0o644)
    text = receiver(token=f"{{file: {file}}}")
    (found,) = advised(tmp_path, text)
    assert (found.code, found.severity) == ("secret-mode", Severity.WARNING)
    assert found.hint.startswith(f"chmod 640 {file}")
    file.chmod(0o640)
    assert advised(tmp_path, text) == []
    file.write_text("xoxb-\n" + CANARY)
    (found,) = advised(tmp_path, text)
    assert "not one line of ASCII" in found.text
    assert CANARY not in str(found)


ROUTES = """paging:
  receivers:
    - {type: log, name: day}
    - {type: log, name: night}
    - {type: log, name: nobody}
  route:
    receivers: [day]
    routes:
      - {matchers: ['severity="SEV1"'], continue: true}
      - {matchers: [severity=SEV1], receivers: [night]}
      - {matchers: ['feature="chat"', 'severity = "SEV1"']}
      - {matchers: ['feature="chat"']}
      - {}
      - {matchers: ['feature="search"']}
"""


def test_routes_that_no_incident_takes(tmp_path: Path) -> None:
    """One behind a sibling that takes all of it, and a receiver nothing names, are warned about."""
    found = advised(tmp_path, ROUTES)
    assert [(p.line, p.code) for p in found] == [
        (5, "unused"),
        (11, "unreachable"),
        (14, "unreachable"),
    ]
    assert "the route on line 10 takes them" in found[1].text
    assert all(p.severity is Severity.WARNING for p in found)


def test_without_a_route_every_receiver_is_used(tmp_path: Path) -> None:
    """Who names receivers only means all of them."""
    assert advised(tmp_path, "paging: {receivers: [{type: log, name: a}]}\n") == []


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        (f"postgresql://tocsin:{CANARY}@db/tocsin", "store_password: {file: PATH}"),
        (f"postgresql://tocsin@db/tocsin?password={CANARY}", "store_password: {file: PATH}"),
        (f"postgresql://db/x?sslmode=require&PASSWORD={CANARY}", "store_password: {file: PATH}"),
        (f"postgresql://tocsin@db/tocsin?sslpassword={CANARY}", "service=NAME"),
    ],
)
def test_a_password_in_the_store_is_refused(tmp_path: Path, address: str, cure: str) -> None:
    """As any secret that stands in the file: an error at its place, with its cure, not shown."""
    path = tmp_path / "tocsin.yaml"
    path.write_text(f'version: 1\nstore: "{address}"\nprofile: lout\n')
    with pytest.raises(Problems) as refused:
        load(path)
    found = {problem.code: problem for problem in refused.value.problems}["secret-inline"]
    assert (found.line, found.severity) == (2, Severity.ERROR)
    assert cure in found.hint
    assert CANARY not in str(refused.value)


def test_a_password_of_a_flag_is_not_shown() -> None:
    """`--store` and its variable are no file: what is shown and kept has stars."""
    from monitor.config.effective import plain
    from monitor.config.settings import Settings

    store = f"postgresql://tocsin:{CANARY}@db/tocsin?sslpassword={CANARY}"
    assert plain(Settings(store=store))["store"] == (
        "postgresql://tocsin:***@db/tocsin?sslpassword=***"
    )


def test_a_server_store_wants_a_digest_key(tmp_path: Path) -> None:
    """A store on PostgreSQL without `digest_key` is an error at its place; SQLite keeps its own."""
    (found,) = advised(
        tmp_path, "store: postgresql://daemon@db.example.com/tocsin?sslmode=verify-full\n"
    )
    assert (found.line, found.code, found.severity) == (1, "missing", Severity.ERROR)
    assert "digest_key" in found.text
    assert advised(tmp_path, "store: sqlite:///tocsin.db\n") == []


TOKEN = "1f0c7a52-8f3b-4a6e-9d0b-0a9d3c7b2e11"


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        (f"https://hc-ping.com/{TOKEN}", True),
        (f"https://hc-ping.com/a/{TOKEN}/start?x=1", True),
        (f"https://hc-ping.com/beat?token={TOKEN}", True),
        ("https://status.example/tocsin/alive", False),
        ("https://status.example/a-long-name-without-secrets", False),
        ("{env: HEARTBEAT}", False),
    ],
)
def test_a_heartbeat_with_its_token_in_the_file(
    url: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told at its place with the cure, and the token is not repeated."""
    monkeypatch.setenv("HEARTBEAT", "https://hc-ping.com/x")
    found = advised(tmp_path, f"watch:\n  heartbeat:\n    url: {url}\n")
    assert [(one.code, one.line, one.severity) for one in found] == (
        [("secret-inline", 3, "warning")] if warned else []
    )
    if warned:
        assert "https://hc-ping.com holds what looks like a secret token" in found[0].text
        assert "url: {file: PATH}" in found[0].hint
        assert TOKEN not in str(found)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        (f"https://hooks.example/services/T000/B000/{TOKEN}", True),
        ("https://hooks.example/tocsin", False),
        ("{env: HOOK}", False),
    ],
)
def test_a_web_hook_with_its_token_in_the_file(
    url: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the heartbeat: who knows the address may post to it."""
    monkeypatch.setenv("HOOK", f"http://hooks.example/{TOKEN}")
    monkeypatch.setenv("TOKEN", "a key")
    text = (
        "paging:\n  receivers:\n    - type: webhook\n      name: w\n"
        f"      url: {url}\n      secret: {{env: TOKEN}}\n      allow_http: true\n"
    )
    found = advised(tmp_path, text)
    assert [(one.code, one.line) for one in found] == ([("secret-inline", 5)] if warned else [])
    assert TOKEN not in str(found)


@pytest.mark.parametrize(("value", "words"), [("nonsense", "https://"), (f"ftp://{TOKEN}", "host")])
@pytest.mark.parametrize("place", ["watch: {heartbeat: {url: {env: URL}}}", "webhook"])
def test_a_secret_address_that_is_none(
    place: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told when the configuration is checked, and not shown."""
    monkeypatch.setenv("URL", value)
    monkeypatch.setenv("TOKEN", "a key")
    if place == "webhook":
        hook = "{type: webhook, name: w, url: {env: URL}, secret: {env: TOKEN}}"
        place = f"paging: {{receivers: [{hook}]}}"
    (found,) = advised(tmp_path, place + "\n")
    assert (found.code, found.severity) == ("secret-kind", Severity.ERROR)
    assert words in found.text
    assert value not in str(found)


KAFKA = "source: {{type: kafka, topic: t, bootstrap: [{brokers}]{more}}}\n"


@pytest.mark.parametrize(
    ("brokers", "more", "warned"),
    [
        ('"kafka:9092"', "", True),
        ('"127.0.0.1:9092", "10.0.0.7:9092"', ", security: {security_protocol: PLAINTEXT}", True),
        ('"kafka:9092"', ", security: {security_protocol: SASL_PLAINTEXT}", True),
        ('"kafka:9093"', ", security: {security_protocol: SSL}", False),
        ('"localhost:9092", "127.0.0.1:9092", "[::1]:9092"', "", False),
    ],
)
def test_kafka_in_the_clear(brokers: str, more: str, warned: bool, tmp_path: Path) -> None:
    """Brokers on another machine without TLS are warned about; this machine's are not."""
    found = advised(tmp_path, KAFKA.format(brokers=brokers, more=more))
    places = [(one.code, one.severity) for one in found if one.code != "nobody"]
    assert places == [("plaintext", "warning")] * warned


FULL = "sslmode=verify-full&sslrootcert=/ca"


@pytest.mark.parametrize(
    ("store", "warned"),
    [
        ("postgresql://tocsin@db.example.com/tocsin", "prefer"),
        ("postgres://tocsin@10.0.0.7:5432/tocsin?sslmode=require", "require"),
        ("postgresql://tocsin@db/tocsin?sslrootcert=/ca&sslmode=verify-ca", "verify-ca"),
        ("postgresql://tocsin@127.0.0.1,db-2:5432/tocsin", "prefer"),
        ("postgresql:///tocsin?host=db.example.com", "prefer"),
        ("postgresql+psycopg://tocsin@[2001:db8::1]:5432/tocsin", "prefer"),
        (f"postgresql://tocsin@db.example.com/tocsin?{FULL}", None),
        (f"postgresql://a:5432,b:5432/tocsin?{FULL}", None),
        ("postgresql://tocsin@localhost/tocsin", None),
        ("postgresql://tocsin@127.0.0.1:5433,[::1]:5433/tocsin?sslmode=disable", None),
        ("postgresql:///tocsin", None),
        ("postgresql://tocsin@/tocsin?host=/run/postgresql", None),
        ("postgresql://%2Frun%2Fpostgresql/tocsin", None),
        ("sqlite:////var/lib/tocsin/tocsin.db", None),
    ],
)
def test_a_database_that_need_not_prove_itself(
    store: str, warned: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL on another machine wants verify-full; this machine's and a socket do not."""
    monkeypatch.setenv("TOKEN", "a key")
    text = f"version: 1\nstore: {store}\ndigest_key: {{env: TOKEN}}\n"
    found = advised(tmp_path, text)
    places = [(one.code, one.severity, one.line) for one in found]
    assert places == [("plaintext", "warning", 2)] * (warned is not None)
    for one in found:
        assert f"sslmode {warned}" in one.text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 4),
        ("watch: {every: 15s}\n", 5),
        ("watch: {heartbeat: {url: {env: BEAT}}}\n", None),
    ],
)
def test_a_pager_that_nobody_watches(
    text: str, line: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who calls people about a stream wants a heartbeat; a recording does not."""
    monkeypatch.setenv("TOKEN", "0123456789abcdef" * 2)
    monkeypatch.setenv("BEAT", "https://alarm.example/x")
    kafka = KAFKA.format(brokers='"localhost:9092"', more="")
    found = advised(tmp_path, kafka + PAGER + text)
    assert [(one.code, one.line) for one in found] == (
        [] if line is None else [("heartbeat", line)]
    )
    assert advised(tmp_path, PAGER + text) == []


@pytest.mark.parametrize("paging", ["", "paging: {receivers: [{type: log, name: a}]}\n"])
def test_a_daemon_that_calls_nobody(paging: str, tmp_path: Path) -> None:
    """A live stream whose pages go to the log only is warned about; a recording's are not."""
    kafka = KAFKA.format(brokers='"localhost:9092"', more="")
    (found,) = advised(tmp_path, kafka + paging)
    assert (found.code, found.line, found.severity) == ("nobody", 1 + bool(paging), "warning")
    assert "pages go to the log only" in found.text
    assert advised(tmp_path, paging or "version: 1\n") == []


STEPS = """paging:
  receivers: [{{type: log, name: chat}}, {{type: log, name: pager}}, {{type: log, name: second}}]
  route:
    receivers: {first}
    routes:
      - {{matchers: [severity=SEV1], receivers: [chat, pager]}}
      - {{matchers: [severity=SEV2]}}
  escalation:
    - {{after: 10m, receivers: [pager]}}
    - {{after: 30m, receivers: {last}}}
"""


@pytest.mark.parametrize(
    ("first", "last", "lines"),
    [
        ("[chat]", "[second]", []),
        ("[chat]", "[chat, pager]", [6, 10]),
        ("[second]", "[chat, pager]", [6]),
        ("[chat, pager]", "[second]", [9]),
        ("[chat, pager]", "[chat]", [9, 10]),
    ],
)
def test_escalation_that_pages_nobody(
    first: str, last: str, lines: list[int], tmp_path: Path
) -> None:
    """A step whose receivers were paged on every route, and a route with no step left, are told."""
    found = advised(tmp_path, STEPS.format(first=first, last=last))
    assert [one.line for one in found if one.code == "idle-step"] == lines
    assert all(one.severity is Severity.WARNING for one in found)


def test_escalation_without_routes_pages_nobody(tmp_path: Path) -> None:
    """Without a route every receiver is paged at once, so that no step has anybody left."""
    text = STEPS.format(first="[chat]", last="[second]")
    head, _, tail = text.partition("  route:")
    found = advised(tmp_path, head + tail[tail.index("  escalation:") :])
    assert [(one.line, one.code) for one in found] == [(4, "idle-step"), (5, "idle-step")]
