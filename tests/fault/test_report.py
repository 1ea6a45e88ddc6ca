"""What `make fault` calls a success."""

from __future__ import annotations

import pytest

from tests.fault import __main__ as harness
from tests.fault.report import Report, Row


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("lost", 0, 0), True),
        (Row("lost", 1, 0), False),
        (Row("kills", 500, 500, least=True), True),
        (Row("kills", 0, 500, least=True), False),
    ],
)
def test_a_goal_is_a_most_or_a_least(row: Row, met: bool) -> None:
    """A row is met at most at its goal, or at least at it, and the table says which was missed."""
    report = Report(rows=[row])
    assert report.passed is row.met is met
    assert ("MISSED" in "\n".join(report.table())) is not met
    assert report.last_line()["missed"] == ([] if met else [row.what])


def test_what_did_not_run_is_no_success() -> None:
    """A run of nothing, or with a part that could not run here, fails."""
    assert not Report().passed
    assert not Report(rows=[Row("lost", 0, 0)], not_run={"disk": "no mount"}).passed


def test_a_part_that_nobody_knows_fails_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt FAULT= runs nothing and ends with 1, not 0."""
    monkeypatch.setenv("FAULT", "kils")
    assert harness.main() == 1
    assert "not one of kills" in capsys.readouterr().out
