"""The parts of `make bench-detect`; each is a module with `run(study, report)`."""

from __future__ import annotations
