"""An installation that has seen six quiet hours, copied for each story.

It imports the product only inside its fixtures: pytest reads this file before the warnings of
libraries are told apart (see `tests/conftest.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.scenario.traffic import Story, events

if TYPE_CHECKING:
    from monitor.stream.sources.source import Record
    from tests.scenario.stage import Stage

QUIET = Story(seed=3, rate=0.05, times=1.0, features=("chat", "search"), per_minute=20.0)
StageFor = Callable[..., "Stage"]


@pytest.fixture(scope="session")
def quiet_hours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """The store and the log after six quiet hours of two features, decided to the last minute."""
    from tests.scenario.stage import Stage

    path = tmp_path_factory.mktemp("quiet") / "x.db"
    stage = Stage(path, QUIET.onset)
    stage.feed(one for one in events(QUIET) if one["time"] < QUIET.onset.isoformat())
    stage.tick()
    assert stage.incidents() == []
    stage.close()
    return path, stage.tape.records


@pytest.fixture
def stage_for(quiet_hours: tuple[Path, list[Record]], tmp_path: Path) -> Iterator[StageFor]:
    """Makes an installation at the end of the quiet hours, or a new one with `fresh=True`."""
    from tests.scenario.stage import Stage

    stages: list[Stage] = []

    def make(*, fresh: bool = False, **options: Any) -> Stage:
        path = tmp_path / f"x{len(stages)}.db"
        records: list[Record] = []
        if not fresh:
            shutil.copy(quiet_hours[0], path)
            records = list(quiet_hours[1])
        stages.append(Stage(path, QUIET.onset, records=records, **options))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()
