"""Which file system a path is on, and whether SQLite is safe there.

SQLite's WAL needs shared memory and working locks; on a network file system two machines may both
believe that they own the store. See https://www.sqlite.org/wal.html, "Disadvantages".
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath

from monitor.store.errors import StoreError

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")

NETWORK = frozenset(
    {
        "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs",
        "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb2", "smb3",
        "smbfs", "vboxsf", "virtiofs", "vmhgfs",
    }
)  # fmt: skip
"""Kernel names of file systems that other machines share."""

LOCAL_FUSE = frozenset({"fuse.bindfs", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.ntfs-3g"})
"""Of the user-space file systems these keep to this machine; of all others it is not known."""


def is_network(kind: str) -> bool:
    """Whether a file system of this kind may be shared with another machine."""
    if kind == "fuse" or kind.startswith("fuse."):
        return kind not in LOCAL_FUSE
    return kind in NETWORK


def kind_of(path: PurePosixPath, mountinfo: str) -> str | None:
    """The kind of file system that an absolute path without links is on; None if unknown.

    Args:
        path: for which.
        mountinfo: text of `/proc/self/mountinfo`; of mounts on one place the last is on top.
    """
    best, kind = -1, None
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(" - ")
        fields = left.split()
        if not dash or len(fields) < 5 or not right:
            continue
        point = PurePosixPath(_ESCAPE.sub(lambda m: chr(int(m[1], 8)), fields[4]))
        depth = len(point.parts)
        if depth >= best and path.is_relative_to(point):
            best, kind = depth, right.split()[0]
    return kind


def refuse_network(path: Path) -> None:
    """Look where a SQLite file is, or would be.

    Raises:
        StoreError: it is on a network file system.
    """
    kind = None
    # Without /proc nothing is known, and nothing refused.
    with suppress(OSError):
        text = _MOUNTS.read_text("utf-8", "surrogateescape")
        kind = kind_of(PurePosixPath(os.path.realpath(path)), text)
    if kind is not None and is_network(kind):
        raise StoreError(
            f"{path} is on a network file system ({kind}): SQLite's locks do not hold there, and "
            "two daemons could page as one. Put the store on a local disk, or use PostgreSQL: "
            "--store postgresql://HOST/DATABASE"
        )
