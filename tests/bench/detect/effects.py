"""Pages that something else than an incident caused: its aftermath, releases, surges, gaps."""

from __future__ import annotations

from tests.bench.detect.report import Report
from tests.bench.detect.study import WEEK, Reading, Study

BUDGET = 0.1
SILENT = ("surge", "ndrop", "gap")


def run(study: Study, report: Report) -> None:
    """At the threshold that keeps the budget on the quiet scenes."""
    ours = study.our_reading()
    threshold = ours.threshold(BUDGET)
    calm = _calm(ours, threshold)
    after = _after(ours, threshold)
    pages, events = _within(ours, threshold, SILENT)
    releases, releases_n = _within(ours, threshold, ("deploy10",))
    expected = calm * releases_n * 1440 / WEEK
    report.figures |= {
        "event_free_false": calm,
        "after_incident_excess": after - calm,
        "release_pages": releases,
        "releases": releases_n,
        "silent_event_pages": pages,
        "silent_events": events,
    }
    report.most("after incidents: pages over event-free time / series-week", after - calm, 0.05)
    share = (releases - expected) / max(releases_n, 1)
    report.most(f"pages by a +-10 % release, over event-free time ({releases_n})", share, 0.02)
    per_700 = pages * 700 / max(events, 1)
    report.most(f"pages by surge, gap, collapsed denominator, per 700 ({events})", per_700, 3)


def _calm(ours: Reading, threshold: float) -> float:
    """Pages per series-week outside every event of the quiet scenes."""
    pages, buckets = 0, 0
    for scene, scores in ours.quiet:
        spans = _spans(scene.nuisance)
        buckets += len(scores) * (scores.shape[1] - scene.warm)
        buckets -= sum(e["end"] - e["start"] for e in scene.nuisance)
        for series, row in enumerate(scores):
            for at in ours.study.scoring.pages(row, threshold, scene.warm):
                pages += not any(a <= at < b for a, b in spans.get(series, ()))
    return pages * WEEK / max(buckets, 1)


def _after(ours: Reading, threshold: float) -> float:
    """Pages per series-week of the scenes with incidents, outside of where one may be found."""
    pages, buckets = 0, 0
    for scene, scores in ours.hit:
        spans: dict[int, list[tuple[int, int]]] = {}
        buckets += len(scores) * (scores.shape[1] - scene.warm)
        for event, (series, until) in zip(scene.events, scene.ends, strict=True):
            spans.setdefault(series, []).append((event["start"], until))
            buckets -= until - event["start"]
        for series, row in enumerate(scores):
            for at in ours.study.scoring.pages(row, threshold, scene.warm):
                pages += not any(a <= at < b for a, b in spans.get(series, ()))
    return pages * WEEK / max(buckets, 1)


def _within(ours: Reading, threshold: float, kinds: tuple[str, ...]) -> tuple[int, int]:
    """Pages within events of these kinds, and how many events there are."""
    pages, events = 0, 0
    for scene, scores in ours.quiet:
        mine = [one for one in scene.nuisance if one["type"] in kinds]
        events += len(mine)
        spans = _spans(mine)
        for series, within in spans.items():
            for at in ours.study.scoring.pages(scores[series], threshold, scene.warm):
                pages += any(a <= at < b for a, b in within)
    return pages, events


def _spans(events: list[dict[str, int]]) -> dict[int, list[tuple[int, int]]]:
    spans: dict[int, list[tuple[int, int]]] = {}
    for one in events:
        spans.setdefault(one["series"], []).append((one["start"], one["end"]))
    return spans
