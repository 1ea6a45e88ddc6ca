"""What the configuration may say about the desk over TLS, and what is tried before a start."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from monitor.config.options import RunOptions
from monitor.config.preflight import preflight
from monitor.config.settings import Settings
from runbooks.convert import check, convert
from runbooks.yaml import load_yaml
from tests.servers.desk_stage import write_certificate

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
TLS = {
    "listen": "0.0.0.0:9465",
    "certificate": "/c.pem",
    "key": "/k.pem",
    "hosts": "[tocsin.example.com]",
}


def text(**changes: str) -> bytes:
    """A configuration with `desk.tls`; an empty value leaves a key out."""
    lines = {**TLS, **changes}
    body = "".join(f"    {name}: {value}\n" for name, value in lines.items() if value)
    return f"version: 1\ndesk:\n  tls:\n{body}".encode()


def test_the_sample_of_the_readme_is_valid() -> None:
    """What the README shows can be put into a configuration as it is."""
    sample = re.search(r"### From another machine\n\n```yaml\n(.*?)```", README, re.DOTALL)
    assert sample is not None
    settings = convert(load_yaml(sample.group(1).encode(), "README.md"), Settings)
    assert settings.desk.tls is not None
    assert settings.desk.tls.hosts == ("tocsin.example.com",)


def test_what_a_door_needs() -> None:
    """Address, certificate, key and a name; each in its form, with a place for each mistake."""
    assert check(load_yaml(text(), "x.yaml"), Settings) == []
    more = text(hosts='["[::1]", localhost, "10.0.0.1"]', origins='["https://ops.example.com"]')
    assert check(load_yaml(more, "x.yaml"), Settings) == []
    for bad in (
        {"hosts": "[]"},
        {"hosts": ""},
        {"hosts": '["Desk.example.com"]'},
        {"hosts": '["desk:9465"]'},
        {"listen": "9465"},
        {"key": ""},
        {"origins": '["*"]'},
        {"colour": "red"},
    ):
        problems = check(load_yaml(text(**bad), "x.yaml"), Settings)
        assert len(problems) == 1, bad
        assert problems[0].line > 0


@pytest.mark.parametrize(("days", "state"), [(30, "ok"), (-1, "bad")])
def test_the_check_before_a_start_tries_the_certificate(
    tmp_path: Path, days: int, state: str
) -> None:
    """`tocsin run --check` says that it is good, or what is wrong with it."""
    end = datetime.now(UTC) + timedelta(days=days)
    leaf = trustme.CA().issue_cert("localhost", not_before=end - timedelta(days=60), not_after=end)
    certificate, key = write_certificate(leaf, tmp_path)
    config = tmp_path / "tocsin.yaml"
    store = f"store: sqlite:///{tmp_path}/x.db\n".encode()
    config.write_bytes(store + text(certificate=str(certificate), key=str(key)))
    source = f"file:{tmp_path / 'none.ndjson'}"
    (tmp_path / "none.ndjson").write_text("")
    found = preflight(RunOptions(config=config, source=source), {})
    assert [part.state for part in found.parts if part.name == "desk.tls"] == [state]
    assert (found.status == 0) == (state == "ok")
