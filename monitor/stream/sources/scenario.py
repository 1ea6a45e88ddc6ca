"""Scenarios of the simulator as data: a product, what happens to it and when, what is announced.

`scenarios/product.yaml` is the product that every scenario shares; each other file is one scenario.
The truth about an event (which effect touched it) never rides in the event.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from monitor.stream.vocabulary import (
    AttackKind,
    AttackVector,
    CheckMode,
    CheckResult,
    CheckStage,
    RiskTier,
)
from runbooks.durations import Duration
from runbooks.yaml import convert, load_yaml

T = TypeVar("T")
Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
_FOLDER = resources.files("monitor.stream.sources") / "scenarios"
_PRODUCT = "product"


class ScenarioError(ValueError):
    """A scenario does not exist, or its file does not say what a scenario says."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A closed, immutable part of a scenario."""


class Tool(_Part, frozen=True):
    """A tool of a feature and how often a turn calls it."""

    tool: str
    risk_tier: RiskTier
    server: str = "mcp:shop"
    rate: Rate = 0.0
    expected: bool = True
    denied: Rate = 0.0
    """Share of calls that the policy denies."""


class Check(_Part, frozen=True):
    """A guardrail of a feature and its usual results."""

    check_id: str
    category: str
    stage: CheckStage
    version: str = "v1"
    violation: Rate = 0.0
    error: Rate = 0.0
    mode: CheckMode = "enforce"
    blocks: bool = True


class Feature(_Part, frozen=True):
    """A feature of the product with its usual traffic."""

    name: str
    surface: str
    source: str
    per_minute: float
    model: str
    provider: str
    prompt_version: str
    service_version: str
    refusal: Rate
    error: Rate
    thumbs_down: Rate
    ungrounded: Rate | None = None
    tools: tuple[Tool, ...] = ()
    checks: tuple[Check, ...] = ()


class Where(_Part, frozen=True):
    """Which turns an effect may touch; what is not named is not asked."""

    feature: str | None = None
    source: str | None = None
    tenant: int | None = None
    """Rank of the tenant, 0 for the largest."""


class Attack(_Part, frozen=True):
    """The sign of an attack that the turn carries."""

    kind: AttackKind
    vector: AttackVector
    signature_id: str


class Outage(_Part, frozen=True):
    """Guardrails that answer with something other than a judgement."""

    result: CheckResult
    check_id: str | None = None


class Detector(_Part, frozen=True):
    """A new version of a guardrail, whose scores sit elsewhere."""

    check_id: str
    version: str
    violation: Rate


class Effect(_Part, frozen=True):
    """Something that happens to a share of the turns from `onset` on."""

    name: str
    onset: Duration
    until: Duration | None = None
    where: Where = Where()
    share: tuple[Rate, Rate] = (1.0, 1.0)
    """Share of the turns touched, at the onset and after `ramp`; linear in between."""
    ramp: Duration = Duration(0)
    refusal: Rate | None = None
    prompt_version: str | None = None
    service_version: str | None = None
    model: str | None = None
    violation: str | None = None
    """Category that the turn violates, as its check finds it."""
    attack: Attack | None = None
    tools: tuple[Tool, ...] = ()
    """Tools that the turn calls besides its own."""
    outage: Outage | None = None
    detector: Detector | None = None
    leak: Literal["email", "iban", "card"] | None = None
    """Somebody's data, unredacted, in a label of the turn."""
    lost: bool = False
    """The turn happens, its event does not arrive."""


class Announcement(_Part, frozen=True):
    """A change record: what a release tool would tell the monitor."""

    at: Duration
    """Since the start of the scenario."""
    kind: Literal["release", "flag", "guardrail", "model", "config"]
    text: str
    dimensions: dict[str, str] = {}


class Scenario(_Part, frozen=True):
    """One story."""

    name: str
    title: str
    duration: Duration
    daily: Rate = 0.6
    """Depth of the day's curve: 0 is flat, 1 means nobody at night."""
    weekend: Rate = 0.5
    """Traffic on Saturday and Sunday, of a weekday's."""
    volume: float = 1.0
    """Factor on every feature's traffic."""
    tenants: int = 12
    effects: tuple[Effect, ...] = ()
    announcements: tuple[Announcement, ...] = ()


def names() -> list[str]:
    """The scenarios that ship, in order."""
    found = (Path(entry.name) for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))
    return sorted({path.stem for path in found} - {_PRODUCT})


def load_scenario(name: str) -> Scenario:
    """The shipped scenario `name`, or the one whose name starts with it (`s1`).

    Raises:
        ScenarioError: there is none of that name, or it names a feature the product has not.
        runbooks.problems.Problems: its file does not say what a scenario says.
    """
    wanted = name.lower()
    matches = [one for one in names() if one == wanted or one.startswith(f"{wanted}_")]
    if len(matches) != 1:
        raise ScenarioError(f"no scenario {name!r}; there are {', '.join(names())}")
    scenario = _read(matches[0], Scenario)
    known = {feature.name for feature in load_product()} | {None}
    for effect in scenario.effects:
        if effect.where.feature not in known:
            raise ScenarioError(f"{scenario.name}: no feature {effect.where.feature!r}")
    return scenario


def load_product() -> tuple[Feature, ...]:
    """The features of the simulated product.

    Raises:
        runbooks.problems.Problems: its file does not say what a product says.
    """
    return _read(_PRODUCT, _Product).features


class _Product(_Part, frozen=True):
    features: tuple[Feature, ...]


def _read(name: str, kind: type[T]) -> T:
    file = f"{name}.yaml"
    return convert(load_yaml((_FOLDER / file).read_bytes(), file), kind)
