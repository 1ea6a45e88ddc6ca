"""One daemon as a program, from a configuration file that a test may change while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.process_stage import PATIENCE_S

ROOT = Path(__file__).parents[2]


class Served:
    """A running daemon; a subclass says what it is asked."""

    def __init__(self, folder: Path, configuration: str, **env: str) -> None:
        """Start it. Args: `env` goes over the environment, of which nothing names a Tocsin."""
        self.folder = folder
        self.file = folder / "tocsin.yaml"
        self.file.write_text(configuration)
        kept = {name: text for name, text in os.environ.items() if name[:7] != "TOCSIN_"}
        self.env = {**kept, "PYTHONPATH": str(ROOT)}
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tui.cli", "run", "-c", str(self.file)],
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def tocsin(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command on the daemon's own machine."""
        return subprocess.run(
            [sys.executable, "-m", "tui.cli", "-c", str(self.file), *words],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def end(self) -> int:
        """In order, else by force; the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
