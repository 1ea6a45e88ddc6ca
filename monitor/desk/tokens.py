"""Tokens of the desk: made, judged, never kept.

A token is `tocsin_<id>_<secret>`: eight letters that name its row, and 256 random bits. The prefix
lets secret scanners find one that was pasted where it should not be (`monitor.desk.token_form`).
The store keeps the SHA-256 of the whole text: to 256 random bits a slow hash would add nothing.
The row is found by the id, which is no secret; the digests are compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from monitor.store.token_rows import Token

DEFAULT_LIFE = timedelta(days=30)
LONGEST_LIFE = timedelta(days=365)
NAME = r"[a-z0-9_][a-z0-9._@-]{0,62}"
RESERVED = frozenset({"tocsin", "detector", "ingest", "health", "system", "simulator"})
"""Who the timeline already knows as no person."""
USED_EVERY = timedelta(minutes=1)
"""How often the last use of a token is written down."""

Judgement = Literal["ok", "unknown", "expired", "revoked"]

_NAME = re.compile(NAME)
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token; the only moment at which its text exists here."""

    id: str
    text: str = field(repr=False)
    digest: str


def mint() -> Minted:
    """A token nobody has."""
    name = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    text = f"tocsin_{name}_{secrets.token_urlsafe(32)}"
    return Minted(name, text, digest(text))


def digest(text: str) -> str:
    """What the store keeps of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def judge(text: str, row: Token | None, now: datetime) -> Judgement:
    """Whether a token opens the desk.

    A wrong secret under a known id is `unknown`: what became of a token is only for its holder.
    """
    same = hmac.compare_digest(digest(text), _NOBODY if row is None else row.digest)
    if row is None or not same:
        return "unknown"
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at <= now else "ok"


def name_problem(name: str) -> str:
    """Why a token may not carry a name; empty when it may."""
    if not _NAME.fullmatch(name):
        return "a name is 1 to 63 of a-z, 0-9, '.', '_', '-' and '@', and begins with a letter"
    return f"{name} is a name of this program" if name in RESERVED else ""
