"""The desk of a daemon, over its Unix socket; or the store itself when no daemon runs.

The protocol is HTTP: `POST /desk/v1/<method>` with the keyword arguments as a JSON object, answered
by `{"schema": "tocsin.<method>/1", "data": ...}` or, with a status of 400 and over, by
`{"schema": "tocsin.error/1", "error": {"code", "message", "hint"}}`. Each call has its own
connection, so any thread may call. The daemon knows who asks by the peer's credentials.
"""

from __future__ import annotations

import http.client
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from monitor import views
from monitor.config.options import DEFAULT_STORE, socket_path, store_file
from monitor.desk.port import DeskPort
from monitor.detect_views import Backtest, Explanation
from monitor.rule_views import Budget, RuleChange, RuleMoved, RuleRow, Ticket
from monitor.text import utf8
from monitor.views import DeskError, StepAction

T = TypeVar("T")

TIMEOUT_S = 30.0
"""Seconds to wait for one answer."""

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes; a page of timeline is far smaller, more is not a desk."""
UNKNOWN = "whether it was done is not known: look before again"
"""The hint where the answer to a command was lost."""


class _Fault(msgspec.Struct):
    code: str = "failed"
    message: str = ""
    hint: str = ""


class _Refusal(msgspec.Struct):
    error: _Fault


class _Answer(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class DeskClient(ABC):
    """`DeskPort` over HTTP, whatever the way; see there for what each method says."""

    where = "the socket"
    """Who answers, in words."""

    @abstractmethod
    def _ask(self, method: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to one call.

        Raises:
            DeskError: `unavailable`, there is none.
        """

    def _call(self, method: str, kind: type[T], /, **arguments: Any) -> T:
        status, answer = self._ask(method, msgspec.json.encode(_sendable(arguments)))
        return _decode(answer, status, kind, self.where)

    def ping(self) -> None:
        """Return when the daemon answers.

        Raises:
            DeskError: `unavailable`, or what the desk says.
        """
        self.whoami()

    def whoami(self) -> views.Principal:
        return self._call("whoami", views.Principal)

    def overview(self) -> views.Overview:
        return self._call("overview", views.Overview)

    def incidents(
        self,
        *,
        state: str = "",
        severity: str = "",
        since: datetime | None = None,
        mine: bool = False,
        limit: int = 200,
    ) -> list[views.IncidentRow]:
        return self._call(
            "incidents",
            list[views.IncidentRow],
            state=state,
            severity=severity,
            since=since,
            mine=mine,
            limit=limit,
        )

    def incident(self, ref: str) -> views.IncidentView:
        return self._call("incident", views.IncidentView, ref=ref)

    def timeline(self, ref: str, *, after: int = 0, limit: int = 500) -> list[views.TimelineEntry]:
        kind = list[views.TimelineEntry]
        return self._call("timeline", kind, ref=ref, after=after, limit=limit)

    def chart(self, ref: str, *, minutes: int = 60) -> views.Chart:
        return self._call("chart", views.Chart, ref=ref, minutes=minutes)

    def signals(self) -> list[views.SignalNow]:
        return self._call("signals", list[views.SignalNow])

    def explain(
        self, *, signal: str, dimensions: dict[str, str] | None = None, limit: int = 5
    ) -> list[Explanation]:
        kind = list[Explanation]
        return self._call("explain", kind, signal=signal, dimensions=dimensions, limit=limit)

    def backtest(self, *, signal: str, days: int = 14) -> Backtest:
        return self._call("backtest", Backtest, signal=signal, days=days)

    def changes(self, *, since: datetime | None = None) -> list[views.ChangeView]:
        return self._call("changes", list[views.ChangeView], since=since)

    def notes(self, *, since: datetime | None = None) -> list[views.NoteView]:
        return self._call("notes", list[views.NoteView], since=since)

    def quarantine(self, *, limit: int = 100) -> list[views.QuarantineRow]:
        return self._call("quarantine", list[views.QuarantineRow], limit=limit)

    def config_history(self, *, limit: int = 50) -> list[views.ConfigRevision]:
        return self._call("config_history", list[views.ConfigRevision], limit=limit)

    def config_revision(self, *, number: int = 0) -> views.ConfigRevision:
        return self._call("config_revision", views.ConfigRevision, number=number)

    def reload_config(self) -> views.ConfigReloaded:
        return self._call("reload_config", views.ConfigReloaded)

    def budget(self, *, team: str = "") -> list[Budget]:
        return self._call("budget", list[Budget], team=team)

    def rules(self) -> list[RuleRow]:
        return self._call("rules", list[RuleRow])

    def rule_history(self, *, rule: str = "", limit: int = 50) -> list[RuleChange]:
        return self._call("rule_history", list[RuleChange], rule=rule, limit=limit)

    def tickets(self, *, days: int = 1) -> list[Ticket]:
        return self._call("tickets", list[Ticket], days=days)

    def promote_rule(
        self,
        rule: str,
        *,
        tier: str = "page",
        reason: str = "",
        over_budget: bool = False,
        try_only: bool = False,
    ) -> RuleMoved:
        return self._call(
            "promote_rule",
            RuleMoved,
            rule=rule,
            tier=tier,
            reason=reason,
            over_budget=over_budget,
            try_only=try_only,
        )

    def demote_rule(self, rule: str, *, tier: str, reason: str) -> RuleMoved:
        return self._call("demote_rule", RuleMoved, rule=rule, tier=tier, reason=reason)

    def judge(self, ref: str, *, verdict: str, reason: str = "") -> views.Done:
        return self._call("judge", views.Done, ref=ref, verdict=verdict, reason=reason)

    def runbooks(self, ref: str = "") -> list[views.RunbookRow]:
        return self._call("runbooks", list[views.RunbookRow], ref=ref)

    def runbook_text(self, runbook: str) -> str:
        return self._call("runbook_text", str, runbook=runbook)

    def declare(self, *, title: str, severity: str, feature: str = "") -> views.Done:
        return self._call("declare", views.Done, title=title, severity=severity, feature=feature)

    def acknowledge(self, ref: str) -> views.Done:
        return self._call("acknowledge", views.Done, ref=ref)

    def take(self, ref: str) -> views.Done:
        return self._call("take", views.Done, ref=ref)

    def note(self, ref: str, *, text: str) -> views.Done:
        return self._call("note", views.Done, ref=ref, text=text)

    def set_severity(self, ref: str, *, severity: str, reason: str) -> views.Done:
        return self._call("set_severity", views.Done, ref=ref, severity=severity, reason=reason)

    def escalate(self, ref: str, *, reason: str = "") -> views.Done:
        return self._call("escalate", views.Done, ref=ref, reason=reason)

    def mitigate(self, ref: str, *, reason: str = "") -> views.Done:
        return self._call("mitigate", views.Done, ref=ref, reason=reason)

    def resolve(self, ref: str, *, verdict: str, reason: str = "") -> views.Done:
        return self._call("resolve", views.Done, ref=ref, verdict=verdict, reason=reason)

    def reopen(self, ref: str, *, reason: str) -> views.Done:
        return self._call("reopen", views.Done, ref=ref, reason=reason)

    def close(self, ref: str, *, reason: str = "") -> views.Done:
        return self._call("close", views.Done, ref=ref, reason=reason)

    def add_change(
        self,
        *,
        kind: str,
        title: str,
        at: datetime | None = None,
        dimensions: dict[str, str] | None = None,
    ) -> views.Done:
        return self._call(
            "add_change", views.Done, kind=kind, title=title, at=at, dimensions=dimensions
        )

    def start_run(
        self, ref: str, *, runbook: str, params: dict[str, str | int | bool] | None = None
    ) -> views.Done:
        return self._call("start_run", views.Done, ref=ref, runbook=runbook, params=params)

    def step(
        self,
        ref: str,
        *,
        number: int,
        action: StepAction,
        note: str = "",
        confirm: str = "",
        captured: dict[str, str] | None = None,
    ) -> views.Done:
        return self._call(
            "step",
            views.Done,
            ref=ref,
            number=number,
            action=action,
            note=note,
            confirm=confirm,
            captured=captured,
        )

    def abort_run(self, ref: str, *, reason: str) -> views.Done:
        return self._call("abort_run", views.Done, ref=ref, reason=reason)

    def review(self, ref: str, *, form: str = "md") -> str:
        return self._call("review", str, ref=ref, form=form)

    def tokens(self, *, limit: int = 100) -> list[views.TokenRow]:
        return self._call("tokens", list[views.TokenRow], limit=limit)

    def create_token(
        self, *, name: str, role: str = "responder", seconds: int = 2_592_000
    ) -> views.TokenMade:
        kind = views.TokenMade
        return self._call("create_token", kind, name=name, role=role, seconds=seconds)

    def revoke_token(self, token: str) -> views.Done:
        return self._call("revoke_token", views.Done, token=token)

    def audit(self, *, limit: int = 100) -> list[views.AuditLine]:
        return self._call("audit", list[views.AuditLine], limit=limit)


class SocketDesk(DeskClient):
    """The desk of a daemon on this machine.

    Args:
        path: the socket.
        timeout_s: seconds to wait for one answer.
    """

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def _ask(self, method: str, body: bytes) -> tuple[int, bytes]:
        connection = _UnixConnection(self.path, self._timeout_s)
        there = False
        try:
            connection.connect()
            there = True
            connection.request(
                "POST", f"/desk/v1/{method}", body, {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER)
        except PermissionError as error:
            raise DeskError(
                "unavailable",
                f"the daemon's socket {self.path} may not be used: {error.strerror}",
                "it is for the daemon's user and group",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise DeskError(
                "unavailable",
                f"no answer from the daemon at {self.path}: {str(error) or type(error).__name__}",
                self._hint(method, there=there),
            ) from error
        finally:
            connection.close()
        return response.status, answer

    @staticmethod
    def _hint(method: str, *, there: bool) -> str:
        from monitor.desk.methods import COMMANDS  # only a call that fails asks

        if there and method in COMMANDS:
            return UNKNOWN
        return "is `tocsin run` running? --socket or --store names another one"


def _sendable(value: Any) -> Any:
    """An argument as JSON takes it."""
    if isinstance(value, dict):
        return {utf8(key): _sendable(each) for key, each in value.items()}
    return utf8(value) if isinstance(value, str) else value


def _decode(answer: bytes, status: int, kind: type[T], where: str) -> T:
    """The value in an answer.

    Raises:
        DeskError: what the desk said, or `unavailable` for an answer that is not a desk's.
    """
    try:
        if status >= 400:
            fault = msgspec.json.decode(answer, type=_Refusal).error
            raise DeskError(fault.code, fault.message, fault.hint)
        raw = msgspec.json.decode(answer, type=_Answer).data
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise DeskError(
            "unavailable",
            f"{where} answered {status} with something that is not this desk's: {error}",
            "do the daemon and this command have the same version?",
        ) from error


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look for a desk."""

    store: str | None = None
    socket: Path | None = None
    usual: bool = False
    """The socket is the configuration's, not typed: with nobody there its store is opened."""
    desk: str | None = None
    """Name or address of a desk on another machine; it goes before the other two."""
    config: Path | None = None
    """The configuration by which a store is read where no daemon has its own."""


def place_name(desk: DeskPort) -> str:
    """Name and address of a desk on another machine; empty for this one's."""
    url = getattr(desk, "url", "")
    return f"{getattr(desk, 'name', '')} ({url})" if url else ""


def _absent(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # it may be there: to ask it says what is wrong
    return False


def connect(place: Place, *, warn: Callable[[str], None], timeout_s: float = TIMEOUT_S) -> DeskPort:
    """The daemon's desk; without a daemon, the store of `place` opened directly (break-glass).

    A daemon whose socket refuses us or does not answer in time is not gone round.

    Args:
        place: store and socket, either may be absent; or a desk on another machine. With a socket
            that was typed only a daemon will do.
        warn: told, a line each, that no daemon runs and that the configuration is not used.
        timeout_s: seconds to wait for one answer of the daemon.

    Raises:
        DeskError: `unavailable` when there is neither, or a daemon that we cannot speak to.
    """
    if place.desk is not None:
        from tui.place_remote import remote  # TLS is loaded only for another machine

        return remote(place.desk, os.environ, timeout_s=timeout_s)
    typed = place.socket is not None and not place.usual
    store = place.store or (None if typed else DEFAULT_STORE)
    path = socket_path(store, place.socket, os.environ)
    if not _absent(path):
        desk = SocketDesk(path, timeout_s=timeout_s)
        try:
            desk.ping()
        except DeskError as error:
            nobody = isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError)
            if not nobody or typed:
                raise
        else:
            return desk
    if typed or store is None:
        raise DeskError(
            "unavailable", f"no daemon listens at {path}", "start one with `tocsin run`"
        )
    file = store_file(store)
    if file is not None and not file.exists():
        raise DeskError(
            "unavailable",
            f"no daemon listens at {path}, and there is no store at {file}",
            "start one with `tocsin run`, or name a store with --store sqlite:///FILE",
        )
    from tui.direct_desk import direct  # the store is loaded only without a daemon

    desk_direct = direct(store, place.config, warn)
    warn("no daemon is running: using the store directly")
    return desk_direct
