"""`tocsin run`: a recording in one process, or a supervisor with the processes of a daemon."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from monitor.clock import WallClock
from monitor.config.options import RunOptions, socket_path, state_dir, store_file
from monitor.config.revisions import keep_owners
from monitor.config.settings import Configured, KafkaSource, Settings, resolve
from monitor.held import ORPHANS_S
from monitor.logs import configure_logs, flush_logs, log_uncaught
from monitor.processes.arrival import first_look
from monitor.processes.cores import cores
from monitor.processes.errand import Errand
from monitor.processes.launch import (
    Unreachable,
    UsageError,
    desk_held,
    digest_key,
    listen,
    listen_desk,
    open_source,
    open_store,
    refusals,
    settings_for,
)
from monitor.processes.place import place_of
from monitor.processes.roster import private_folder
from monitor.processes.settings import ROLES
from monitor.processes.spare import Spare
from monitor.processes.supervisor import Staff, Supervisor
from monitor.store.store import owner_lock
from monitor.stream.sources.simulate import SimulatedSource as SimulatedLog
from monitor.stream.sources.source import Source
from monitor.stream.sources.until_end import UntilEnd

logger = logging.getLogger(__name__)

MOST_WORKERS = 8
"""Ingest processes where nobody says how many."""


def main(options: RunOptions, spare: Spare | None = None) -> int:
    """`tocsin run`: the exit status.

    Args:
        options: the flags.
        spare: a process that may become the control process of a daemon.

    Raises:
        Problems: the configuration has mistakes, or names a secret that cannot be read.
        DeskError: `invalid` for a wrong flag, `unavailable` for what does not answer.
    """
    configure_logs()
    try:
        with refusals():
            return _run(options, spare)
    finally:
        # What a command then says comes after it.
        flush_logs()


def _run(options: RunOptions, spare: Spare | None) -> int:
    with ExitStack() as stack:
        if spare is not None:
            stack.callback(spare.dismiss)
        configured = resolve(settings_for(options, os.environ))
        if isinstance(configured.settings.source, KafkaSource) and not options.until_end:
            stack.pop_all()
            return _supervise(configured, options, spare)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # Nothing to reload: it ends with its terminal, unless `nohup` says otherwise.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        if options.roles is not None or options.workers is not None:
            raise UsageError("a recording has one process: --roles and --workers are for Kafka")
        source = open_source(configured.settings)
        if options.until_end and not source.finite:
            source = UntilEnd(source)
        return _replay(configured, source, options)


# -- a recording --------------------------------------------------------------------------------


def _replay(configured: Configured, source: Source, options: RunOptions) -> int:
    # Here and not above: a supervisor starts quicker without them.
    from monitor.daemon import build
    from monitor.processes.control import serve
    from monitor.processes.recording import replayed

    settings = configured.settings
    with owner_lock(settings.store), ExitStack() as stack:
        store = open_store(settings)
        live = isinstance(settings.source, KafkaSource)
        daemon = build(configured, source=source, store=store, page=options.page or live)
        stack.callback(daemon.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stopping.set())
        # Its incidents are of another time: what changed today is not told to them.
        keep_owners(store, settings, WallClock().now(), tell=False)
        if isinstance(source, SimulatedLog):
            daemon.announce(source.simulation.announcements())
        listeners = {"http": listen(settings.http)} if settings.http else {}
        serve(daemon, listeners, desk_path(settings, options), stack)
        return replayed(daemon)


def desk_path(settings: Settings, options: RunOptions) -> Path:
    """Where the desk's socket is."""
    return options.socket or settings.desk.socket or socket_path(settings.store, None, os.environ)


# -- a daemon -----------------------------------------------------------------------------------


def _supervise(configured: Configured, options: RunOptions, spare: Spare | None) -> int:
    settings = configured.settings
    roles = settings.processes.roles
    with ExitStack() as stack:
        if spare is not None:
            stack.callback(spare.dismiss)
        _fitting(settings)
        lock = stack.enter_context(owner_lock(settings.store, ORPHANS_S))
        desk = desk_path(settings, options)
        stack.enter_context(desk_held(desk, ORPHANS_S))
        silent_s = _silent(settings)
        with closing(open_source(settings)):
            silent_s = _keyless(settings, silent_s)
        place = stack.enter_context(place_of(settings.store, lock, os.environ))
        folder = stack.enter_context(private_folder())
        sockets = _sockets(settings, desk, stack)
        errand = Errand(
            role="control",
            settings=settings,
            place=place,
            stacks=_stacks(settings.store),
            roster=folder.roster,
            metrics=folder.metrics,
            plights=folder.plights,
            adopted=folder.path / "settings",
            desk=desk,
            options=options,
            silent_s=silent_s,
        )
        supervisor = Supervisor(
            staff=_staff(settings, errand),
            hold=tuple(one for one in (folder.descriptor, place.descriptor) if one is not None),
            listeners={name: each.fileno() for name, each in sockets.items()},
            stall_s=settings.processes.stall.total_seconds(),
            patient=silent_s is not None or store_file(settings.store) is None,
            storeless=silent_s is not None,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        signal.signal(signal.SIGHUP, lambda *_: supervisor.reload())
        logger.info(
            "supervisor %d: %s on %s, place %s, desk at %s, health at %s",
            os.getpid(),
            ", ".join(roles),
            settings.store.partition("://")[0],
            place.name,
            desk,
            _address(sockets.get("http")),
        )
        supervisor.spare = spare
        log_uncaught()
        return supervisor.run()


def _silent(settings: Settings) -> float | None:
    """Since when the store does not answer, on the monotonic clock; None when it was opened.

    Raises:
        StoreError: it cannot be used as it is configured.
        Unreachable: its folder cannot be made.
    """
    began = time.monotonic()
    absent = first_look(settings)
    if not absent:
        return None
    logger.error("the store is waited for, and people are told: %s", absent)
    return began


def _keyless(settings: Settings, silent_s: float | None) -> float | None:
    """As `silent_s`; where the key cannot be made for now, the store is of no use either.

    Raises:
        UsageError: a server store, and the configuration names no key.
        SecretUnavailableError: the key cannot be read.
    """
    try:
        digest_key(settings)
    except Unreachable as problem:
        logger.error("%s; people are told", problem)  # noqa: TRY400 - the words say it
        return time.monotonic() if silent_s is None else silent_s
    return silent_s


def _fitting(settings: Settings) -> None:
    """Look whether the roles fit the store.

    Raises:
        UsageError: they do not.
    """
    if store_file(settings.store) is not None and set(settings.processes.roles) != set(ROLES):
        raise UsageError(
            "a SQLite store has one daemon, which does everything: leave out `roles`, or use "
            "PostgreSQL"
        )


def _sockets(settings: Settings, desk: Path, stack: ExitStack) -> dict[str, socket.socket]:
    """What the control process serves on: they stay open while it is started again."""
    sockets = {"desk": stack.enter_context(listen_desk(desk))}
    if settings.http:
        sockets["http"] = stack.enter_context(listen(settings.http))
    if settings.desk.tls is not None:
        sockets["tls"] = stack.enter_context(listen(settings.desk.tls.listen))
    return sockets


def _address(listener: socket.socket | None) -> str:
    if listener is None:
        return "none"
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


def _staff(settings: Settings, errand: Errand) -> Staff:
    wanted = settings.processes.workers
    most = wanted or max(1, min(cores() - 1, MOST_WORKERS))
    reads = "ingest" in settings.processes.roles
    return Staff(errand, most if reads else 0, wanted or 1)


def _stacks(store: str) -> Path:
    """Where a stall is written down: beside the store, or in the folder for what is kept."""
    file = store_file(store)
    if file is not None:
        return file.with_name(file.name + ".stalls")
    folder = state_dir(os.environ)
    with suppress(OSError):  # who writes there says so
        folder.mkdir(parents=True, exist_ok=True)
    return folder / "stalls"
