"""What the desk answers about detection; as `monitor.views`, frozen values that travel as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from monitor.views import Cause, ChangeView, View


class Explanation(View, frozen=True, kw_only=True):
    """What the detector thinks of one series now, and what speaks for it."""

    signal: str
    dimensions: dict[str, str]
    state: Literal["warming", "quiet", "firing"]
    tier: Literal["shadow", "ticket", "page"]
    at: datetime
    """End of the bucket that was judged last."""
    sentence: str
    """What, how much against which baseline, since when, where, what changed, how sure."""
    rate: float | None
    baseline: float | None
    k: int
    n: int
    """Of the last bucket, or since the onset where it fires."""
    score: float
    threshold: float
    meaning: str = ""
    """What the threshold means, in words: whose budget pays for it, and how rare it is."""
    onset_at: datetime | None = None
    excess: float | None = None
    causes: list[Cause]
    changes: list[ChangeView]
    incident: str | None = None
    spark: list[float | None]
    """The rate of the last hours, oldest first, in as many even parts as there are values."""
    spark_s: int
    """Seconds that one of them covers."""


class Episode(View, frozen=True, kw_only=True):
    """One time a series would have fired."""

    dimensions: dict[str, str]
    onset_at: datetime
    detected_at: datetime
    """End of the bucket in which it began to fire."""
    ended_at: datetime | None
    """None where it still fires at the end."""
    duration_s: int
    """From the detection on."""
    k: int
    n: int
    baseline: float
    """Expected k / n since the onset."""
    peak_ratio: float | None
    """Observed over expected, the farthest from 1; None where nothing was expected."""
    excess: float
    """Flagged interactions beyond the expected since the onset; negative for a fall."""
    score: float
    """Its highest."""
    reason: str = ""
    """What its alert would have said when it was highest."""
    page: bool
    """It would have paged; others join the page of a series that began within half an hour."""
    incidents: list[str]
    """Incidents of the same place and time."""
    verdict: str | None = None
    """What people said of them, where they did."""


class Backtest(View, frozen=True, kw_only=True):
    """What a rule would have done with the traffic that was stored."""

    signal: str
    profile: str
    thresholds: list[float]
    """The different thresholds of its series; `meanings` has them in words."""
    meanings: list[str] = msgspec.field(default_factory=list)
    """What they mean, in words."""
    since: datetime
    until: datetime
    weeks: float
    """Of them, how many there are points of."""
    judged_days: int = 0
    """On how many days (UTC) a warm series had traffic."""
    without: str = ""
    """What was left out and why, in words; empty where nothing was."""
    series: int
    series_weeks: float
    """Judged: with traffic and warm."""
    episodes: list[Episode]
    """In order of detection."""
    pages: int
    true: int
    """Pages of incidents that people called an attack, a regression or true."""
    false: int
    """Pages of incidents that people called false, a benign shift or test traffic."""
    unjudged: int
    """Pages that nobody has judged."""
    false_per_week: float | None
    """Were all that are unjudged false; None without a week of points."""
    progress: float = 1.0
    """How much of it is done; below 1 there is no figure yet: ask again."""
