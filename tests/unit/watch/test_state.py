"""What people see of the auditor, whether the store answers or not."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from monitor.watch.report import report
from monitor.watch.spool import Closed, Spool
from monitor.watch.state import Disk, Found, State, all_places, health, load, one_line, places, save
from tests.making import T0
from tests.unit.watch.test_episodes import tried
from tests.unit.watch.test_spool import opened

FINDING = Found(
    check="decide", level="bad", since=T0, text="decide stands still", cure="restart the daemon"
)


def state(**changes: object) -> State:
    made = State(at=T0, started=T0, pid=7, host="here", heartbeat_to="https://outside")
    return msgspec.structs.replace(made, **changes)


def test_it_is_kept_in_a_file_that_only_its_owner_writes(tmp_path: Path) -> None:
    """Written whole or not at all, and read as it was; by its group, too, and by nobody else."""
    path = tmp_path / "watch.json"
    assert load(path) is None
    assert save(path, state(findings=(FINDING,)))
    assert load(path) == state(findings=(FINDING,))
    assert path.stat().st_mode & 0o777 == 0o640
    path.write_bytes(b"{")
    assert load(path) is None
    assert not save(tmp_path / "nowhere" / "watch.json", state())


def test_an_auditor_that_is_gone_is_bad(tmp_path: Path) -> None:
    """What it last said is old."""
    lines = {line.name: line for line in health(state(), T0 + timedelta(seconds=61))}
    assert lines["auditor"].state == "bad"
    lines = {line.name: line for line in health(state(), T0 + timedelta(seconds=10))}
    assert lines["auditor"].state == "ok"


def test_a_withheld_heartbeat_is_bad_and_says_why() -> None:
    """So that nobody looks for the reason elsewhere."""
    shown = state(withheld="decide stands still", heartbeat_at=T0 - timedelta(seconds=70))
    lines = {line.name: line for line in health(shown, T0)}
    assert lines["heartbeat"].state == "bad"
    assert "decide stands still" in lines["heartbeat"].text
    assert "70 s ago" in lines["heartbeat"].text


def test_the_worst_speaks_for_all(tmp_path: Path) -> None:
    """One line for the overview and `/statusz`."""
    path = tmp_path / "watch.json"
    assert one_line(path, T0).state == "warn"
    save(path, state(findings=(FINDING,), withheld="x"))
    line = one_line(path, T0)
    assert (line.name, line.state) == ("auditor", "bad")
    assert line.text.startswith("decide: decide stands still")
    assert line.text.endswith("(+1 more)")


def test_doctor_reads_the_spool_when_nothing_else_is_left(tmp_path: Path) -> None:
    """No daemon, no store: the trouble, and whom it was told, are in the spool."""
    store = f"sqlite:///{tmp_path / 'tocsin.db'}"
    where = places(store, None, {})
    spool = Spool(where.spool)
    spool.append(opened())
    spool.append(tried("slack", "trigger", "sent"))
    (line,) = report(store, None, {}, T0)
    assert line.state == "bad"
    assert "slack took the trigger" in line.text
    spool.append(Closed(episode="one", at=T0, text="over"))
    spool.close()
    save(where.state, state(disks=(Disk(folder=str(tmp_path), free=2**30, held=0),)))
    names = {line.name: line for line in report(store, None, {}, T0)}
    assert names["emergency"].state == "warn"
    assert "1024 MiB free" in names["disk"].text


def test_who_may_not_read_the_spool_is_told_what_is_owed() -> None:
    """To a member of the daemon's group the auditor's view says it; the spool is the auditor's."""
    user = os.geteuid()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        store = f"sqlite:///{folder / 'tocsin.db'}"
        where = places(store, None, {})
        Spool(where.spool).close()
        save(where.state, state(episodes=1, unsent=2))
        if user == 0:  # whom modes do not keep out
            folder.chmod(0o755)
            where.state.chmod(0o644)
            stack.callback(os.seteuid, 0)
            os.seteuid(65534)
        else:
            where.spool.chmod(0)
        said = {line.name: line.text for line in report(store, None, {}, T0)}
    assert said["emergency"] == "1 not on a timeline yet, 2 messages unsent"
    assert "spool" not in said


def test_a_server_store_has_its_files_in_the_state_folder(tmp_path: Path) -> None:
    """One name for each store, which tells nothing of its address."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    one = places("postgresql+psycopg://db/one", None, env)
    other = places("postgresql+psycopg://db/two", None, env)
    assert one.spool.parent == tmp_path / "tocsin"
    assert one.spool != other.spool
    assert places("postgresql://db/one", tmp_path / "spool", env).spool.parent == tmp_path / "spool"


def test_each_daemon_of_a_server_store_has_its_own_files(tmp_path: Path) -> None:
    """Two daemons of one machine share none, and `doctor` reads those of both."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    store = "postgresql://db/one"
    one, two = (places(store, None, env, key) for key in ("1f2e3d4c", "5a6b7c8d"))
    assert not {one.spool, one.state, *one.reserves} & {two.spool, two.state, *two.reserves}
    one.spool.parent.mkdir(parents=True, exist_ok=True)
    for where, episode in ((one, "first"), (two, "second")):
        spool = Spool(where.spool)
        spool.append(opened(episode, title=episode))
        spool.close()
    said = [line.text for line in report(store, None, env, T0)]
    assert [text.partition(",")[0] for text in said] == ["first", "second"]
    assert all_places(store, None, env) == [one, two]
    assert all_places("sqlite:///x.db", None, env) == [places("sqlite:///x.db", None, env)]
