"""When a certificate expires, read from its PEM file.

Python's `ssl` shows the fields of a peer's certificate only, and only of one it trusts. So the two
times are read from the DER of X.509 (RFC 5280, section 4.1), and nothing else of it.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from monitor import views
from monitor.desk.settings import Tls

WARN_DAYS = 14
"""So long before the end it is said."""
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_MAX_FILE = 256 * 1024


def expiry(path: Path) -> datetime:
    """When the first certificate of a PEM file ends, in UTC.

    Raises:
        OSError: the file cannot be read.
        ValueError: there is no certificate in it.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_FILE).decode("ascii", "replace")
    start, end = text.find(_BEGIN), text.find(_END)
    if start < 0 or end < start:
        raise ValueError(f"{path} holds no PEM certificate")
    try:
        return not_after(ssl.PEM_cert_to_DER_cert(text[start : end + len(_END)]))
    except (ValueError, IndexError):
        raise ValueError(f"{path} holds no certificate that can be read") from None


def not_after(der: bytes) -> datetime:
    """The end of a certificate in DER, in UTC.

    Raises:
        ValueError: it is no certificate.
        IndexError: the same: it breaks off.
    """
    _, whole, _ = _value(der, _SEQUENCE)
    _, fields, _ = _value(whole, _SEQUENCE)
    if fields[0] == _VERSION:
        fields = _value(fields)[2]
    for _ in range(3):  # serial number, algorithm, issuer
        fields = _value(fields)[2]
    _, times, _ = _value(fields, _SEQUENCE)
    kind, end, _ = _value(_value(times)[2])
    text = end.decode("ascii")
    if kind == _UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("no time where the end should be")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _value(data: bytes, expected: int | None = None) -> tuple[int, bytes, bytes]:
    """Tag and content of the first value in `data`, and what follows it."""
    tag, length, start = data[0], data[1], 2
    if expected is not None and tag != expected:
        raise ValueError("not the value that belongs here")
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    end = start + length
    if end > len(data):
        raise ValueError("it breaks off")
    return tag, data[start:end], data[end:]


def seconds_left(file: Path, now: datetime) -> float:
    """Until a certificate ends; NaN when that cannot be read."""
    with suppress(OSError, ValueError):
        return (expiry(file) - now).total_seconds()
    return float("nan")


def health(tls: Tls, now: datetime) -> views.Health:
    """Whether the certificate of the TLS desk lasts."""
    try:
        end = expiry(tls.certificate)
    except (OSError, ValueError) as problem:
        text = f"{tls.certificate} cannot be read ({problem}); the last one read stays in force"
        return views.Health(name="certificate", state="bad", text=text)
    days = (end - now).total_seconds() / 86_400
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if days <= 0:
        text = f"expired on {day}: no terminal on another machine can come in"
        return views.Health(name="certificate", state="bad", text=text)
    if days < WARN_DAYS:
        text = f"expires in {days:.0f} days, on {day}; put a new one at {tls.certificate}"
        return views.Health(name="certificate", state="warn", text=text)
    return views.Health(name="certificate", state="ok", text=f"good until {day}")
