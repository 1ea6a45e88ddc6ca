"""Benchmarks that have a command of their own, run as part of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.bench.detect.report import NotRunError


def last_line(module: str, *words: str, data: str = "") -> dict[str, Any]:
    """The JSON object that `python -m tests.bench.MODULE` ends with.

    Raises:
        NotRunError: it could not run, with its reason.
    """
    env = {**os.environ, "DATA": data} if data else None
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{module}", *words],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise NotRunError(f"{module} ended with {done.returncode} and no JSON") from None
    if "skipped" in found:
        raise NotRunError(str(found["skipped"]))
    return found
