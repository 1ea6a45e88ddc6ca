"""What a configuration may say about answers from outside, and what is told of its mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config.secret import Secret, SecretUnavailableError
from monitor.config.settings import load
from monitor.inbound.people import People
from monitor.inbound.settings import Inbound, Person, SlackAnswers
from monitor.inbound.slack_socket import FIRST_S, LONGEST_S, pause
from monitor.inbound.trial import try_slack
from monitor.notify.channel import Kind, Message
from monitor.notify.loopback import block_kit
from monitor.notify.slack_blocks import root_blocks
from monitor.notify.slack_buttons import Buttons
from monitor.processes.launch import Unreachable, UsageError
from runbooks.problems import Problems
from tests.servers import faults
from tests.servers.slack_people import APP, TEAM
from tests.servers.slack_server import APP_TOKEN, TOKEN, SlackServer

GOOD = """
version: 1
http: 127.0.0.1:0
paging:
  receivers: [{type: slack, name: slack, token: {env: BOT}, channel: C0PAGES}]
  route: {receivers: [slack]}
inbound:
  people: [{name: Ana, slack: U0ANA, pagerduty: P0ANA1, role: responder}]
  slack: {team: T0LOOP, app: A0LOOP, app_token: {env: APP}}
  pagerduty: {secrets: [{env: HOOK}]}
"""


def _load(folder: Path, text: str) -> Inbound:
    path = folder / "tocsin.yaml"
    path.write_text(text)
    return load(path)[0].inbound


def test_a_whole_configuration(tmp_path: Path) -> None:
    """As the README shows it."""
    inbound = _load(tmp_path, GOOD)
    assert inbound.slack is not None
    assert inbound.slack.app_token == Secret(env="APP")
    assert inbound.people[0].role == "responder"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("U0ANA", "ana", "inbound.people"),
        ("role: responder", "role: boss", "boss"),
        ("app_token: {env: APP}", "", "one of app_token"),
        ("{env: APP}}", "{env: APP}, signing_secret: {env: S}}", "one of app_token"),
        ("app: A0LOOP, ", "", "app"),
        ("T0LOOP", "example", "inbound.slack.team"),
        ("secrets: [{env: HOOK}]", "secrets: []", "inbound.pagerduty.secrets"),
        ("slack: U0ANA, pagerduty: P0ANA1, ", "", "a person needs"),
        ("http: 127.0.0.1:0", "", "no address to listen on"),
        ("people: [", "people: [{name: Bo, slack: U0ANA}, ", "two people"),
        (
            "type: slack, name: slack, token",
            "type: log, name: slack} #",
            "no receiver of type slack",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Each is refused at the check, in words that name it."""
    assert old in GOOD
    text = GOOD.replace(old, new)
    if " #" in new:
        text = text.replace(": {env: BOT}, channel: C0PAGES}]", "\n    ]")
    with pytest.raises(Problems) as caught:
        _load(tmp_path, text)
    assert words in str(caught.value)


def test_only_the_workspace_s_own_members_are_known() -> None:
    """The same member id in another workspace is somebody else."""
    people = People([Person(name="Ana", slack="U0ANA", role="admin")], team="T1")
    ana = people.of_slack("T1", "U0ANA")
    assert ana is not None
    assert (ana.name, ana.role, ana.via) == ("Ana", "admin", "slack")
    assert people.of_slack("T2", "U0ANA") is None
    assert people.of_slack("", "U0ANA") is None
    assert people.of_slack("T1", "") is None
    assert people.of_pagerduty("") is None


def test_attempts_are_spread_and_bounded() -> None:
    """The first comes at once, the next soon, no two together, none after half a minute."""
    assert pause(0, 1.0) == 0.0
    assert (pause(1, 0.0), pause(1, 1.0)) == (FIRST_S / 2, FIRST_S)
    assert sum(pause(n, 1.0) for n in range(4)) < 5.0
    assert pause(10_000, 1.0) == LONGEST_S


def test_buttons_say_nothing_and_fit_slack_s_limits() -> None:
    """A value shows no number, state or title; the message passes the strict rules."""
    message = Message(
        "key-1",
        Kind.TRIGGER,
        "d",
        "INC-0142" * 20,
        "SEV1",
        "triage",
        "title <!channel>",
        ("a",),
        uuid="0123456789abcdef" * 4,
        offers=("acknowledge", "escalate", "resolve"),
    )
    blocks = root_blocks(message, buttons=Buttons(b"k"))
    assert block_kit.problems(blocks) == []
    row = blocks[-1]["elements"]
    assert [button["action_id"] for button in row] == ["tocsin.acknowledge", "tocsin.escalate"]
    for button in row:
        for word in ("INC", "triage", "title", "0123456789abcdef"):
            assert word not in button["value"]
    assert root_blocks(message)[-1]["type"] != "actions"
    resolved = Message("k", Kind.RESOLVE, "d", "INC-1", "SEV1", "resolved", "t", (), uuid="u")
    assert all(block["type"] != "actions" for block in root_blocks(resolved, buttons=Buttons(b"k")))


def test_a_value_is_read_by_the_installation_that_made_it() -> None:
    """Another key's is not, and noise is not."""
    buttons = Buttons(b"k")
    value = buttons.value("escalate", "u-1", "m-1")
    read = buttons.read(value)
    assert read is not None
    assert (read.action, read.incident) == ("escalate", "u-1")
    assert Buttons(b"other").read(value) is None
    assert buttons.value("escalate", "u-1", "m-2") != value
    for noise in ("", "x", value[:-4], value + "AAAA", "\u00e9" * 40, "A" * 60, value.upper()):
        assert buttons.read(noise) is None


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with SlackServer() as running:
        yield running


def _answers(server: SlackServer) -> SlackAnswers:
    return SlackAnswers(
        team=TEAM, app=APP, app_token=Secret(env="TOCSIN_TEST_APP"), base_url=server.base_url
    )


def test_the_check_asks_for_a_connection(
    server: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good token is good; a bot's, a wrong and a missing one are told with the cure."""
    monkeypatch.setenv("TOCSIN_TEST_APP", APP_TOKEN)
    assert try_slack(_answers(server)) == "by Socket Mode, app token in env TOCSIN_TEST_APP"
    monkeypatch.setenv("TOCSIN_TEST_APP", TOKEN)
    with pytest.raises(UsageError, match="app_token wants an app-level token"):
        try_slack(_answers(server))
    monkeypatch.setenv("TOCSIN_TEST_APP", "xapp-of-yesterday")
    with pytest.raises(UsageError, match="invalid_auth") as caught:
        try_slack(_answers(server))
    assert "xapp-of-yesterday" not in str(caught.value)
    monkeypatch.delenv("TOCSIN_TEST_APP")
    with pytest.raises(SecretUnavailableError):
        try_slack(_answers(server))


def test_the_check_names_a_missing_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack's `needed` is passed on."""
    monkeypatch.setenv("TOCSIN_TEST_APP", APP_TOKEN)
    with (
        SlackServer(scopes=()) as server,
        pytest.raises(UsageError, match="needs the scope connections:write"),
    ):
        try_slack(_answers(server))


def test_the_check_tells_silence_from_refusal(
    server: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that passes by itself is no mistake of the configuration."""
    monkeypatch.setenv("TOCSIN_TEST_APP", APP_TOKEN)
    server.fail_next(faults.status(503))
    with pytest.raises(Unreachable, match="503"):
        try_slack(_answers(server))
