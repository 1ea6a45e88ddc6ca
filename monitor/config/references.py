"""What a configuration refers to, checked: receivers, signals, labels, links, parameters, address.

And what it must not hold: a secret itself.

The checks read the plain data of the file and pass over whatever has the wrong shape, which is
`runbooks.convert`'s to tell: so one reading finds both kinds of mistakes.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl
from zoneinfo import available_timezones

from monitor.alerting.routes import parse_matcher
from monitor.config.digest import RINGS, zone
from monitor.config.options import host_port, on_loopback
from monitor.config.secret import REFERENCES, mask
from monitor.config.shelf import Shelf
from monitor.stream.patterns import scan
from monitor.stream.series import dimension_names
from monitor.stream.signals import DIMENSIONS, NO_PAGES, Signal, default_signals, parse_signals
from runbooks.convert import spelled
from runbooks.document import Document, did_you_mean
from runbooks.document import Path as Way
from runbooks.problems import Problem, Problems
from runbooks.yaml import load_yaml

LOG_RECEIVER = "log"
"""The receiver there is when the configuration names none."""
LINK_FIELDS = ("incident", "signal", "environment", "feature")
"""What `monitor.paging.render_links` fills in."""

MAX_ROUTES = 500
"""Nodes of the route tree; each incident walks it."""

_QUIET = ("log", "slack", "webhook")
_LINK = re.compile(r"https?://[^/?#\s]+\S*")


def dangling(document: Document) -> list[Problem]:
    """Everything the file refers to that is not there, each with its place."""
    signals, found = _signals(document)
    return [
        *found,
        *_receivers(document),
        *_route(document),
        *_signal_names(document, signals),
        *_rules(document, signals),
        *_matchers(document, signals),
        *_teams(document, signals),
        *_group_by(document),
        *_digest(document),
        *_links(document),
        *_shelf(document),
        *_address(document),
        *_receiving(document),
        *_answering(document),
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


def _route(document: Document) -> Iterator[Problem]:
    """A tree that is too large, or that leaves an incident without anybody to page."""
    way = ("paging", "route")
    nodes = list(_route_nodes(document.data))
    if len(nodes) > MAX_ROUTES:
        text = f"{len(nodes)} routes; at most {MAX_ROUTES} are taken"
        yield document.problem(way, "too-many", text)
    named = [each for at, node in nodes for each, _ in _texts(node, (*at, "receivers"))]
    if named and not _at(nodes[0][1], "receivers"):
        text = "an incident that no route takes would page nobody"
        hint = "name receivers on paging.route itself"
        yield document.problem(way, "nobody", text, hint, key=True)


def _group_by(document: Document) -> Iterator[Problem]:
    for way, name in _texts(_at(document.data, "paging"), ("group_by",)):
        if name not in DIMENSIONS:
            yield _unknown(document, ("paging", *way), "dimension", name, DIMENSIONS)


def _digest(document: Document) -> Iterator[Problem]:
    """A digest to what can only ring, or by the clock of no place."""
    listed = _at(document.data, "paging", "receivers")
    kinds = {
        name: _at(each, "type")
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(name := _at(each, "name"), str)
    }
    quiet = sorted(name for name, kind in kinds.items() if kind in _QUIET)
    node = _at(document.data, "paging", "digest")
    for way, name in _texts(node, ("paging", "digest", "receivers")):
        kind = kinds.get(name)
        if isinstance(kind, str) and kind in RINGS:
            text = f"{name!r} is of type {kind}, which can only page; a digest wakes nobody"
            hint = f"name {' or '.join(quiet) or 'a receiver of type slack, webhook or log'}"
            yield document.problem(way, "value", text, hint)
    place = _at(node, "timezone")
    if not isinstance(place, str):
        return
    try:
        zone(place)
    except ValueError as error:
        known = available_timezones()
        hint = did_you_mean(place, known) if known else "install tzdata: this machine has no zones"
        yield document.problem(("paging", "digest", "timezone"), "unknown", str(error), hint)


def _named_receivers(data: object) -> Iterator[tuple[Way, str]]:
    for way, node in _route_nodes(data):
        yield from _texts(node, (*way, "receivers"))
    steps = _at(data, "paging", "escalation")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        yield from _texts(step, ("paging", "escalation", index, "receivers"))
    digest = _at(data, "paging", "digest")
    yield from _texts(digest, ("paging", "digest", "receivers"))
    yield from _texts(_at(data, "watch"), ("watch", "emergency"))
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
    for name in {signal.name for signal in signals if signal.kind == "together"}:
        if _at(document.data, "tiers", name) == "page":
            hint = "shadow or ticket"
            yield document.problem(("tiers", name), "tier", NO_PAGES.format(name), hint)


def _rules(document: Document, signals: tuple[Signal, ...] | None) -> Iterator[Problem]:
    """Rules about no rate, in no dimension of it, or under a name that is taken."""
    if signals is None:
        return
    rates = {signal.name: signal for signal in signals if signal.kind == "rate"}
    taken = {signal.name for signal in signals}
    rules = _at(document.data, "rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        way = ("rules", index)
        name, about = _at(rule, "name"), _at(rule, "signal")
        if isinstance(name, str):
            if name in taken:
                text = f"the name {name!r} is taken: alerts of two rules could not be told apart"
                yield document.problem((*way, "name"), "duplicate", text)
            taken.add(name)
        if not isinstance(about, str):
            continue
        if about not in rates:
            yield _unknown(document, (*way, "signal"), "rate", about, rates)
            continue
        known = dimension_names(rates[about])
        for dimension in _mapping(rule, "where"):
            if dimension not in known:
                where = (*way, "where", dimension)
                yield _unknown(document, where, "dimension", dimension, known, key=True)


def _matchers(document: Document, signals: tuple[Signal, ...] | None) -> Iterator[Problem]:
    known = {"signal", "severity", *DIMENSIONS}
    known |= {s.value for s in (*default_signals(), *(signals or ())) if s.value is not None}
    known |= _mapping(document.data, "alertmanager", "receive", "labels").keys()
    for way, node in (*_route_nodes(document.data), *_team_nodes(document.data)):
        for place, text in _texts(node, (*way, "matchers")):
            try:
                name = parse_matcher(text).name
            except ValueError as error:
                yield document.problem(place, "value", str(error))
                continue
            if name not in known:
                said = f"{name!r} is no label that a matcher may look at"
                yield document.problem(place, "unknown", said, did_you_mean(name, known))


def _teams(document: Document, signals: tuple[Signal, ...] | None) -> Iterator[Problem]:
    """Teams named twice, and teams that no series could belong to."""
    owners = {signal.team for signal in signals or ()}
    seen: set[str] = set()
    for way, node in _team_nodes(document.data):
        name = _at(node, "name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield document.problem((*way, "name"), "duplicate", f"two teams are named {name!r}")
        seen.add(name)
        if signals is not None and not _at(node, "matchers") and name not in owners:
            text = f"no series belongs to the team {name!r}"
            hint = f"give it matchers, or its rules `team: {name}` in the signals file"
            yield document.problem((*way, "name"), "unknown", text, hint)


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


def _receiving(document: Document) -> Iterator[Problem]:
    """Alertmanager's web hook needs an address, and a secret where others can reach it."""
    receive = _at(document.data, "alertmanager", "receive")
    if not isinstance(receive, dict):
        return
    way, address = ("alertmanager", "receive"), _at(document.data, "http")
    if not isinstance(address, str) or not address:
        text = "alertmanager.receive has no address to listen on"
        yield document.problem(way, "missing", text, "add http: 127.0.0.1:9464", key=True)
        return
    if not (receive.keys() & {"token", "basic"}) and not on_loopback(address):
        text = f"{address} can be reached by others: who may send alerts?"
        hint = "add token: {file: PATH} or basic: {user: NAME, password: {file: PATH}}"
        yield document.problem(way, "missing", text, hint, key=True)


def _answering(document: Document) -> Iterator[Problem]:
    """Web hooks of Slack and PagerDuty need an address; buttons need pages in Slack."""
    inbound, address = _mapping(document.data, "inbound"), _at(document.data, "http")
    slack = _mapping(document.data, "inbound", "slack")
    hooks = [("inbound", "pagerduty")] if inbound.get("pagerduty") else []
    hooks += [("inbound", "slack")] if slack.get("signing_secret") else []
    for way in hooks:
        if not isinstance(address, str) or not address:
            text = f"{'.'.join(way)} has no address to listen on"
            yield document.problem(way, "missing", text, "add http: 127.0.0.1:9464", key=True)
    receivers = _at(document.data, "paging", "receivers")
    kinds = [_at(each, "type") for each in receivers] if isinstance(receivers, list) else []
    if slack and "slack" not in kinds:
        text = "inbound.slack: no receiver of type slack, so there are no buttons to press"
        hint = "add one to paging.receivers"
        yield document.problem(("inbound", "slack"), "missing", text, hint, key=True)


def inline(document: Document) -> tuple[list[Problem], list[str]]:
    """Secrets that stand in the file itself, told by place; and their values, to be masked."""
    found: list[Problem] = []
    values: list[str] = []
    for way in document.values:
        value = document.at(way)
        word = str(way[-1]) if way else ""
        if way == ("store",) or not isinstance(value, str):
            continue
        if way[:2] == ("source", "security") and word.endswith("password"):
            values.append(value)
            hint = f"source.{word.replace('_plain', '')} takes a reference: {REFERENCES}"
            found.append(document.problem(way, "secret-inline", f"{word}: a secret", hint))
            continue
        known = [each.rule for each in scan(value) if each.rule.startswith("secret.")]
        if known:
            values.append(value)
            text = f"{spelled(way)}: looks like a secret ({known[0].removeprefix('secret.')})"
            hint = f"keep it out of the file; where a secret goes, write one of {REFERENCES}"
            found.append(document.problem(way, "secret-inline", text, hint))
    store = _at(document.data, "store")
    if isinstance(store, str) and (cure := cure_of_password(store)):
        values.append(store)
        text = "store: the address holds a password"
        found.append(document.problem(("store",), "secret-inline", text, cure))
    return found, values


def masked(problems: Iterable[Problem], values: Iterable[str]) -> list[Problem]:
    """The problems, with none of `values` quoted in them."""
    known = [value for value in values if len(value) >= 4]
    return [
        replace(p, text=mask(p.text, *known), hint=mask(p.hint, *known)) if known else p
        for p in problems
    ]


def cure_of_password(url: str) -> str:
    """Where the password that a database URL carries belongs; empty when it carries none."""
    who = url.partition("://")[2].rpartition("@")[0]
    names = {name.lower() for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)}
    if ":" in who or "password" in names:
        return "leave it out, and add store_password: {file: PATH} (or libpq's .pgpass, PGPASSFILE)"
    if "sslpassword" in names:
        return "leave it out: a key without one, mode 600, or ?service=NAME of a PGSERVICEFILE"
    return ""


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


def _team_nodes(data: object) -> Iterator[tuple[Way, object]]:
    teams = _at(data, "paging", "budget", "teams")
    for index, node in enumerate(teams if isinstance(teams, list) else []):
        yield ("paging", "budget", "teams", index), node


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
