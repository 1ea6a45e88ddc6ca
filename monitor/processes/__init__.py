"""From a start to a tree of processes: who runs, who owns which job, and who starts whom anew."""

from __future__ import annotations
