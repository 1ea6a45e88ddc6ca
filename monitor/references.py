"""What a configuration refers to, checked: receivers, signals, labels, links, parameters, address.

The checks read the plain data of the file and pass over whatever has the wrong shape, which is
`runbooks.convert`'s to tell: so one reading finds both kinds of mistakes.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

from monitor.alerting.routes import parse_matcher
from monitor.options import host_port
from monitor.shelf import Shelf
from monitor.stream.signals import DIMENSIONS, Signal, default_signals, parse_signals
from runbooks.document import Document, did_you_mean
from runbooks.document import Path as Way
from runbooks.problems import Problem, Problems
from runbooks.yaml import load_yaml

LOG_RECEIVER = "log"
"""The receiver there is when the configuration names none."""
LINK_FIELDS = ("incident", "signal", "environment", "feature")
"""What `monitor.paging.render_links` fills in."""

_LINK = re.compile(r"https?://[^/?#\s]+\S*")


def dangling(document: Document) -> list[Problem]:
    """Everything the file refers to that is not there, each with its place."""
    signals, found = _signals(document)
    return [
        *found,
        *_receivers(document),
        *_signal_names(document, signals),
        *_matchers(document, signals),
        *_links(document),
        *_shelf(document),
        *_address(document),
    ]


def signals_of(file: Path | None) -> tuple[Signal, ...]:
    """The signals of a file; the shipped set without one.

    Raises:
        Problems: everything that is wrong with the file.
        OSError: it cannot be read.
    """
    if file is None:
        return default_signals()
    return parse_signals(load_yaml(file.read_bytes(), str(file)))


def _signals(document: Document) -> tuple[tuple[Signal, ...] | None, list[Problem]]:
    """The signals in force, None where their file does not load."""
    way = ("signals_file",)
    file = _at(document.data, *way)
    try:
        return signals_of(Path(file) if isinstance(file, str) else None), []
    except Problems as problems:
        return None, list(problems.problems)
    except OSError as error:
        text = f"cannot read {file}: {error.strerror or error}"
        return None, [document.problem(way, "file", text)]


def _receivers(document: Document) -> Iterator[Problem]:
    listed = _at(document.data, "paging", "receivers")
    names = {
        index: name
        for index, each in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(name := _at(each, "name"), str)
    }
    known = set(names.values()) if listed else {LOG_RECEIVER}
    seen: set[str] = set()
    for index, name in names.items():
        if name in seen:
            place = ("paging", "receivers", index, "name")
            yield document.problem(place, "duplicate", f"two receivers are named {name!r}")
        seen.add(name)
    for way, name in _named_receivers(document.data):
        if name not in known:
            yield _unknown(document, way, "receiver", name, known)


def _named_receivers(data: object) -> Iterator[tuple[Way, str]]:
    for way, node in _route_nodes(data):
        yield from _texts(node, (*way, "receivers"))
    steps = _at(data, "paging", "escalation")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        yield from _texts(step, ("paging", "escalation", index, "receivers"))
    fallback = _at(data, "paging", "fallback")
    if isinstance(fallback, str) and fallback:
        yield ("paging", "fallback"), fallback


def _signal_names(document: Document, signals: tuple[Signal, ...] | None) -> Iterator[Problem]:
    if signals is None:
        return
    known = {signal.name for signal in signals}
    for way, name in _texts(document.data, ("disable",)):
        if name not in known:
            yield _unknown(document, way, "signal", name, known)
    for name in _mapping(document.data, "tiers"):
        if name not in known:
            yield _unknown(document, ("tiers", name), "signal", name, known, key=True)


def _matchers(document: Document, signals: tuple[Signal, ...] | None) -> Iterator[Problem]:
    known = {"signal", "severity", *DIMENSIONS}
    known |= {s.value for s in (*default_signals(), *(signals or ())) if s.value is not None}
    for way, node in _route_nodes(document.data):
        for place, text in _texts(node, (*way, "matchers")):
            try:
                name = parse_matcher(text).name
            except ValueError as error:
                yield document.problem(place, "value", str(error))
                continue
            if name not in known:
                said = f"{name!r} is no label that a matcher may look at"
                yield document.problem(place, "unknown", said, did_you_mean(name, known))


def _links(document: Document) -> Iterator[Problem]:
    for name, link in _mapping(document.data, "paging", "links").items():
        if not isinstance(link, str):
            continue
        way = ("paging", "links", name)
        if _LINK.fullmatch(link) is None:
            text = f"the link {name!r} is not http:// or https:// with a host"
            yield document.problem(way, "value", text)
        template = string.Template(link)
        if not template.is_valid():
            text = f"the link {name!r} has a $ that begins no name"
            yield document.problem(way, "value", text, "write $$ for a dollar sign")
        for field in template.get_identifiers():
            if field not in LINK_FIELDS:
                hint = did_you_mean(field, LINK_FIELDS)
                yield document.problem(way, "unknown", f"nothing fills in ${field}", hint)


def _shelf(document: Document) -> Iterator[Problem]:
    defaults = _mapping(document.data, "runbooks", "defaults")
    folders = [Path(text) for _, text in _texts(_at(document.data, "runbooks"), ("folders",))]
    if not defaults and not folders:
        return
    try:
        books = Shelf(folders).all()
    except Problems as problems:
        yield from problems.problems
        return
    except OSError as error:
        text = f"cannot read {error.filename}: {error.strerror or error}"
        yield document.problem(("runbooks", "folders"), "file", text)
        return
    known = {name for book in books for name in book.spec.params}
    for name in defaults:
        if name not in known:
            way = ("runbooks", "defaults", name)
            yield _unknown(document, way, "runbook with a parameter", name, known, key=True)


def _address(document: Document) -> Iterator[Problem]:
    address = _at(document.data, "http")
    if not isinstance(address, str) or not address:
        return
    try:
        host_port(address)
    except ValueError as error:
        yield document.problem(("http",), "value", f"http: {error}")


def _unknown(
    document: Document, way: Way, kind: str, name: str, known: Iterable[str], *, key: bool = False
) -> Problem:
    hint = did_you_mean(name, known)
    return document.problem(way, "unknown", f"no {kind} {name!r}", hint, key=key)


def _route_nodes(data: object) -> Iterator[tuple[Way, object]]:
    """The nodes of the route tree from its root down, each with the way to it."""
    waiting: list[tuple[Way, object]] = [(("paging", "route"), _at(data, "paging", "route"))]
    while waiting:
        way, node = waiting.pop()
        yield way, node
        children = _at(node, "routes")
        for index, child in enumerate(children if isinstance(children, list) else []):
            waiting.append(((*way, "routes", index), child))


def _at(data: object, *keys: str) -> object:
    """What lies there; None where nothing does."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _mapping(data: object, *keys: str) -> dict[str, object]:
    value = _at(data, *keys)
    return value if isinstance(value, dict) else {}


def _texts(node: object, way: Way) -> Iterator[tuple[Way, str]]:
    """The texts of the list that is the last key of `way` in `node`, each with its own way."""
    value = _at(node, str(way[-1]))
    for index, each in enumerate(value if isinstance(value, list) else []):
        if isinstance(each, str):
            yield (*way, index), each
