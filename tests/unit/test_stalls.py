"""The stall watch: seek first, then join again, and never for a reader that has nothing to read."""

from __future__ import annotations

from monitor.stream.sources.source import Lag, Partition
from monitor.stream.sources.stalls import Stall, StallWatch

PLACE = Partition("t", "id", 0)


def test_standing_with_data_waiting_is_seen() -> None:
    """One period without progress asks for a seek, the next for a restart."""
    watch = StallWatch(10.0)
    lag = Lag(PLACE, 5, 9)
    seen = [watch.look(lag, at) for at in (0.0, 9.0, 10.0, 19.0, 20.0, 30.0)]
    quiet = Stall.NONE
    assert seen == [quiet, quiet, Stall.SEEK, quiet, Stall.RESTART, Stall.RESTART]


def test_progress_and_silence_are_no_stall() -> None:
    """A position that moves, or that has reached the end, never stalls."""
    watch = StallWatch(10.0)
    assert {watch.look(Lag(PLACE, at, 100), at * 9.0) for at in range(10)} == {Stall.NONE}
    assert {watch.look(Lag(PLACE, 100, 100), at * 99.0) for at in range(1, 9)} == {Stall.NONE}


def test_progress_forgives() -> None:
    """After a seek that helped, the next stall begins with a seek again."""
    watch = StallWatch(10.0)
    watch.look(Lag(PLACE, 5, 9), 0.0)
    assert watch.look(Lag(PLACE, 5, 9), 10.0) is Stall.SEEK
    assert watch.look(Lag(PLACE, 6, 9), 11.0) is Stall.NONE
    assert watch.look(Lag(PLACE, 6, 9), 21.0) is Stall.SEEK


def test_a_pause_is_no_stall() -> None:
    """What was forgotten begins anew."""
    watch = StallWatch(10.0)
    watch.look(Lag(PLACE, 5, 9), 0.0)
    watch.forget()
    assert watch.look(Lag(PLACE, 5, 9), 100.0) is Stall.NONE
