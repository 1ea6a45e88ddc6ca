"""What one event costs to decode, validate and check for leaks, beside plain JSON parsing.

`python -m tests.bench.bench_decode`; the last line is JSON (microseconds an event).
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from monitor.stream.decode import Decoded, decode
from monitor.stream.event import INTERACTION_TYPE, Event
from monitor.stream.sources.scenario import load_scenario
from monitor.stream.sources.simulate import Simulation
from monitor.stream.sources.source import Record

KEY = b"bench"
ROUNDS = 9


def best(values: Sequence[bytes], function: Callable[[bytes], object]) -> float:
    """The fastest of the rounds, in CPU microseconds an event."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for value in values:
            function(value)
        times.append(time.process_time() - began)
    return round(min(times) / len(values) * 1e6, 2)


def lean(number: int) -> bytes:
    """An event of the core profile only, as Python's `json.dumps` writes it."""
    event = {
        "type": INTERACTION_TYPE,
        "id": f"evt-{number}",
        "source": "//app",
        "time": "2026-11-16T10:00:00.123Z",
        "data": {
            "deployment": {"environment": "prod", "feature": "chat"},
            "gen_ai": {"request_model": "gpt-4o"},
            "outcome": {"status": "answered"},
            "redaction": {"status": "redacted"},
        },
    }
    return json.dumps(event).encode()


def main() -> None:
    """Measure lean events, rich events, and rich events that all leak."""
    simulated = Simulation(load_scenario("s0"))
    rich = [emission.value for emission in islice(simulated, 5000)]
    sets = {
        "lean": [lean(number) for number in range(5000)],
        "rich": rich,
        "leaking": [
            value.replace(b'"prompt":{"name":"', b'"prompt":{"name":"jo@example.com/')
            for value in rich[:1000]
        ],
    }
    typed = msgspec.json.Decoder(Event)

    def whole(value: bytes) -> object:
        return decode(Record(0, value), key=KEY)

    peers: dict[str, Callable[[bytes], object]] = {
        "decode": whole,
        "msgspec_typed": typed.decode,
        "json_loads": json.loads,
    }
    if importlib.util.find_spec("orjson"):
        peers["orjson_loads"] = importlib.import_module("orjson").loads
    report: dict[str, dict[str, float]] = {}
    for name, values in sets.items():
        assert all(isinstance(whole(value), Decoded) for value in values)
        row = {"bytes": round(sum(map(len, values)) / len(values), 0)}
        row |= {peer: best(values, function) for peer, function in peers.items()}
        report[name] = row
        print(f"{name:8}", "  ".join(f"{key} {value:g}" for key, value in row.items()))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
