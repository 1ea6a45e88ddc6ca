"""What every part of the desk rests on: who asks, the right to, and guarded transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from monitor.incidents.actions import Refusal
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry
from monitor.paging import Pager, trusted_labels
from monitor.settings import Configured
from monitor.shelf import Shelf
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.views import DeskError, Done, Principal
from runbooks.events import Effect

Perform = Callable[[str, Sequence[Effect]], None]
"""Does in the world what a stored transition of a run asks for."""


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
        store: Store,
        configured: Configured,
        shelf: Shelf,
        principal: Principal,
        clock: Callable[[], datetime],
        *,
        perform: Perform = no_daemon,
        live: bool = True,
    ) -> None:
        self._store = store
        self._configured = configured
        self._shelf = shelf
        self._who = principal
        self._clock = clock
        self._perform = perform
        self._live = live
        self._pager = Pager(configured.policy)
        self._allow = configured.settings.runbooks.allow

    def _labels(self, tx: Tx, ref: str) -> Mapping[str, str]:
        return trusted_labels(self._find(tx, ref))

    def _find(self, tx: Tx, ref: str) -> Incident:
        text = ref.strip().upper().removeprefix("INC-")
        found: Incident | None = None
        if text == "LATEST":
            found = tx.incidents.latest()
        elif text.isdigit() and len(text) < 10:
            found = tx.incidents.by_number(int(text))
        if found is None:
            raise DeskError("not_found", f"no incident {ref!r}", "list them: tocsin inc list")
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
            raise DeskError(
                "forbidden",
                f"{self._who.name} may only read",
                "ask for the responder role: desk.responders in the configuration",
            )

    @staticmethod
    def _refuse(refusal: Refusal) -> NoReturn:
        raise DeskError("refused", refusal.message, refusal.hint)

    def _reading(self) -> _Guarded:
        return _Guarded(self._store, writing=False)

    def _writing(self) -> _Guarded:
        return _Guarded(self._store, writing=True)


class _Guarded:
    """A transaction whose failures are the desk's: nothing was written, and it says so."""

    def __init__(self, store: Store, *, writing: bool) -> None:
        self._manager = store.write() if writing else store.read()

    def __enter__(self) -> Tx:
        try:
            return self._manager.__enter__()
        except StoreUnavailable as problem:
            raise DeskError("unavailable", str(problem), "nothing was written; try again") from None

    def __exit__(self, *details: object) -> bool | None:
        try:
            return self._manager.__exit__(*details)  # type: ignore[arg-type] # handed through as given
        except StoreUnavailable as problem:
            raise DeskError("unavailable", str(problem), "nothing was written; try again") from None
