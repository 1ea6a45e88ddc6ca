"""Which dimension values explain a spike: real incidents with known causes."""

from __future__ import annotations

from tests.bench.detect.others import last_line
from tests.bench.detect.report import NotRunError, Report
from tests.bench.detect.study import Study


def run(study: Study, report: Report) -> None:
    """The command of its own, on the folder of cases.

    Raises:
        NotRunError: the cases are not there.
    """
    cases = study.data / "attribution" if study.data is not None else None
    if cases is None or not cases.is_dir():
        raise NotRunError("no folder of cases: --data DIR, with DIR/attribution")
    found = last_line("bench_attribution", "--data", str(cases))
    report.figures["attribution"] = found
    ours = found["held_out_ours"]
    report.least("attribution, held-out cases: micro F1 of one answer", ours["f1"], 0.68)
    report.least("attribution, held-out cases: recall at 3", ours["recall_at_3"], 0.88)
    report.most("attribution: a case, without start-up", ours["ms"], 50, "ms")
