"""What a start needs before anything runs: settings under flags, source, store, key and address."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from monitor.config.options import DEFAULT_STORE, RunOptions, find_config, host_port, store_file
from monitor.config.secret import SecretUnavailableError
from monitor.config.settings import FileSource, KafkaSource, Settings, SimulatedSource, begin, load
from monitor.http import app as http
from monitor.http import unix
from monitor.notify.build import build_channel
from monitor.notify.channel import Channel
from monitor.notify.settings import ChannelSettings, LogSettings
from monitor.notify.slack_buttons import Buttons
from monitor.processes.settings import ROLES, Processes
from monitor.profiles import PROFILES, ProfileName
from monitor.store.errors import StoreUnknown
from monitor.store.keyfile import key_beside
from monitor.store.store import Store, StoreError
from monitor.stream.sources.scenario import ScenarioError, load_scenario
from monitor.stream.sources.simulate import SimulatedSource as SimulatedLog
from monitor.stream.sources.simulate import Simulation
from monitor.stream.sources.source import Source, SourceUnavailable
from monitor.views import DeskError
from runbooks.document import Document, did_you_mean
from runbooks.problems import Problem, Problems

Opened = TypeVar("Opened")


class UsageError(Exception):
    """What was asked for cannot be done; the message says what to do."""


class Unreachable(Exception):
    """Something that a start needs does not answer, or is taken."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what stops a start into what a command ends with.

    Raises:
        Problems: the configuration has mistakes, or names a secret that cannot be read.
        DeskError: `invalid` for a wrong flag, `unavailable` for what does not answer.
    """
    try:
        yield
    except (UsageError, StoreUnknown) as problem:
        raise DeskError("invalid", str(problem)) from problem
    except SecretUnavailableError as problem:
        raise Problems([Problem("configuration", 0, 0, "secret", str(problem))]) from problem
    except (StoreError, SourceUnavailable, Unreachable) as problem:
        raise DeskError("unavailable", str(problem)) from problem


def parse_source(text: str, start: str | None) -> KafkaSource | FileSource | SimulatedSource:
    """A source from the command line.

    Raises:
        UsageError: it is none we know, or `start` is no beginning.
    """
    kind, _, rest = text.partition(":")
    if text == "-":
        return FileSource(path="-")
    if kind == "file" and rest:
        return FileSource(path=rest)
    if kind == "simulate" and rest:
        return SimulatedSource(scenario=rest)
    if kind == "kafka" and rest.startswith("//"):
        where, _, topic = rest.removeprefix("//").rpartition("/")
        if where and topic:
            return KafkaSource(
                bootstrap=tuple(where.split(",")), topic=topic, start=_begin(start or "latest")
            )
    raise UsageError(
        f"not a source: {text!r}; write file:EVENTS.ndjson.gz, -, simulate:demo "
        "or kafka://HOST:PORT/TOPIC"
    )


def settings_for(options: RunOptions, env: Mapping[str, str]) -> Settings:
    """The configuration with the command line over it; see `read_settings`."""
    return read_settings(options, env)[0]


def config_file(options: RunOptions, env: Mapping[str, str]) -> Path | None:
    """The configuration that a call reads; None for none."""
    return find_config(options.config, env, typed=options.store is not None)


def read_settings(options: RunOptions, env: Mapping[str, str]) -> tuple[Settings, Document]:
    """The configuration with the command line over it, and where each part of it stands.

    Raises:
        Problems: the configuration has mistakes.
        UsageError: a flag has, or the configuration cannot be read.
    """
    path = config_file(options, env)
    settings, document = Settings(store=DEFAULT_STORE), Document("configuration", {})
    try:
        if path is not None:
            settings, document = load(path)
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror or problem}") from problem
    changes: dict[str, object] = {}
    if options.store is not None:
        changes["store"] = options.store
        if options.store != settings.store:
            # The password belongs to the store of the configuration, not to any that is named.
            changes["store_password"] = None
    if options.profile is not None:
        changes["profile"] = _profile(options.profile)
    if options.http is not None:
        changes["http"] = _address(options.http)
    if options.source is not None:
        changes["source"] = parse_source(options.source, options.start)
    elif options.start is not None and isinstance(settings.source, KafkaSource):
        changes["source"] = msgspec.structs.replace(settings.source, start=_begin(options.start))
    if options.roles is not None or options.workers is not None:
        changes["processes"] = _processes(settings.processes, options)
    return msgspec.structs.replace(settings, **changes), document


def _processes(known: Processes, options: RunOptions) -> Processes:
    roles, workers = known.roles, known.workers
    if options.roles is not None:
        names = [name.strip() for name in options.roles.split(",")]
        for name in names:
            if name not in ROLES:
                raise UsageError(f"--roles: no role {name!r}; {did_you_mean(name, ROLES)}")
        roles = tuple(role for role in ROLES if role in names)
    if options.workers is not None:
        workers = options.workers
    return msgspec.structs.replace(known, roles=roles, workers=workers)


def _profile(name: str) -> ProfileName:
    if name not in PROFILES:
        raise UsageError(f"no profile {name!r}; {did_you_mean(name, PROFILES)}")
    return cast("ProfileName", name)


def _address(text: str) -> str:
    try:
        host_port(text)
    except ValueError as problem:
        raise UsageError(f"--http: {problem}") from None
    return text


def _begin(text: str) -> str:
    try:
        begin(text)
    except ValueError as problem:
        raise UsageError(f"--from: {problem}") from None
    return text


def member_of(store: str) -> str:
    """The same for every start of a daemon on this machine and store."""
    where = hashlib.sha256(store.encode()).hexdigest()[:12]
    return f"tocsin-{socket.gethostname()}-{where}"


def open_source(settings: Settings, leaving: threading.Event | None = None) -> Source:
    """The source that the settings name; Kafka is connected to with the first question.

    Args:
        settings: name it.
        leaving: once it is set, reading waits for nothing any more.

    Raises:
        UsageError: none is named, or it cannot be opened.
        SecretUnavailableError: the password for it cannot be read.
    """
    # Each engine is imported where it is chosen: a file needs no Kafka client.
    match settings.source:
        case KafkaSource() as chosen:
            from monitor.stream.sources.kafka import KafkaSource as Kafka

            try:
                return Kafka(chosen.kafka(member_of(settings.store)), leaving)
            except ValueError as problem:
                raise UsageError(f"source: {problem}") from None
        case FileSource(path=path):
            from monitor.stream.sources.files import FileSource as Files

            try:
                return Files([path])
            except OSError as problem:
                raise UsageError(f"cannot open {path}: {problem.strerror or problem}") from None
        case SimulatedSource(scenario=scenario, seed=seed):
            try:
                return SimulatedLog(Simulation(load_scenario(scenario), seed=seed))
            except ScenarioError as problem:
                raise UsageError(str(problem)) from None
        case None:
            raise UsageError(
                "no source: give --source file:EVENTS.ndjson.gz, or `source:` in the configuration"
            )


def open_store(settings: Settings) -> Store:
    """The store that the settings name; its folder is made.

    Raises:
        StoreError: it cannot be opened.
        Unreachable: its folder cannot be made.
    """
    file = store_file(settings.store)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Unreachable(f"cannot make {file.parent}: {problem.strerror}") from problem
    secret = settings.store_password
    return Store(settings.store, password=None if secret is None else secret.reveal)


def open_channels(
    receivers: Sequence[ChannelSettings], *, page: bool, buttons: Buttons | None = None
) -> dict[str, Channel]:
    """A channel for each receiver, by name; without `page` all of them only log.

    Args:
        receivers: settings of each.
        page: whether they may speak to anybody.
        buttons: makes the buttons of Slack messages; None where nobody listens for clicks.

    Raises:
        UsageError: a file that one of them names cannot be read.
    """
    channels = {}
    for receiver in receivers:
        speaks = page or isinstance(receiver, LogSettings)
        try:
            channels[receiver.name] = build_channel(
                receiver if speaks else LogSettings(name=receiver.name), buttons=buttons
            )
        except OSError as problem:
            said = f"the ca_file of {receiver.name} cannot be used: {problem.strerror or problem}"
            raise UsageError(said) from None
    return channels


def desk_held(path: Path, patience_s: float = 0.0) -> AbstractContextManager[None]:
    """Hold the right to serve a desk at `path`.

    Args:
        path: of the socket.
        patience_s: what is left of a daemon that was killed has so long to leave.

    Raises:
        Unreachable: when entered: another daemon does, or it cannot be made there.
    """
    return _at(path, unix.desk_held(path, patience_s))


def listen_desk(path: Path) -> AbstractContextManager[socket.socket]:
    """A listening Unix socket for the desk, which is taken away at the end.

    Raises:
        Unreachable: when entered: another daemon serves its desk there, or it cannot be made.
    """
    return _at(path, unix.listening(path))


@contextmanager
def _at(path: Path, opening: AbstractContextManager[Opened]) -> Iterator[Opened]:
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(opening)
        except unix.DeskTaken as other:
            raise Unreachable(
                f"another daemon (pid {other.pid}) serves its desk at {path}: stop it first, or "
                "give this one a desk of its own: --socket PATH, or `desk.socket` in the "
                "configuration"
            ) from None
        except OSError as problem:
            said = problem.strerror or problem
            raise Unreachable(f"cannot listen on {path}: {said}") from problem
        yield opened


def listen(address: str) -> socket.socket:
    """A listening socket for health and metrics.

    Raises:
        Unreachable: the address is taken, or not ours.
    """
    try:
        return http.listen_tcp(address)
    except OSError as problem:
        raise Unreachable(f"cannot listen on {address}: {problem.strerror or problem}") from problem


def digest_key(settings: Settings) -> bytes:
    """The key of the quarantine's digests; made once beside a SQLite store.

    Raises:
        UsageError: a server store, and the configuration names no key.
        SecretUnavailableError: the key cannot be read.
        Unreachable: it cannot be made or read.
    """
    if settings.digest_key is not None:
        return settings.digest_key.reveal().encode()[:64]
    file = store_file(settings.store)
    if file is None:
        raise UsageError("a server store needs `digest_key: {file: ...}` in the configuration")
    path = key_beside(file)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_key(path)
        key = path.read_bytes()[:64]
    except OSError as problem:
        raise Unreachable(f"cannot make or read the key {path}: {problem.strerror}") from problem
    if not key:
        raise Unreachable(f"the key {path} is empty: remove it, and another one is made")
    return key


def _make_key(path: Path) -> None:
    """Whole or not at all: a disk may be full, and an empty key keeps no secret."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(32))
            stream.flush()
            os.fsync(descriptor)
        # Unlike a renaming it leaves a key that another process has made meanwhile.
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
