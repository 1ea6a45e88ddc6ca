"""Which keys of the configuration a running daemon takes; light, for the command line too."""

from __future__ import annotations

TAKEN = (
    "paging.receivers",
    "paging.route",
    "paging.group_by",
    "paging.escalation",
    "paging.fallback",
    "paging.links",
    "paging.digest",
    "tiers",
    "rules",
    "runbooks",
    "desk.admins",
    "desk.responders",
    "desk.tls.certificate",
    "desk.tls.key",
    "desk.tls.client_ca",
    "desk.tls.hosts",
    "desk.tls.origins",
    "inbound.people",
    "watch",
    "store_retention",
)
"""These and all below them; any other key waits for a start."""
NOT_TAKEN = ("watch.spool",)
"""Of those, the ones that wait all the same: what is in the old spool must go out first."""


def takes(key: str) -> bool:
    """Whether a reload can change `key` (`paging.route.receivers`)."""
    return _among(key, TAKEN) and not _among(key, NOT_TAKEN)


def _among(key: str, known: tuple[str, ...]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in known)
