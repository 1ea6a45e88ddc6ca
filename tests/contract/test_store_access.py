"""Tokens and the audit in every store, under the daemon's role."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from monitor.store.audit_rows import Audited
from monitor.store.store import Store
from monitor.store.token_rows import KEPT, Token
from tests.making import T0, minutes


def token(name: str, **fields: object) -> Token:
    """A token for an hour from T0."""
    values = {
        "id": name,
        "digest": f"digest of {name}",
        "name": "ada",
        "role": "reader",
        "created_by": "root",
        "created_at": T0,
        "expires_at": T0 + minutes(60),
        **fields,
    }
    return Token(**values)  # type: ignore[arg-type] # a test's own fields


def test_a_token_lives_and_ends(store: Store) -> None:
    """Made, found by its id, used, ended once, forgotten ninety days after its end."""
    one = token("one")
    with store.write() as tx:
        tx.tokens.add(one)
        tx.tokens.add(token("two", created_at=T0 + minutes(1), expires_at=T0 + timedelta(days=300)))
    with store.write() as tx:
        tx.tokens.used("one", T0 + minutes(5))
        assert tx.tokens.revoke("two", T0 + minutes(6))
        assert not tx.tokens.revoke("two", T0 + minutes(7))
        assert not tx.tokens.revoke("three", T0)
    with store.read() as tx:
        found = tx.tokens.get("one")
        assert found is not None
        assert (found.digest, found.used_at) == (one.digest, T0 + minutes(5))
        assert tx.tokens.get("three") is None
        assert [(row.id, row.revoked_at) for row in tx.tokens.all()] == [
            ("two", T0 + minutes(6)),
            ("one", None),
        ]
    for when, left in ((KEPT, {"one", "two", "a"}), (KEPT + minutes(61), {"a", "b"})):
        with store.write() as tx:
            name = "a" if left != {"a", "b"} else "b"
            tx.tokens.add(token(name, created_at=T0 + when, expires_at=T0 + timedelta(days=200)))
            assert {row.id for row in tx.tokens.all()} == left


def test_two_tokens_never_share_a_digest(store: Store) -> None:
    """The database itself says so."""
    with store.write() as tx:
        tx.tokens.add(token("one", digest="same"))
    with pytest.raises(sa.exc.IntegrityError), store.write() as tx:
        tx.tokens.add(token("two", digest="same"))
    with store.read() as tx:
        assert [row.id for row in tx.tokens.all()] == ["one"]


def test_the_audit_keeps_its_order(store: Store) -> None:
    """Newest first, as it was written, whatever the clock said."""
    rows = [Audited(T0 - minutes(n), "-", "tls", str(n), "host", "d") for n in range(5)]
    for row in rows:
        with store.write() as tx:
            tx.audit.add(row)
    with store.read() as tx:
        assert tx.audit.newest(3) == rows[:1:-1]
