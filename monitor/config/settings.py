"""The configuration: one YAML file, checked whole, every problem at once with its place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from monitor.alerting.routes import Route, parse_matcher
from monitor.config.budget import Budget
from monitor.config.digest import DigestSettings
from monitor.config.files import read
from monitor.config.kept import DEFAULT, Retention
from monitor.config.references import LOG_RECEIVER, dangling, inline, masked, signals_of
from monitor.config.secret import Secret
from monitor.desk.settings import Desk
from monitor.inbound.settings import Inbound
from monitor.incidents.model import Rung
from monitor.notify.alertmanager_settings import AlertmanagerSettings
from monitor.notify.settings import ChannelSettings, LogSettings
from monitor.paging import Policy
from monitor.processes.settings import Processes
from monitor.profiles import PROFILES, Profile, ProfileName
from monitor.spending import configured_tiers
from monitor.stream.rules import Rule, names
from monitor.stream.signals import Plan, Signal, Tier, plan
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.watch.settings import Watch
from runbooks.allow import NOTHING, AllowList
from runbooks.convert import check, convert, json_schema
from runbooks.document import Document
from runbooks.durations import Duration
from runbooks.problems import Problem, Problems, Severity


def begin(text: str) -> Literal["earliest", "latest"] | datetime:
    """Where reading begins: `earliest`, `latest` or an RFC 3339 time with its zone.

    Raises:
        ValueError: none of these.
    """
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"{text!r} is not earliest, latest or a time like 2026-11-22T09:00:00Z")
    return at


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Closed: a key that is not known is an error with a suggestion."""


class KafkaSource(_Part, frozen=True, kw_only=True, tag_field="type", tag="kafka"):
    """A topic of Apache Kafka.

    Attributes:
        bootstrap: Brokers to begin with, `host:port` each.
        topic: The topic with interaction events.
        group: Consumer group; its members share the partitions.
        start: Where a first start begins: earliest, latest or an RFC 3339 time.
        member: Static membership: a name that survives a restart, so that a daemon that was killed
            gets its partitions back at once. Absent: this machine and store.
        security: `security_protocol`, `ssl_*` and `sasl_*` of kafka-python, but no password.
        sasl_password: Secret for `sasl_plain_password`.
        ssl_password: Secret that opens the client's private key.
    """

    bootstrap: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    topic: Annotated[str, msgspec.Meta(min_length=1)]
    group: str = "tocsin"
    start: str = "latest"
    member: str = ""
    security: dict[str, str | int | bool] = {}
    sasl_password: Secret | None = None
    ssl_password: Secret | None = None

    def __post_init__(self) -> None:
        begin(self.start)

    def kafka(self, member: str) -> KafkaSettings:
        """For the source; `member` where the configuration names none.

        Raises:
            SecretUnavailableError: the password cannot be read.
        """
        security: dict[str, Any] = dict(self.security)
        if self.sasl_password is not None:
            security["sasl_plain_password"] = self.sasl_password.reveal()
        if self.ssl_password is not None:
            security["ssl_password"] = self.ssl_password.reveal()
        return KafkaSettings(
            bootstrap=self.bootstrap,
            topic=self.topic,
            group=self.group,
            begin=begin(self.start),
            member=self.member or member,
            security=security,
        )


class FileSource(_Part, frozen=True, kw_only=True, tag_field="type", tag="file"):
    """A recording: newline-delimited JSON, `.gz` too; `-` is standard input.

    Attributes:
        path: The file.
    """

    path: str


class SimulatedSource(_Part, frozen=True, kw_only=True, tag_field="type", tag="simulate"):
    """The seeded simulator.

    Attributes:
        scenario: S0 to S8, or demo.
        seed: The same seed gives the same events.
    """

    scenario: str = "demo"
    seed: int = 1


class Stream(_Part, frozen=True, kw_only=True):
    """How events are counted.

    Attributes:
        bucket: Span of event time that is counted together, 10 s to 5 min.
        lateness: How long a bucket waits for stragglers.
    """

    bucket: Duration = Duration(seconds=60)
    lateness: Duration = Duration(seconds=15)

    def __post_init__(self) -> None:
        seconds = self.bucket.total_seconds()
        if not 10 <= seconds <= 300 or 3600 % seconds:
            raise ValueError("bucket must divide an hour and be 10s to 5m")
        if not 0 <= self.lateness.total_seconds() <= 600:
            raise ValueError("lateness must be 0s to 10m")


class RouteNode(_Part, frozen=True, kw_only=True, rename={"go_on": "continue"}):
    """A node of the route tree, in Alertmanager's words.

    Attributes:
        receivers: Names of receivers; inherited where absent.
        matchers: Conditions on trusted labels, as `severity=~"SEV1|SEV2"`.
        routes: Children; the first that matches takes it.
        go_on: Later siblings may take it too.
    """

    receivers: tuple[str, ...] = ()
    matchers: tuple[str, ...] = ()
    routes: tuple[RouteNode, ...] = ()
    go_on: bool = False

    def route(self) -> Route:
        """For the decisions.

        Raises:
            ValueError: a matcher is none; `load` has told so with its place.
        """
        return Route(
            receivers=self.receivers,
            matchers=tuple(parse_matcher(text) for text in self.matchers),
            routes=tuple(node.route() for node in self.routes),
            go_on=self.go_on,
        )

    def names(self) -> set[str]:
        """All receivers named from here down."""
        return set(self.receivers).union(*(node.names() for node in self.routes))


class Escalate(_Part, frozen=True, kw_only=True):
    """Whom to page next while nobody acknowledges.

    Escalation pages each receiver once per outage; a step whose receivers were all paged is
    skipped.

    Attributes:
        after: Counted from the first page.
        receivers: Names of receivers.
    """

    after: Duration
    receivers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Paging(_Part, frozen=True, kw_only=True):
    """Who is paged.

    Attributes:
        receivers: The channels.
        route: The route tree.
        group_by: Dimensions whose equal values make one incident.
        escalation: Steps after the first page, of every incident that pages, whatever its route.
        fallback: Receiver that is paged when another refuses a page for good.
        links: Templates by name; `$incident $signal $environment $feature` are filled in.
        budget: How many false pages a team bears.
        digest: Who is told once a day of what woke nobody; absent: nobody is. A recording tells
            nobody.
    """

    receivers: tuple[ChannelSettings, ...] = ()
    route: RouteNode = RouteNode()
    group_by: tuple[str, ...] = ("environment", "feature")
    escalation: tuple[Escalate, ...] = ()
    fallback: str = ""
    links: dict[str, str] = {}
    budget: Budget = Budget()
    digest: DigestSettings | None = None


class Runbooks(_Part, frozen=True, kw_only=True):
    """Runbooks of your own, and what they may do here.

    Attributes:
        folders: Folders with runbook files, besides the shipped ones.
        allow: The allow-list; nothing runs that it does not name.
        defaults: Values for runbook parameters, by parameter name.
    """

    folders: tuple[Path, ...] = ()
    allow: AllowList = NOTHING
    defaults: dict[str, str | int | bool] = {}


class Settings(_Part, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        version: Of this format.
        store: Database URL: `sqlite:///PATH`, or `postgresql://USER@HOST/DATABASE` with libpq's
            parameters (`?sslmode=verify-full`); no password, see `store_password`.
        store_password: Secret for a PostgreSQL store; absent: libpq's own ways (`.pgpass`).
        store_retention: How long counts and judged points are kept, from 29d on. What people and
            incidents did is kept for ever, and with an incident the points of its chart.
        profile: quiet, page or loud.
        source: Where events come from.
        stream: How they are counted.
        signals_file: Signals of your own instead of the shipped set.
        disable: Names of signals to leave out.
        tiers: Tier by signal, as a person promoted it in the configuration.
        rules: Static limits and burn rates on the counts of a signal.
        paging: Who is paged.
        runbooks: Runbooks and what they may do.
        desk: Who may ask and do what.
        inbound: Who may answer a page from Slack or PagerDuty, and how that comes here.
        alertmanager: Alertmanager as a neighbour: what is sent there, and what comes in.
        processes: Roles, ingest processes and the watchdog of this machine.
        watch: How Tocsin watches itself, and whom it tells when its store does not answer.
        http: `HOST:PORT` for health and metrics; empty: none.
        digest_key: Key of the digests in the quarantine; absent: made beside the store.
    """

    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    store: str = "sqlite:///tocsin.db"
    store_password: Secret | None = None
    store_retention: Retention = DEFAULT
    profile: ProfileName = "quiet"
    source: KafkaSource | FileSource | SimulatedSource | None = None
    stream: Stream = Stream()
    signals_file: Path | None = None
    disable: tuple[str, ...] = ()
    tiers: dict[str, Tier] = {}
    rules: tuple[Rule, ...] = ()
    paging: Paging = Paging()
    runbooks: Runbooks = Runbooks()
    desk: Desk = Desk()
    inbound: Inbound = Inbound()
    alertmanager: AlertmanagerSettings | None = None
    processes: Processes = Processes()
    watch: Watch = Watch()
    http: str = ""
    digest_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings with everything they refer to, resolved."""

    settings: Settings
    plan: Plan
    profile: Profile
    policy: Policy
    receivers: tuple[ChannelSettings, ...]

    def counted(self, name: str) -> Signal | None:
        """The rate behind a name under which something alerts: a signal's, or a rule's."""
        of_rule = {each: rule.signal for rule in self.settings.rules for each in names(rule)}
        wanted = of_rule.get(name, name)
        return next((signal for signal in self.plan.rates() if signal.name == wanted), None)


def look(path: Path) -> tuple[Document | None, list[Problem]]:
    """What a file or a folder of `*.yaml` says, and everything wrong with it, warnings too.

    Raises:
        OSError: it cannot be read.
    """
    found = read(path)
    document = found.document
    if document is None:
        return None, list(found.problems)
    shapes = check(document, Settings)
    if found.complete:
        problems = [*found.problems, *shapes, *dangling(document)]
    else:  # what is not there may stand in a file that could not be read
        problems = [*found.problems, *(p for p in shapes if p.code != "missing-key")]
    literals, values = inline(document)
    return document, masked([*problems, *literals], values)


def load(path: Path) -> tuple[Settings, Document]:
    """Read a configuration: one file, or a folder whose `*.yaml` merge (`monitor.config.files`).

    Raises:
        Problems: everything that is wrong with it and with the files it names.
        OSError: it cannot be read.
    """
    document, problems = look(path)
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors or document is None:
        raise Problems(errors)
    return convert(document, Settings), document


def resolve(settings: Settings) -> Configured:
    """Read what the settings refer to.

    Raises:
        Problems: the signals file has mistakes.
        OSError: it cannot be read.
    """
    profile = PROFILES[settings.profile]
    chosen = [
        _tiered(s, settings.tiers)
        for s in signals_of(settings.signals_file)
        if s.name not in settings.disable
    ]
    counting = plan(
        chosen,
        bucket_s=int(settings.stream.bucket.total_seconds()),
        lateness_s=int(settings.stream.lateness.total_seconds()),
    )
    receivers = settings.paging.receivers or (LogSettings(name=LOG_RECEIVER),)
    root = settings.paging.route
    if not root.names():
        root = msgspec.structs.replace(root, receivers=tuple(r.name for r in receivers))
    policy = Policy(
        route=root.route(),
        group_by=settings.paging.group_by,
        escalation=tuple(
            Rung(int(step.after.total_seconds()), step.receivers)
            for step in settings.paging.escalation
        ),
        links=settings.paging.links,
        capped=profile.capped,
        budgets=settings.paging.budget.budgets(chosen, settings.rules),
        digest=None
        if settings.paging.digest is None
        else settings.paging.digest.daily(configured_tiers(counting, profile, settings.rules)),
    )
    return Configured(settings, counting, profile, policy, receivers)


def schema() -> dict[str, Any]:
    """JSON Schema of the configuration."""
    return json_schema(Settings)


def _tiered(signal: Signal, tiers: dict[str, Tier]) -> Signal:
    if signal.name not in tiers:
        return signal
    return msgspec.structs.replace(signal, tier=tiers[signal.name])
