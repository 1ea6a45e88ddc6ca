"""Which deaths count."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fault.ground import deaths, fell, unordered
from tests.integration.process_stage import Tree

SAID = """
fault point K5: pid 12 dies here
control (pid 12) was killed by SIGKILL after 3 s: started again at once
ingest-0 (pid 13) gave no sign of life for 20 s: it is killed
ingest-0 (pid 13) was killed by SIGKILL after 40 s: started again at once
fault point K14: pid 14 dies here
control (pid 16) ended with status 0 after 2 s: started again in 4 s
auditor (pid 15) did not end within 10 s: it is killed
"""


def test_what_the_supervisor_kills_itself_is_no_death_of_ours(tmp_path: Path) -> None:
    """A child that was silent or would not end is not counted, at no named point either."""
    tree = Tree(tmp_path, {})
    tree.log.write_text(SAID)
    assert deaths(tree) == 1
    assert unordered(tree) == 3
    assert (fell(tree, "K5"), fell(tree, "K14"), fell(tree, "K1")) == (1, 1, 0)


def test_a_process_says_where_it_dies(tmp_path: Path) -> None:
    """The last words on standard error name the point and the process, and come at its passing."""
    program = "from monitor.faults import fault_point as f; f('K3'); f('K5'); f('K3'); print('no')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"TOCSIN_FAULT": "K3:2", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    tree = Tree(tmp_path, {})
    tree.log.write_text(done.stderr)
    assert (done.returncode, done.stdout, fell(tree, "K3")) == (-9, "", 1)
