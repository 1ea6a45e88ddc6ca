"""A short slice of `make fault`: kills at named points and at random."""

from __future__ import annotations

import pytest

from tests.fault.conftest import NewGround
from tests.fault.kills import DRAIN, Plan, Round, figures, round_of
from tests.servers.postgres_server import DAEMON, PostgresServer

pytestmark = pytest.mark.kafka


def check(done: Round, kills: int) -> None:
    """Nothing lost, nothing twice, all chains whole, no child ended unasked, and so many kills."""
    assert done.tally.sound(), done
    assert done.steps_twice == 0
    assert done.unordered == 0
    assert done.kills >= kills, done


def test_no_page_is_lost_under_sigkill_on_sqlite(new_ground: NewGround) -> None:
    """A daemon killed six times, once as it ends, pages every incident, once a PagerDuty key, also
    where somebody has resolved it before the page came again."""
    plan = Plan(("K13", "K3", "K6", DRAIN), deaths=1, randoms=0, share=20)
    done = round_of(new_ground(""), plan, backend="sqlite", seed=2)
    check(done, 6)
    assert done.at_points[DRAIN] > 0, done
    assert figures([done])["kills_at_random"] == 2
    assert done.tally.resolved > 0, done
    assert done.tally.late_triggers > 0, done


def test_no_page_is_lost_under_sigkill_on_postgresql(
    new_ground: NewGround, postgres_server: PostgresServer
) -> None:
    """The same with three kills where the store is a server, and the daemon has the least rights
    once its owner has migrated."""
    database = postgres_server.create_database()
    on = new_ground(postgres_server.url(database, DAEMON), postgres_server.url(database))
    plan = Plan(("K13", "K7"), deaths=1, randoms=0, share=20)
    check(round_of(on, plan, backend="postgresql", seed=3), 3)
