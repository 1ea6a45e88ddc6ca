"""A real Alertmanager under random kills, with a client that re-sends and without.

It is the random part of `tests.fault.kills`: as many alerts a life as never-events there, and after
as long SIGKILL. Alertmanager has no named points to die at, which are the worst moments: its
figures are of milder kills than ours. Alerts go in, one a group, to a receiver that takes
everything; the server is killed and started again on its own data. A client in Prometheus' manner
sends every alert that still fires again at an interval; the other sends each once and believes its
200.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError

from monitor.notify.loopback.server import Answer, Request
from tests.fault.ground import Stuck, wait_until
from tests.fault.kills import moment
from tests.servers.alertmanager_server import AlertmanagerServer, to_hook
from tests.servers.faults import FaultyServer

RESEND_S = 2.0
"""Prometheus' own is a minute; shorter is kinder to the server and does not change what is lost."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What Alertmanager came to."""

    kills: int
    alerts: int
    """That it took with a 200."""
    lost: int
    """Of these, never notified."""
    duplicates: int
    """Notifications of one alert beyond the first."""

    @property
    def duplicates_per_kill(self) -> float:
        """Rounded to hundredths."""
        return round(self.duplicates / max(self.kills, 1), 2)


class HookReceiver:
    """Takes Alertmanager's web hooks and counts firing notifications by alert."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: Counter[str] = Counter()

    @property
    def told(self) -> Counter[str]:
        """Notifications by alert name."""
        with self._lock:
            return Counter(self._told)

    def answer(self, request: Request) -> Answer:
        """Take one group."""
        try:
            body = json.loads(request.body)
            names = [a["labels"]["alertname"] for a in body["alerts"] if a["status"] == "firing"]
        except (ValueError, KeyError, TypeError):
            return Answer(400, outcome="refused: no web hook of Alertmanager's")
        with self._lock:
            self._told.update(names)
        return Answer(200, key=",".join(names), outcome=f"accepted: {body['status']}")


class Client:
    """Sends alerts; what was answered with 200 is accepted."""

    def __init__(self, server: AlertmanagerServer, *, resend: bool) -> None:
        self._server, self._resend = server, resend
        self.accepted: set[str] = set()
        self._firing: dict[str, dict[str, Any]] = {}
        self._sent_at = 0.0

    def fire(self, number: int) -> None:
        """One more alert fires."""
        name = f"Fault{number:05}"
        alert = {"labels": {"alertname": name}, "startsAt": datetime.now(UTC).isoformat()}
        self._firing[name] = alert
        if self._post([alert]):
            self.accepted.add(name)

    def again(self) -> None:
        """What Prometheus does at its interval."""
        if self._resend and time.monotonic() - self._sent_at >= RESEND_S:
            self._sent_at = time.monotonic()
            if self._post(list(self._firing.values())):
                self.accepted |= set(self._firing)

    def _post(self, alerts: list[dict[str, Any]]) -> bool:
        try:
            self._server.post(*alerts)
        except (URLError, OSError):
            return False
        return True


def kill_alertmanager(
    folder: Path, *, kills: int, share: int, resend: bool, group_wait: str = "0s", seed: int = 1
) -> Anchor:
    """Fire, kill at a random moment, start again; then let it rest and count.

    Args:
        folder: for the receiver's journal.
        kills: SIGKILLs.
        share: alerts fired in each life.
        resend: whether the client sends again what fires.
        group_wait: of the route.
        seed: of what is random.

    Raises:
        AlertmanagerUnavailable: it is not installed.
    """
    rng = random.Random(seed)
    hook = HookReceiver()
    with FaultyServer(hook, log=folder / f"alertmanager-{resend}-{group_wait}.jsonl") as receiver:
        configuration = json.loads(to_hook(f"{receiver.url}/hook"))
        configuration["route"]["group_wait"] = group_wait
        with AlertmanagerServer(json.dumps(configuration)) as server:
            client = Client(server, resend=resend)
            for life in range(kills):
                for number in range(share):
                    client.fire(life * share + number)
                    client.again()
                time.sleep(moment(rng))
                server.kill()
                server.start()
            _rest(client, hook)
        told = hook.told
    return Anchor(
        kills=kills,
        alerts=len(client.accepted),
        lost=len(client.accepted - set(told)),
        duplicates=sum(count - 1 for count in told.values()),
    )


def _rest(client: Client, hook: HookReceiver) -> None:
    """Until nothing more comes, ten seconds at most."""

    def quiet() -> bool:
        client.again()
        return client.accepted <= set(hook.told)

    try:
        wait_until(quiet, "all notifications", 10.0)
        time.sleep(2.0)
    except Stuck:
        return
