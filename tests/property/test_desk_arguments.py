"""Whatever is asked of the desk, and with whatever arguments: an answer, or a clean refusal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.desk.http import json_answer
from monitor.desk.methods import COMMANDS, METHODS, arguments, invoke
from monitor.incidents.model import State
from monitor.incidents.timeline import broken_at
from monitor.store.joined import Joined
from monitor.store.store import Store, Tx
from monitor.views import DeskError, Principal
from tests.making import T0, alert, incident

Ask = Callable[[str, bytes], bool]

AT = "2026-11-16T08:30:00Z"
RULE = {"signal": "refusal_rate"}
SOUND: dict[str, dict[str, Any]] = {
    "abort_run": {"ref": "7", "reason": "enough"},
    "acknowledge": {"ref": "INC-0007"},
    "add_change": {"kind": "deploy", "title": "v2", "at": AT, "dimensions": {"feature": "chat"}},
    "audit": {"limit": 10},
    "backtest": {**RULE, "days": 1},
    "budget": {"team": "default"},
    "changes": {"since": AT},
    "chart": {"ref": "7", "minutes": 60},
    "close": {"ref": "8", "reason": "done"},
    "config_history": {"limit": 10},
    "config_revision": {"number": 0},
    "create_token": {"name": "ada", "role": "reader", "seconds": 3600},
    "declare": {"title": "all is refused", "severity": "SEV1", "feature": "chat"},
    "demote_rule": {"rule": "refusal_rate", "tier": "shadow", "reason": "too loud"},
    "escalate": {"ref": "7", "reason": "nobody answers"},
    "explain": {**RULE, "dimensions": {"feature": "chat"}, "limit": 5},
    "incident": {"ref": "latest"},
    "incidents": {"state": "open", "severity": "SEV2", "since": AT, "mine": False, "limit": 9},
    "judge": {"ref": "8", "verdict": "true_positive", "reason": "seen"},
    "mitigate": {"ref": "7", "reason": "rolled back"},
    "note": {"ref": "7", "text": "looked at it"},
    "notes": {"since": AT},
    "overview": {},
    "promote_rule": {"rule": "refusal_rate", "tier": "ticket", "reason": "it is time"}
    | {"over_budget": False, "try_only": True},
    "quarantine": {"limit": 10},
    "reload_config": {},
    "reopen": {"ref": "8", "reason": "it is back"},
    "resolve": {"ref": "7", "verdict": "true_positive", "reason": "it has stopped"},
    "review": {"ref": "7", "form": "md"},
    "revoke_token": {"token": "abcdefgh"},
    "rule_history": {"rule": "refusal_rate", "limit": 10},
    "rules": {},
    "runbook_text": {"runbook": "refusal-spike"},
    "runbooks": {"ref": "7"},
    "set_severity": {"ref": "7", "severity": "SEV1", "reason": "it spreads"},
    "signals": {},
    "start_run": {"ref": "9", "runbook": "refusal-spike"}
    | {"params": {"change_api": "https://changes.example.com", "service": "chat"}},
    "step": {"ref": "7", "number": 1, "action": "skip", "note": "known", "confirm": "y"}
    | {"captured": {"release": "v2"}},
    "take": {"ref": "7"},
    "tickets": {"days": 7},
    "timeline": {"ref": "7", "after": 0, "limit": 10},
    "tokens": {"limit": 10},
    "whoami": {},
}
"""For each method all of its arguments, as they should be."""
REFUSED = {"config_revision", "demote_rule", "reload_config", "revoke_token"}
"""There is nothing here that they could be about."""

STRINGS = (
    *("", " ", "\0", "a\0b", "\ud800", "a\udfffb", "\ud83d\ude00", "\x1b[2J", "\u202e", "\ufeff"),
    *("\uffff", "x" * 40_000, "é" * 20_000, "%s%n{0}", "'; DROP TABLE incidents; --", "\n\n"),
    *("²", "٣", "9" * 400, "-1", "INC-", "7\0", "refusal_rate", "page", "md", "undo", "true"),
)
TIMES = (
    *("2026-01-01T00:00:00", "2026-01-01", "now", "1e9", "2026-02-30T00:00:00Z"),
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z"),
    *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-23:59", "2026-01-01T24:00:00Z"),
)
NUMBERS = (
    *(-1, 0, 1, 2, 366, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1),
    *(10**400, 0.5, 1.0, 1e308, float("nan"), float("inf")),
)
LEAVES = st.sampled_from([None, True, False, *STRINGS, *TIMES, *NUMBERS]) | st.text(max_size=8)
ODD: st.SearchStrategy[Any] = (
    LEAVES
    | st.dictionaries(st.sampled_from(STRINGS), LEAVES, max_size=2)
    | st.dictionaries(st.sampled_from(["change_api", "service", "feature"]), LEAVES, max_size=2)
    | st.lists(LEAVES, max_size=2)
)


def body(given_: dict[str, Any], *, ascii_only: bool = True) -> bytes:
    """As JSON; Python writes NaN and lone surrogates, too."""
    return json.dumps(given_, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sound call of a method, but for one or two of its arguments."""
    method = draw(st.sampled_from([name for name in METHODS if SOUND[name]]))
    known = st.sampled_from(sorted(SOUND[method]))
    odd = draw(st.dictionaries(known, ODD, min_size=1, max_size=2))
    return method, body(SOUND[method] | odd, ascii_only=draw(st.booleans()))


class _Undone(Exception):
    """What was done for an example is taken back."""


def _told(desk: Desk, tx: Tx) -> None:
    """All that was written can be told again, and every timeline fits."""
    for one in tx.incidents.search():
        assert broken_at(tx.incidents.timeline(one.uuid)) is None
        told = [desk.incident(one.name), desk.timeline(one.name), desk.review(one.name)]
        json_answer(200, told)
    json_answer(200, [desk.overview(), desk.changes(), desk.audit(), desk.tokens()])


@pytest.fixture
def on_sqlite(tmp_path: Path) -> str:
    """An empty store of one machine."""
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.fixture
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Calls an admin's desk: whether it answered; any other end than a refusal is an error.

    In the store are an open incident with a run (7), one that is over (8) and a bare one (9).
    """
    store = Store(request.getfixturevalue(request.param))
    configured, shelf = resolve(Settings()), Shelf()
    ada = Principal(name="ada", role="admin", via="socket")
    over = replace(
        incident(uuid="8" * 32, number=8),
        state=State.RESOLVED,
        resolved_at=T0,
        verdict="false_positive",
    )
    with store.write() as tx:
        for each in (incident(), over, incident(uuid="9" * 32, number=9)):
            tx.incidents.save(each)
        tx.incidents.save_alert(alert(incident=incident().uuid))
        Desk(Joined(tx), configured, shelf, ada, lambda: T0).start_run(
            "7", runbook="refusal-spike", params={"change_api": "https://changes.example.com"}
        )

    def asked(method: str, given_: bytes) -> bool:
        answered = False
        with contextlib.suppress(_Undone), store.write() as tx:
            desk = Desk(Joined(tx), configured, shelf, ada, lambda: T0)
            try:
                json_answer(200, invoke(desk, method, given_))
                answered = True
            except DeskError as problem:
                msgspec.json.encode([problem.code, problem.message, problem.hint])
            if answered and method in COMMANDS:
                _told(desk, tx)
            raise _Undone
        return answered

    yield asked
    store.close()


BOTH = pytest.mark.parametrize("ask", ["on_sqlite", "postgres_store_url"], indirect=True)


@BOTH
def test_every_method_answers_a_sound_call(ask: Ask) -> None:
    """So that an odd argument is tried where all else is as it should be."""
    assert {name: set(given_) for name, given_ in SOUND.items()} == {
        name: set(arguments(name)) for name in METHODS
    }
    assert {name for name in METHODS if not ask(name, body(SOUND[name]))} == REFUSED


@BOTH
@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(calls())
@example(("incident", b'{"ref":"\xc2\xb2"}'))
@example(("incidents", b'{"since":"2026-01-01T00:00:00"}'))
@example(("changes", b'{"since":"0001-01-01T00:00:00+23:59"}'))
@example(("notes", b'{"since":"9999-12-31T23:59:59-23:59"}'))
@example(("add_change", b'{"kind":"deploy","title":"x","at":"9999-12-31T23:59:59Z"}'))
@example(("declare", b'{"title":"a\\u0000b","severity":"SEV1","feature":"\\u0000"}'))
@example(("declare", b'{"title":"a\xed\xa0\x80b","severity":"SEV1"}'))
@example(("note", b'{"ref":"7","text":"a\\ud800b"}'))
@example(("note", b'{"ref":"\\u0000","text":"a"}'))
@example(("incidents", b'{"limit":' + b"9" * 5_000 + b"}"))
@example(("explain", b'{"signal":' + b"[" * 60_000))
def test_odd_arguments_are_answered_or_refused(ask: Ask, call: tuple[str, bytes]) -> None:
    """No method breaks, and what it wrote can be told."""
    ask(*call)
