"""Whether a request comes from whom it says: pure, total, and constant in time. It never raises.

Slack: https://docs.slack.dev/authentication/verifying-requests-from-slack ; PagerDuty: web hooks
v3, "Verifying signatures". slack-sdk's own verifier raises on a timestamp that is no number, on a
signature that is not ASCII and on a body that is not UTF-8, and takes the same request twice; this
one works on bytes, and what keeps repeats out is the store.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping

AGE_S = 300
"""How far a signed time may be from ours, either way."""
_MOST = 10
"""Signatures that one request may carry."""


def slack_flaw(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Why this is not Slack's request, in words for our log; empty when it is.

    Args:
        secret: the app's signing secret.
        headers: names in lower case.
        body: as it came, before any decoding.
        now: seconds since the epoch.
    """
    stamp = headers.get("x-slack-request-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", stamp, re.ASCII):
        return "no timestamp"
    if abs(now - int(stamp)) > AGE_S:
        return f"its timestamp is more than {AGE_S} s from our clock"
    given = headers.get("x-slack-signature", "")
    if not given:
        return "no signature"
    mac = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256)
    return "" if _same(given, "v0=" + mac.hexdigest()) else "its signature is wrong"


def pagerduty_flaw(secrets: Iterable[str], headers: Mapping[str, str], body: bytes) -> str:
    """Why this is not PagerDuty's request, in words for our log; empty when it is.

    Any of its signatures may fit any of `secrets`: both sides have several while one is replaced.
    """
    given = headers.get("x-pagerduty-signature", "")
    if not given:
        return "no signature"
    parts = [part.strip() for part in given.split(",")]
    if len(parts) > _MOST:
        return "too many signatures"
    macs = [hmac.new(one.encode(), body, hashlib.sha256).hexdigest() for one in secrets]
    fits = [_same(part, "v1=" + mac) for part in parts for mac in macs]
    return "" if any(fits) else "its signature is wrong"


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
