"""A configuration as plain values to show and to keep: secrets are references and stay so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from monitor.url import holds_token, masked, without_password

_ABSENT = object()
_OF_ONE_MACHINE = ("roles", "workers")
"""Of `processes`: which part of the daemon a machine does; who shares a store differs in it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that two configurations have not in common; None: it is absent there."""

    key: str
    """`paging.receivers.slack.channel`: entries of a list with names go by their names."""
    before: object
    after: object


def plain(settings: msgspec.Struct) -> dict[str, object]:
    """All keys, defaults filled in, as JSON values; what is secret in an address is stars.

    The addresses of the heartbeat and of web hooks are never shown beyond the host: who knows them
    may use them. Of others those that look as if they held a token, but for the links that every
    page shows.
    """
    # Through JSON, so that it is what a revision gives back: lists where the settings have tuples.
    data: dict[str, object] = msgspec.json.decode(msgspec.json.encode(settings, enc_hook=str))
    data["store"] = without_password(str(data["store"]))
    shown: dict[str, object] = {key: _shielded(value, (key,)) for key, value in data.items()}
    return shown


def _shielded(value: object, way: tuple[str, ...]) -> object:
    """A part of a configuration with stars in its addresses."""
    if isinstance(value, dict):
        return {key: _shielded(each, (*way, key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_shielded(each, way) for each in value]
    if not isinstance(value, str) or way == ("store",) or way[:2] == ("paging", "links"):
        return value
    if not value.lower().startswith(("http://", "https://")):
        return value
    secret = way in (("watch", "heartbeat", "url"), ("paging", "receivers", "url"))
    return masked(value) if secret or holds_token(value) else value


def body(data: Mapping[str, object]) -> str:
    """The one text of `data`: two configurations are the same if their texts are."""
    return msgspec.json.encode(data, order="sorted").decode()


def shared(data: Mapping[str, object]) -> dict[str, object]:
    """`data` without what only says which part of the daemon one machine does."""
    processes = data.get("processes")
    if not isinstance(processes, dict):
        return dict(data)
    rest = {key: value for key, value in processes.items() if key not in _OF_ONE_MACHINE}
    return {**data, "processes": rest}


def digest(data: Mapping[str, object]) -> str:
    """SHA-256 of what is shared of `data`, in hexadecimal: the same on machines of one file."""
    return hashlib.sha256(body(shared(data)).encode()).hexdigest()


def differences(before: object, after: object) -> list[Difference]:
    """Every key that differs, by name."""
    return sorted(_differences(before, after, ""), key=lambda found: found.key)


def _differences(before: object, after: object, key: str) -> Iterator[Difference]:
    if before == after:
        return
    left, right = _named(before), _named(after)
    if left is None or right is None or (key and not left and not right):
        yield Difference(key, _shown(before), _shown(after))
        return
    for name in {**left, **right}:
        below = f"{key}.{name}" if key else name
        yield from _differences(left.get(name, _ABSENT), right.get(name, _ABSENT), below)
    if list(left) != list(right) and set(left) == set(right) and isinstance(before, list):
        yield Difference(key, list(left), list(right))


def _named(value: object) -> dict[str, object] | None:
    """A mapping, or a list whose entries all have a name of their own; None for anything else."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return None
    names = [each.get("name") if isinstance(each, dict) else None for each in value]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return None
    return {str(name): each for name, each in zip(names, value, strict=True)}


def _shown(value: object) -> object:
    return None if value is _ABSENT else value
