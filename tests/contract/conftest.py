"""The stores that every store test runs on: SQLite, and PostgreSQL as the daemon's role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from monitor.store.store import Store
from tests.servers.postgres_server import OWNER


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind without rows; PostgreSQL's as the daemon's role sees it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'x.db'}"
    found: str = request.getfixturevalue("postgres_store_url")
    return found


@pytest.fixture
def owner_url(url: str) -> str:
    """The same database for who may change its schema."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return url
    return parsed.set(username=OWNER).render_as_string(hide_password=False)


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[[], Store]]:
    """Opens the database, as another process would; all are closed at the end."""
    opened: list[Store] = []

    def another() -> Store:
        opened.append(Store(url))
        return opened[-1]

    yield another
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    """An open store on an empty database."""
    return open_store()
