from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import detectors

MODULES = [one.name for one in pkgutil.iter_modules(detectors.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    """Every example in the detectors' docstrings gives what it says."""
    assert doctest.testmod(importlib.import_module(f"detectors.{name}")).failed == 0
