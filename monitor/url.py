"""Addresses that a configuration may name, checked once, where they are read."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
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


def without_password(url: str) -> str:
    """A database URL whose password is stars, also one that cannot be parsed.

    All between the first colon and the last at sign goes: rather too much than a part of it.
    """
    scheme, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    who, at, where = rest.rpartition("@")
    if at and ":" in who:
        rest = f"{who.partition(':')[0]}:***@{where}"
    return scheme + slashes + _PASSWORDS.sub(r"\1***", rest)
