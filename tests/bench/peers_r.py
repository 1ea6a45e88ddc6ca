"""R's `surveillance` (Debian: r-cran-surveillance) on the same series, hour by hour.

One sensible setting each, in `peers.R`. An hour's score is known at its end.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from tests.bench.detect.report import NotRunError
from tests.bench.detect.study import Scene, Scores

METHODS = ("farringtonFlexible", "glrnb", "earsC")
HOUR = 60
_SCRIPT = Path(__file__).with_name("peers.R")


def need() -> None:
    """Nothing, where R and the package are there.

    Raises:
        NotRunError: they are not.
    """
    if shutil.which("Rscript") is None:
        raise NotRunError("no Rscript: on Debian, apt-get install r-cran-surveillance")
    asked = subprocess.run(
        ["Rscript", "-e", "library(surveillance)"], capture_output=True, check=False
    )
    if asked.returncode:
        raise NotRunError("R is there, its package surveillance is not: r-cran-surveillance")


def scores(scene: Scene, method: str) -> Scores:
    """Scores of all minutes: those of the last whole hour.

    Raises:
        NotRunError: R does not get through.
    """
    rows, minutes = scene.k.shape
    hours = minutes // HOUR
    k, n = (
        one[:, : hours * HOUR].reshape(rows, hours, HOUR).sum(axis=2) for one in (scene.k, scene.n)
    )
    first = scene.warm // HOUR + 1
    with tempfile.TemporaryDirectory() as folder:
        into, out = Path(folder) / "in.csv", Path(folder) / "out.csv"
        with into.open("w") as stream:
            stream.write("series,k,n\n")
            for series in range(rows):
                pairs = zip(k[series].tolist(), n[series].tolist(), strict=True)
                stream.writelines(f"{series},{a},{b}\n" for a, b in pairs)
        words = ["Rscript", str(_SCRIPT), method, str(into), str(out), str(first)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotRunError(f"{method}: {done.stderr.strip()[-300:]}")
        found = np.zeros((rows, hours + 1), np.float32)
        with out.open(newline="") as stream:
            for row in csv.DictReader(stream):
                found[int(row["series"]), int(row["hour"]) - 1] = max(float(row["score"]), 0.0)
    wide = np.zeros((rows, minutes), np.float32)
    known = np.repeat(found, HOUR, axis=1)
    wide[:, HOUR - 1 :] = known[:, : minutes - HOUR + 1]
    return wide
