"""Rate limits: a token bucket for each key, in bounded memory.

The bucket of Turner, "New directions in communications" (1986): it holds `burst` tokens, gains
`per_s` of them a second, and each request takes one. The time is an argument.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict

KEYS = 4096
"""Buckets kept; the one that was asked for longest ago goes first."""


class Buckets:
    """One bucket a key; safe to use from several threads.

    Args:
        per_s: tokens gained a second.
        burst: tokens at most, and at first.
        keys: buckets kept.
    """

    def __init__(self, *, per_s: float, burst: float, keys: int = KEYS) -> None:
        if per_s <= 0 or burst < 1 or keys < 1:
            raise ValueError("a bucket gains tokens, holds one at least, and there is one at least")
        self._per_s = per_s
        self._burst = burst
        self._keys = keys
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, at_s: float) -> float:
        """Take a token: 0.0 when there was one, else the seconds until there is.

        Args:
            key: whose bucket.
            at_s: the time on a clock that does not go back, in seconds.
        """
        with self._lock:
            level, since = self._levels.pop(key, (self._burst, at_s))
            level = min(self._burst, level + max(0.0, at_s - since) * self._per_s)
            wait = 0.0 if level >= 1 else (1 - level) / self._per_s
            self._levels[key] = (level - 1 if wait == 0.0 else level, max(at_s, since))
            if len(self._levels) > self._keys:
                self._levels.popitem(last=False)
            return wait

    def __len__(self) -> int:
        return len(self._levels)


def address_key(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 an IPv6 address is in.

    >>> address_key("2001:db8::7"), address_key("::ffff:192.0.2.7")
    ('2001:db8::/64', '192.0.2.7')
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
