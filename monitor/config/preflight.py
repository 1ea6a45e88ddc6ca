"""`tocsin run --check`: all that a start needs is looked at; nothing is started, made or sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from monitor.clock import WallClock
from monitor.config.options import RunOptions, store_file
from monitor.config.secret import Secret, SecretUnavailableError
from monitor.config.settings import Configured, FileSource, KafkaSource, Settings, resolve
from monitor.desk import certificate
from monitor.desk.settings import Tls
from monitor.desk.tls import CertificateUnusable, make_context
from monitor.inbound.trial import try_pagerduty, try_slack
from monitor.notify.alertmanager_settings import AlertmanagerSettings
from monitor.notify.build import build_peers
from monitor.notify.settings import ChannelSettings
from monitor.processes.launch import (
    Unreachable,
    UsageError,
    config_file,
    open_channels,
    open_source,
    refusals,
    settings_for,
)
from monitor.spending import ledgers, tiers_of
from monitor.store.engine import parse
from monitor.store.errors import StoreUnknown
from monitor.store.outlook import outlook
from monitor.store.store import StoreError, Tx
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
    """Read the configuration, resolve its secrets, reach the source and look at the store.

    Nothing is made, changed or sent. Slack is asked for a connection, which is not used.

    Raises:
        Problems: the configuration has mistakes.
        DeskError: `invalid` for a wrong flag.
    """
    with refusals():
        configured = resolve(settings_for(options, env))
    tried = list(_parts(configured, config_file(options, env)))
    statuses = [status for _, status in tried]
    status = next((each for each in (CONFIGURATION, SILENT) if each in statuses), 0)
    return Preflight(tuple(part for part, _ in tried), status)


def _parts(configured: Configured, file: Path | None) -> Iterator[tuple[Health, int]]:
    settings = configured.settings
    yield _try("config", lambda: _summary(configured, file))
    for receiver in configured.receivers:
        yield _try("receiver", partial(_receiver, receiver), of=receiver.name)
    if settings.alertmanager is not None:
        yield _try("alertmanager", partial(_alertmanager, settings.alertmanager))
    inbound = settings.inbound
    if inbound.slack is not None:
        yield _try("answers", partial(try_slack, inbound.slack), of="slack")
    if inbound.pagerduty is not None:
        yield _try("answers", partial(try_pagerduty, inbound.pagerduty), of="pagerduty")
    if _known(settings.store):
        yield _try("key", lambda: _key(settings))
    if settings.desk.tls is not None:
        yield _try("desk.tls", partial(_tls, settings.desk.tls))
    yield try_source(settings)
    warnings: list[Health] = []
    yield _try("store", lambda: _store(configured, warnings))
    yield from ((one, 0) for one in warnings)


def try_source(settings: Settings) -> tuple[Health, int]:
    """Whether the source is there, and what of it; reads nothing."""
    part, status = _try("source", lambda: _source(settings))
    if status == 0 and isinstance(settings.source, KafkaSource):
        return _advised(part, settings.source), status
    return part, status


def _advised(part: Health, source: KafkaSource) -> Health:
    """With what to change about who writes the times of records."""
    from monitor.stream.sources.kafka_client import TopicLookup  # a file needs no Kafka client

    with closing(TopicLookup(source.kafka(""))) as lookup:
        times = lookup.timestamp_type()
    if times != "CreateTime":
        return part
    text = (
        f"{part.text}; its producers write the times of its records (CreateTime), and where one "
        "source is alone on a partition nothing tells that its clock is wrong: make "
        "message.timestamp.type of the topic LogAppendTime"
    )
    return Health(name=part.name, state="warn", text=text)


def _try(name: str, look: Callable[[], str], of: str = "") -> tuple[Health, int]:
    head = f"{of}: " if of else ""
    try:
        text = look()
    except (UsageError, SecretUnavailableError, StoreUnknown) as problem:
        return Health(name=name, state="bad", text=f"{head}{problem}"), CONFIGURATION
    except (StoreError, SourceUnavailable, Unreachable) as problem:
        return Health(name=name, state="bad", text=f"{head}{problem}"), SILENT
    return Health(name=name, state="ok", text=head + text), 0


def _summary(configured: Configured, file: Path | None) -> str:
    count = len(configured.plan.signals)
    return f"{file or 'no file'}, profile {configured.profile.name}, {count} signals"


def _receiver(receiver: ChannelSettings) -> str:
    """A channel is made, which reads its `ca_file`, and closed; no call is made."""
    secrets = [s for s in msgspec.structs.astuple(receiver) if isinstance(s, Secret)]
    for secret in secrets:
        secret.reveal()
    for channel in open_channels([receiver], page=True).values():
        channel.close()
    return f"secret in {secrets[0].where}" if secrets else "needs no secret"


def _alertmanager(settings: AlertmanagerSettings) -> str:
    """Every peer is asked whether it is ready; one that answers is enough."""
    for secret in settings.secrets():
        secret.reveal()
    try:
        peers = build_peers(settings)
    except OSError as problem:
        said = problem.strerror or problem
        raise UsageError(f"the ca_file of alertmanager cannot be used: {said}") from None
    silent = {}
    for peer in peers:
        with closing(peer):
            if said := peer.ready():
                silent[peer.name] = said
    told = "; ".join(f"{name}: {said}" for name, said in silent.items())
    if peers and len(silent) == len(peers):
        raise Unreachable(f"no Alertmanager answers: {told}")
    taken = " and takes alerts in" if settings.receive is not None else ""
    return f"{len(peers) - len(silent)} of {len(peers)} peers ready{taken}{told and '; ' + told}"


def _known(store: str) -> bool:
    """Whether a URL names a store; of one that does not nobody can say where its key belongs."""
    try:
        parse(store)
    except StoreUnknown:
        return False
    return True


def _key(settings: Settings) -> str:
    """As `monitor.processes.launch.digest_key`, without making one."""
    if settings.digest_key is not None:
        settings.digest_key.reveal()
        return f"secret in {settings.digest_key.where}"
    if store_file(settings.store) is None:
        raise UsageError("a server store needs `digest_key: {file: ...}` in the configuration")
    return "beside the store"


def _tls(tls: Tls) -> str:
    """Certificate, key and authorities are read and belong together, and the end is ahead."""
    try:
        make_context(tls)
    except CertificateUnusable as problem:
        raise UsageError(str(problem)) from None
    found = certificate.health(tls, WallClock().now())
    if found.state == "bad":
        raise UsageError(found.text)
    return f"{tls.listen}, certificate {found.text}"


def _source(settings: Settings) -> str:
    with closing(open_source(settings)) as source:
        if settings.source == FileSource(path="-"):
            return "standard input, which is not read"
        topology = source.topology()
    count = len(topology.partitions)
    return f"{topology.topic}, {count} partition{'' if count == 1 else 's'}"


def _store(configured: Configured, warnings: list[Health]) -> str:
    """What a start would make of it; what is to be warned of goes to `warnings`."""
    secret = configured.settings.store_password
    password = None if secret is None else secret.reveal
    with outlook(configured.settings.store, password) as found:
        if found.warning:
            warnings.append(Health(name="store", state="warn", text=found.warning))
        if found.tx is None:
            return found.text
        warnings += _crowds(configured, found.tx)
        count = len(found.tx.incidents.search(limit=100_000))
    return f"{found.text}, {count} incident{'' if count == 1 else 's'}"


def _crowds(configured: Configured, tx: Tx) -> Iterator[Health]:
    """Teams with more paging series than a budget is meant for, as the store knows them."""
    tiers = tiers_of(tx, configured.plan, configured.profile, configured.settings.rules)
    budgets, capped = configured.policy.budgets, configured.policy.capped
    for one in ledgers(tx, budgets, tiers, WallClock().now(), capped=capped):
        if one.crowded:
            yield Health(name="budget", state="warn", text=one.crowded)
