"""A gate a loop stands in during a step: whoever holds it knows the loop to be between two."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Gated(Protocol):
    """Something with a gate."""

    gate: threading.Lock


G = TypeVar("G", bound=Gated)


def gated(step: Callable[Concatenate[G, P], R]) -> Callable[Concatenate[G, P], R]:
    """A method that runs with its object's gate held."""

    def within(loop: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with loop.gate:
            return step(loop, *args, **kwargs)

    functools.update_wrapper(within, step)
    return within
