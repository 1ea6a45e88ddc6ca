"""`tocsin detect list`, `explain` and `backtest`, as text and as JSON."""

from __future__ import annotations

import json

from detectors.catalog import CATALOG
from tests.tui.conftest import Run
from tests.tui.story_desk import StoryDesk


def test_the_detectors_are_listed_with_their_parameters(tocsin: Run) -> None:
    """Every detector of the catalog, and for programs each parameter with its default."""
    status, out, _ = tocsin("detect", "list")
    assert status == 0
    assert "half_life_s" in out
    data = json.loads(tocsin("detect", "list", "--json")[1])["data"]
    assert [one["name"] for one in data] == list(CATALOG)
    rate = next(one for one in data if one["name"] == "rate")
    assert {"name": "budget", "default": 0.1}.items() <= rate["parameters"][1].items()
    assert tocsin("detect", "list", "-o", "id")[1].split() == list(CATALOG)


def test_a_series_is_explained_in_one_sentence_with_its_last_hours(tocsin: Run) -> None:
    """State, place, the desk's sentence, a line of the rate, causes, changes and the incident."""
    status, out, _ = tocsin("detect", "explain", "refusal_rate", "feature=chat-prod")
    assert status == 0
    for words in ("firing", "41.0 % against a baseline", "model=v41", "safety-prompt", "INC-0142"):
        assert words in out
    assert "limit       pages at what a quiet series reaches once in 36 weeks" in out
    data = json.loads(tocsin("detect", "explain", "refusal_rate", "--json")[1])["data"]
    assert data[0]["causes"][0]["share"] == 0.83
    assert "no such series" in tocsin("detect", "explain", "refusal_rate", "feature=other")[1]


def test_an_explanation_of_nothing_known_says_so(tocsin: Run) -> None:
    """An unknown signal is 4, a dimension without a value is wrong usage, an incident works."""
    assert tocsin("detect", "explain", "nonsense")[0] == 4
    status, _, err = tocsin("detect", "explain", "refusal_rate", "chat")
    assert (status, "write feature=chat" in err) == (2, True)
    assert "over 5 min" in tocsin("detect", "explain", "INC-0142")[1]


def test_a_backtest_is_a_sum_and_a_table(tocsin: Run) -> None:
    """Pages by verdict first, then each episode; the same as one object for programs."""
    status, out, _ = tocsin("detect", "backtest", "refusal_rate", "--days", "7")
    assert status == 0
    assert "1 page: 1 true, 0 false, 0 unjudged" in out
    assert "limit 9.0 to 10.5" in out
    assert "\npages at what a quiet series reaches once in 36 weeks\n" in out
    assert (
        "\nwithout tenant, model and release series: their counts begin on 2026-11-20 only\n" in out
    )
    rows = out.splitlines()[-2:]
    assert "4.1x" in rows[0]
    assert "INC-0137 (regression)" in rows[0]
    assert "joins" in rows[1]
    said = json.loads(tocsin("detect", "backtest", "refusal_rate", "--json")[1])
    assert said["schema"] == "tocsin.backtest/1"
    assert said["data"]["episodes"][0]["peak_ratio"] == 4.1
    assert tocsin("detect", "backtest", "refusal_rate", "--days", "29")[0] == 2


def test_a_slow_backtest_is_asked_again_until_it_is_done(tocsin: Run, desk: StoryDesk) -> None:
    """How far it is goes to the terminal, the answer alone to the output."""
    desk.slow = 1
    status, out, err = tocsin("detect", "backtest", "refusal_rate", "--days", "7")
    assert (status, "the backtest is under way: 40%" in err) == (0, True)
    assert "1 page: 1 true" in out
    assert "under way" not in out
