"""The operator's allow-list: nothing runs until it is named."""

from __future__ import annotations

import pytest

from runbooks.allow import NOTHING, AllowList, allowed
from runbooks.model import Effect
from runbooks.problems import Problems
from runbooks.requests import CommandRequest, HttpRequest, SecretAt
from runbooks.yaml import convert, load_yaml

TEXT = """
apiVersion: allow/v1
commands:
  - {path: /usr/local/bin/safetyctl, args: [[tool, disable], [status]], max_effect: reversible}
  - {path: /usr/bin/uptime, name: up}
  - {path: /opt/any, args: [[]], max_effect: destructive}
http:
  - {origin: "http://127.0.0.1:8090", methods: [GET], paths: [/]}
  - origin: http://127.0.0.1:8090
    methods: [POST]
    paths: [/rollback, /tools/]
    max_effect: reversible
  - {origin: "https://nothing.example.com"}
secrets: [CHANGE_TOKEN]
"""
ALLOW = convert(load_yaml(TEXT, "allow.yaml"), AllowList)
READ, CHANGE, HARM = Effect.READ_ONLY, Effect.REVERSIBLE, Effect.DESTRUCTIVE


def command(*argv: str, effect: Effect = READ, secret: str = "") -> CommandRequest:
    secrets = (SecretAt("X", "env", secret),) if secret else ()
    return CommandRequest(argv, effect, {}, secrets)


def http(method: str, url: str, effect: Effect = READ) -> HttpRequest:
    return HttpRequest(method, url, effect)


@pytest.mark.parametrize(
    "request_",
    [
        command("safetyctl", "tool", "disable", "mail", effect=CHANGE),
        command("/usr/local/bin/safetyctl", "status"),
        command("up"),
        command("/opt/any", "whatever", "--x", effect=HARM),
        command("up", secret="CHANGE_TOKEN"),
        http("GET", "http://127.0.0.1:8090/releases?service=a"),
        http("GET", "http://127.0.0.1:8090"),
        http("POST", "http://127.0.0.1:8090/rollback", CHANGE),
        http("POST", "http://127.0.0.1:8090/tools/mail/disable", CHANGE),
        http("POST", "http://127.0.0.1:8090/tools/a%20b/disable", CHANGE),
    ],
)
def test_what_is_named_may_run(request_: CommandRequest | HttpRequest) -> None:
    """A request that the list names is allowed, with the reason."""
    decision = allowed(request_, ALLOW)
    assert decision.allowed
    assert decision.reason.startswith("named by")
    assert not allowed(request_, NOTHING).allowed


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (command("rm", "-rf", "/"), "not on the allow-list"),
        (command("uptime"), "not on the allow-list"),
        (command("./safetyctl", "status"), "not on the allow-list"),
        (command("/usr/local/bin/../bin/safetyctl", "status"), "not on the allow-list"),
        (command("safetyctl"), "does not name these arguments"),
        (command("safetyctl", "tool"), "does not name these arguments"),
        (command("safetyctl", "tool", "enable", "x"), "does not name these arguments"),
        (command("safetyctl", "--config=/tmp/x", "status"), "does not name these arguments"),
        (command("up", "--since"), "does not name these arguments"),
        (command("safetyctl", "status", effect=HARM), "does not let"),
        (command("up", secret="OTHER"), "the secret env OTHER"),
        (http("POST", "http://127.0.0.1:8090/releases", CHANGE), "does not name"),
        (http("DELETE", "http://127.0.0.1:8090/rollback"), "does not name"),
        (http("POST", "http://127.0.0.1:8090/rollbackx", CHANGE), "does not name"),
        (http("POST", "http://127.0.0.1:8090/rollback", HARM), "does not let"),
        (http("GET", "http://127.0.0.1:8091/releases"), "not on the allow-list"),
        (http("GET", "https://127.0.0.1:8090/releases"), "not on the allow-list"),
        (http("GET", "http://localhost:8090/releases"), "not on the allow-list"),
        (http("GET", "http://2130706433:8090/releases"), "not a plain URL"),
        (http("GET", "http://127.0.0.1:8090@evil.example/"), "not a plain URL"),
        (http("GET", "http://127.0.0.1:8090\\@evil.example/"), "not a plain URL"),
        (http("GET", "http://127.0.0.1:8090/a/../b"), "not a plain URL"),
        (http("POST", "http://127.0.0.1:8090/tools/%2e%2e/x", CHANGE), "not a plain URL"),
        (http("POST", "http://127.0.0.1:8090/tools/a%2f..%2fx", CHANGE), "not a plain URL"),
        (http("POST", "http://127.0.0.1:8090/tools/%252e%252e/x", CHANGE), "not a plain URL"),
        (http("GET", "http://127.0.0.1:8090/a\r\nX: y"), "not a plain URL"),
        (http("GET", "file:///etc/passwd"), "not a plain URL"),
        (http("GET", "https://nothing.example.com/"), "does not name"),
    ],
)
def test_what_is_not_named_does_not_run(
    request_: CommandRequest | HttpRequest, reason: str
) -> None:
    """Near misses of commands, arguments, origins, paths, effects and secrets are refused."""
    decision = allowed(request_, ALLOW)
    assert not decision.allowed
    assert reason in decision.reason
    assert decision.reason.isprintable()


def test_a_command_runs_by_its_absolute_path() -> None:
    """The name in the runbook never reaches a search path."""
    assert allowed(command("safetyctl", "status"), ALLOW).executable == "/usr/local/bin/safetyctl"


@pytest.mark.parametrize(
    "text",
    [
        "commands: [{path: safetyctl}]",
        "commands: [{path: /a/}]",
        "http: [{origin: 'http://x/path'}]",
        "http: [{origin: 'http://2130706433'}]",
        "http: [{origin: 'http://x', paths: [rollback]}]",
        "http: [{origin: 'http://x', paths: [/a/../b]}]",
        "http: [{origin: 'http://x', methods: [TRACE]}]",
        "command: []",
    ],
)
def test_a_careless_list_is_refused(text: str) -> None:
    """Relative paths, origins with paths and misspelt keys do not load."""
    with pytest.raises(Problems):
        convert(load_yaml(text, "allow.yaml"), AllowList)
