"""Forged, replayed and unauthorised clicks: whatever road they take, none has an effect."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from monitor.http_client import HttpClient
from monitor.incidents.model import Incident
from monitor.notify.loopback.slack import SlackMessage
from monitor.notify.slack_buttons import Buttons
from tests.integration.answering_stage import ANA, BO, EVE, KEY, ROOMS, Stage, root
from tests.servers.slack_people import SIGNING_SECRET, Signed, post, press, sign, sign_body
from tests.servers.slack_server import SlackServer


@dataclass(frozen=True, slots=True)
class Scene:
    """What a forger can see: the message in the channel, and the incident's id for good measure."""

    message: SlackMessage
    incident: Incident

    def payload(self, **changes: Any) -> dict[str, Any]:
        """Ana's press of Acknowledge, with some of it changed."""
        return {**press(self.message, "acknowledge", ANA), **changes}

    def valued(self, value: str, action: str = "tocsin.acknowledge") -> dict[str, Any]:
        """A press of a button with another value."""
        made = self.payload()
        made["actions"] = [{**made["actions"][0], "value": value, "action_id": action}]
        return made


Forgery = Callable[[Scene], Signed]
DAY = 86_400.0


def _value(scene: Scene) -> str:
    return str(scene.payload()["actions"][0]["value"])


def _flipped(value: str, place: int) -> str:
    raw = bytearray(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    raw[place] ^= 1
    return base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")


def _actions(scene: Scene, count: int) -> dict[str, Any]:
    return scene.payload(actions=scene.payload()["actions"] * count)


SIGNATURES: dict[str, Forgery] = {
    "no-signature": lambda s: replace(sign(s.payload()), signature=""),
    "no-timestamp": lambda s: replace(sign(s.payload()), timestamp=""),
    "other-secret": lambda s: sign(s.payload(), secret="0" * 32),
    "empty-secret": lambda s: sign(s.payload(), secret=""),
    "secret-in-upper-case": lambda s: sign(s.payload(), secret=SIGNING_SECRET.upper()),
    "301-s-old": lambda s: sign(s.payload(), at=time.time() - 301),
    "301-s-ahead": lambda s: sign(s.payload(), at=time.time() + 302),
    "a-day-old": lambda s: sign(s.payload(), at=time.time() - DAY),
    "year-1970": lambda s: sign(s.payload(), at=0),
    "new-time-old-signature": lambda s: replace(
        sign(s.payload(), at=time.time() - DAY), timestamp=str(int(time.time()))
    ),
    "time-that-is-no-number": lambda s: replace(sign(s.payload()), timestamp="soon"),
    "time-in-groups": lambda s: replace(sign(s.payload()), timestamp=f"{time.time():_.0f}"),
    "time-with-a-sign": lambda s: replace(sign(s.payload()), timestamp=f"+{int(time.time())}"),
    "time-with-a-fraction": lambda s: replace(sign(s.payload()), timestamp=f"{time.time():.3f}"),
    "time-of-5000-digits": lambda s: replace(sign(s.payload()), timestamp="9" * 5000),
    "time-that-is-not-a-number": lambda s: replace(sign(s.payload()), timestamp="nan"),
    "altered-byte": lambda s: replace(
        sign(s.payload()), body=sign(s.payload()).body.replace(b"block_actions", b"block_actionz")
    ),
    "byte-more": lambda s: replace(sign(s.payload()), body=sign(s.payload()).body + b" "),
    "signature-cut": lambda s: replace(sign(s.payload()), signature="v0=" + "0" * 10),
    "signature-of-another-version": lambda s: replace(
        sign(s.payload()), signature=sign(s.payload()).signature.replace("v0", "v1")
    ),
    "bare-digest": lambda s: replace(
        sign(s.payload()), signature=sign(s.payload()).signature.removeprefix("v0=")
    ),
    "two-signatures": lambda s: replace(sign(s.payload()), signature="v0=" + "0" * 64 + ",v0=1"),
    "signature-of-nothing": lambda s: replace(sign(s.payload()), signature="v0="),
}
"""Requests that Slack did not make."""

BODIES: dict[str, Forgery] = {
    "no-form": lambda s: sign_body(b"\x00\xff\xfe"),
    "not-utf-8": lambda s: sign_body(b"payload=%ff%fe%80"),
    "no-payload": lambda s: sign_body(b"ssl_check=1"),
    "payload-twice": lambda s: sign_body(b"payload={}&" + sign(s.payload()).body),
    "payload-that-is-no-json": lambda s: sign_body(b"payload=%7B"),
    "payload-that-is-a-list": lambda s: sign_body(b"payload=%5B%5D"),
    "payload-of-brackets": lambda s: sign_body(b"payload=" + b"%5B" * 50_000),
    "nan": lambda s: sign_body(b"payload=NaN"),
    "ten-fields": lambda s: sign_body(b"a=1&" * 10 + sign(s.payload()).body),
    "json-instead-of-a-form": lambda s: sign_body(json.dumps(s.payload()).encode()),
    "another-app": lambda s: sign(s.payload(api_app_id="A0OTHER")),
    "no-app": lambda s: sign({k: v for k, v in s.payload().items() if k != "api_app_id"}),
    "app-that-is-a-list": lambda s: sign(s.payload(api_app_id=["A0LOOP"])),
    "another-workspace": lambda s: sign(s.payload(team={"id": "T0OTHER"})),
    "no-workspace": lambda s: sign(s.payload(team=None)),
    "member-of-another-workspace": lambda s: sign(
        s.payload(user={"id": ANA, "team_id": "T0OTHER"})
    ),
    "another-conversation": lambda s: sign(s.payload(channel={"id": "C0ELSEWHERE"})),
    "no-conversation": lambda s: sign(s.payload(channel=None)),
    "a-shortcut": lambda s: sign(s.payload(type="shortcut")),
    "a-view": lambda s: sign(s.payload(type="view_submission")),
    "no-action": lambda s: sign(s.payload(actions=[])),
    "two-actions": lambda s: sign(_actions(s, 2)),
    "the-incident-as-value": lambda s: sign(s.valued(s.incident.uuid)),
    "the-incident-s-name-as-value": lambda s: sign(s.valued(s.incident.name)),
    "no-value": lambda s: sign(s.valued("")),
    "value-with-another-seal": lambda s: sign(s.valued(_flipped(_value(s), 0))),
    "value-with-another-action": lambda s: sign(s.valued(_flipped(_value(s), 16))),
    "value-with-another-incident": lambda s: sign(s.valued(_flipped(_value(s), 30))),
    "value-of-another-installation": lambda s: sign(
        s.valued(Buttons(b"another key").value("acknowledge", s.incident.uuid, "m"))
    ),
    "value-of-another-button": lambda s: sign(s.valued(_value(s), "tocsin.escalate")),
    "value-that-is-not-ascii": lambda s: sign(s.valued("\u00e9\U0001f600")),
    "value-for-no-incident": lambda s: sign(
        s.valued(Buttons(KEY).value("acknowledge", "no-such-incident", "m"))
    ),
    "stranger": lambda s: sign(press(s.message, "acknowledge", EVE)),
    "reader": lambda s: sign(press(s.message, "acknowledge", BO)),
    "reader-escalates": lambda s: sign(press(s.message, "escalate", BO)),
    "somebody-who-is-called-ana": lambda s: sign(
        s.payload(user={"id": EVE, "name": "Ana", "username": "Ana", "role": "admin"})
    ),
    "lower-case-id": lambda s: sign(s.payload(user={"id": ANA.lower()})),
    "a-bot": lambda s: sign(s.payload(user={"id": "B0TOCSIN"})),
    "nobody": lambda s: sign(s.payload(user={"id": ""})),
}
"""Requests that Slack would sign and that must do nothing all the same."""


@pytest.fixture(scope="module")
def server() -> Iterator[SlackServer]:
    with SlackServer(burst=1000, channels=ROOMS) as running:
        yield running


@pytest.fixture(scope="module")
def stage(server: SlackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("forged"), server.base_url, http=True) as running:
        yield running


@pytest.fixture(scope="module")
def scene(server: SlackServer, stage: Stage) -> Scene:
    incident = stage.page()
    return Scene(root(server), incident)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_a_request_that_slack_did_not_sign_is_refused(
    name: str, stage: Stage, scene: Scene
) -> None:
    """401, no trace in the store, no word about why."""
    request = SIGNATURES[name](scene)
    answer = post(f"{stage.url}/slack", request)
    assert answer.status == 401
    assert answer.body == b"not signed as it must be\n"
    _nothing_happened(stage, scene)


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_signed_request_that_is_not_for_us_has_no_effect(
    name: str, stage: Stage, scene: Scene
) -> None:
    """Another app, workspace, value or person: answered, recorded where one did it, no more."""
    answer = post(f"{stage.url}/slack", BODIES[name](scene))
    foreign = name.startswith(("another", "member-of-another", "value-with", "value-that"))
    assert answer.status in ({401} if foreign else {200, 400, 401})
    _nothing_happened(stage, scene)


def _nothing_happened(stage: Stage, scene: Scene) -> None:
    after = stage.again(scene.incident)
    assert after.acknowledged_at is None
    assert len(stage.entries(after, "PAGE")) == 1
    assert all(outcome == "refused" for _, _, outcome in stage.audited())


def test_there_are_enough_of_them() -> None:
    """The matrix of reliability.md asks for 40."""
    assert len(SIGNATURES) + len(BODIES) >= 60


@pytest.mark.parametrize("value", [b"v0=\xff\xfe", "v0=\u00e9".encode()])
def test_a_signature_that_is_not_ascii_is_refused(value: bytes, stage: Stage, scene: Scene) -> None:
    """Raw bytes in the header, as no honest client sends them."""
    import http.client

    request = sign(scene.payload())
    host = stage.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    headers: dict[str, str | bytes] = {**request.headers(), "x-slack-signature": value}
    connection.request("POST", "/slack", request.body, headers)
    assert connection.getresponse().status == 401
    connection.close()
    _nothing_happened(stage, scene)


def test_the_wrong_ways_to_ask_are_refused(stage: Stage, scene: Scene) -> None:
    """A hook takes POST only, and a body of a megabyte at most."""
    request = sign(scene.payload())
    with HttpClient() as client:
        got = client.request("GET", f"{stage.url}/slack", headers=request.headers())
        assert got.status == 405
        big = sign_body(b"payload=" + b"x" * (1024 * 1024 + 1))
        assert post(f"{stage.url}/slack", big).status == 413
    _nothing_happened(stage, scene)


@pytest.mark.parametrize("age", [1.0, 298.0, -290.0])
def test_a_copy_of_a_request_is_refused(age: float, server: SlackServer, stage: Stage) -> None:
    """What counted once does not count again, however young it is; the copy is told apart."""
    incident = stage.page()
    request = sign(press(root(server), "escalate", ANA), at=time.time() - age)
    assert post(f"{stage.url}/slack", request).status == 200
    for _ in range(3):
        assert post(f"{stage.url}/slack", request).status == 401
    assert len(stage.entries(incident, "PAGE")) == 2


def test_the_address_in_a_payload_is_never_called(server: SlackServer, stage: Stage) -> None:
    """`response_url` is text from outside: a refusal goes through the Web API only."""
    stage.page()
    before = len(server.receiver.whispers)
    with SlackServer() as canary:
        made = {**press(root(server), "acknowledge", EVE), "response_url": canary.url + "/hit"}
        assert post(f"{stage.url}/slack", sign(made)).status == 200
        deadline = time.monotonic() + 20
        while len(server.receiver.whispers) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert canary.journal.rows == ()
    assert len(server.receiver.whispers) == before + 1
