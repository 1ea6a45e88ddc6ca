"""What a configuration sends over a network so that others may read it, or stand for its end."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, unquote

from monitor.config.options import on_loopback
from runbooks.document import Document
from runbooks.problems import Problem, Severity


def on_the_way(document: Document) -> Iterator[Problem]:
    """Warnings about a stream or a store on another machine without TLS that proves it."""
    yield from _stream(document)
    yield from _store(document)


def _stream(document: Document) -> Iterator[Problem]:
    """Events and offsets that cross a network in the clear, from a broker that nobody proved."""
    way = ("source", "bootstrap")
    brokers = document.at(way)
    protocol = document.at(("source", "security", "security_protocol"))
    if document.at(("source", "type")) != "kafka" or not isinstance(brokers, list):
        return
    if protocol in {"SSL", "SASL_SSL"} or all(on_loopback(str(each)) for each in brokers):
        return
    text = "Kafka on another machine without TLS: who is on the way can read and change events"
    hint = "security: {security_protocol: SASL_SSL, ...}, and sasl_password: {file: PATH}"
    yield document.problem(way, "plaintext", text, hint, severity=Severity.WARNING)


def _store(document: Document) -> Iterator[Problem]:
    """A database on another machine that need not prove who it is: all of the rest rests on it."""
    way = ("store",)
    url = str(document.at(way) or "")
    if not url.startswith("postgres"):
        return
    # Not `urlsplit`: of several hosts one may be in brackets.
    where, _, query = url.partition("://")[2].partition("?")
    asked = parse_qs(query)
    named = where.partition("/")[0].rpartition("@")[2]
    hosts = asked.get("hostaddr") or asked.get("host") or [named]
    mode = asked.get("sslmode", ["prefer, libpq's own"])[-1]
    if mode == "verify-full" or not any(
        _elsewhere(one) for each in hosts for one in each.split(",")
    ):
        return
    text = f"PostgreSQL on another machine with sslmode {mode}: who is on the way can stand for it"
    hint = "?sslmode=verify-full&sslrootcert=FILE, with the authority that signed its certificate"
    yield document.problem(way, "plaintext", text, hint, severity=Severity.WARNING)


def _elsewhere(host: str) -> bool:
    """Whether a host of a database's URL is another machine; a path is a socket of this one."""
    host = unquote(host)
    if not host or host[0] in "/@":
        return False
    return not any(on_loopback(each) for each in (host, f"{host}:5432", f"[{host}]:5432"))
