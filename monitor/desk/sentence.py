"""What the desk says of a series in one sentence: pure, from figures to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detectors.calibration import rarity
from detectors.verdicts import percent, times
from monitor.alerting.alerts import Alert
from monitor.alerting.fitting import Suspect
from monitor.stream.signals import Signal

_WELL_BEYOND = 3.0
"""Nats over a limit: chance alone would do it twenty times as rarely."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is said about a series."""

    k: int
    n: int
    baseline: float | None
    score: float
    limit: float
    calibrated: bool
    """Whether the score is on the calibrated scale: else it is in nats."""

    @property
    def rate(self) -> float | None:
        """K / n; None without traffic."""
        return self.k / self.n if self.n else None

    @property
    def excess(self) -> float | None:
        """Beyond the expected."""
        return None if self.baseline is None else self.k - self.baseline * self.n


def quiet(
    signal: Signal, dimensions: Mapping[str, str], state: str, figures: Figures, beside: str
) -> str:
    """Of a series for which no alert stands.

    Args:
        signal: the series' own.
        dimensions: where it is.
        state: the letter of its last point; one that fires may not be an alert yet.
        figures: of the last bucket.
        beside: what fires above it; empty where nothing does.
    """
    head = _head(signal, dimensions)
    more = f"; {beside}" if beside else ""
    if state == "w":
        return f"{head}: still learning what is normal, no judgement yet{more}"
    baseline = "not known" if figures.baseline is None else percent(figures.baseline)
    if figures.rate is None:
        return f"{head}: no traffic in the last bucket, baseline {baseline}{more}"
    now = f"{percent(figures.rate)} ({figures.k} of {figures.n}), baseline {baseline}"
    if state == "q":
        return f"{head}: quiet at {now}; score {figures.score:.1f} of {figures.limit:.1f}{more}"
    return f"{head}: fires at {now}; {certainty(figures)}{more}"


def firing(signal: Signal, alert: Alert, figures: Figures, suspects: Sequence[Suspect]) -> str:
    """Of a series that fires by itself."""
    head, since = _head(signal, alert.dimensions), _since(alert)
    if figures.rate is None or figures.baseline is None or figures.excess is None:
        said = f"no traffic {since}"
    else:
        off = f"{abs(figures.excess):.0f} {'more' if figures.excess >= 0 else 'fewer'}"
        said = (
            f"{percent(figures.rate)} against a baseline of {percent(figures.baseline)} "
            f"({times(figures.rate, figures.baseline)}) {since}, "
            f"{figures.k} of {figures.n}, {off} than expected"
        )
    return f"{head}: {said}; {_why(alert, suspects)}; {certainty(figures)}"


def spoken_for(signal: Signal, alert: Alert, figures: Figures, suspects: Sequence[Suspect]) -> str:
    """Of a whole for which its fleet or a lone child speaks: the alert's own reason."""
    reason = alert.reading.reason.removeprefix(f"{signal.title}: ")
    head, since = _head(signal, alert.dimensions), _since(alert)
    # A lone child's reason says itself how rare it is.
    told = figures.calibrated and figures.score >= figures.limit
    sure = "" if told else f"; {_sure(figures)}"
    return f"{head}: {reason}; {since}; {_why(alert, suspects)}{sure}"


def _head(signal: Signal, dimensions: Mapping[str, str]) -> str:
    return f"{signal.title} on {', '.join(dimensions.values()) or 'everything'}"


def _since(alert: Alert) -> str:
    return f"since {alert.onset_at:%Y-%m-%d %H:%M} UTC"


def _why(alert: Alert, suspects: Sequence[Suspect]) -> str:
    """What explains it, and the change that the page names."""
    said = []
    if alert.causes:
        cause = alert.causes[0]
        values = ", ".join(f"{name} {value}" for name, value in cause.dimensions.items())
        said.append(f"{values} explains {100 * cause.share:.0f} % of it")
    for one in suspects[:1]:
        change = one.change
        said.append(f"{change.kind} {change.title} was at {change.at:%H:%M} UTC, {one.reason}")
    return "; ".join(said) or "no dimension value and no recorded change stands out"


def certainty(figures: Figures) -> str:
    """How sure a score is, in words.

    >>> certainty(Figures(9, 9, 0.1, 12.0, 9.0, calibrated=True))
    'a quiet series gets there once in 16 weeks (score 12.0 of 9.0)'
    >>> certainty(Figures(9, 9, 0.1, 9.2, 9.0, calibrated=False))
    'sure enough to fire (score 9.2 of 9.0, in nats)'
    """
    unit = "" if figures.calibrated else ", in nats"
    return f"{_sure(figures)} (score {figures.score:.1f} of {figures.limit:.1f}{unit})"


def _sure(figures: Figures) -> str:
    over = figures.score - figures.limit
    if over < 0:
        return "on its way back"
    if not figures.calibrated:
        return "well beyond its limit" if over >= _WELL_BEYOND else "sure enough to fire"
    return f"a quiet series gets there {rarity(figures.score)}"
