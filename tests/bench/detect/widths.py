"""Buckets of other widths than the minute that the table of thresholds was made at. No goals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detectors.calibration import config_for
from detectors.columns import Bools
from tests.bench.detect.heldout import line
from tests.bench.detect.report import Report
from tests.bench.detect.states import as_paged, of_pair
from tests.bench.detect.study import WEEK, Found, Scene, Study, say

BUDGET = 0.1
SIGNAL = "tool_misuse"
MINUTE, WIDER, FINE = 60, (300, 900), 10
_COOL_S = 7_200
_GRACE_S = 3_600


@dataclass(frozen=True, slots=True)
class Pair:
    """A quiet scene and one with incidents, in buckets of `bucket_s`."""

    quiet: Scene
    hit: Scene
    bucket_s: int
    drawn_s: int
    """Width of the buckets in which events and warm-up are told."""

    def wider(self, bucket_s: int) -> Pair:
        """The same counts, summed."""
        times = bucket_s // self.bucket_s
        quiet, hit = _summed(self.quiet, times), _summed(self.hit, times)
        return Pair(quiet, hit, bucket_s, self.drawn_s)

    @property
    def weeks(self) -> float:
        """Quiet series-weeks that count."""
        seconds = self.quiet.k.shape[1] * self.bucket_s - self.quiet.warm * self.drawn_s
        return float(len(self.quiet.k) * seconds / (60 * WEEK))


def run(study: Study, report: Report) -> None:
    """False pages and detection of the states, on the first seed.

    Buckets of 10 s are drawn anew, of fewer weeks; the same draw in minutes stands beside them.
    """
    for pair in _pairs(study):
        _tell(study, report, pair, f"{pair.bucket_s} s")
    fine = _drawn(study, (0.5, 0.25, 1) if study.quick else (6.0, 3.0, 1), FINE)
    _tell(study, report, fine, f"{FINE} s")
    _tell(study, report, fine.wider(MINUTE), f"{MINUTE} s, of that draw")


def _pairs(study: Study) -> Iterator[Pair]:
    """The study's own scenes (in a quick run short ones), and sums of their minutes."""
    if study.quick:
        minutes = _drawn(study, (1.0, 0.5, 1), MINUTE)
    else:
        quiet, hit = (study.scene(kind, study.seeds[0]) for kind in ("null", "incident"))
        minutes = Pair(quiet, hit, MINUTE, MINUTE)
    yield minutes
    for width in WIDER:
        yield minutes.wider(width)


def _drawn(study: Study, size: tuple[float, float, int], bucket_s: int) -> Pair:
    quiet, hit = (
        study.draw(kind, study.seeds[0], size, bucket_s=bucket_s) for kind in ("null", "incident")
    )
    return Pair(quiet, hit, bucket_s, bucket_s)


def found_of(scoring: Any, pair: Pair, quiet: Bools, hit: Bools) -> Found:
    """What these states find; they are known at the end of their bucket.

    A page counts for an incident if its bucket has part in the time in which that may be found, so
    that a wide bucket is late, not wrong. Pages are told apart by `scoring`, the study's.
    """
    width, cool = pair.bucket_s, max(1, _COOL_S // pair.bucket_s)
    warm = pair.quiet.warm * pair.drawn_s // width
    pages = [scoring.pages(row, 0.5, 0, cool) for row in hit]
    false = sum(len(scoring.pages(row, 0.5, warm, cool)) for row in quiet)
    delays = []
    for event in pair.hit.events:
        start, end = (int(event[x]) * pair.drawn_s for x in ("start", "end"))
        until = end + min(_GRACE_S, end - start)
        begins = pages[event["series"]] * width
        mine = begins[(begins + width > start) & (begins < until)]
        minutes = float(mine[0] + width - start) / 60 if len(mine) else np.inf
        delays.append((0, int(event["series"]), str(event["type"]), minutes))
    return Found.of(0.5, false / pair.weeks, delays)


def _tell(study: Study, report: Report, pair: Pair, name: str) -> None:
    configs = {
        f"at {BUDGET:g}": config_for(BUDGET, pair.bucket_s),
        f"{SIGNAL} as it pages": as_paged(SIGNAL, pair.bucket_s),
    }
    fired = of_pair(list(configs.values()), pair.quiet, pair.hit, pair.bucket_s)
    for state, (quiet, hit) in zip(configs, fired, strict=True):
        found = found_of(study.scoring, pair, quiet, hit)
        kept = report.figures.setdefault("widths", {}).setdefault(state, {})
        kept[name] = {"false": found.false, "pod": found.pod, "median": found.median}
        report.peers.append(
            f"beside, buckets of {name}, {state}: {found.false:.4f} false/series-week "
            f"of {pair.weeks:.0f}: {line(found)}"
        )
        say(report.peers[-1])


def _summed(scene: Scene, times: int) -> Scene:
    """So many buckets as one; what is left over at the end is cut."""
    width = scene.k.shape[1] // times
    k, n = (
        one[:, : width * times].reshape(len(one), width, times).sum(axis=2)
        for one in (scene.k, scene.n)
    )
    return replace(scene, k=k, n=n, truth=None)
