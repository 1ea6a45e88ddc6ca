"""The thread that asks the desk, so that no screen ever waits for it.

It polls one number, the revision, at most twice a second, and reads the rest only when that moved
or another screen came up. It touches no widget: it posts messages.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from textual.message import Message

from monitor.desk.port import DeskPort
from monitor.views import DeskError, Overview, TimelineEntry
from tui.lines.report import PAGE
from tui.messages import HomeNews, IncidentNews, Lost, Pulse

CHART_EVERY_S = 5.0
"""The signal moves without a revision: it is read again this often."""

MAX_ENTRIES = 5000
"""Timeline entries kept; older ones are in `tocsin inc watch`."""


class Feed:
    """One desk, one worker thread.

    Args:
        desk: whom to ask.
        post: where messages go; called from the thread.
        interval_s: seconds between two questions, 0.5 at least.
    """

    def __init__(
        self, desk: DeskPort, post: Callable[[Message], object], *, interval_s: float = 0.5
    ) -> None:
        self._desk = desk
        self._post = post
        self._interval_s = max(0.5, interval_s)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._wanted = ""
        self._paused = False
        self._seen: tuple[str, int] | None = None
        self._age_s = 0.0
        self._entries: list[TimelineEntry] = []
        self._entries_of = ""
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float = 2.0) -> None:
        """End the thread; a question it waits for is left behind."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def want(self, ref: str) -> None:
        """Read incident `ref` from now on; an empty one reads the list."""
        self._wanted = ref
        self._seen = None
        self._wake.set()

    def wake(self) -> None:
        """Ask at once: something was changed."""
        self._wake.set()

    def pause(self, *, on: bool) -> None:
        """Keep the screens as they are; the header still lives."""
        self._paused = on
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self.look()
            self._wake.wait(self._interval_s)
            self._age_s += self._interval_s

    def look(self) -> None:
        """One round of questions."""
        try:
            overview = self._desk.overview()
            self._post(Pulse(overview))
            if not self._paused:
                self._read(overview)
        except DeskError as error:
            self._seen = None
            self._post(Lost(error))

    def _read(self, overview: Overview) -> None:
        ref = self._wanted
        if self._seen == (ref, overview.revision) and self._age_s < CHART_EVERY_S:
            return
        rows = self._desk.incidents()
        if ref:
            view = self._desk.incident(ref)
            runbooks = [] if view.run is not None else self._desk.runbooks(ref)
            chart = self._desk.chart(ref)
            self._post(IncidentNews(view, self._timeline(ref), chart, rows, runbooks))
        else:
            self._post(HomeNews(rows, self._desk.signals()))
        self._seen = (ref, overview.revision)
        self._age_s = 0.0

    def _timeline(self, ref: str) -> Sequence[TimelineEntry]:
        if self._entries_of != ref:
            self._entries, self._entries_of = [], ref
        while True:
            after = self._entries[-1].seq if self._entries else 0
            page = self._desk.timeline(ref, after=after, limit=PAGE)
            self._entries = [*self._entries, *page][-MAX_ENTRIES:]
            if len(page) < PAGE:
                return self._entries
