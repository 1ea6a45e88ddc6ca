"""What a configuration says about Alertmanager, out and in; frozen, complete once it is decoded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from monitor.config.secret import Secret
from monitor.notify.settings import Seconds
from monitor.url import check_url
from runbooks.durations import Duration

RESERVED = frozenset(
    {"alertname", "severity", "signal", "tier", "incident", "tocsin", "environment", "feature"}
)
"""Labels that say what an alert is; the configuration does not set them."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,62}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_OWN_HEADERS = frozenset({"authorization", "content-type", "content-length", "host"})
_MOST_PEERS = 16

Sev = Literal["SEV1", "SEV2", "SEV3", "SEV4"]
LabelValue = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

SEVERITIES: Mapping[str, Sev] = {
    "critical": "SEV2",
    "page": "SEV2",
    "error": "SEV2",
    "warning": "SEV3",
    "info": "SEV4",
    "none": "SEV4",
}
"""Ours for the words that people use there; a person raises what is more than that."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Closed: a key that is not known is an error with a suggestion."""


class Basic(_Part, frozen=True, kw_only=True):
    """Name and password of HTTP's basic authentication.

    Attributes:
        user: The name.
        password: The password.
    """

    user: Annotated[str, msgspec.Meta(pattern=r"^[^:\x00-\x1f\x7f-\uffff]{1,100}$")]
    password: Secret


class Receive(_Part, frozen=True, kw_only=True):
    """Alertmanager's webhook receiver, version 4, at `/hooks/alertmanager` on the `http` address.

    Attributes:
        token: Bearer token that callers show.
        basic: Name and password that callers show; with `token` either will do. Without both,
            `http` must be an address of this machine only.
        severity_label: Label whose value `severities` translates.
        severities: Our severity by the value of that label.
        otherwise: Severity of every other value, and of alerts without the label.
        labels: Labels that routes may match by. A value counts if it is listed here or, for a
            dimension, if the stream has brought it; any other is `__other__`.
    """

    token: Secret | None = None
    basic: Basic | None = None
    severity_label: str = "severity"
    severities: dict[str, Sev] = msgspec.field(default_factory=lambda: dict(SEVERITIES))
    otherwise: Sev = "SEV2"
    labels: dict[str, tuple[LabelValue, ...]] = msgspec.field(
        default_factory=lambda: {"environment": (), "feature": ()}
    )

    def __post_init__(self) -> None:
        for name in self.labels:
            _check_label(name, RESERVED - {"environment", "feature"})
        _check_label(self.severity_label, frozenset())


class AlertmanagerSettings(_Part, frozen=True, kw_only=True):
    """Alertmanager as a neighbour: what fires here is shown there, and what fires there comes in.

    Attributes:
        urls: Base address of every peer of the cluster, never a load balancer's.
        every: How often everything that fires is sent again, 1 s to 10 min. After a restart with an
            empty state, a peer knows all of it again within this time.
        tiers: Tiers of rules whose alerts are sent: page, ticket or both. The peers' own routes
            decide whom they wake; budgets of this configuration do not reach there.
        labels: Labels that every alert gets, to tell installations apart.
        token: Bearer token shown to the peers.
        basic: Name and password shown to the peers; not together with `token`.
        headers: Further headers shown to the peers, each a secret, for example a tenant's id.
        ca_file: PEM file of authorities to trust besides the public ones.
        proxy: URL of an egress proxy; the environment's proxy variables are not read.
        allow_http: Send unencrypted to another machine.
        timeout_s: For one call, everything included.
        receive: Take alerts in; absent: they are not.
    """

    urls: Annotated[tuple[str, ...], msgspec.Meta(max_length=_MOST_PEERS)] = ()
    every: Duration = Duration(minutes=1)
    tiers: Annotated[tuple[Literal["ticket", "page"], ...], msgspec.Meta(min_length=1)] = ("page",)
    labels: dict[str, LabelValue] = {}
    token: Secret | None = None
    basic: Basic | None = None
    headers: dict[str, Secret] = {}
    ca_file: Path | None = None
    proxy: str = ""
    allow_http: bool = False
    timeout_s: Seconds = 5.0
    receive: Receive | None = None

    def __post_init__(self) -> None:
        if not self.urls and self.receive is None:
            raise ValueError("alertmanager needs urls to send to, or receive, or both")
        self._check_addresses()
        if not 1 <= self.every.total_seconds() <= 600:
            raise ValueError("alertmanager.every must be 1s to 10m")
        if self.token is not None and self.basic is not None:
            raise ValueError("alertmanager has either token or basic")
        for name in self.labels:
            _check_label(name, RESERVED)
        for name in self.headers:
            if _HEADER.fullmatch(name) is None or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} is no header to add")

    def secrets(self) -> list[Secret]:
        """Everything that must be readable, either way."""
        guards = [(self.token, self.basic)]
        if self.receive is not None:
            guards.append((self.receive.token, self.receive.basic))
        tokens = [token for token, _ in guards if token is not None]
        passwords = [basic.password for _, basic in guards if basic is not None]
        return [*tokens, *passwords, *self.headers.values()]

    def _check_addresses(self) -> None:
        for url in self.urls:
            check_url(url, allow_http=self.allow_http)
            if "?" in url or "#" in url:
                raise ValueError("a peer's address has no query")
        if len({url.rstrip("/") for url in self.urls}) < len(self.urls):
            raise ValueError("the same peer is named twice in alertmanager.urls")
        if self.proxy:
            check_url(self.proxy, allow_http=True)


def _check_label(name: str, taken: frozenset[str]) -> None:
    if _LABEL.fullmatch(name) is None or name.startswith("__"):
        raise ValueError(f"{name!r} is no name of a label: letters, digits and _")
    if name in taken:
        raise ValueError(f"the label {name!r} is set by Tocsin itself")
