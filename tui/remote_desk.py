"""The desk of a daemon on another machine: TLS, a token, and what a network may do to a call.

A question is asked up to three times, on a connection that is kept a few seconds. A command is sent
once, on a connection of its own: when its answer is lost nobody knows whether it was done, and that
is said.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from monitor.desk.methods import COMMANDS
from monitor.http_client import HttpClient, HttpError, NotSentError, Response
from monitor.views import DeskError
from tui.desk_client import MAX_ANSWER, TIMEOUT_S, UNKNOWN, DeskClient
from tui.desks import Login

TRIES = 3
PAUSE_S = 0.3
"""Before the second try; doubled before the third."""
QUESTION_S = 10.0
"""One try of a question; a command may take `TIMEOUT_S`."""
KEEP_S = 4.0
"""The desk closes a quiet connection after 5 s."""
_LONGEST_WAIT_S = 5.0


class RemoteDesk(DeskClient):
    """The desk of a login.

    Args:
        login: where it is and whom to trust.
        timeout_s: seconds for one command, and for all tries of a question together.

    Raises:
        DeskError: `invalid`, a file of the login cannot be used.
    """

    def __init__(self, login: Login, *, timeout_s: float = TIMEOUT_S) -> None:
        self.name = login.name
        self.url = login.url
        self.where = f"the desk {login.name}"
        self._login = login
        self._timeout_s = timeout_s
        context = trust(login)
        self._once = HttpClient(context=context)
        self._kept = HttpClient(context=context, keep_s=KEEP_S)

    def hang_up(self) -> None:
        """Let go of the connections."""
        self._once.close()
        self._kept.close()

    def _ask(self, method: str, body: bytes) -> tuple[int, bytes]:
        ask = self._command if method in COMMANDS else self._question
        answer = ask(method, body)
        if not answer.complete:
            raise DeskError("unavailable", f"the answer of {self.where} broke off", self._hint())
        if answer.headers.get("content-type") != "application/json":
            raise DeskError(
                "unavailable",
                f"{self.where} answered {answer.status}, and not as a desk does",
                "is a proxy in between, or is it overloaded?",
            )
        return answer.status, answer.body

    def _command(self, method: str, body: bytes) -> Response:
        try:
            return self._send(self._once, method, body, self._timeout_s)
        except NotSentError as error:
            raise self._lost(error, "nothing was done") from None
        except HttpError as error:
            raise self._lost(error, UNKNOWN) from None

    def _question(self, method: str, body: bytes) -> Response:
        deadline = time.monotonic() + self._timeout_s
        for attempt in range(TRIES):
            pause = PAUSE_S * 2**attempt
            left = deadline - time.monotonic()
            last = attempt == TRIES - 1 or left <= pause
            try:
                answer = self._send(self._kept, method, body, max(0.1, min(QUESTION_S, left)))
            except HttpError as error:
                if last or "certificate" in str(error):
                    raise self._lost(error, self._hint()) from None
            else:
                pause = answer.retry_after() or pause
                if last or answer.status != 429 or pause > _LONGEST_WAIT_S:
                    return answer
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _send(self, client: HttpClient, method: str, body: bytes, timeout_s: float) -> Response:
        headers = {
            "authorization": f"Bearer {self._login.token}",
            "content-type": "application/json",
        }
        url = f"{self.url}/desk/v1/{method}"
        return client.request(
            "POST", url, body=body, headers=headers, timeout_s=timeout_s, limit=MAX_ANSWER
        )

    def _hint(self) -> str:
        if self._login.certificate:
            return "is the daemon running, and does it accept your certificate?"
        return "is the daemon running? One with desk.tls.client_ca wants --certificate at login"

    def _lost(self, error: HttpError, hint: str) -> DeskError:
        return DeskError("unavailable", f"no answer from {self.where}: {error}", hint)


@contextmanager
def closing_desk(desk: RemoteDesk) -> Iterator[RemoteDesk]:
    """The desk until the block ends."""
    try:
        yield desk
    finally:
        desk.hang_up()


def trust(login: Login) -> ssl.SSLContext:
    """Whom a login trusts: its own authorities only, or this machine's.

    Raises:
        DeskError: `invalid`, a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=login.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if login.certificate:
            # An encrypted key would make OpenSSL ask on the terminal, under the screen.
            context.load_cert_chain(login.certificate, login.key or None, password=lambda: b"")
    except OSError as error:
        files = ", ".join(f for f in (login.ca_file, login.certificate, login.key) if f)
        why = error.strerror or "not PEM"
        raise DeskError("invalid", f"cannot use {files}: {why}") from None
    return context
