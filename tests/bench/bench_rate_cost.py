"""What one bucket of one series costs the rate bank, in microseconds.

    python -m tests.bench.bench_rate_cost [--series 1000] [--buckets 300]

The profile that pages, both sides watched: ordinary traffic with a twentieth of the series firing,
every verdict of a firing series read in full, at 60 s and at 10 s buckets. QUICK=1 takes 60 of
them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace

import numpy as np

from detectors.profiles import PAGE
from detectors.rate import RateBank


def cost(series: int, buckets: int, bucket_s: int) -> dict[str, float]:
    """Microseconds for a series-bucket, and what a snapshot takes."""
    rng = np.random.default_rng(3)
    config = replace(PAGE, alarm=replace(PAGE.alarm, watch="both"))
    bank = RateBank(config, bucket_s=bucket_s)
    ids = [f"series-{row}" for row in range(series)]
    warm = 2 * PAGE.delay_s // bucket_s + 100
    n = rng.poisson(40 * bucket_s / 60, (warm + buckets, series))
    rate = np.full((warm + buckets, series), 0.08)
    rate[warm:, : series // 20] = 0.6
    k = rng.binomial(n, rate)
    for at in range(warm):
        bank.step(at * bucket_s, bucket_s, ids, k[at], n[at])
    began, read = time.perf_counter(), 0
    for at in range(warm, warm + buckets):
        verdicts = bank.step(at * bucket_s, bucket_s, ids, k[at], n[at])
        read += sum(len(verdicts[int(row)].reason) > 0 for row in verdicts.firing_rows())
    stepped = time.perf_counter()
    stored = bank.snapshot()
    snapped = time.perf_counter()
    RateBank.restore(stored)
    return {
        "us_per_series_bucket": 1e6 * (stepped - began) / (series * buckets),
        "verdicts_read": read,
        "snapshot_bytes_per_series": len(stored) / series,
        "snapshot_ms": 1e3 * (snapped - stepped),
        "restore_ms": 1e3 * (time.perf_counter() - snapped),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--buckets", type=int, default=300)
    args = parser.parse_args()
    buckets = 60 if os.environ.get("QUICK") else args.buckets
    result = {f"bucket_{s}s": cost(args.series, buckets, s) for s in (60, 10)}
    for name, row in result.items():
        print(name, {key: round(value, 2) for key, value in row.items()})
    print(json.dumps({"series": args.series, **result}))


if __name__ == "__main__":
    main()
