"""`tocsin run --check`: all that a start needs is tried; nothing is started, and nothing sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import msgspec

from monitor.launch import (
    Unreachable,
    UsageError,
    open_channels,
    open_source,
    open_store,
    refusals,
    settings_for,
)
from monitor.notify.settings import ChannelSettings
from monitor.options import RunOptions, store_file
from monitor.secret import Secret, SecretUnavailableError
from monitor.settings import Configured, FileSource, Settings, resolve
from monitor.store.store import StoreError
from monitor.stream.sources.source import SourceUnavailable
from monitor.views import Health

CONFIGURATION, SILENT = 3, 6
"""Exit statuses: a problem of the configuration, and something that does not answer."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found, and the exit status: 0, else the first of 3 and 6 that a part has."""

    parts: tuple[Health, ...]
    status: int


def preflight(options: RunOptions, env: Mapping[str, str]) -> Preflight:
    """Read the configuration, resolve its secrets, reach the source and open the store.

    Raises:
        Problems: the configuration has mistakes.
        DeskError: `invalid` for a wrong flag.
    """
    with refusals():
        configured = resolve(settings_for(options, env))
    tried = list(_parts(configured))
    statuses = [status for _, status in tried]
    status = next((each for each in (CONFIGURATION, SILENT) if each in statuses), 0)
    return Preflight(tuple(part for part, _ in tried), status)


def _parts(configured: Configured) -> Iterator[tuple[Health, int]]:
    settings = configured.settings
    yield _try("config", lambda: _summary(configured))
    for receiver in configured.receivers:
        yield _try("receiver", partial(_receiver, receiver), of=receiver.name)
    yield _try("key", lambda: _key(settings))
    yield _try("source", lambda: _source(settings))
    yield _try("store", lambda: _store(settings))


def _try(name: str, look: Callable[[], str], of: str = "") -> tuple[Health, int]:
    head = f"{of}: " if of else ""
    try:
        text = look()
    except (UsageError, SecretUnavailableError) as problem:
        return Health(name=name, state="bad", text=f"{head}{problem}"), CONFIGURATION
    except (StoreError, SourceUnavailable, Unreachable) as problem:
        return Health(name=name, state="bad", text=f"{head}{problem}"), SILENT
    return Health(name=name, state="ok", text=head + text), 0


def _summary(configured: Configured) -> str:
    return f"profile {configured.profile.name}, {len(configured.plan.signals)} signals"


def _receiver(receiver: ChannelSettings) -> str:
    """A channel is made, which reads its `ca_file`, and closed; no call is made."""
    secrets = [s for s in msgspec.structs.astuple(receiver) if isinstance(s, Secret)]
    for secret in secrets:
        secret.reveal()
    for channel in open_channels([receiver], page=True).values():
        channel.close()
    return f"secret in {secrets[0].where}" if secrets else "needs no secret"


def _key(settings: Settings) -> str:
    """As `monitor.launch.digest_key`, without making one."""
    if settings.digest_key is not None:
        settings.digest_key.reveal()
        return f"secret in {settings.digest_key.where}"
    if store_file(settings.store) is None:
        raise UsageError("a server store needs `digest_key: {file: ...}` in the configuration")
    return "beside the store"


def _source(settings: Settings) -> str:
    with closing(open_source(settings)) as source:
        if settings.source == FileSource(path="-"):
            return "standard input, which is not read"
        topology = source.topology()
    count = len(topology.partitions)
    return f"{topology.topic}, {count} partition{'' if count == 1 else 's'}"


def _store(settings: Settings) -> str:
    with closing(open_store(settings)) as store, store.read() as tx:
        incidents = len(tx.incidents.search(limit=100_000))
    return f"opened, {incidents} incident{'' if incidents == 1 else 's'}"
