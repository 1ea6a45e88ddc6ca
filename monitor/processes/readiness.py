"""Whether a daemon serves: what a rollout and a load balancer ask, and not whether all is well.

A page that was refused, a lag or a database that is away are for people (`/statusz`, alerts): a
daemon that says so is the one to talk to, and taking it out of a service mends nothing. So nothing
here asks the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.processes.loops import Loops
from monitor.processes.posts import JOBS, Post
from monitor.processes.roster import Member, read_roster

Answer = tuple[bool, list[str]]
"""Yes or no, and lines that say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Of one daemon, as its control process knows it."""

    roles: Sequence[str]
    posts: Sequence[Post]
    loops: Loops
    roster: Path

    def answer(self) -> Answer:
        """Whether all that it is to do is being done or stood by for; a line that says which."""
        if lacking := list(self._lacking()):
            return False, [f"not ready: {', '.join(lacking)}"]
        return True, [f"ready: {part_played(self.posts, self.roles)}"]

    def _lacking(self) -> Iterator[str]:
        if not self.loops.turning:
            yield "it starts, or leaves"
        for post in self.posts:
            if not post.looked:
                yield f"it does not know yet whose {post.job} is"
        children = {one.name: one for one in read_roster(self.roster)}
        if not children:
            return  # no disk has room for the list: who is up is not known, and nobody waits for it
        wanted = ["auditor", "ingest-0"] if "ingest" in self.roles else ["auditor"]
        for name in dict.fromkeys([*wanted, *children]):
            if name != "control" and (lack := _not_up(children.get(name))):
                yield f"{name} {lack}"


def _not_up(child: Member | None) -> str:
    if child is None:
        return "is not started yet"
    if child.up:
        return ""
    return f"is down ({child.ended})" if child.ended else "is starting"


def part_played(posts: Sequence[Post], roles: Sequence[str]) -> str:
    """`owner` or `standby`, where it is mixed of what; else what is done here, and what is not."""
    if not posts:
        return f"{', '.join(roles)} here, {' and '.join(JOBS)} elsewhere"
    ours = [post.job for post in posts if post.held]
    others = [post.job for post in posts if not post.held]
    if not ours or not others:
        return "owner" if ours else "standby"
    return f"owner of {', '.join(ours)}, standby of {', '.join(others)}"
