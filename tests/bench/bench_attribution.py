"""How often the true cause of real incidents is named first, and how long naming takes.

    python -m tests.bench.bench_attribution --data DIR [--half 0]

DIR holds `causes.json` and a CSV a case (`min`, attributes, `value` = k, `cnt` = n), read as
`tocsin detect attribute` reads them. The minute of the incident is explained against all minutes
before it. Settings were chosen on the cases whose number is 0 mod 4; those that are 2 mod 4 are
only reported. Two peers stand beside: the attribute value with the most excess (Adtributor's first
step), and the Poisson likelihood ratio against all the past. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.attribution import explain_table
from detectors.cells import Table, Values, cuboids, sums
from detectors.columns import Floats
from tui.cli.cells_file import read

Method = Callable[[Table, int], Sequence[Values]]


@dataclass(frozen=True, slots=True)
class Case:
    """One incident: its rows, its minute, and what people found."""

    name: str
    path: Path
    moment: int
    causes: frozenset[Values]

    @property
    def half(self) -> int:
        """0: settings were chosen on it; 2: reported only."""
        return int(self.name.rpartition("_")[2]) % 4


def cases(folder: Path) -> list[Case]:
    """All of them, in the order of the file."""
    found = []
    for one in json.loads((folder / "causes.json").read_text()):
        listed = one["cause"] if isinstance(one["cause"], list) else [one["cause"]]
        causes = frozenset(tuple(sorted((d, str(v)) for d, v in c.items())) for c in listed)
        found.append(Case(one["case"], folder / f"{one['case']}.csv", one["timestamp"], causes))
    return found


def loaded(known: Sequence[Case]) -> list[tuple[Case, Table]]:
    """The cases with their rows up to the incident."""
    found = []
    for case in known:
        with case.path.open("rb") as stream:
            table = read(stream, case.path.name, "min", "value", "cnt", str(case.moment)).table
        found.append((case, table))
    return found


def ours(table: Table, moment: int) -> Sequence[Values]:
    """The answer of `tocsin detect attribute`."""
    return [one.values for one in explain_table(table, table.at == moment)]


def poisson(table: Table, moment: int) -> Sequence[Values]:
    """Elements of at most two values by their Poisson likelihood ratio, a nat less for each."""
    return _ranked(table, moment, 2, lambda k, e: k * np.log(np.maximum(k, 1e-9) / e) - (k - e))


def most_excess(table: Table, moment: int) -> Sequence[Values]:
    """Single values by their excess over all the past."""
    return _ranked(table, moment, 1, lambda k, e: k - e)


def _ranked(
    table: Table, moment: int, depth: int, score: Callable[[Floats, Floats], Floats]
) -> Sequence[Values]:
    leaves, which = table.leaves()
    now = table.at == moment
    (k, past_k), (n, past_n) = (
        [sums(which[rows], counts[rows], len(leaves)) for rows in (now, ~now)]
        for counts in (table.k, table.n)
    )
    rate = past_k.sum() / past_n.sum()
    found: list[tuple[float, Values]] = []
    for cuboid in cuboids(leaves):
        if 0 < len(cuboid.places) <= depth:
            own = (cuboid.sums(past_k) + 1) / (cuboid.sums(past_n) + 1 / rate)
            expected = np.maximum(cuboid.sums(n) * own, 1e-9)
            points = score(cuboid.sums(k), expected) - len(cuboid.places)
            points[cuboid.sums(k) <= expected] = -np.inf
            for at in np.argsort(-points, kind="stable")[:3]:
                pairs = zip(cuboid.places, cuboid.codes[at], strict=True)
                values = tuple((table.names[p], table.labels[p][c]) for p, c in pairs)
                found.append((-float(points[at]), values))
    return [values for _, values in sorted(found)[:3]]


def score(method: Method, chosen: Sequence[tuple[Case, Table]]) -> dict[str, float]:
    """Micro F1 of the first answer, recall of the first three, ms for each case."""
    first = third = wrong = true = 0
    seconds = []
    for case, table in chosen:
        began = time.perf_counter()
        found = list(method(table, case.moment))
        seconds.append(time.perf_counter() - began)
        true += len(case.causes)
        first += len(case.causes & set(found[:1]))
        wrong += len(set(found[:1]) - case.causes)
        third += len(case.causes & set(found[:3]))
    return {
        "f1": round(2 * first / (first + wrong + true), 3),
        "recall_at_3": round(third / true, 3),
        "ms": round(1e3 * sum(seconds) / len(seconds), 1),
        "ms_slowest": round(1e3 * max(seconds), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--half", type=int, choices=[0, 2], help="Only these cases.")
    args = parser.parse_args()
    began = time.perf_counter()
    known = [one for one in cases(args.data) if args.half is None or one.half == args.half]
    tables = loaded(known)
    read_ms = 1e3 * (time.perf_counter() - began) / len(known)
    result: dict[str, object] = {"cases": len(known), "read_ms": round(read_ms, 1)}
    halves = [(0, "chosen on"), (2, "held out")]
    methods = {"ours": ours, "poisson": poisson, "most excess": most_excess}
    for (half, label), (name, method) in (
        (h, m) for h in halves for m in methods.items() if args.half in {None, h[0]}
    ):
        found = score(method, [(c, t) for c, t in tables if c.half == half])
        print(f"{label:9} ({half} mod 4)  {name:11}  {found}")
        result[f"{label} {name}".replace(" ", "_")] = found
    print(json.dumps(result))


if __name__ == "__main__":
    main()
