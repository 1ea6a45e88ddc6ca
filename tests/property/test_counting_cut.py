"""A log that is cut off: whoever goes on and whoever starts anew write the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.store.store import Store
from tests.property.test_counting_replay import LINES, QUICK, Line, Log, Partition


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real store; each example has partitions of its own in it."""
    path: Path = tmp_path_factory.mktemp("cut") / "x.db"
    made_store = Store(f"sqlite:///{path}")
    yield made_store
    made_store.close()


@settings(QUICK, max_examples=80)
@given(
    lines=st.lists(LINES, min_size=1, max_size=40),
    kept=st.integers(0, 40),
    new=st.lists(LINES, max_size=20),
    restarts=st.booleans(),
)
def test_a_cut_off_log_is_counted_as_a_restart_would(
    store: Store, lines: list[Line], kept: int, new: list[Line], restarts: bool
) -> None:
    """Records that the log no longer holds leave nothing in open buckets: the rows are those that
    a process reads together which begins after the cut."""
    before, after = Log(lines), Log([*lines[:kept], *new])
    cut, rows = min(kept, len(lines)), []
    for anew in (False, True):
        partition = Partition(store)
        counter = partition.counter()
        if restarts:
            before.feed(counter, len(lines) // 2)
            partition.save(counter)
            counter = partition.counter()
        before.feed(counter, len(lines))
        partition.save(counter)
        with store.write() as tx:
            tx.stream.rewind(partition._topic, 0, cut)
        if anew:
            counter = partition.counter()
        else:
            counter.rewind(cut)
        after.feed(counter, len(after))
        partition.save(counter)
        rows.append(partition.rows())
    assert rows[0] == rows[1]
