"""Plain values of a configuration: what differs, by name; and the text they are shown as."""

from __future__ import annotations

import doctest
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.effective import body, differences, plain
from monitor.config.reloadable import takes
from monitor.config.settings import Settings, load, schema
from monitor.store.revision_rows import KEPT
from monitor.store.store import Store
from runbooks import yaml_text as module
from runbooks.convert import convert
from runbooks.yaml import load_yaml
from runbooks.yaml_text import yaml_text
from tests.making import T0

TEXT = """
profile: page
source: {type: kafka, bootstrap: ["b:9092"], topic: "1e3", start: 2026-11-22T09:00:00Z}
stream: {bucket: 10s, lateness: 1m30s}
digest_key: {keyring: tocsin/digest}
paging:
  receivers:
    - {type: log, name: day}
    - {type: slack, name: slack, channel: C0123, token: {env: TOKEN}}
  route:
    receivers: [day]
    routes: [{matchers: ['severity=~"SEV1|SEV2"'], receivers: [slack], continue: true}]
  escalation: [{after: 5m, receivers: [slack]}]
  links: {wiki: "https://wiki/$signal", "no": "https://no"}
runbooks:
  allow: {http: [{origin: https://change, methods: [GET, POST], paths: [/]}]}
"""


def settings(folder: Path, text: str = TEXT) -> Settings:
    path = folder / "tocsin.yaml"
    path.write_text(text)
    return load(path)[0]


def test_what_is_shown_is_a_configuration(tmp_path: Path) -> None:
    """The effective configuration, as YAML, loads to the very same settings."""
    made = settings(tmp_path)
    again = convert(load_yaml(yaml_text(plain(made)), "shown"), Settings)
    assert again == made
    assert convert(load_yaml(body(plain(made)), "stored"), Settings) == made


def test_differences_are_named(tmp_path: Path) -> None:
    """Keys by name, entries of a list by theirs; what comes and goes as well."""
    before = plain(settings(tmp_path))
    text = TEXT.replace("channel: C0123", "channel: C999").replace("after: 5m", "after: 6m")
    text = text.replace("name: day}", "name: day}\n    - {type: log, name: new}")
    text = text.replace("profile: page", "profile: quiet")
    found = {
        d.key: (d.before, d.after) for d in differences(before, plain(settings(tmp_path, text)))
    }
    assert list(found) == [
        "paging.escalation",
        "paging.receivers.new",
        "paging.receivers.slack.channel",
        "profile",
    ]
    assert found["paging.receivers.slack.channel"] == ("C0123", "C999")
    assert found["paging.receivers.new"][0] is None
    assert found["profile"] == ("page", "quiet")
    assert [takes(key) for key in found] == [True, True, True, False]
    assert differences(before, before) == []


def test_the_heartbeat_is_shown_without_its_path(tmp_path: Path) -> None:
    """Who knows the address can fake the sign: stars, and another address is still a difference."""
    bodies = [
        body(plain(settings(tmp_path, f"watch:\n  heartbeat: {{url: '{url}'}}\n")))
        for url in (
            "https://hc.example/0b6e-token-1",
            "https://hc.example/0b6e-token-2",
            "https://hc.example",
        )
    ]
    assert "token" not in "".join(bodies)
    assert all("https://hc.example/***" in each for each in bodies[:2])
    assert '"url":"https://hc.example"' in bodies[2]
    assert len(set(bodies)) == 3


def test_addresses_with_secrets_are_not_kept(tmp_path: Path) -> None:
    """Of a web hook the host is shown, of others what cannot be a token; links are in every page.

    Another address is a difference all the same, and what is shown is still a configuration.
    """
    token = "a1B2c3D4e5F6g7H8i9J0k1L2"
    texts = [
        f"""
        paging:
          receivers:
            - type: webhook
              name: hook
              url: https://hooks.example/services/T000/{each}
              secret: {{env: KEY}}
            - {{type: webhook, name: word, url: https://hooks.example/tocsin, secret: {{env: KEY}}}}
            - {{type: webhook, name: kept, url: {{file: /run/hook}}, secret: {{env: KEY}}}}
          links: {{panel: "https://grafana.example/d/{token}"}}
        runbooks: {{defaults: {{change_api: "https://api.example/{token}/x"}}}}
        """
        for each in (token, token[::-1])
    ]
    first, second = (settings(tmp_path, text) for text in texts)
    paging, runbooks = plain(first)["paging"], plain(first)["runbooks"]
    assert isinstance(paging, dict)
    assert isinstance(runbooks, dict)
    urls = [each["url"] for each in paging["receivers"]]
    assert urls[0].startswith("https://hooks.example/***")
    assert urls[1].startswith("https://hooks.example/***")
    assert urls[2] == {"file": "/run/hook"}
    assert token in paging["links"]["panel"]
    assert token not in str(runbooks)
    found = differences(plain(first), plain(second))
    assert [one.key for one in found] == ["paging.receivers.hook.url"]
    convert(load_yaml(body(plain(first)), "stored"), Settings)


def test_another_order_of_named_entries_is_a_difference() -> None:
    """Receivers that change places are told once, as names."""
    first, second = {"name": "a"}, {"name": "b"}
    (found,) = differences({"x": [first, second]}, {"x": [second, first]})
    assert (found.key, found.before, found.after) == ("x", ["a", "b"], ["b", "a"])


def test_every_key_that_a_reload_takes_exists() -> None:
    """The list of keys names real ones."""
    from monitor.config.reloadable import NOT_TAKEN, TAKEN

    known = schema()["$defs"]
    for key in (*TAKEN, *NOT_TAKEN):
        kind = known["Settings"]
        for part in key.split("."):
            options = [kind, *kind.get("anyOf", ())]
            names = [each["$ref"].rpartition("/")[2] for each in options if "$ref" in each]
            for each in [kind, *(known[name] for name in names)]:
                if part in each.get("properties", {}):
                    kind = each["properties"][part]
                    break
            else:
                pytest.fail(f"{key}: no {part}")


def test_the_schema_describes_every_key() -> None:
    """What the docstrings say of a field stands in the schema, inherited fields and all."""
    known = schema()["$defs"]
    for kind, described in known.items():
        for key, one in described.get("properties", {}).items():
            # What only tells kinds apart is described where the kind is.
            assert "description" in one or set(one) == {"enum"}, f"{kind}.{key}"
    said = known["SlackSettings"]["properties"]["proxy"]["description"]
    assert said == "URL of an egress proxy; the environment's proxy variables are not read."


def test_the_examples_of_the_writer() -> None:
    """The docstring is true."""
    assert doctest.testmod(module).failed == 0


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u061c\u200e\u200f\ufeff")
).filter(lambda text: all(c.isprintable() or c == " " for c in text))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(["no", "1e3", "017", "~", "- a", "a: b", "#x", "null", "'", '"', "@a"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS.filter(bool), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "on", "1", "x y"]), PLAIN, min_size=1, max_size=4))
def test_whatever_is_written_reads_back(data: dict[str, object]) -> None:
    """YAML text of any plain value is that value to the strict loader."""
    assert load_yaml(yaml_text(data), "f").data == data


def test_revisions_are_bounded(tmp_path: Path) -> None:
    """The last thousand are kept, newest first, each with all it was stored with."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        with store.write() as tx:
            assert tx.revisions.latest() is None
            made = [
                tx.revisions.add(
                    who="ada",
                    via="tls",
                    digest="d",
                    body=str(number),
                    note="n",
                    now=T0 + timedelta(seconds=number),
                )
                for number in range(KEPT + 3)
            ][-1]
        with store.read() as tx:
            newest = tx.revisions.newest(KEPT + 10)
            assert len(newest) == KEPT
            assert newest[0] == made == tx.revisions.latest()
            assert (made.id, made.body, made.via) == (KEPT + 3, str(KEPT + 2), "tls")
            assert tx.revisions.get(3) is None
            assert tx.revisions.get(4) is not None
    finally:
        store.close()


@pytest.mark.parametrize(
    "key", ["paging.receivers.x", "tiers", "tiers.error_rate", "runbooks.allow"]
)
def test_keys_that_a_reload_takes(key: str) -> None:
    """What is below such a key too, and nothing that only begins like it."""
    assert takes(key)
    assert not takes("tiersome")
    assert takes("watch.every")
    assert not takes("watch.spool")
    assert not takes("paging")
    assert msgspec.json.encode(key)
