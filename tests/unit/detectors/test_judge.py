from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.judge import Counts, Version, moved, told_apart

ONSET = 100_000
NOTHING = Counts(0, 0)


def version(
    name: str, before: Counts, since: Counts, *, seen: int | None = None, judge: str = "pii"
) -> Version:
    """One version of a check; `seen` counts from the onset."""
    return Version(judge, name, None if seen is None else ONSET + seen, before, since)


def test_no_other_version_means_that_the_product_moved() -> None:
    """The same judge says more: it is not the judge."""
    same = [version("2.0", Counts(50, 1000), Counts(120, 400))]
    found = told_apart(same, ONSET)
    assert (found.cause, found.judge) == ("system", "")
    old_news = [*same, version("1.9", Counts(1, 20), NOTHING, seen=-7200)]
    assert told_apart(old_news, ONSET).judge == ""


def test_taken_over_at_the_onset_and_nowhere_else() -> None:
    """The rate jumped when the version came, and nothing else moved."""
    found = told_apart(
        [
            version("2.0", Counts(50, 1000), NOTHING),
            version("2.1", NOTHING, Counts(90, 300), seen=0),
            version("7", Counts(10, 1000), Counts(3, 300), judge="toxicity"),
        ],
        ONSET,
    )
    assert found.cause == "judge"
    assert found.reason == (
        "the judge changed, not the product (pii 2.1): 2.1 flags 30.0 % of 300, before it was "
        "5.0 % (6.0x); it took over 100% at the onset, and nothing moved that it does not judge"
    )
    assert found.share == 1.0
    assert found.excess == pytest.approx(75.0)


@pytest.mark.parametrize(
    ("beside", "new", "cause"),
    [
        (Counts(15, 300), Counts(90, 300), "judge"),
        (Counts(90, 300), Counts(95, 300), "system"),
        (Counts(60, 300), Counts(150, 300), "both"),
        (Counts(15, 300), Counts(16, 300), "system"),
        (Counts(2, 300), Counts(90, 300), "judge"),
    ],
)
def test_side_by_side_the_old_version_is_the_witness(
    beside: Counts, new: Counts, cause: str
) -> None:
    """What the old version says of the same hours tells who changed."""
    versions = [
        version("2.0", Counts(50, 1000), beside),
        version("2.1", NOTHING, new, seen=60),
    ]
    assert told_apart(versions, ONSET).cause == cause


def test_other_signs_and_releases_speak_against_the_judge_alone() -> None:
    """What moved that no check decides makes it both; a release at the same time, a doubt."""
    versions = [
        version("2.0", Counts(50, 1000), NOTHING),
        version("2.1", NOTHING, Counts(90, 300), seen=120),
    ]
    both = told_apart(versions, ONSET, elsewhere=["errors", "negative feedback"])
    assert both.cause == "both"
    assert both.reason.endswith(
        "it took over 100% 2 min after the onset; errors and negative feedback moved as well"
    )
    doubt = told_apart(versions, ONSET, came_along=["release v42"])
    assert doubt.cause == "unknown"
    assert "release v42 came at the same time" in doubt.reason
    other = version("7", Counts(10, 1000), Counts(30, 300), judge="toxicity")
    assert told_apart([*versions, other], ONSET).cause == "both"


def test_a_version_that_was_calm_for_an_hour_is_not_it() -> None:
    """A version that came an hour before and said what the old one said acquits itself; one that
    flagged more from its first minute is it, however late the onset was put."""
    old = version("2.0", Counts(50, 1000), NOTHING)
    new = version("2.1", NOTHING, Counts(90, 300), seen=-3600)
    assert told_apart([old, new], ONSET).judge == ""
    calm = replace(new, early=Counts(15, 300))
    found = told_apart([old, calm], ONSET, reach=7200)
    assert found.cause == "system"
    assert found.reason.endswith(
        "2.1 flagged 5.0 % of 300, as the old one had, when it came 60 min before the onset"
    )
    loud = replace(new, early=Counts(70, 300))
    assert told_apart([old, loud], ONSET, reach=7200).cause == "judge"


def test_little_evidence_is_said_to_be_little() -> None:
    """Nineteen judgements, or a tenth of the traffic, acquit nobody."""
    old = version("2.0", Counts(50, 1000), NOTHING)
    few = told_apart([old, version("2.1", NOTHING, Counts(9, 19), seen=0)], ONSET)
    assert few.cause == "unknown"
    assert few.reason.endswith("it has judged 19 so far")
    thin = version("2.0", Counts(0, 30), Counts(2, 300))
    part = told_apart([thin, version("2.1", NOTHING, Counts(15, 30), seen=0)], ONSET)
    assert part.cause == "judge"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_how_often_it_is_wrong(seed: int) -> None:
    """Over 300 draws each: a judge alone is named in 95 of 100, and hardly ever blamed wrongly."""
    rng = np.random.default_rng(seed)
    named = blamed = 0
    for _ in range(300):
        p, times = rng.uniform(0.02, 0.2), rng.uniform(2.5, 4)
        n = int(rng.integers(150, 600))

        def draw(rate: float, count: int) -> Counts:
            return Counts(int(rng.binomial(count, min(rate, 0.9))), count)

        old = draw(p, 5_000)
        side = [version("a", old, draw(p, n)), version("b", NOTHING, draw(times * p, n), seen=0)]
        named += told_apart(side, ONSET).cause == "judge"
        moved_too = [
            version("a", old, draw(times * p, n)),
            version("b", NOTHING, draw(times * p, n), seen=0),
        ]
        blamed += told_apart(moved_too, ONSET).cause == "judge"
    assert named >= 285
    assert blamed <= 3


def test_rates_that_differ_by_little_are_the_same() -> None:
    """However much traffic there is, a tenth more is nobody's business; nothing is no evidence."""
    assert not moved(Counts(100_000, 1_000_000), Counts(110_000, 1_000_000))
    assert not moved(NOTHING, Counts(10, 20))
    assert moved(Counts(0, 1000), Counts(20, 1000))
