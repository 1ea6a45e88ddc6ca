"""What the feed tells the application. A newer one of a kind replaces an older one that waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.message import Message

from monitor import views


@dataclass
class _Latest(Message):
    """Only the newest of its kind matters."""

    def can_replace(self, message: Message) -> bool:
        return type(message) is type(self)


@dataclass
class Pulse(_Latest):
    """The desk answered: where everything stands."""

    overview: views.Overview


@dataclass
class HomeNews(_Latest):
    """The incidents and signals changed."""

    rows: Sequence[views.IncidentRow]
    signals: Sequence[views.SignalNow]


@dataclass
class IncidentNews(_Latest):
    """One incident changed."""

    view: views.IncidentView
    entries: Sequence[views.TimelineEntry]
    chart: views.Chart
    rows: Sequence[views.IncidentRow]
    runbooks: Sequence[views.RunbookRow]
    """What could be started; empty while a run is there."""


@dataclass
class Lost(_Latest):
    """The desk did not answer."""

    error: views.DeskError
