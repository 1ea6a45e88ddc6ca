"""What one bucket of one series costs at a thousand series."""

from __future__ import annotations

from tests.bench.bench_rate_cost import cost
from tests.bench.detect.report import Report
from tests.bench.detect.study import Study


def run(study: Study, report: Report) -> None:
    """Ordinary traffic with a twentieth of the series firing."""
    done = cost(1000, 60 if study.quick else 300, 60)
    report.figures |= {f"cost_{name}": value for name, value in done.items()}
    report.most("cost per series and bucket, 1,000 series", done["us_per_series_bucket"], 10, "us")
