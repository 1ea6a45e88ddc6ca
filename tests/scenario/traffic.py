"""Recordings as a stranger would write them to the published schema: plain JSON lines."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BEGIN = datetime(2026, 11, 16, 6, tzinfo=UTC)
FEATURES = ("chat", "search", "orders", "travel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Quiet hours, then one hour in which the refusals of some features are multiplied."""

    seed: int
    rate: float
    """Share of refusals on a quiet minute."""
    times: float = 5.0
    """1: nothing happens."""
    features: Sequence[str] = FEATURES
    moved: Sequence[str] = FEATURES
    per_minute: float = 10.0
    """Interactions of each feature."""
    quiet_hours: int = 6
    after_hours: int = 0
    even: bool = False
    """Exactly one event every 60 / per_minute seconds, instead of at random."""

    @property
    def onset(self) -> datetime:
        """When the step begins."""
        return BEGIN + timedelta(hours=self.quiet_hours)


def event(
    at: datetime, number: int, *, feature: str = "chat", status: str = "answered", **data: Any
) -> dict[str, Any]:
    """One interaction of the core profile; `data` adds sections."""
    return {
        "type": "io.aisafety.interaction.v1",
        "id": f"e{number:07}",
        "source": f"//gateway/{feature}",
        "time": at.isoformat().replace("+00:00", "Z"),
        "data": {
            "deployment": {"environment": "prod", "feature": feature},
            "gen_ai": {"request_model": "gpt-4o"},
            "outcome": {"status": status},
            "redaction": {"status": "redacted"},
            **data,
        },
    }


def arrivals(story: Story, feature: str, rng: random.Random) -> Iterator[datetime]:
    """When the interactions of one feature come."""
    end = story.onset + timedelta(hours=1 + story.after_hours)
    gap = 60 / story.per_minute
    at = BEGIN + timedelta(seconds=0.0 if story.even else rng.expovariate(1 / gap))
    while at < end:
        yield at
        at += timedelta(seconds=gap if story.even else rng.expovariate(1 / gap))


def events(story: Story) -> list[dict[str, Any]]:
    """The whole recording in order of time."""
    found: list[tuple[datetime, str, str]] = []
    for feature in story.features:
        rng = random.Random(f"{story.seed} {feature}")
        for at in arrivals(story, feature, rng):
            inside = story.onset <= at < story.onset + timedelta(hours=1)
            times = story.times if inside and feature in story.moved else 1.0
            refused = rng.random() < min(1.0, story.rate * times)
            found.append((at, feature, "refused" if refused else "answered"))
    found.sort()
    return [
        event(at, number, feature=feature, status=status)
        for number, (at, feature, status) in enumerate(found)
    ]


Change = Callable[[list[dict[str, Any]], random.Random], list[dict[str, Any]]]


def write(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    """NDJSON, packed with gzip when the name says so."""
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text, 1) if path.suffix == ".gz" else text)
    return path
