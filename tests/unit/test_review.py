"""The review: its charts as text, and both its forms, with hostile text from everywhere inert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from monitor.alerting.alerts import Cause
from monitor.config.settings import Settings, resolve
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Kind, Message
from monitor.review.charts import legend, text_chart
from monitor.review.facts import Review, gather
from monitor.review.render import render
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Store
from monitor.views import Chart, ChartMark, ChartPoint
from tests.making import T0, alert, incident, minutes

HOSTILE = (
    "<script>alert(1)</script>",
    "![x](https://evil.invalid/p.png)",
    "[click](https://evil.invalid)",
    "https://evil.invalid/bare www.evil.invalid a@evil.invalid",
    "`code` **bold** _it_ ~~gone~~ | cell | cell |",
    "line\n# heading\n\n| a | b |\n|---|---|\n",
    "<img src=x onerror=alert(1)> &lt;b&gt; &#60;",
    "\x1b[31mred\x07 \u202etxet",
    "```\nfence\n```",
    "@everyone <!channel> #1",
)
ALL = " ".join(HOSTILE)
CONFIGURED = resolve(Settings(profile="loud"))
TEMPLATE = (resources.files("monitor.review") / "review.md.jinja").read_text("utf-8")


# -- charts -----------------------------------------------------------------------------------


def chart(rates: list[float | None], *marks: ChartMark, baseline: float | None = 0.1) -> Chart:
    """A chart of one point a minute, 100 turns each."""
    points = [
        ChartPoint(
            at=T0 + minutes(number), rate=rate, baseline=baseline, n=0 if rate is None else 100
        )
        for number, rate in enumerate(rates)
    ]
    return Chart(signal="s", dimensions={}, bucket_s=60, points=points, marks=list(marks))


def test_a_chart_shows_rate_baseline_and_marks() -> None:
    """Columns reach their value, the baseline is a line, letters stand at their minutes."""
    mark = ChartMark(at=T0 + minutes(3), kind="detected", text="detected")
    drawn = chart([0.1, 0.1, 0.8, 0.4], mark)
    lines = text_chart(drawn, height=4).splitlines()
    assert lines == [
        "  80.0% |  #",
        "  60.0% |  #",
        "  40.0% |  ##",
        "  20.0% |####",
        "        +----",
        "            d",
        "         09:00 09:03 UTC",
    ]
    assert legend(drawn) == "d detected"


def test_a_minute_without_data_is_no_zero() -> None:
    """A hole is blank but for the baseline; nothing at all says so."""
    lines = text_chart(chart([0.4, None, 0.0]), height=2).splitlines()
    assert lines[1] == "  20.0% |#--"
    assert text_chart(chart([None, None])) == "(no data)"
    assert text_chart(chart([])) == "(no data)"


def test_a_long_chart_is_folded() -> None:
    """At most as many columns as asked for; rates are pooled, not averaged."""
    text = text_chart(chart([0.1] * 720), width=72)
    assert max(map(len, text.splitlines())) <= 72 + 9
    assert text_chart(chart([0.0] * 10, baseline=None)).count("#") == 0


def test_marks_outside_the_chart_are_left_out() -> None:
    """An event before the first or after the last point has no place."""
    early = ChartMark(at=T0 - minutes(5), kind="change", text="x")
    late = ChartMark(at=T0 + minutes(50), kind="resolved", text="x")
    text = text_chart(chart([0.1, 0.2, 0.3], early, late), height=2)
    assert "c" not in text.splitlines()[3]
    assert "r" not in text.splitlines()[3]


def test_the_legend_names_what_stands_on_the_chart() -> None:
    """A mark beside the chart has no letter in the legend; one in the last bucket has."""
    early = ChartMark(at=T0 - minutes(5), kind="onset", text="x")
    late = ChartMark(at=T0 + minutes(3), kind="resolved", text="x")
    drawn = chart([0.1, 0.2, 0.3], early, late)
    assert legend(drawn) == "r resolved"
    assert text_chart(drawn, height=2).splitlines()[3].endswith("r")


# -- the document -----------------------------------------------------------------------------


@pytest.fixture
def review(tmp_path: Path) -> Iterator[Review]:
    """A review of an incident in which everything from outside is hostile."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    dims = {"environment": "prod", "feature": ALL}
    one = incident(
        title=ALL,
        dimensions=dims,
        acknowledged_at=T0 + minutes(3),
        acknowledged_by=ALL,
        commander=ALL,
        mitigated_at=T0 + minutes(20),
        paged_at=T0,
    )
    cause = Cause(dimensions={"model": ALL}, share=0.7, first_seen=T0)
    with store.write() as tx:
        pipeline = tx.stream.pipeline(CONFIGURED.plan, T0)
        tx.decisions.move(pipeline, int((T0 + minutes(30)).timestamp()), T0)
        start = int((T0 - minutes(60)).timestamp())
        points = [
            Seen(
                "refusal_rate",
                start + 60 * number,
                [Point(("prod", ALL), 2 if number < 55 else 10, 20, 0.1, 0.0, "q")],
            )
            for number in range(90)
        ]
        tx.decisions.save_points(points)
        tx.incidents.save(one)
        made = alert(incident=one.uuid, dimensions=dims, reason=ALL)
        tx.incidents.save_alert(replace(made, causes=(cause,)))
        tx.incidents.add_change("rel|ease", ALL, T0 - minutes(20), {"model": ALL}, ALL, T0)
        entries = [
            Entry(kind="NOTE", text=ALL, actor=ALL, occurred_at=T0 + minutes(number))
            for number in range(3)
        ]
        tx.incidents.append(one.uuid, entries, T0 + minutes(5))
        page = Message("k", Kind.TRIGGER, "d", "INC-0007", "SEV2", "triage", ALL, (ALL,))
        tx.outbox.put(one.uuid, "on|call", page, T0)
        yield gather(tx, CONFIGURED, one, T0 + minutes(40))
    store.close()


def test_hostile_text_is_inert_in_markdown(review: Review) -> None:
    """No link, image, HTML, heading, code or cell comes of what somebody wrote."""
    text = render(review, "md")
    renderer = MarkdownIt("gfm-like", {"html": True})
    page = renderer.render(text)
    for bad in ("<script", "<a ", "<img", "<em>", "<strong>", "<s>", "onerror=alert(1)>"):
        assert bad not in page, bad
    tokens = renderer.parse(text)
    inner = [child for token in tokens for child in token.children or ()]
    own = [line for line in TEMPLATE.splitlines() if line.startswith("#")]
    assert sum(token.type == "heading_open" for token in tokens) == len(own)
    assert sum(token.type == "fence" for token in tokens) == 1
    codes = [child.content for child in inner if child.type == "code_inline"]
    assert codes == ["#", "-", review.chain_head]
    assert {child.type for child in inner} == {"text", "code_inline"}
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_tables_keep_their_columns(review: Review) -> None:
    """A bar in a name adds no cell, a line feed no row."""
    text = render(review, "md")
    page = MarkdownIt("gfm-like").render(text)
    for table in page.split("<table>")[1:]:
        rows = table.split("</table>")[0].split("<tr>")[1:]
        assert len({row.count("<td") or row.count("<th") for row in rows}) == 1
    timeline = page.split("Timeline</h2>")[1].split("</table>")[0]
    assert timeline.count("<tr>") == 1 + 3


def test_the_figures(review: Review) -> None:
    """Times and impact are those of the incident; what was never measured is absent."""
    assert review.times.to_acknowledge_s == 180.0
    assert review.times.to_mitigate_s == 25 * 60
    assert review.times.to_resolve_s is None
    assert review.impact is not None
    assert review.impact.interactions == 25 * 20
    assert review.impact.flagged == 250
    assert review.impact.expected == 50.0
    assert review.impact.excess == 200.0
    assert review.chain_intact
    assert "the verdict (given at resolve)" in review.missing
    assert "nobody acknowledged" not in review.missing


def test_json_is_the_same_document(review: Review) -> None:
    """Every text is there as it was, times in RFC 3339, absent ones null."""
    made = json.loads(render(review, "json"))
    assert made["schema"] == "tocsin.review/1"
    assert made["incident"]["title"] == ALL
    assert made["times"]["resolved_at"] is None
    assert made["times"]["detected_at"] == "2026-11-16T09:00:00Z"
    assert len(made["timeline"]) == 3
    assert made["chain_head"] == review.chain_head


def test_another_form_is_refused(review: Review) -> None:
    """There are two forms."""
    with pytest.raises(ValueError, match="md or json"):
        render(review, "pdf")


def test_a_declared_incident_has_a_review(tmp_path: Path) -> None:
    """Without alerts, points or pages it says so and breaks nothing."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    one = incident(signal=None, impact_at=None, dimensions={})
    with store.write() as tx:
        tx.incidents.save(one)
        text = render(gather(tx, CONFIGURED, one, T0 + timedelta(days=40)), "md")
    store.close()
    assert "Declared by a person" in text
    assert "(no data)" in text
    assert "nobody was paged" in text


def test_a_long_incident_is_counted_whole(tmp_path: Path) -> None:
    """Sums are over every bucket from onset on; the chart is bounded and shows onset to end."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    length = 26 * 60
    over = T0 + minutes(length)
    one = incident(mitigated_at=over, acknowledged_at=T0 + minutes(3), paged_at=T0)
    start = int((T0 - minutes(120)).timestamp())
    onset = int((T0 - minutes(5)).timestamp())
    with store.write() as tx:
        pipeline = tx.stream.pipeline(CONFIGURED.plan, T0)
        tx.decisions.move(pipeline, int((over + minutes(30)).timestamp()), T0)
        points = []
        for bucket in range(start, int((over + minutes(30)).timestamp()), 60):
            n = 20 + bucket // 60 % 7
            bad = 10 if bucket >= onset else 2
            point = Point(("prod", "chat"), bad, n, 0.1, 0.0, "q")
            points.append(Seen("refusal_rate", bucket, [point]))
        tx.decisions.save_points(points)
        tx.incidents.save(one)
        tx.incidents.save_alert(alert(incident=one.uuid))
        made = gather(tx, CONFIGURED, one, over + minutes(40))
    store.close()
    turns = sum(20 + bucket // 60 % 7 for bucket in range(onset, int(over.timestamp()), 60))
    assert made.impact is not None
    assert (made.impact.interactions, made.impact.flagged) == (turns, (length + 5) * 10)
    assert made.impact.expected == pytest.approx(turns * 0.1, abs=0.1)
    drawn = made.chart
    assert drawn.points[0].at <= T0 - minutes(65)
    assert len(drawn.points) <= 720
    assert drawn.bucket_s == 180
    third = int(drawn.points[40].at.timestamp())
    assert drawn.points[40].n == sum(20 + (third // 60 + m) % 7 for m in range(3))
    assert drawn.points[40].baseline == pytest.approx(0.1)
    assert legend(drawn) == "o onset, d detected, a acknowledged, m mitigated"
