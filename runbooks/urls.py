r"""The few URLs a runbook may hold, read so strictly that no two readers can disagree on the host.

`http://2130706433`, `http://a@b`, `http://x\.y` and `http://①.0.0.1` mean one thing to one library
and another to the next. What is not a plain origin with a plain path is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[::1\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~@!$'()*+,;=:-]*)*)",
    re.ASCII,
)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~@!$'()*+,;=:-]*)*", re.ASCII)
_NUMERIC_LABEL = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """A plain URL in its parts."""

    scheme: str
    host: str
    """In small letters."""
    port: int
    path: str
    """Empty, or from its first slash on; no dot segments, no empty ones but the last."""

    @property
    def origin(self) -> str:
        """Scheme, host and port, always with the port."""
        return f"{self.scheme}://{self.host}:{self.port}"


def plain_url(text: str) -> Url:
    """Read a URL without user, query, fragment, escapes or surprises.

    Raises:
        ValueError: with the reason.
    """
    match = _URL.fullmatch(text) if len(text) <= 2_000 else None
    if match is None:
        raise ValueError(f"{text[:200]!r} is not a plain http or https URL")
    host, scheme = match["host"].lower(), match["scheme"]
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise ValueError(f"the port {port} does not exist")
    if ".." in host:
        raise ValueError(f"the host {host!r} has an empty label")
    if _NUMERIC_LABEL.fullmatch(host.rsplit(".", 1)[-1]) and not _dotted_quad(host):
        raise ValueError(f"the host {host!r} is a number in an odd spelling")
    check_path(match["path"])
    return Url(scheme, host, port, match["path"])


def _dotted_quad(host: str) -> bool:
    return bool(_IPV4.fullmatch(host)) and all(int(part) < 256 for part in host.split("."))


def check_path(path: str) -> None:
    """Refuse a path that is not plain, or that a server may walk upwards or fold.

    Raises:
        ValueError: with the reason.
    """
    if _PATH.fullmatch(path) is None:
        raise ValueError(f"{path!r} is not a plain path that starts with /")
    segments = path.split("/")[1:]
    if any(segment in {".", ".."} for segment in segments):
        raise ValueError(f"the path {path!r} holds a dot segment")
    if any(segment == "" for segment in segments[:-1]):
        raise ValueError(f"the path {path!r} holds an empty segment")


def segment(value: str) -> str:
    """One path segment, with everything that is not plain escaped.

    Raises:
        ValueError: it is empty, a dot segment or holds a separator, also after decoding it twice;
            such a value would change the path around it on some server.
    """
    if value in {"", ".", ".."} or any(sign in value for sign in "/\\%\x00"):
        raise ValueError(f"{value!r} cannot be a path segment")
    return quote(value, safe="")
