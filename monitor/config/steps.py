"""Steps of an escalation that would page nobody: whomever they name has been paged before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runbooks.document import Document
from runbooks.document import Path as Way
from runbooks.problems import Problem, Severity

if TYPE_CHECKING:
    from monitor.config.settings import Paging, RouteNode

_HINT = "escalation pages each receiver once per outage: name one that is not paged by then"


def idle_steps(paging: Paging, document: Document) -> Iterator[Problem]:
    """Warnings about steps that page nobody on any route, and routes on which none pages anybody.

    Args:
        paging: as loaded from `document`, without errors.
        document: where to point to.
    """
    root = ("paging", "route")
    everybody = frozenset(receiver.name for receiver in paging.receivers)
    routes = list(_routes(paging.route, root, everybody))
    before: frozenset[str] = frozenset()
    for index, step in enumerate(paging.escalation):
        new = before | set(step.receivers)
        if all(new <= before | first for _, first in routes):
            text = "this step pages nobody: on every route all of its receivers are paged before it"
            way: Way = ("paging", "escalation", index)
            yield document.problem(way, "idle-step", text, _HINT, severity=Severity.WARNING)
        before = new
    if all(before <= first for _, first in routes):
        return  # there are no steps, or each of them is told of above
    for way, first in routes:
        if before <= first and (way == root or document.at((*way, "receivers"))):
            text = "no escalation: each step names only receivers that this route pages at once"
            yield document.problem(way, "idle-step", text, _HINT, severity=Severity.WARNING)


def _routes(
    node: RouteNode, way: Way, above: frozenset[str]
) -> Iterator[tuple[Way, frozenset[str]]]:
    """Every node with whom it pages first; `continue` only adds to them."""
    first = frozenset(node.receivers) or above
    yield way, first
    for index, child in enumerate(node.routes):
        yield from _routes(child, (*way, "routes", index), first)
