"""What an unsound round leaves behind, so that somebody can find out how it came to be."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa

from tests.fault.ground import Ground, Receivers

SOCKETS = shutil.ignore_patterns("desk*", "*.sock")
"""A copy of a socket says nothing, and cannot be made."""


def preserve(ground: Ground, paged: Receivers, facts: Mapping[str, object]) -> Path:
    """Copy the round's folder, and write beside it what would be gone with the round.

    Returns:
        the new folder: journals and log as they were, every table of the store and every message
        and incident of the receivers as lines of JSON, and `facts.json`.
    """
    place = Path(tempfile.mkdtemp(prefix="tocsin-unsound-"))
    shutil.copytree(ground.folder, place, ignore=SOCKETS, dirs_exist_ok=True)
    _lines(place / "messages.jsonl", map(asdict, paged.slack.messages))
    _lines(place / "incidents.jsonl", map(asdict, paged.pagerduty.incidents))
    (place / "facts.json").write_text(json.dumps(facts, default=str, indent=1))
    tables = sa.MetaData()
    engine = sa.create_engine(ground.store)
    try:
        tables.reflect(engine)
        with engine.connect() as connection:
            for table in tables.sorted_tables:
                rows = connection.execute(table.select()).mappings()
                _lines(place / f"table-{table.name}.jsonl", map(dict, rows))
    finally:
        engine.dispose()
    return place


def _lines(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with file.open("w") as out:
        out.writelines(json.dumps(row, default=str) + "\n" for row in rows)
