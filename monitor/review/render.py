"""A review as Markdown or JSON, from one model; every outside text passes its sink's encoder."""

from __future__ import annotations

from datetime import datetime
from importlib import resources

import jinja2
import msgspec

from monitor.review.charts import legend, text_chart
from monitor.review.facts import Review
from monitor.text import markdown, vis


def render(review: Review, form: str) -> str:
    """`md` or `json` text.

    Raises:
        ValueError: another form.
    """
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(review), indent=2).decode() + "\n"
    if form == "md":
        return _template().render(
            r=review,
            chart=vis(text_chart(review.chart), newlines=True),
            legend=legend(review.chart),
        )
    raise ValueError(f"unknown form {form!r}: md or json")


def _moment(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _clock(at: datetime) -> str:
    return f"{at:%m-%d %H:%M:%S}"


def _span(seconds: float | None) -> str:
    """`1 h 02 min 03 s`; a dash for a span that has no end."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min {rest:02} s"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _dims(dimensions: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in dimensions.items()) or "everywhere"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701 - the sink is Markdown: `md` encodes each outside text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=markdown, moment=_moment, clock=_clock, span=_span, dims=_dims)
    text = (resources.files(__package__) / "review.md.jinja").read_text("utf-8")
    return environment.from_string(text)
