"""An auditor as a process of its own, to be killed: `python -m tests.integration.watch_auditor`."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from monitor.config.settings import load
from monitor.metrics import Metrics
from monitor.watch.process import audit
from monitor.watchdog import Watchdog


def main() -> int:
    """Audit what the configuration named on the command line says, until killed."""
    settings = load(Path(sys.argv[1]))[0]
    stopping = threading.Event()
    print("ready", flush=True)
    watchdog = Watchdog(60, Path(sys.argv[1]).with_name("stalls"))
    return audit(lambda: settings, stopping, Metrics(), watchdog, os.environ, tick_s=0.5)


if __name__ == "__main__":
    sys.exit(main())
