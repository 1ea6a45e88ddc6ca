"""The only door to HTTP servers: one request, one deadline, and a failure that says what is known.

Who sends a page must know after a failure whether the request can have reached the other side. So
each request opens its own connection (a reused one may be half closed, which makes every failure
ambiguous), and the phase it was in when it failed decides between two errors:

    HttpError
    ├── NotSentError     nothing was written to the server: repeating is safe
    └── NoAnswerError    it was written, in part or whole, and no status came back: outcome unknown

httpx limits single socket operations, not the whole exchange; a server that drips a byte a second,
or a name server that does not answer, would hold the sender for ever. So the exchange runs in a
thread of its own, and at the deadline the caller goes on: the connection is shut, and an exchange
that has not started to write never will.

Redirects are not followed, proxies come from the configuration and never from the environment, TLS
is always verified, and an answer is read up to a limit. No message names a path, query, header or
user info: they may hold secrets.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from monitor.faults import fault_point
from monitor.url import origin

DEFAULT_LIMIT = 64 * 1024
"""Bytes of an answer that are read unless the caller asks for more."""


class HttpError(Exception):
    """No status came back; the message holds no secret."""


class NotSentError(HttpError):
    """Nothing was written to the server; the request has had no effect."""


class NoAnswerError(HttpError):
    """The request was written, in part or whole; whether it had an effect is unknown."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: the status is certain, the body is what was read of it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; of repeated ones, joined by a comma."""
    body: bytes = b""
    complete: bool = True
    """False when the body was over the limit or broke off."""

    def retry_after(self, *, cap_s: float = 300.0) -> float | None:
        """Seconds the server asks to wait, between 0 and `cap_s`; None if it says nothing usable.

        A date is compared with the server's own `Date`, so that our clock does not matter.
        """
        value = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,18}(\.\d{1,9})?", value):
            return min(float(value), cap_s)
        try:
            wish = parsedate_to_datetime(value) - parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError, TypeError, OverflowError):
            return None
        return min(max(wish.total_seconds(), 0.0), cap_s)


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """What verifies the other side of a TLS connection.

    Args:
        ca_file: certificates to trust besides the public ones.

    Raises:
        OSError: `ca_file` cannot be read, or is no certificate.
    """
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


class HttpClient:
    """Sends single requests; safe to use from many threads.

    Args:
        ca_file: certificates to trust besides the public ones (a company's own authority).
        proxy: URL of an egress proxy, or nothing. Failures behind the proxy count as unknown.
        context: verifies the other side instead of the public authorities and `ca_file`.
        keep_s: keep a connection for so long; only for requests that may be repeated, since a
            kept one may be half closed.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        proxy: str = "",
        context: ssl.SSLContext | None = None,
        keep_s: float = 0.0,
    ) -> None:
        for name in ("httpx", "httpcore"):
            # they log whole URLs at INFO, and a webhook's URL may be its secret
            logging.getLogger(name).setLevel(logging.WARNING)
        self._lock = threading.Lock()
        self._under_way: set[_Exchange] = set()
        self._client = httpx.Client(
            verify=context or tls_context(ca_file),
            trust_env=False,
            proxy=proxy or None,
            follow_redirects=False,
            limits=httpx.Limits(
                max_keepalive_connections=4 if keep_s else 0, keepalive_expiry=keep_s
            ),
            headers={"user-agent": "tocsin", "accept-encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what the client holds."""
        self._client.close()

    def give_up(self, why: str) -> None:
        """Wait for no answer any more: requests under way end with the error that says so."""
        with self._lock:
            exchanges = list(self._under_way)
        for exchange in exchanges:
            exchange.give_up(why)
            exchange.done.set()

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
        limit: int = DEFAULT_LIMIT,
    ) -> Response:
        """Send once and read the answer; done, one way or the other, within `timeout_s`.

        Raises:
            NotSentError: no effect: URL, name, connection or certificate is bad, or time ran out.
            NoAnswerError: it may have had an effect.
        """
        where = origin(url)
        try:
            request = self._client.build_request(
                method, url, content=body, headers=dict(headers or {}), timeout=timeout_s
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise NotSentError(f"not a request for {where}: {type(error).__name__}") from None
        exchange = _Exchange(self._client, request, where=where, limit=limit)
        with self._lock:
            self._under_way.add(exchange)
        try:
            thread = threading.Thread(target=exchange.run, name="http", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise NotSentError(f"{where}: {error}, nothing was sent") from None
            if not exchange.done.wait(timeout_s):
                exchange.give_up(f"no answer within {timeout_s:g} s")
        finally:
            with self._lock:
                self._under_way.discard(exchange)
        return exchange.result()


class _AbandonedError(Exception):
    """Raised inside an exchange that nobody waits for any more."""


class _Exchange:
    """One request on its own thread, and what is known of it at any moment."""

    def __init__(
        self, client: httpx.Client, request: httpx.Request, *, where: str, limit: int
    ) -> None:
        self.done = threading.Event()
        self._client = client
        self._request = request
        self._where = where
        self._limit = limit
        self._lock = threading.Lock()
        self._abandoned = False
        self._writing = False
        self._sock: socket.socket | None = None
        self._head: httpx.Response | None = None
        self._body = bytearray()
        self._complete = False
        self._failure: str = ""
        self._given_up: str = ""
        request.extensions["trace"] = self._trace

    def run(self) -> None:
        try:
            response = self._client.send(self._request, stream=True)
            with contextlib.closing(response):
                self._head = response
                self._read(response)
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError) as error:
            self._failure = _in_words(error)
        except _AbandonedError:
            self._shut()
        except RuntimeError:
            self._failure = "the client is closed"
        finally:
            self.done.set()

    def _read(self, response: httpx.Response) -> None:
        for chunk in response.iter_raw(8192):
            room = self._limit - len(self._body)
            self._body += chunk[:room]
            if len(chunk) > room or self._abandoned:
                return
        self._complete = True

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._sock = info["return_value"].get_extra_info("socket")
        with self._lock:
            if self._abandoned and not event.endswith((".failed", "response_closed.started")):
                raise _AbandonedError
            if event.endswith("send_request_headers.started"):
                self._writing = True
        if event.endswith("send_request_body.complete"):
            fault_point("K6")

    def give_up(self, why: str) -> None:
        """Nobody waits any more: what is not written yet never will be, and the socket is shut."""
        with self._lock:
            self._abandoned = True
            self._given_up = why
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def _shut(self) -> None:
        """Close a socket that was connected too late for httpx to have taken it over."""
        if self._sock is not None:
            self._sock.close()

    def result(self) -> Response:
        head = self._head
        if head is not None:
            names = {name.lower(): value for name, value in head.headers.items()}
            return Response(head.status_code, names, bytes(self._body), self._complete)
        why = self._failure or self._given_up
        if self._writing:
            raise NoAnswerError(f"{self._where}: {why}")
        raise NotSentError(f"{self._where}: {why}, nothing was sent")


def _in_words(error: Exception) -> str:
    """What failed, without the library's text, which may quote URLs or bytes of the answer."""
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (httpx.ConnectTimeout, "no connection in time"),
        (httpx.TimeoutException, "no answer in time"),
        (httpx.ProxyError, "the proxy refused"),
        (httpx.RemoteProtocolError, "the server closed the connection or did not speak HTTP"),
        (httpx.ReadError, "the connection broke while waiting for the answer"),
        (httpx.WriteError, "the connection broke while sending"),
        (httpx.UnsupportedProtocol, "not http or https"),
    )
    if isinstance(error, httpx.ConnectError):
        return "cannot connect" + _of_certificate(error)
    return next((words for kind, words in kinds if isinstance(error, kind)), type(error).__name__)


def _of_certificate(error: BaseException | None) -> str:
    """Why a certificate was not accepted, in OpenSSL's words; they hold our own host name only."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f" (certificate: {error.verify_message.rstrip('.')})"
        if isinstance(error, ssl.SSLError) and error.reason:
            return f" ({error.reason.replace('_', ' ').lower()})"
        error = error.__cause__ or error.__context__
    return ""
