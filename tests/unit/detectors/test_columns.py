from __future__ import annotations

import io

import numpy as np
import pytest

from detectors.columns import Column, Columns, pack, unpack

KIND = ("table", 1)
SPEC = {"level": Column(fill=2), "hours": Column(lead=(3,)), "seen": Column(dtype="i8")}


def test_rows_are_kept_while_the_table_grows() -> None:
    """New rows get the first values of their columns; old rows keep theirs."""
    table = Columns(SPEC)
    table.append(2)
    table["level"][:] = [5, 6]
    table["hours"][1] = 7
    table.append(30)
    assert len(table) == 32
    assert table["level"][:3].tolist() == [5, 6, 2]
    assert table["hours"][:, :3].tolist() == [[0, 0, 0], [7, 7, 0], [0, 0, 0]]


def test_kept_rows_move_together() -> None:
    """Dropping rows keeps each remaining row's values in all columns, and room to grow."""
    table = Columns(SPEC)
    table.append(4)
    table["level"][:] = table["seen"][:] = [0, 1, 2, 3]
    table.keep(np.array([3, 1]))
    assert (table["level"].tolist(), table["seen"].tolist()) == ([3, 1], [3, 1])
    table.append(1)
    assert table["level"].tolist() == [3, 1, 2]


def test_what_is_packed_comes_back() -> None:
    """Header and arrays survive, and equal content gives equal bytes."""
    arrays = {"a": np.arange(3.0), "b": np.array([[1], [2]])}
    data = pack(KIND, {"firing": 1, "ids": ["x\u202e"]}, arrays)
    assert data == pack(KIND, {"ids": ["x\u202e"], "firing": 1}, arrays)
    header, back = unpack(KIND, data)
    assert header == {"firing": 1, "ids": ["x\u202e"]}
    assert {name: value.tolist() for name, value in back.items()} == {
        "a": [0.0, 1.0, 2.0],
        "b": [[1], [2]],
    }


@pytest.mark.parametrize("other", [("table", 2), ("chair", 1)])
def test_another_kind_is_refused(other: tuple[str, int]) -> None:
    """What another detector or version stored is never taken for one's own."""
    with pytest.raises(ValueError, match="a snapshot of table 1 is needed, not"):
        unpack(KIND, pack(other, {}, {}))


def test_a_pickle_in_disguise_is_never_loaded() -> None:
    """An npz with objects in it is refused; reading it would run code."""
    out = io.BytesIO()
    np.savez(out, header=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="not a detector snapshot"):
        unpack(KIND, out.getvalue())


@pytest.mark.parametrize("text", [b"[1]", b"{", b""])
def test_a_header_that_is_no_object_is_refused(text: bytes) -> None:
    """The header is a JSON object or the bytes are no snapshot."""
    out = io.BytesIO()
    np.savez(out, header=np.frombuffer(text, np.uint8))
    with pytest.raises(ValueError, match="not a detector snapshot"):
        unpack(KIND, out.getvalue())


def test_columns_of_another_shape_are_refused() -> None:
    """A missing, extra or misshapen column is a snapshot of something else."""
    table = Columns(SPEC)
    table.append(1)
    good = table.dump()
    bad = (
        {"level": good["level"]},
        {**good, "more": good["level"]},
        {**good, "hours": good["level"]},
        {**good, "seen": good["level"]},
    )
    for one in bad:
        with pytest.raises(ValueError, match="snapshot column"):
            Columns(SPEC).load(one, 1)
