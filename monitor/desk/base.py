"""What every part of the desk rests on: who asks, the right to, and guarded transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from monitor.config.settings import Configured
from monitor.config.shelf import Shelf
from monitor.desk.trials import Trials
from monitor.incidents.actions import Refusal
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry
from monitor.paging import Pager, trusted_labels
from monitor.store.joined import Transactions
from monitor.store.store import StoreUnavailable, StoreUncertain, Tx
from monitor.views import ConfigReloaded, DeskError, Done, Health, Principal
from runbooks.events import Effect

UNCERTAIN = "whether it was done is not known: look before again"
"""The hint where an answer was lost on its way."""

Perform = Callable[[str, Sequence[Effect]], None]
"""Does in the world what a stored transition of a run asks for."""


Reloading = Callable[[Principal], ConfigReloaded]
"""Takes the configuration as it is on disk now, for somebody."""


def not_reloaded(_who: Principal) -> ConfigReloaded:
    """What a desk says to that which has no daemon that could."""
    raise DeskError(
        "unavailable",
        "nothing here takes a new configuration: no daemon runs, or it plays a recording",
        "start one: tocsin run; it reads the configuration as it is",
    )


def no_daemon(_run: str, _effects: Sequence[Effect]) -> None:
    """What a desk without a daemon says to that."""
    raise DeskError(
        "unavailable",
        "recorded, but no daemon runs that could carry it out",
        "start one: tocsin run",
    )


class DeskBase:
    """A desk that speaks for one principal."""

    def __init__(
        self,
        store: Transactions,
        configured: Configured,
        shelf: Shelf,
        principal: Principal,
        clock: Callable[[], datetime],
        *,
        perform: Perform = no_daemon,
        reload: Reloading = not_reloaded,
        live: bool = True,
        parts: Sequence[Callable[[Tx, datetime], Health]] = (),
        trials: Trials | None = None,
    ) -> None:
        self._store = store
        self._configured = configured
        self._shelf = shelf
        self._who = principal
        self._clock = clock
        self._perform = perform
        self._reload = reload
        self._live = live
        self._parts = parts
        self._trials = trials or Trials()
        self._pager = Pager(configured.policy)
        self._allow = configured.settings.runbooks.allow

    def _labels(self, tx: Tx, ref: str) -> Mapping[str, str]:
        return trusted_labels(self._find(tx, ref))

    def _find(self, tx: Tx, ref: str) -> Incident:
        text = ref.strip().upper().removeprefix("INC-")
        found: Incident | None = None
        if text == "LATEST":
            found = tx.incidents.latest()
        elif text.isascii() and text.isdigit() and len(text) < 10:
            found = tx.incidents.by_number(int(text))
        if found is None:
            raise DeskError("not_found", f"no incident {ref!r}", "list them: tocsin inc list")
        return found

    def _ended(self, tx: Tx, ref: str) -> Incident:
        """For what is done to one that is over: `latest` must not mean another, which is open."""
        found = self._find(tx, ref)
        if found.is_open and not any(sign.isdigit() for sign in ref):
            text = f"{found.name} is the latest, and still open"
            self._refuse(Refusal(text, "name the one that is over: tocsin inc list"))
        return found

    def _glass(self, now: datetime) -> tuple[Entry, ...]:
        if self._who.via != "direct":
            return ()
        text = "done without a daemon, on the store itself (break-glass)"
        return (Entry(kind="DIRECT", text=text, actor=self._who.name, occurred_at=now),)

    def _done(self, tx: Tx, text: str, incident: Incident) -> Done:
        tx.touch()
        return Done(
            text=text,
            incident=incident.name,
            revision=tx.revision(),
            daemon=self._who.via != "direct",
        )

    def _must(self, role: str) -> None:
        order = ("reader", "responder", "admin")
        if order.index(self._who.role) < order.index(role):
            if role == "admin":
                raise DeskError("forbidden", f"{self._who.name} is no admin", "ask one")
            raise DeskError(
                "forbidden",
                f"{self._who.name} may only read",
                "ask for the responder role: desk.responders in the configuration, or a token",
            )

    @staticmethod
    def _refuse(refusal: Refusal) -> NoReturn:
        raise DeskError("refused", refusal.message, refusal.hint)

    def _reading(self) -> _Guarded:
        return _Guarded(self._store, writing=False)

    def _writing(self) -> _Guarded:
        acting = (self._who.name, "tls") if self._who.via == "tls" else ("", "")
        return _Guarded(self._store, writing=True, acting=acting)


class _Guarded:
    """A transaction whose failures are the desk's: it says whether anything was written."""

    def __init__(
        self, store: Transactions, *, writing: bool, acting: tuple[str, str] = ("", "")
    ) -> None:
        self._acting = acting
        self._manager = store.write() if writing else store.read()

    def __enter__(self) -> Tx:
        try:
            tx = self._manager.__enter__()
        except StoreUnavailable as problem:
            raise DeskError("unavailable", str(problem), "nothing was written; try again") from None
        tx.incidents.acting = self._acting
        return tx

    def __exit__(self, *details: object) -> bool | None:
        try:
            return self._manager.__exit__(*details)  # type: ignore[arg-type] # handed through as given
        except StoreUncertain as problem:
            raise DeskError("unavailable", str(problem), UNCERTAIN) from None
        except StoreUnavailable as problem:
            raise DeskError("unavailable", str(problem), "nothing was written; try again") from None
