"""Calls to Slack's Web API: slack-sdk builds and reads them, our HTTP client carries them.

The SDK's own transport follows redirects with the token in the header, takes a proxy from the
environment and limits single reads but not the whole call, so `_Web` replaces its sending method.
What an answer means for a page is decided in `judge`, a pure function.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.request import Request

import msgspec
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse

from monitor.config.secret import mask
from monitor.http_client import DEFAULT_LIMIT, HttpClient, HttpError, NoAnswerError, Response
from monitor.notify.channel import Outcome, Refused, Retry, Unknown
from monitor.text import vis

LATER = frozenset(
    {"ratelimited", "rate_limited", "message_limit_exceeded", "service_unavailable"}
    | {"request_timeout", "team_added_to_org"}
)
"""Error codes that pass by themselves."""
MAYBE_DONE = frozenset({"internal_error", "fatal_error"})
"""Slack's words: some aspect of the operation may have succeeded before the error was raised."""

_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.CRITICAL)  # the SDK would log each failure, which the outcome already says


class CallError(Exception):
    """A call did not succeed; carries what that means for the page."""

    def __init__(self, outcome: Outcome, code: str = "") -> None:
        super().__init__(code)
        self.outcome = outcome
        self.code = code
        """Slack's error code, if Slack answered with one."""


def judge(answer: Response, code: str, detail: str = "") -> Outcome:
    """What an answer that is not a success means for the page.

    Args:
        answer: the HTTP answer; anything but Slack's JSON counts by its status alone.
        code: Slack's error code; empty if the body was not Slack's, and somebody else answered.
        detail: Slack's explanation, already safe to show.
    """
    why = f"Slack answers {answer.status} {code}".rstrip() + (f" ({detail})" if detail else "")
    if answer.status == 429 or code in LATER or answer.status == 503:
        return Retry(why, answer.retry_after())
    if code in MAYBE_DONE or answer.status == 408 or answer.status >= 500:
        return Unknown(why)
    if code and not 300 <= answer.status < 400:
        return Refused(why)
    if answer.status >= 300:
        return Retry(f"{why}, which is not Slack's answer: a proxy on the way?", astray=True)
    return Unknown(f"{why}, but not in Slack's form")


class SlackCall:
    """The calls of one attempt: one token, one deadline, safe to throw away.

    Args:
        http: what carries the calls.
        base_url: where Slack's methods are.
        token: the bot token.
        timeout_s: for all calls together.
    """

    def __init__(self, http: HttpClient, base_url: str, token: str, timeout_s: float) -> None:
        self._token = token
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._web = _Web(http, base_url, token)

    def do(
        self,
        method: str,
        arguments: Mapping[str, object],
        *,
        share: float = 1.0,
        max_bytes: int = DEFAULT_LIMIT,
    ) -> dict[str, Any]:
        """Slack's answer to the SDK's `method`, within `share` of the time of the attempt.

        Raises:
            CallError: the call did not succeed; the only error.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CallError(Retry(f"{method} was not called: the time of the attempt is over"))
        self._web.left_s = min(left, self._timeout_s * share)
        self._web.max_bytes = max_bytes
        try:
            response: SlackResponse = getattr(self._web, method)(**arguments)
        except (SlackApiError, _NotSlackError):
            raise self._failure() from None
        except NoAnswerError as error:
            raise CallError(Unknown(str(error))) from None
        except HttpError as error:
            raise CallError(Retry(str(error))) from None
        except SlackClientError as error:
            raise CallError(Refused(f"slack-sdk refuses: {type(error).__name__}")) from None
        return dict(response.data) if isinstance(response.data, dict) else {}

    def _failure(self) -> CallError:
        answer = self._web.answer
        data = _object(answer)
        code = vis(str(data.get("error") or ""), limit=60) if "ok" in data else ""
        more = data.get("response_metadata")
        words = more.get("messages") if isinstance(more, dict) else None
        detail = vis(str(words[0]), limit=160) if isinstance(words, list) and words else ""
        needed = vis(str(data.get("needed") or ""), limit=80)
        if code == "missing_scope" and needed:
            detail = f"the token needs the scope {needed}"
        return CallError(judge(answer, code, mask(detail, self._token)), code)


class _NotSlackError(Exception):
    """The body is not a JSON object: a proxy, a captive portal or an error page answered."""


class _Web(WebClient):
    """The SDK's client with our transport under it and no retries of its own."""

    def __init__(self, http: HttpClient, base_url: str, token: str) -> None:
        super().__init__(token=token, base_url=base_url, retry_handlers=[], logger=_LOG)
        self._http = http
        self.left_s = 1.0
        self.max_bytes = DEFAULT_LIMIT
        self.answer = Response(0)

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        self.answer = Response(0)
        self.answer = answer = self._http.request(
            "POST",
            url,
            body=req.data if isinstance(req.data, bytes) else b"",
            headers=dict(req.header_items()),
            timeout_s=self.left_s,
            limit=self.max_bytes,
        )
        if not _object(answer):
            raise _NotSlackError
        return {
            "status": answer.status,
            "headers": answer.headers,
            "body": answer.body.decode("utf-8", "replace"),
        }


def _object(answer: Response) -> dict[str, Any]:
    """The body as a JSON object, empty if it is none."""
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
