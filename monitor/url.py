"""Addresses that a configuration may name, checked once, where they are read."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKEN = re.compile(r"(?=[^/]*\d)(?=[^/]*[A-Za-z])[A-Za-z0-9_~.+-]{16,}")
_PASSWORDS = re.compile(r"((?:ssl)?password=)[^&]*", re.IGNORECASE)


def check_url(url: str, *, allow_http: bool = False) -> str:
    """`url` if it can be sent to as configured.

    Args:
        url: an absolute http(s) address.
        allow_http: also accept plain http to another machine.

    Raises:
        ValueError: not http(s) with a host, with user info, blanks or control characters, or plain
            http to another machine without `allow_http`.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL is printable ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("a URL starts with https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("user names and passwords do not belong in a URL")
    if parts.scheme == "http" and not allow_http and host not in _LOOPBACK:
        raise ValueError("plain http is only for this machine; use https")
    return url


def origin(url: str) -> str:
    """Scheme, host and port of `url`: the part that may be shown, since a path can be a secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the configured address"
    return f"{parts.scheme}://{parts.hostname or '?'}{port}"


def holds_token(url: str) -> bool:
    """Whether a part of the path or query looks like a secret: long, and letters beside digits."""
    parts = urlsplit(url)
    return any(
        _TOKEN.fullmatch(each) for each in re.split(r"[/?&=]", f"{parts.path}?{parts.query}")
    )


def masked(url: str) -> str:
    """The origin of an address whose path is a secret; another path gives another text.

    The digest is of a token that nobody can guess, or of a path that is no secret.
    """
    shown = origin(url)
    if not url.removeprefix(shown).strip("/"):
        return url
    return f"{shown}/***{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def without_password(url: str) -> str:
    """A database URL whose password is stars, also one that cannot be parsed.

    All between the first colon and the last at sign goes: rather too much than a part of it.
    """
    scheme, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    who, at, where = rest.rpartition("@")
    if at and ":" in who:
        rest = f"{who.partition(':')[0]}:***@{where}"
    return scheme + slashes + _PASSWORDS.sub(r"\1***", rest)
