"""Where a SQLite store may be: the decision on made-up mounts, and the real path."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.store import mounts
from monitor.store.errors import StoreError
from monitor.store.mounts import is_network, kind_of, refuse_network
from monitor.store.store import Store, owner_lock
from monitor.url import without_password

MOUNTS = r"""
22 28 0:21 / /proc rw,nosuid - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 28 0:35 / /data rw,relatime shared:2 master:1 - nfs4 nas:/export rw,vers=4.2
41 40 254:2 / /data/local rw - xfs /dev/vdb rw
42 28 0:36 / /mnt/team\040share rw - cifs //nas/share rw
43 28 0:37 / /home/ada/remote rw - fuse.sshfs ada@host: rw
44 28 0:38 / /c rw - 9p drvfs rw
45 28 0:39 / /over rw - ext4 /dev/vdc rw
46 28 0:40 / /over rw - nfs nas:/over rw
47 28 0:41 / /containers rw - fuse.fuse-overlayfs fuse-overlayfs rw
a line that is none
48 28 0:42 / /cut rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/srv/tocsin.db", "ext4", False),
        ("/data/x.db", "nfs4", True),
        ("/data/local/x.db", "xfs", False),
        ("/database/x.db", "ext4", False),
        ("/mnt/team share/x.db", "cifs", True),
        ("/home/ada/remote/deep/x.db", "fuse.sshfs", True),
        ("/c/x.db", "9p", True),
        ("/over/x.db", "nfs", True),
        ("/containers/x.db", "fuse.fuse-overlayfs", False),
    ],
)
def test_the_innermost_mount_decides(path: str, kind: str, network: bool) -> None:
    """The longest mount point that holds the path counts, of two on one place the later."""
    assert kind_of(PurePosixPath(path), MOUNTS) == kind
    assert is_network(kind) is network


def test_a_user_space_file_system_that_is_not_known_is_refused() -> None:
    """Nobody knows whether another machine writes behind it."""
    assert is_network("fuse.unheard-of")
    assert is_network("fuse")
    assert is_network("virtiofs")
    assert not is_network("fuseblk")


def test_without_mounts_nothing_is_known() -> None:
    """No text, no answer."""
    assert kind_of(PurePosixPath("/x.db"), "") is None


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    """What the kernel never wrote breaks nothing."""
    kind_of(PurePosixPath("/x.db"), text)


def test_a_network_store_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says why and what to do; neither store nor lock is made, by a link neither."""
    remote = tmp_path / "remote"
    remote.mkdir()
    (tmp_path / "link").symlink_to(remote)
    table = tmp_path / "mountinfo"
    table.write_text(f"28 1 0:1 / / rw - ext4 d rw\n29 28 0:2 / {remote} rw - nfs4 nas:/e rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    for place in (remote, tmp_path / "link"):
        url = f"sqlite:///{place / 'x.db'}"
        with pytest.raises(StoreError, match=r"network file system \(nfs4\).*postgresql://"):
            Store(url)
        with pytest.raises(StoreError, match="network file system"), owner_lock(url):
            pytest.fail("held")
    assert list(remote.iterdir()) == []
    Store(f"sqlite:///{tmp_path / 'x.db'}").close()


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    """The kernel's own table names a kind for a temporary folder, and it is a local one."""
    text = Path("/proc/self/mountinfo").read_text()
    assert kind_of(PurePosixPath(tmp_path.resolve()), text)
    refuse_network(tmp_path / "x.db")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///tocsin.db", "sqlite:///tocsin.db"),
        ("postgresql://h/db", "postgresql://h/db"),
        ("postgresql://ada@h/db", "postgresql://ada@h/db"),
        ("postgresql://ada:pw@h:5432/db", "postgresql://ada:***@h:5432/db"),
        ("postgresql://ada:p@w?x@h/db", "postgresql://ada:***@h/db"),
        ("ada:pw@h", "ada:***@h"),
        (
            "postgresql://h/db?password=pw&sslmode=require",
            "postgresql://h/db?password=***&sslmode=require",
        ),
        ("postgresql://h/db?sslpassword=pw", "postgresql://h/db?sslpassword=***"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    """In whatever part of a URL it is, stars are in its place."""
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url", ["postgresql://ada:hunter2@h:port/db", "ada:hunter2@h", "x://a:hunter2@h/d"]
)
def test_an_error_about_a_url_hides_its_password(url: str) -> None:
    """A URL that cannot be used is named without it."""
    with pytest.raises(StoreError) as caught:
        Store(url)
    assert "hunter2" not in str(caught.value)
