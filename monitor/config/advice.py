"""What a checked configuration still deserves a look for: its secrets, routes, who is called.

Nothing here keeps a start from starting: a daemon that comes up at night with a token that cannot
be read still pages through everything else. A reload is stricter (`monitor.config.reload`): it has
a configuration that works, and keeps it when a secret of the new one does not.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from monitor.alerting.routes import parse_matcher
from monitor.config.digest import RINGS
from monitor.config.secret import Secret, SecretUnavailableError
from monitor.config.steps import idle_steps
from monitor.config.way import on_the_way
from monitor.url import check_url, holds_token, origin
from runbooks.document import Document
from runbooks.document import Path as Way
from runbooks.problems import Problem, Severity

if TYPE_CHECKING:
    from monitor.config.settings import Settings


def advice(settings: Settings, document: Document) -> list[Problem]:
    """Warnings about a configuration without errors, and errors of the secrets it names.

    Args:
        settings: as loaded from `document`.
        document: where to point to.
    """
    return [
        *secret_problems(settings, document),
        *_digest_key(document),
        *_addresses(document),
        *_unheard(document),
        *on_the_way(document),
        *_unused(document),
        *_unreachable(document),
        *idle_steps(settings.paging, document),
    ]


def secrets_of(value: object, way: Way = ()) -> Iterator[tuple[Way, Secret, str]]:
    """Every reference to a secret in a Struct, with its path and the kind of what holds it."""
    if isinstance(value, msgspec.Struct):
        kind = str(value.__struct_config__.tag or "")
        for field in msgspec.structs.fields(value):
            each = getattr(value, field.name)
            here = (*way, field.encode_name)
            if isinstance(each, Secret):
                yield here, each, kind
            else:
                yield from secrets_of(each, here)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from secrets_of(each, (*way, index))
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from secrets_of(each, (*way, key))


def secret_problems(
    settings: object, document: Document, *, must: bool = False
) -> Iterator[Problem]:
    """What is wrong with the secrets that a configuration names, as far as this machine can tell.

    Args:
        settings: the Struct that holds the references.
        document: where to point to.
        must: a secret that cannot be read is an error; else it is a warning, because a check often
            runs where the secrets are not.
    """
    for way, secret, kind in secrets_of(settings):
        try:
            value = secret.reveal()
        except SecretUnavailableError as problem:
            severity = Severity.ERROR if must else Severity.WARNING
            yield document.problem(way, "secret", str(problem), severity=severity)
            continue
        finally:
            yield from _exposed(secret, way, document)
        yield from _wrong_kind(kind, str(way[-1]), value, way, document)


def _digest_key(document: Document) -> Iterator[Problem]:
    """A store on a server has no file to keep the key beside; a start without one fails."""
    data = document.data
    if not isinstance(data, dict) or data.get("digest_key") is not None:
        return
    if str(data.get("store", "")).startswith("postgresql"):
        text = "a store on PostgreSQL wants `digest_key`, the same on every machine"
        yield document.problem(("store",), "missing", text, "digest_key: {file: PATH}")


def _addresses(document: Document) -> Iterator[Problem]:
    """Who knows such an address can use it: a token in it belongs in a secret."""
    for way in document.values:
        url = document.at(way)
        if not isinstance(url, str) or not _may_be_secret(way, document) or not holds_token(url):
            continue
        text = f"the address at {origin(url)} holds what looks like a secret token"
        hint = "keep the whole address as a secret: url: {file: PATH}"
        yield document.problem(way, "secret-inline", text, hint, severity=Severity.WARNING)


def _may_be_secret(way: Way, document: Document) -> bool:
    """Whether an address stands where a secret may stand for it."""
    if way[:2] == ("paging", "receivers") and way[3:] == ("url",):
        return document.at((*way[:3], "type")) == "webhook"
    return way == ("watch", "heartbeat", "url")


def _unheard(document: Document) -> Iterator[Problem]:
    """A live stream wants a receiver that calls people, and somebody who notices its silence."""
    if document.at(("source", "type")) != "kafka":
        return
    data = document.data if isinstance(document.data, dict) else {}
    kinds = {str(document.at(way)) for way in document.values if _is_kind(way)}
    warning = Severity.WARNING
    if not kinds & {"slack", "pagerduty", "webhook"}:
        text = "no receiver that calls anybody: pages go to the log only"
        hint = "add one of type slack, pagerduty or webhook to paging.receivers"
        way: Way = ("paging", "receivers") if kinds else ("source",)
        yield document.problem(way, "nobody", text, hint, severity=warning)
    elif document.at(("watch", "heartbeat")) is None:
        text = "no heartbeat: nobody is told when this machine, its network or its pager is gone"
        hint = "watch.heartbeat.url: {file: PATH}, of a service that alarms when it stays away"
        way = ("watch",) if "watch" in data else ("paging", "receivers")
        yield document.problem(way, "heartbeat", text, hint, severity=warning)


def _is_kind(way: Way) -> bool:
    return way[:2] == ("paging", "receivers") and way[3:] == ("type",)


def _exposed(secret: Secret, way: Way, document: Document) -> Iterator[Problem]:
    """A file that every user of the machine may read."""
    try:
        mode = Path(secret.file).stat().st_mode if secret.file else 0
    except OSError:
        return
    if mode & stat.S_IROTH:
        text = f"the {secret.where} is readable by every user of this machine"
        hint = f"chmod 640 {secret.file}, with the daemon's group"
        yield document.problem(way, "secret-mode", text, hint, severity=Severity.WARNING)


def _wrong_kind(
    kind: str, field: str, value: str, way: Way, document: Document
) -> Iterator[Problem]:
    """A secret of another kind than its place wants: known by its form, never shown."""
    match (kind, field):
        case ("slack", "token"):
            yield from _slack_token(value, way, document)
        case (_, "app_token") if not value.startswith("xapp-"):
            text = "not an app-level token of Slack: those begin with xapp-"
            yield document.problem(way, "secret-kind", text)
        case ("pagerduty", "routing_key") if len(value) != 32:
            text = f"{len(value)} characters; an integration key of PagerDuty has 32"
            hint = "take it from the service's Events API v2 integration"
            yield document.problem(way, "secret-kind", text, hint, severity=Severity.WARNING)
        case (_, "url"):
            try:
                check_url(value, allow_http=kind == "webhook")
            except ValueError as wrong:
                yield document.problem(way, "secret-kind", f"not an address to send to: {wrong}")
        case _:
            return


def _slack_token(value: str, way: Way, document: Document) -> Iterator[Problem]:
    others = {
        "xapp-": "an app-level token",
        "xoxp-": "a user's token",
        "https://": "an incoming webhook",
    }
    hint = "the bot token of the app begins with xoxb-"
    for prefix, what in others.items():
        if value.startswith(prefix):
            yield document.problem(way, "secret-kind", f"this is {what} of Slack", hint)
            return
    if not value.startswith(("xoxb-", "xoxe.xoxb-")):
        text = "this does not look like a bot token of Slack"
        yield document.problem(way, "secret-kind", text, hint, severity=Severity.WARNING)


def _unused(document: Document) -> Iterator[Problem]:
    """Receivers that nothing names, where the route names any."""
    texts = {way: value for way in document.values if isinstance(value := document.at(way), str)}
    names = {
        way: name
        for way, name in texts.items()
        if way[:2] == ("paging", "receivers") and way[3:] == ("name",)
    }
    used = {value for way, value in texts.items() if way not in names}
    if not any(way[:2] == ("paging", "route") and way[-2] == "receivers" for way in texts):
        return  # nothing is routed: all receivers get everything
    for way, name in names.items():
        if name not in used:
            text = f"the receiver {name!r} is never used"
            hint = "name it in paging.route, paging.escalation, paging.fallback or paging.digest"
            if texts.get((*way[:3], "type")) in RINGS:
                hint = "name it in paging.route, paging.escalation or paging.fallback"
            yield document.problem(way, "unused", text, hint, severity=Severity.WARNING)


def _unreachable(document: Document) -> Iterator[Problem]:
    """Routes behind a sibling that takes all they would take."""
    for way in document.values:
        siblings = document.at(way)
        if way[:2] != ("paging", "route") or way[-1] != "routes" or not isinstance(siblings, list):
            continue
        taken: list[tuple[int, set[str]]] = []
        for index, node in enumerate(siblings):
            if not isinstance(node, dict):
                continue
            matchers = {_plain(text) for text in node.get("matchers") or ()}
            for earlier, wanted in taken:
                if wanted <= matchers:
                    line = document.locate((*way, earlier))[0]
                    text = f"no incident comes here: the route on line {line} takes them"
                    hint = "put the narrower route first, or give the wider `continue: true`"
                    here = (*way, index)
                    warning = Severity.WARNING
                    yield document.problem(here, "unreachable", text, hint, severity=warning)
                    break
            if node.get("continue") is not True:
                taken.append((index, matchers))


def _plain(matcher: object) -> str:
    """A matcher without what its spelling leaves open: blanks and quotes."""
    text = str(matcher).strip()
    try:
        made = parse_matcher(text)
    except ValueError:
        return text
    return f"{made.name}{made.op}{made.value}"
