from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from monitor.config.secret import Secret, SecretUnavailableError, mask
from monitor.notify.settings import ChannelSettings, SlackSettings, WebhookSettings
from monitor.url import check_url, origin


def test_a_file_is_read_at_each_use(tmp_path: Path) -> None:
    """A rotated file counts at once; the line end is not part of the secret."""
    path = tmp_path / "token"
    secret = Secret(file=str(path))
    for value in ("first-value", "second-value"):
        path.write_text(f"{value}\n")
        assert secret.reveal() == value


def test_an_environment_variable_is_read_at_each_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is looked up by name when needed."""
    secret = Secret(env="TOCSIN_TEST_TOKEN")
    with pytest.raises(SecretUnavailableError, match="env TOCSIN_TEST_TOKEN"):
        secret.reveal()
    monkeypatch.setenv("TOCSIN_TEST_TOKEN", "value-1")
    assert secret.reveal() == "value-1"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"  \n",
        b"two\nlines",
        b"a\r\nX-Evil: 1",
        b"\xff\xfe",
        b"caf\xc3\xa9",
        b"x" * 20_000,
        b"a\0b",
    ],
)
def test_what_cannot_be_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, long, binary and several lines are refused by place, without the content."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SecretUnavailableError, match=str(path)) as caught:
        Secret(file=str(path)).reveal()
    assert "Evil" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message says which file and why."""
    with pytest.raises(SecretUnavailableError, match="No such file"):
        Secret(file=str(tmp_path / "none")).reveal()


def test_no_repr_shows_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object with a secret can be printed."""
    monkeypatch.setenv("TOCSIN_TEST_TOKEN", "value-1")
    secret = Secret(env="TOCSIN_TEST_TOKEN")
    secret.reveal()
    settings = SlackSettings(name="s", token=secret, channel="C0123")
    assert "value-1" not in repr(settings) + str(secret)
    assert "***" in repr(settings)


@pytest.mark.parametrize("given", [{}, {"file": "a", "env": "B"}, "xoxb-literal", {"value": "x"}])
def test_a_reference_is_a_file_or_a_variable(given: object) -> None:
    """A literal, both or none do not validate, and the error says where."""
    raw = {"type": "slack", "name": "s", "channel": "C0123", "token": given}
    with pytest.raises(msgspec.ValidationError, match="token") as caught:
        msgspec.convert(raw, ChannelSettings)
    assert "xoxb" not in str(caught.value)


def test_settings_decode_by_type() -> None:
    """`type` chooses the kind; the rest has defaults."""
    raw = {"type": "webhook", "name": "w", "url": "https://h/x", "secret": {"env": "X"}}
    settings = msgspec.convert(raw, ChannelSettings)
    assert isinstance(settings, WebhookSettings)
    assert settings.timeout_s == 5.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Has Space"},
        {"channel": "#incidents"},
        {"base_url": "http://slack.example/api/"},
        {"timeout_s": 0},
        {"timeout_s": 600},
        {"unknown": 1},
    ],
)
def test_wrong_settings_do_not_validate(wrong: dict[str, object]) -> None:
    """Names, addresses, times and unknown keys are checked when the configuration is read."""
    raw = {"type": "slack", "name": "s", "channel": "C0123", "token": {"env": "X"}, **wrong}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(raw, ChannelSettings)


@pytest.mark.parametrize(
    "url",
    [
        "https://h",
        "https://h:8443/x?y=z",
        "http://127.0.0.1:80/",
        "http://localhost/",
        "http://[::1]:9/",
    ],
)
def test_good_addresses(url: str) -> None:
    """https anywhere, http on this machine."""
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "http://h/",
        "http://127.0.0.1.evil.example/",
        "http://2130706433/",
        "ftp://h",
        "https://",
        "https://u:p@h/",
        "https://@h/",
        "https://h:99999/",
        "https://h/\n",
        "https://h/\u2028",
        "https://[::1",
    ],
)
def test_bad_addresses(url: str) -> None:
    """What cannot be sent to safely is refused when it is read."""
    with pytest.raises(ValueError, match=r"URL|http"):
        check_url(url)


def test_an_origin_shows_no_path() -> None:
    """Of a webhook's address only the origin may be shown."""
    assert origin("https://h:8443/services/T0/B0/secret?x=1") == "https://h:8443"
    assert "secret" not in origin("https://[::1/secret")


def test_mask_hides_every_value() -> None:
    """A provider that quotes the token back does not leak it."""
    assert mask("bad abc, really abc and def", "abc", "def", "") == "bad ***, really *** and ***"
