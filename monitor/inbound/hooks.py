"""Inbound web hooks: `POST /hooks/<name>` on the TCP address, for services that call us.

A hook is a plain function from the raw body, the headers and the time to an answer; it checks who
calls, writes its facts in one transaction, and only then says 200. What the services on the other
side have in common shapes the rest: they repeat what was answered with 5xx and drop what was
answered with 4xx, so a store that does not answer and a daemon that is too busy are 503, never 429.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config.secret import Secret
from monitor.metrics import Metrics
from monitor.store.store import StoreUnavailable
from monitor.text import vis

logger = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
MAX_SKIPPED = 16 * MAX_BODY
"""A body up to this is read, though not kept, so that its sender hears why."""
LARGE_AT_ONCE = 4
"""Larger bodies that are in memory at the same time, where a hook takes them."""
FAILURES = ("400", "401", "413", "503")
"""Counted from nought on, so that an alert on their increase sees the first one."""
READ_S = 10.0
"""A body that is not here by then is not waited for."""
AT_ONCE = 16
"""Calls that are worked on at the same time; the next is told to come again."""
READ_AT_ONCE = 64
"""Bodies that are read at the same time, before it is known who sends them."""
READ_EACH = 16
"""Of these from one address: who sends a byte at a time holds up himself, not the others."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets; a reason is plain text and holds no secret."""

    status: int
    body: bytes = b""
    media_type: str = "text/plain; charset=utf-8"

    @classmethod
    def of(cls, status: int, text: str = "") -> Answer:
        """An answer in words."""
        return cls(status, f"{text}\n".encode() if text else b"")


_BUSY = Answer.of(503, "busy: send it again")

Hook = Callable[[bytes, Mapping[str, str], datetime], Answer]
"""From the raw body, the headers (names in lower case) and the time to an answer.

Runs in a thread; may raise `StoreUnavailable`, which the caller sees as 503.
"""


@dataclass(frozen=True, slots=True)
class LargeHook:
    """A hook that takes bodies of up to `MAX_SKIPPED`, whose length is said, of known callers."""

    hook: Hook
    door: Callable[[Mapping[str, str]], Answer | None]
    """From the headers to what a caller hears who is not let in; None for one who is."""

    def __call__(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Answer:
        """As the hook itself."""
        return self.hook(body, headers, now)


def hooks_app(
    hooks: Mapping[str, Hook], clock: Callable[[], datetime], metrics: Metrics
) -> Starlette:
    """The hooks by name, to be mounted at `/hooks`.

    Args:
        hooks: by the last part of their path.
        clock: the real time.
        metrics: calls are counted by hook and status.
    """
    served = _Served(hooks, clock)
    for name in hooks:
        for status in FAILURES:
            metrics.hook_calls.labels(name, status)

    async def call(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in hooks:
            return _response(Answer.of(404, "no such hook"))
        answer = await served.answer(name, request)
        metrics.hook_calls.labels(name, str(answer.status)).inc()
        if answer.status >= 400:
            said = vis(answer.body.decode(errors="replace").strip(), limit=200)
            logger.warning("hook %s answers %d: %s", name, answer.status, said)
        return _response(answer)

    return Starlette(routes=[Route("/{name}", call, methods=["POST"])])


class _Served:
    """How much is done at the same time."""

    def __init__(self, hooks: Mapping[str, Hook], clock: Callable[[], datetime]) -> None:
        self._hooks = hooks
        self._clock = clock
        self._busy = asyncio.Semaphore(AT_ONCE)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._reading: Counter[str] = Counter()

    async def answer(self, name: str, request: Request) -> Answer:
        """Of the hook, or why it was not asked."""
        hook = self._hooks[name]
        if not isinstance(hook, LargeHook) or not MAX_BODY < _length(request) <= MAX_SKIPPED:
            return await self._asked(name, request, MAX_BODY)
        refused = await run_in_threadpool(hook.door, _headers(request.headers))
        if refused is not None:
            read = await _read(request, self._reading, 0)  # to its end, see `_body`
            return read if isinstance(read, Answer) and read.status != 413 else refused
        if self._large.locked():
            return _BUSY
        async with self._large:
            return await self._asked(name, request, MAX_SKIPPED)

    async def _asked(self, name: str, request: Request, most: int) -> Answer:
        read = await _read(request, self._reading, most)
        if isinstance(read, Answer):
            return read
        if self._busy.locked():
            return _BUSY
        async with self._busy:
            hook = self._hooks[name]
            return await _called(name, hook, read, request.headers, self._clock())


async def _read(request: Request, reading: Counter[str], most: int) -> bytes | Answer:
    """The body, or what its sender hears instead.

    Args:
        request: of which.
        reading: bodies that are being read, by address.
        most: bytes that are kept.
    """
    address = "" if request.client is None else request.client.host
    if reading[address] >= READ_EACH or reading.total() >= READ_AT_ONCE:
        return _BUSY
    reading[address] += 1
    try:
        async with asyncio.timeout(READ_S):
            body = await _body(request, most)
    except TimeoutError:
        return Answer.of(503, f"the body was not here within {READ_S:.0f} s")
    except ClientDisconnect:
        return Answer.of(400, "the body broke off")
    finally:
        reading[address] -= 1
        if not reading[address]:
            del reading[address]
    return Answer.of(413, f"a body is at most {most} bytes") if body is None else body


async def _called(
    name: str, hook: Hook, body: bytes, given: Mapping[str, str], now: datetime
) -> Answer:
    try:
        return await run_in_threadpool(hook, body, _headers(given), now)
    except StoreUnavailable as problem:
        logger.warning("hook %s waits for the store: %s", name, problem)
        return Answer.of(503, "the store does not answer: send it again")


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in given.items()}


def _length(request: Request) -> int:
    """What the caller says of the length of the body; 0 where nothing is said."""
    said = request.headers.get("content-length", "")
    return int(said) if said.isdecimal() and len(said) <= 18 else 0


async def _body(request: Request, most: int) -> bytes | None:
    """The body; None for one that is longer than `most`.

    Such a one is read to its end all the same, within reason: a connection that is closed on
    somebody who still writes looks broken to him, and he would come again.
    """
    if _length(request) > MAX_SKIPPED:
        return None
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= most:
            body += part
        elif size > MAX_SKIPPED:
            break
    return bytes(body) if size <= most else None


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type=answer.media_type)


def bearer(headers: Mapping[str, str], token: Secret) -> bool:
    """Whether the caller shows this bearer token; compared in constant time.

    Raises:
        SecretUnavailableError: ours cannot be read.
    """
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    wanted = token.reveal().encode()
    same = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), wanted)
    return scheme.lower() == "bearer" and same


def basic(headers: Mapping[str, str], user: str, password: Secret) -> bool:
    """Whether the caller shows this name and password; compared in constant time.

    Raises:
        SecretUnavailableError: ours cannot be read.
    """
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    wanted = f"{user}:{password.reveal()}".encode()
    try:
        given = base64.b64decode(shown.strip(), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    return hmac.compare_digest(given, wanted) and scheme.lower() == "basic"


def local(headers: Mapping[str, str]) -> bool:
    """Whether this cannot be a web page in a browser of this machine that calls behind its back.

    JSON is what a page may not send elsewhere unasked, and a name that was bent to this machine is
    neither `localhost` nor an address.
    """
    host = headers.get("host", "").rpartition("@")[2]
    name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" and (name == "localhost" or _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
