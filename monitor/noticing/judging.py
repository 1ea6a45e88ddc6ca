"""Asks of an alert whether the product moved, or who judges it: cells around it, to `detectors`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from detectors.judge import (
    ALIGNED_S,
    Counts,
    Judgement,
    Version,
    moved,
    reach_s,
    told_apart,
)
from monitor.alerting.alerts import Alert, Cause
from monitor.store.store import Tx
from monitor.store.stream_rows import Counts as Bucket
from monitor.stream.sections import JUDGE
from monitor.stream.signals import Plan, Signal
from monitor.stream.vocabulary import CATEGORIES

BEFORE_S = 4 * 3600
"""How far back the comparison reaches."""
ASKED_AGAIN = (timedelta(minutes=10), timedelta(minutes=30), timedelta(minutes=60))
"""After an alert began: by then the versions have judged more."""
FAR = 1.5
"""Times by which another signal must have moved to speak against the judge; days have hours."""
SAID = frozenset({"judge", "both", "unknown"})
"""Told in the first line of a page; that the product changed is what everybody thinks."""
_SHARE = 0.2
_REFUSALS = "refused"
_Value = tuple[str, str, str]


def judged_by_checks(signal: Signal) -> bool:
    """Whether a check's word decides what the signal counts."""
    k = str(signal.k)
    return "violation" in k and (signal.each == "policy_checks" or "policy_checks" in k)


def judgement_of(
    tx: Tx, pipeline: int, plan: Plan, signal: Signal, alert: Alert
) -> Judgement | None:
    """Who changed; None where no check decides, or nothing is counted by version."""
    judge = plan.judge()
    if judge is None or not judged_by_checks(signal):
        return None
    onset, end = int(alert.onset_at.timestamp()), int(alert.updated_at.timestamp())
    since = list(tx.stream.counts(pipeline, onset, end).values())
    reach = reach_s(onset, end)
    early = list(tx.stream.counts(pipeline, onset - reach, onset).values())
    before = list(tx.stream.counts(pipeline, onset - reach - BEFORE_S, onset - reach).values())
    wanted = _categories(signal, alert)
    now, then = (_by_value(judge, alert, buckets, wanted) for buckets in (since, before))
    first = _by_value(judge, alert, early, wanted)
    seen = tx.stream.admitted(pipeline, judge.name, onset - reach)
    versions = [
        Version(
            judge=check or category,
            version=version,
            first_seen=seen.get(JUDGE.join((category, check, version))),
            before=then.get((category, check, version), Counts(0, 0)),
            since=now.get((category, check, version), Counts(0, 0)),
            early=first.get((category, check, version), Counts(0, 0)),
        )
        for category, check, version in sorted(now.keys() | then.keys())
    ]
    return told_apart(
        _joined(versions),
        onset,
        reach=reach,
        elsewhere=list(_elsewhere(plan, signal, alert, before, since)),
        came_along=list(_came_along(tx, pipeline, plan, alert, since, onset)),
    )


def with_judgement(alert: Alert, judgement: Judgement | None) -> Alert:
    """The alert as it speaks of its judge; it stays what it is, and pages as it would."""
    if judgement is None or judgement.cause not in SAID or not judgement.judge:
        return replace(alert, judged="")
    name = f"{judgement.judge} {judgement.version}"
    share = judgement.excess / alert.reading.excess if alert.reading.excess else 0.0
    cause = Cause(dimensions={"judge": name}, share=min(1.0, max(0.0, share)))
    rest = tuple(one for one in alert.causes if "judge" not in one.dimensions)
    causes = (cause, *rest) if judgement.cause == "judge" else (*rest, cause)
    return replace(alert, judged=judgement.reason, causes=causes)


def due_again(alert: Alert, at: datetime, bucket_s: int) -> bool:
    """Whether the bucket that ends at `at` is one after which the alert is asked again."""
    age = at - alert.detected_at
    return any(timedelta() <= age - when < timedelta(seconds=bucket_s) for when in ASKED_AGAIN)


def _joined(versions: Iterable[Version]) -> list[Version]:
    """Versions of one check over all its categories."""
    found: dict[tuple[str, str], Version] = {}
    for one in versions:
        known = found.get((one.judge, one.version))
        found[one.judge, one.version] = one if known is None else _both(known, one)
    return list(found.values())


def _both(known: Version, one: Version) -> Version:
    # A category that a version judges later than another makes it no new version.
    times = [seen for seen in (known.first_seen, one.first_seen) if seen is not None]
    return replace(
        known,
        first_seen=min(times) if len(times) == 2 else None,
        before=known.before + one.before,
        since=known.since + one.since,
        early=known.early + one.early,
    )


def _categories(signal: Signal, alert: Alert) -> frozenset[str] | None:
    """The categories that the alert is about; None for all."""
    if signal.value == "category" and "category" in alert.dimensions:
        return frozenset({alert.dimensions["category"]})
    said = str(signal.k)
    named = frozenset(each for each in CATEGORIES if f"'{each}'" in said)
    return named or None


def _by_value(
    judge: Signal, alert: Alert, buckets: Iterable[Bucket], wanted: frozenset[str] | None
) -> dict[_Value, Counts]:
    found: dict[_Value, Counts] = {}
    for bucket in buckets:
        for (name, by, value), (k, n) in bucket.narrow.items():
            parts = value.split(JUDGE)
            if name != judge.name or len(parts) != 3 or not _inside(judge.by, by, alert):
                continue
            category, check, version = parts
            if wanted is None or category in wanted:
                key = (category, check, version)
                found[key] = found.get(key, Counts(0, 0)) + Counts(k, n)
    return found


def _inside(names: tuple[str, ...], values: tuple[str, ...], alert: Alert) -> bool:
    where = dict(zip(names, values, strict=False))
    return all(where.get(name, value) == value for name, value in alert.dimensions.items())


def _elsewhere(
    plan: Plan, signal: Signal, alert: Alert, before: list[Bucket], since: list[Bucket]
) -> Iterator[str]:
    """Titles of signals that no check decides and that moved at the same place."""
    blocks = "block" in str(signal.k) or _blocked_more(alert, before, since)
    for other in plan.rates():
        k_slot = plan.numerators.get(other.name)
        if (
            k_slot is None
            or "policy_checks" in f"{other.k} {other.n}"
            or "coverage" in str(other.k)
        ):
            continue
        if blocks and _REFUSALS in str(other.k):
            continue  # what a check blocks is refused: the same news twice
        slots = (k_slot, plan.denominators[other.name])
        then, now = (_sums(plan, alert, buckets, slots) for buckets in (before, since))
        if moved(then, now, FAR):
            yield other.title.lower()


def _blocked_more(alert: Alert, before: list[Bucket], since: list[Bucket]) -> bool:
    then, now = (
        sum(
            (
                Counts(k, n)
                for bucket in buckets
                for (name, by, _), (k, n) in bucket.narrow.items()
                if name == "violations_blocked" and _inside(("environment", "feature"), by, alert)
            ),
            Counts(0, 0),
        )
        for buckets in (before, since)
    )
    return moved(then, now)


def _sums(plan: Plan, alert: Alert, buckets: Iterable[Bucket], slots: tuple[int, int]) -> Counts:
    total = Counts(0, 0)
    for bucket in buckets:
        for key, values in bucket.base.items():
            if _inside(plan.dimensions, key, alert):
                total += Counts(values[slots[0]], values[slots[1]])
    return total


def _came_along(
    tx: Tx, pipeline: int, plan: Plan, alert: Alert, since: list[Bucket], onset: int
) -> Iterator[str]:
    """Releases and models that came with the onset and take part in it."""
    for name in ("release", "model"):
        new = tx.stream.admitted(pipeline, name, onset - ALIGNED_S)
        if not new:
            continue
        at = plan.dimensions.index(name)
        volume: dict[str, int] = {}
        for bucket in since:
            for key, values in bucket.base.items():
                if _inside(plan.dimensions, key, alert):
                    volume[key[at]] = volume.get(key[at], 0) + values[0]
        total = sum(volume.values())
        yield from (
            f"{name} {value}" for value in sorted(new) if volume.get(value, 0) > _SHARE * total
        )


def judge_changes(tx: Tx, pipeline: int, plan: Plan, since: int) -> Mapping[str, int]:
    """Names of checks' versions first seen from `since` on, with when."""
    judge = plan.judge()
    if judge is None:
        return {}
    found: dict[str, int] = {}
    for value, bucket in sorted(tx.stream.admitted(pipeline, judge.name, since).items()):
        parts = value.split(JUDGE)
        if len(parts) == 3:
            name = f"{parts[1] or parts[0]} {parts[2]}"
            found[name] = min(found.get(name, bucket), bucket)
    return found
