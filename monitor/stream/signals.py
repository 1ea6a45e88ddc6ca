"""Signals: named rates, defined as data. `signals.yaml` beside this file is the default set.

k and n count interactions of traffic class `user`, unweighted; k counts within n, so that always
k <= n. A signal with `each` looks at the items of one list field and makes a series for each value
of `value` (a category, a risk tier): k is then the interactions with at least one matching item.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from importlib import resources
from typing import Annotated, Any, Literal

import msgspec

from monitor.stream.event import InteractionData
from monitor.stream.sections import AttackSignal, PolicyCheck, ToolCall
from runbooks.convert import convert, json_schema
from runbooks.document import Document
from runbooks.durations import Duration
from runbooks.expressions import Expression, parse
from runbooks.naming import misnamed
from runbooks.problems import Problems
from runbooks.yaml import load_yaml

Tier = Literal["shadow", "ticket", "page"]
Severity = Literal["SEV1", "SEV2", "SEV3", "SEV4"]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
ListField = Literal["policy_checks", "tool_calls", "attack_signals"]

TRUE = parse("true")

NO_PAGES = "{} never pages: each of its rates is in its usual range, and no budget covers it"
"""Why a signal of the kind `together` is a ticket at most."""

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "environment": ("deployment.environment",),
    "feature": ("deployment.feature",),
    "model": ("gen_ai.request_model",),
    "release": ("gen_ai.prompt.version", "deployment.service_version"),
    "tenant": ("actor.tenant",),
}
"""The base cuboid: each dimension with the fields it is read from, the first that is present."""

DIMENSION_LIMITS = {"environment": 8, "feature": 200, "model": 200, "release": 500, "tenant": 2000}
"""Distinct values kept per dimension; what comes after is counted as `__other__`."""
VALUE_LIMITS = {"tool": 2000, "signature_id": 5000, "judge": 2000, "source": 200}
"""The same per `value` of a signal; 200 where it is not named."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signal; see the fields.

    Attributes:
        name: Identifier, used in labels and commands.
        title: Words for people, e.g. "Refusals".
        description: What it counts and why it matters.
        kind: `rate` (k of n over time), `never` (pages on the first occurrence), `volume` (how
            much comes by `by`; silence where traffic is usual is the alert `no_data`), `first_seen`
            (a `value` that was never seen before), `judge` (what each version of a check says,
            so that a check that changed is told from a product that did) or `together` (whether
            the rates that have the same `by` still move together; a ticket at most).
        on: Which events it reads: turns, amends (late facts), or both.
        k: Condition of the numerator.
        n: Condition of the denominator.
        each: List field whose items are looked at one by one; `k` and `n_each` then see an item.
        value: Attribute of the item that names the series.
        n_each: Condition an item must meet to count in the denominator; absent: `n` alone decides.
        by: Dimensions that make the series.
        whole: Also follow all of an environment as one series: a weak shock on every feature, or
            features too small to tell anything alone, show there first.
        direction: Which move is bad news.
        severity: Of the incident it opens.
        tier: What firing does: recorded (shadow), digest (ticket) or wake somebody (page).
        offered: Worth promoting after two weeks in shadow; `tocsin rule list` says so.
        team: Who owns its budget.
        min_ratio: Floor: observed over baseline (or baseline over observed for a fall).
        min_excess: Floor: interactions above (below) what the baseline expects; absent: the
            profile's.
        min_time: Floor: how long before it may fire.
    """

    name: Slug
    title: str
    k: Expression
    description: str = ""
    kind: Literal["rate", "never", "volume", "first_seen", "judge", "together"] = "rate"
    on: Literal["interaction", "amend", "any"] = "interaction"
    n: Expression = TRUE
    each: ListField | None = None
    value: Slug | None = None
    n_each: Expression | None = None
    by: tuple[Slug, ...] = ("environment", "feature")
    whole: bool = True
    direction: Literal["up", "down", "both"] = "up"
    severity: Severity = "SEV3"
    tier: Tier = "shadow"
    offered: bool = False
    team: str = "default"
    min_ratio: float = 1.25
    min_excess: float | None = None
    min_time: Duration | None = None

    def __post_init__(self) -> None:
        if (self.each is None) != (self.value is None):
            raise ValueError("`each` and `value` go together")
        if self.kind in ("never", "volume", "together") and self.each is not None:
            raise ValueError(f"`each` is not for the kind {self.kind}")
        if self.kind in ("first_seen", "judge") and self.each is None:
            raise ValueError(f"the kind {self.kind} needs `each` and `value`")
        if self.kind == "together" and self.tier == "page":
            raise ValueError(NO_PAGES.format(self.name))
        if self.n_each is not None and self.each is None:
            raise ValueError("`n_each` needs `each`")
        if unknown := [name for name in self.by if name not in DIMENSIONS]:
            known = ", ".join(DIMENSIONS)
            raise ValueError(f"unknown dimension {unknown[0]!r} in `by`; known: {known}")
        if len(self.by) > 3:
            raise ValueError("at most three dimensions in `by`")


class SignalFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of signals."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    signals: tuple[Signal, ...]


def parse_signals(document: Document) -> tuple[Signal, ...]:
    """The signals of a file.

    Raises:
        Problems: everything that is wrong with it, each with its place; a condition about a field
            that events do not have is wrong, for it would never be true.
    """
    signals = convert(document, SignalFile).signals
    problems = [
        document.problem(("signals", index, field), "misnamed", found.text, found.hint)
        for index, signal in enumerate(signals)
        for field, condition, kind in _conditions(signal)
        for found in misnamed(condition, kind)
    ]
    problems += [
        document.problem(("signals", index, "value"), "misnamed", text, "")
        for index, signal in enumerate(signals)
        if (text := _valueless(signal))
    ]
    if problems:
        raise Problems(problems)
    return signals


_ITEMS: dict[str, type[msgspec.Struct]] = {
    "policy_checks": PolicyCheck,
    "tool_calls": ToolCall,
    "attack_signals": AttackSignal,
}


def _valueless(signal: Signal) -> str:
    if signal.each is None or hasattr(_ITEMS[signal.each], signal.value or ""):
        return ""
    return f"an item of {signal.each} has no {signal.value!r}"


def _conditions(signal: Signal) -> Iterable[tuple[str, Expression, type[msgspec.Struct]]]:
    """Each condition with the field it is written in and what it is about."""
    item = InteractionData if signal.each is None else _ITEMS[signal.each]
    yield "k", signal.k, item
    yield "n", signal.n, InteractionData
    if signal.n_each is not None:
        yield "n_each", signal.n_each, item


@functools.cache
def default_signals() -> tuple[Signal, ...]:
    """The set that is shipped."""
    text = (resources.files(__package__) / "signals.yaml").read_text("utf-8")
    return parse_signals(load_yaml(text, "signals.yaml"))


def default_text() -> str:
    """The shipped file as it is, to start one's own from."""
    return (resources.files(__package__) / "signals.yaml").read_text("utf-8")


def schema() -> dict[str, Any]:
    """JSON Schema of a file of signals."""
    return json_schema(SignalFile)


Reader = Callable[[Any], str]
"""From an event's data to the value of a dimension; the empty string where it is absent."""


def reader(dimension: str) -> Reader:
    """How to read one dimension."""
    paths = [path.split(".") for path in DIMENSIONS[dimension]]

    def read(data: Any) -> str:
        for path in paths:
            value = reduce(getattr, path, data)
            if value is not None:
                return str(value)
        return ""

    return read


class Slot(msgspec.Struct, frozen=True):
    """One counter of the base cuboid: the events that meet all of `conditions`."""

    on: str
    conditions: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True):
    """What to count, in the one form that cells are stored under; its digest names the pipeline."""

    bucket_s: int
    lateness_s: int
    dimensions: tuple[str, ...]
    slots: tuple[Slot, ...]
    numerators: dict[str, int]
    """Slot of k, by signal name (signals without `each`)."""
    denominators: dict[str, int]
    """Slot of n, by signal name (rate signals)."""
    signals: tuple[Signal, ...]

    def rates(self) -> list[Signal]:
        """Signals that detectors read."""
        return [signal for signal in self.signals if signal.kind == "rate"]

    def items(self) -> list[Signal]:
        """Signals that count the items of a list field in a table of their own."""
        return [signal for signal in self.signals if signal.each is not None]

    def first_seen(self) -> list[Signal]:
        """Signals that tell values never seen before."""
        return [signal for signal in self.signals if signal.kind == "first_seen"]

    def judge(self) -> Signal | None:
        """The signal that counts by version of a check; None where it was left out."""
        return next((signal for signal in self.signals if signal.kind == "judge"), None)

    def together(self) -> Signal | None:
        """The signal that asks whether rates move together; None where it was left out."""
        return next((signal for signal in self.signals if signal.kind == "together"), None)

    def volume(self) -> Signal | None:
        """The signal whose silence is an alert; None where it was left out."""
        return next((signal for signal in self.signals if signal.kind == "volume"), None)

    def never(self) -> list[Signal]:
        """Signals that page on the first occurrence."""
        return [signal for signal in self.signals if signal.kind == "never"]


EVERY_TURN = Slot("interaction", ())
"""Slot 0: every counted interaction; volume, no data and completeness rest on it."""


def plan(signals: Iterable[Signal], bucket_s: int = 60, lateness_s: int = 15) -> Plan:
    """Lay out the counters: equal conditions share one.

    Raises:
        ValueError: two signals have one name.
    """
    chosen: Sequence[Signal] = tuple(signals)
    names = [signal.name for signal in chosen]
    if len(set(names)) != len(names):
        raise ValueError(f"two signals are named {max(names, key=names.count)!r}")
    slots: dict[Slot, int] = {EVERY_TURN: 0}
    numerators, denominators = {}, {}
    for signal in chosen:
        if signal.kind != "rate":
            continue
        n_conditions = () if str(signal.n) == "true" else (str(signal.n),)
        n_slot = Slot(signal.on, n_conditions)
        denominators[signal.name] = slots.setdefault(n_slot, len(slots))
        if signal.each is None:
            k_slot = Slot(signal.on, (*n_conditions, str(signal.k)))
            numerators[signal.name] = slots.setdefault(k_slot, len(slots))
    return Plan(
        bucket_s=bucket_s,
        lateness_s=lateness_s,
        dimensions=tuple(DIMENSIONS),
        slots=tuple(slots),
        numerators=numerators,
        denominators=denominators,
        signals=tuple(chosen),
    )
