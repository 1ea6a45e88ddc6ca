"""A desk with a story: three incidents in memory, and commands that really change them.

It follows `DeskPort` to the letter, so that the screens can be tried without a daemon. The clock
stands until `tick` moves it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from monitor import detect_views, views
from monitor.views import DeskError, StepAction, View
from tests.tui.story_rules import StoryRules

NOW = datetime(2026, 11, 27, 3, 16, 10, tzinfo=UTC)


def changed(view: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(view, **fields)


def _steps() -> list[views.StepView]:
    common: dict[str, Any] = {"state": "pending"}
    step = views.StepView
    return [
        step(
            number=1,
            id="deploys",
            type="http",
            title="Is it a deploy artefact?",
            text="Lists the releases of the last hour.",
            effect="read_only",
            request="GET https://deploys.internal/api/releases?since=60m",
            **common,
        ),
        step(
            number=2,
            id="samples",
            type="manual",
            title="Read 20 redacted samples",
            text="Open the evidence link and look for one theme.",
            effect="read_only",
            **common,
        ),
        step(
            number=3,
            id="rollback",
            type="command",
            title="Roll back safety prompt",
            text="Puts v40 back for all of chat-prod.",
            effect="reversible",
            request="safetyctl prompt rollback --to v40",
            confirm="y",
            undo="safetyctl prompt rollout --to v41",
            **common,
        ),
        step(
            number=4,
            id="strict",
            type="command",
            title="Stricter output filter",
            text="Blocks more than it should; last resort.",
            effect="destructive",
            request="safetyctl filter set --strict chat-prod",
            confirm="INC-0142",
            **common,
        ),
        step(
            number=5,
            id="hold",
            type="wait",
            title="refusal_rate < 2.0x for 5 min",
            text="Waits for the signal.",
            effect="read_only",
            **common,
        ),
    ]


class StoryDesk(StoryRules):
    """`DeskPort` over lists; `log` holds every command that was asked for."""

    def __init__(
        self, *, dress: Callable[[str], str] = lambda text: text, with_run: bool = True
    ) -> None:
        self.dress = dress
        self.now = NOW
        self.revision = 1
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.lost = False
        self.daemon = True
        self.slow = 0
        self.role: str = "responder"
        self.verified = False
        self.with_run = with_run
        self.runbook_file = ""
        self._lock = threading.RLock()
        self._entries: dict[str, list[views.TimelineEntry]] = {}
        self._runs: dict[str, views.RunView] = {}
        self._verdicts: dict[str, str] = {}
        self._changes = [
            views.ChangeView(
                id="CHG-1",
                kind="release",
                title=dress("safety-prompt v41"),
                at=NOW - timedelta(minutes=14),
                dimensions={"model": "v41"},
                actor="ci",
            )
        ]
        self.rows = [self._row(142), self._row(141), self._row(139), self._row(137)]
        for row in self.rows:
            self._say(row.id, "DETECT", f"{row.title} (alert fired)", "detector", row.detected_at)
        self._say("INC-0142", "PAGE", "pagerduty > mira", "tocsin", NOW - timedelta(seconds=244))
        if with_run:
            self._open_run("INC-0142")

    # the story -----------------------------------------------------------------------------------

    def _row(self, number: int) -> views.IncidentRow:
        spark: list[float | None] = [*[0.1] * 50, *(0.1 + 0.03 * i for i in range(10))]
        minutes = {142: 4, 141: 12, 139: 64, 137: 331}[number]
        at = NOW - timedelta(minutes=minutes, seconds=6)
        title, where, severity, state, owner = {
            142: ("Refusals 4.1x baseline", "chat-prod", "SEV2", "triage", None),
            141: ("Tool misuse +38/h", "agent-beta", "SEV3", "active", "jo"),
            139: ("PII leak blocked", "search", "SEV4", "mitigated", "mira"),
            137: ("Policy drift", "eu-west", "SEV3", "resolved", "mira"),
        }[number]
        return views.IncidentRow(
            id=f"INC-0{number}",
            title=self.dress(title),
            state=state,
            severity=severity,
            detected_at=at,
            acknowledged_at=None if number == 142 else at + timedelta(minutes=1),
            mitigated_at=at + timedelta(minutes=9) if number in {139, 137} else None,
            resolved_at=at + timedelta(minutes=19) if number == 137 else None,
            dimensions={"feature": self.dress(where), "environment": "prod"},
            signal="refusal_rate",
            owner=self.dress(owner) if owner else None,
            paged=number == 142,
            firing=number == 142,
            spark=spark,
        )

    def _say(
        self, ref: str, kind: str, text: str, actor: str = "mira", at: datetime | None = None
    ) -> None:
        entries = self._entries.setdefault(ref, [])
        when = at or self.now
        entries.append(
            views.TimelineEntry(
                seq=len(entries) + 1,
                kind=kind,
                text=self.dress(text),
                actor=self.dress(actor),
                occurred_at=when,
                recorded_at=when,
            )
        )
        self.revision += 1

    def _open_run(self, ref: str) -> None:
        steps = [
            changed(
                step,
                title=self.dress(step.title),
                text=self.dress(step.text),
                request=self.dress(step.request) if step.request else "",
                confirm=ref if step.confirm and step.confirm != "y" else step.confirm,
            )
            for step in _steps()
        ]
        self._runs[ref] = views.RunView(
            id="run-1",
            runbook="refusal-spike",
            version=7,
            title=self.dress("Refusals spike"),
            state="running",
            done=0,
            total=len(steps),
            steps=steps,
        )
        self._refresh(ref)

    def _refresh(self, ref: str) -> None:
        run = self._runs[ref]
        over = {"succeeded", "skipped", "rolled_back"}
        current = next((s.number for s in run.steps if s.state not in over), 0)
        steps = []
        for step in run.steps:
            actions: list[StepAction] = []
            if step.number == current and step.state in {"pending", "failed"}:
                actions = ["done", "fail", "skip"] if step.type == "manual" else ["run", "skip"]
            elif step.state == "running":
                actions = ["fail"]
            elif step.state == "succeeded" and step.undo:
                actions = ["undo"]
            steps.append(changed(step, current=step.number == current, actions=actions))
        done = sum(step.state in over for step in steps)
        state = "succeeded" if done == len(steps) else "running"
        self._runs[ref] = changed(run, steps=steps, done=done, state=state)

    def tick(self, seconds: float) -> None:
        """Move the clock."""
        with self._lock:
            self.now += timedelta(seconds=seconds)

    def finish(self, ref: str, number: int, *, output: str = "ok") -> None:
        """A running step ends well."""
        with self._lock:
            self._set_step(ref, number, state="succeeded", output=output, ended_at=self.now)
            self._say(ref, "STEP", f"{number} ok", "tocsin")

    def _set_step(self, ref: str, number: int, **fields: Any) -> None:
        run = self._runs[ref]
        steps = [changed(s, **fields) if s.number == number else s for s in run.steps]
        self._runs[ref] = changed(run, steps=steps)
        self._refresh(ref)

    def _find(self, ref: str) -> views.IncidentRow:
        if self.lost:
            raise DeskError("unavailable", "no answer from the daemon", "is `tocsin run` running?")
        if ref == "latest":
            return self.rows[0]
        wanted = ref if ref.startswith("INC-") else f"INC-{int(ref):04d}" if ref.isdigit() else ref
        for row in self.rows:
            if row.id == wanted:
                return row
        raise DeskError("not_found", f"there is no incident {ref}", "see `tocsin inc list`")

    def _change(self, ref: str, **fields: Any) -> views.IncidentRow:
        row = self._find(ref)
        new: views.IncidentRow = changed(row, **fields)
        self.rows[self.rows.index(row)] = new
        self.revision += 1
        return new

    def _did(self, name: str, /, **arguments: Any) -> None:
        if self.lost:
            raise DeskError("unavailable", "no answer from the daemon", "is `tocsin run` running?")
        self.log.append((name, arguments))
        if self.role == "reader":
            raise DeskError("forbidden", "readers change nothing", "ask an admin for responder")

    # questions -----------------------------------------------------------------------------------

    def whoami(self) -> views.Principal:
        self._find("latest")
        return views.Principal(name="mira", role=self.role)  # type: ignore[arg-type] # a test's word

    def overview(self) -> views.Overview:
        with self._lock:
            self._find("latest")
            parts = [
                views.Health(name="store", state="ok", text="sqlite, 2 ms"),
                views.Health(name="pager", state="ok", text=self.dress("pagerduty")),
                views.Health(name="detectors", state="warn", text="1 of 12 warming"),
            ]
            active = [r for r in self.rows if r.state in {"triage", "active", "mitigated"}]
            return views.Overview(
                now=self.now,
                event_now=self.now - timedelta(seconds=20),
                open_incidents=len(active),
                unacknowledged=sum(r.acknowledged_at is None for r in active),
                yours=sum(r.owner == "mira" for r in active),
                lag_s=0.8,
                pager=parts[1],
                parts=parts,
                profile="quiet",
                live=self.daemon,
                revision=self.revision,
                daemon=self.daemon,
            )

    def incidents(
        self,
        *,
        state: str = "",
        severity: str = "",
        since: datetime | None = None,
        mine: bool = False,
        limit: int = 200,
    ) -> list[views.IncidentRow]:
        with self._lock:
            self._find("latest")
            opened = {"triage", "active", "mitigated"}
            return [
                row
                for row in self.rows
                if (not state or row.state == state or (state == "open" and row.state in opened))
                and (not severity or row.severity == severity)
                and (since is None or row.detected_at >= since)
                and (not mine or row.owner == "mira")
            ][:limit]

    def incident(self, ref: str) -> views.IncidentView:
        with self._lock:
            row = self._find(ref)
            alert = views.AlertView(
                fingerprint="a1b2",
                signal="refusal_rate",
                dimensions=row.dimensions,
                state="firing" if row.firing else "cleared",
                tier="page",
                severity=row.severity,
                onset_at=row.detected_at - timedelta(minutes=3),
                detected_at=row.detected_at,
                cleared_at=None if row.firing else self.now,
                k=7463,
                n=18204,
                rate=0.41,
                baseline=0.1,
                excess=5642.0,
                score=14.2,
                threshold=6.0,
                reason=self.dress("41.0% refusals against 10.0% over 5 min, n=18,204"),
            )
            share = views.Cause(dimensions={"tenant": self.dress("tenant-7")}, share=0.62)
            pages = [
                views.PageView(
                    receiver=self.dress("pagerduty"),
                    kind="pagerduty",
                    state="sent",
                    attempts=1,
                    created_at=row.detected_at,
                    sent_at=row.detected_at + timedelta(seconds=2),
                    detail=self.dress("202 accepted"),
                )
            ]
            lacks = [] if self.verified else ["no signal condition has held since the mitigation"]
            return views.IncidentView(
                row=row,
                facts=[self.dress("refusal_rate 41.0% vs 10.0% since 03:09"), "feature chat-prod"],
                alerts=[alert],
                causes=[share],
                changes=list(self._changes),
                commander=row.owner,
                run=self._runs.get(row.id),
                pages=pages,
                verdict=self._verdicts.get(row.id),
                verified=self.verified,
                resolve_lacks=lacks,
                links={"dashboard": self.dress("https://grafana.internal/d/refusals")},
            )

    def timeline(self, ref: str, *, after: int = 0, limit: int = 500) -> list[views.TimelineEntry]:
        with self._lock:
            row = self._find(ref)
            entries = self._entries.get(row.id, [])
            return [entry for entry in entries if entry.seq > after][:limit]

    def chart(self, ref: str, *, minutes: int = 60) -> views.Chart:
        with self._lock:
            row = self._find(ref)
            start = NOW.replace(second=0) - timedelta(minutes=minutes)
            points = [
                views.ChartPoint(
                    at=start + timedelta(minutes=i),
                    rate=None if i == 20 else (0.1 if i < 50 else 0.1 + 0.034 * (i - 49)),
                    baseline=0.1,
                    n=300,
                )
                for i in range(minutes)
            ]
            marks = [views.ChartMark(at=row.detected_at, kind="detected", text="detected")]
            if row.acknowledged_at is not None:
                at = row.acknowledged_at
                marks.append(views.ChartMark(at=at, kind="acknowledged", text="acknowledged"))
            return views.Chart(
                signal="refusal_rate",
                dimensions=row.dimensions,
                bucket_s=60,
                points=points,
                marks=marks,
            )

    def signals(self) -> list[views.SignalNow]:
        self._find("latest")
        return [
            views.SignalNow(
                signal="refusal_rate",
                dimensions={"feature": self.dress("chat-prod")},
                state="firing",
                rate=0.41,
                baseline=0.1,
                score=14.2,
                threshold=6.0,
                tier="page",
            ),
            views.SignalNow(
                signal="violation_rate",
                dimensions={"feature": "search"},
                state="quiet",
                rate=0.009,
                baseline=0.01,
                score=0.3,
                threshold=6.0,
                tier="page",
            ),
        ]

    def explain(
        self, *, signal: str, dimensions: dict[str, str] | None = None, limit: int = 5
    ) -> list[detect_views.Explanation]:
        self._find("latest")
        if signal != "refusal_rate":
            raise DeskError("not_found", f"no rate {signal!r}", "list them: tocsin signal list")
        where = {"feature": self.dress("chat-prod")}
        if dimensions and dimensions != where:
            return []
        one = detect_views.Explanation(
            signal=signal,
            dimensions=where,
            state="firing",
            tier="page",
            at=NOW,
            sentence=self.dress(
                "Refusals on chat-prod: 41.0 % against a baseline of 10.0 % (4.1x)"
            ),
            rate=0.41,
            baseline=0.1,
            k=7463,
            n=18204,
            score=14.2,
            threshold=6.0,
            meaning=self.dress("pages at what a quiet series reaches once in 36 weeks"),
            onset_at=NOW - timedelta(minutes=5),
            excess=5643.0,
            causes=[views.Cause(dimensions={"model": self.dress("v41")}, share=0.83)],
            changes=self._changes[:1],
            incident="INC-0142",
            spark=[0.1, None, 0.1, 0.41],
            spark_s=600,
        )
        return [one][:limit]

    def backtest(self, *, signal: str, days: int = 14) -> detect_views.Backtest:
        self._find("latest")
        episode = detect_views.Episode(
            dimensions={"feature": self.dress("chat-prod")},
            onset_at=NOW - timedelta(days=2),
            detected_at=NOW - timedelta(days=2) + timedelta(minutes=5),
            ended_at=None,
            duration_s=1_800,
            k=410,
            n=1_000,
            baseline=0.1,
            peak_ratio=4.1,
            excess=310.0,
            score=14.2,
            page=True,
            incidents=["INC-0137"],
            verdict="regression",
        )
        slow, self.slow = self.slow, 0
        return detect_views.Backtest(
            progress=0.4 if slow else 1.0,
            signal=signal,
            profile="page",
            thresholds=[9.0, 10.5],
            meanings=[self.dress("pages at what a quiet series reaches once in 36 weeks")],
            without=self.dress(
                "without tenant, model and release series: their counts begin on 2026-11-20 only"
            ),
            since=NOW - timedelta(days=days),
            until=NOW,
            weeks=days / 7,
            series=2,
            series_weeks=2 * days / 7,
            episodes=[episode, changed(episode, page=False, incidents=[], verdict=None)],
            pages=1,
            true=1,
            false=0,
            unjudged=0,
            false_per_week=0.0,
        )

    def changes(self, *, since: datetime | None = None) -> list[views.ChangeView]:
        self._find("latest")
        return [each for each in self._changes if since is None or each.at >= since]

    def notes(self, *, since: datetime | None = None) -> list[views.NoteView]:
        self._find("latest")
        where = {"environment": "prod", "feature": self.dress("chat-prod")}
        note = views.NoteView(
            kind="level",
            signal="refusal_rate",
            dimensions=where,
            onset_at=NOW - timedelta(hours=9),
            at=NOW - timedelta(hours=4),
            before=0.1,
            after=0.21,
            text=self.dress("Refusals, chat-prod in prod: level changed from 10.0 % to 21.0 %"),
            fits=self.dress("release safety-prompt v41 fits, 4 min before"),
        )
        return [note] if since is None or note.onset_at >= since else []

    def config_history(self, *, limit: int = 50) -> list[views.ConfigRevision]:
        self._find("latest")
        return [changed(self.config_revision(), body="")][:limit]

    def config_revision(self, *, number: int = 0) -> views.ConfigRevision:
        self._find("latest")
        if number > 7:
            raise DeskError("not_found", f"no revision r{number}", "tocsin config history")
        return views.ConfigRevision(
            number=number or 7,
            at=NOW - timedelta(hours=3),
            who=self.dress("mira"),
            via="socket",
            note=self.dress("paging.route.receivers"),
            digest="d" * 64,
            body='{"version": 1, "profile": "page", "store": "sqlite:///t.db"}',
        )

    def reload_config(self) -> views.ConfigReloaded:
        self._did("reload_config")
        text = "configuration r8 is in force: tiers.error_rate changed"
        return views.ConfigReloaded(
            text=text, taken=True, number=8, changed=["tiers.error_rate"], problems=[]
        )

    def quarantine(self, *, limit: int = 100) -> list[views.QuarantineRow]:
        self._find("latest")
        found = [
            ("unknown_key", 9, f"$.data.{self.dress('prompt')}"),
            ("unknown_key", 7, "$.data.x"),
            ("secret", 4, ""),
        ]
        rows = [
            views.QuarantineRow(
                topic=self.dress("ai-interactions"),
                partition=0,
                offset=offset,
                rule=rule,
                path=path,
                length=812,
                digest="9f2c",
                at=NOW - timedelta(minutes=20 - offset),
            )
            for rule, offset, path in found
        ]
        return rows[:limit]

    def runbooks(self, ref: str = "") -> list[views.RunbookRow]:
        self._find("latest")
        params = [
            views.Param(name="feature", type="string", default="chat-prod"),
            views.Param(name="window", type="int", description="minutes"),
        ]
        return [
            views.RunbookRow(
                id="refusal-spike",
                version=7,
                title=self.dress("Refusals spike"),
                suggested=bool(ref),
                params=[] if self.with_run else params,
            ),
            views.RunbookRow(
                id="tool-misuse", version=2, title="Tool misuse", suggested=False, params=[]
            ),
        ]

    def runbook_text(self, runbook: str) -> str:
        self._find("latest")
        text = f"id: {runbook}\nversion: 7\nsteps:\n  - id: deploys\n"
        return self.dress(self.runbook_file or text)

    # commands ------------------------------------------------------------------------------------

    def declare(self, *, title: str, severity: str, feature: str = "") -> views.Done:
        with self._lock:
            self._did("declare", title=title, severity=severity, feature=feature)
            row = changed(
                self._row(142),
                id="INC-0143",
                title=title,
                severity=severity,
                detected_at=self.now,
                dimensions={"feature": feature} if feature else {},
                signal=None,
                firing=False,
                spark=[],
            )
            self.rows.insert(0, row)
            self._say(row.id, "DECLARED", title)
            return views.Done(text=f"declared {row.id}", incident=row.id, revision=self.revision)

    def acknowledge(self, ref: str) -> views.Done:
        with self._lock:
            self._did("acknowledge", ref=ref)
            row = self._change(ref, acknowledged_at=self.now, state="active")
            self._say(row.id, "ACK", "acknowledged")
            return self._done(row, "acknowledged")

    def take(self, ref: str) -> views.Done:
        with self._lock:
            self._did("take", ref=ref)
            old = self._find(ref)
            row = self._change(
                ref, owner="mira", acknowledged_at=old.acknowledged_at or self.now, state="active"
            )
            self._say(row.id, "CMD", "mira commands")
            return self._done(row, "you command")

    def _done(self, row: views.IncidentRow, text: str) -> views.Done:
        return views.Done(text=f"{row.id}: {text}", incident=row.id, revision=self.revision)

    def note(self, ref: str, *, text: str) -> views.Done:
        with self._lock:
            self._did("note", ref=ref, text=text)
            row = self._find(ref)
            self._say(row.id, "NOTE", text)
            return self._done(row, "noted")

    def set_severity(self, ref: str, *, severity: str, reason: str) -> views.Done:
        with self._lock:
            self._did("set_severity", ref=ref, severity=severity, reason=reason)
            row = self._change(ref, severity=severity)
            self._say(row.id, "SEVERITY", f"{severity}: {reason}")
            return self._done(row, f"is {severity}")

    def escalate(self, ref: str, *, reason: str = "") -> views.Done:
        with self._lock:
            self._did("escalate", ref=ref, reason=reason)
            row = self._find(ref)
            self._say(row.id, "ESCALATE", reason or "next tier")
            return self._done(row, "paged the next tier")

    def mitigate(self, ref: str, *, reason: str = "") -> views.Done:
        with self._lock:
            self._did("mitigate", ref=ref, reason=reason)
            row = self._change(ref, state="mitigated", mitigated_at=self.now)
            self._say(row.id, "MITIGATED", reason)
            return self._done(row, "mitigated")

    def resolve(self, ref: str, *, verdict: str, reason: str = "") -> views.Done:
        with self._lock:
            self._did("resolve", ref=ref, verdict=verdict, reason=reason)
            if verdict not in views.VERDICTS:
                raise DeskError("invalid", f"unknown verdict {verdict}")
            if not self.verified and not reason:
                raise DeskError(
                    "refused", "resolve lacks a verification", "give a reason, or verify first"
                )
            row = self._change(ref, state="resolved", resolved_at=self.now, firing=False)
            self._verdicts[row.id] = verdict
            self._say(row.id, "RESOLVED", f"{verdict} {reason}".strip())
            return self._done(row, "resolved")

    def reopen(self, ref: str, *, reason: str) -> views.Done:
        with self._lock:
            self._did("reopen", ref=ref, reason=reason)
            row = self._change(ref, state="active", resolved_at=None)
            self._say(row.id, "REOPENED", reason)
            return self._done(row, "open again")

    def close(self, ref: str, *, reason: str = "") -> views.Done:
        with self._lock:
            self._did("close", ref=ref, reason=reason)
            row = self._change(ref, state="closed", closed_at=self.now)
            self._say(row.id, "CLOSED", reason)
            return self._done(row, "closed")

    def add_change(
        self,
        *,
        kind: str,
        title: str,
        at: datetime | None = None,
        dimensions: dict[str, str] | None = None,
    ) -> views.Done:
        with self._lock:
            self._did("add_change", kind=kind, title=title, at=at, dimensions=dimensions)
            self._changes.append(
                views.ChangeView(
                    id=f"CHG-{len(self._changes) + 1}",
                    kind=kind,
                    title=title,
                    at=at or self.now,
                    dimensions=dimensions or {},
                    actor="mira",
                )
            )
            self.revision += 1
            return views.Done(text=f"recorded {kind} {title}", revision=self.revision)

    def start_run(
        self, ref: str, *, runbook: str, params: dict[str, str | int | bool] | None = None
    ) -> views.Done:
        with self._lock:
            self._did("start_run", ref=ref, runbook=runbook, params=params)
            row = self._find(ref)
            self._open_run(row.id)
            self._say(row.id, "RUN", f"{runbook} started")
            return self._done(row, f"{runbook} started")

    def step(
        self,
        ref: str,
        *,
        number: int,
        action: StepAction,
        note: str = "",
        confirm: str = "",
        captured: dict[str, str] | None = None,
    ) -> views.Done:
        with self._lock:
            given = {"captured": captured} if captured else {}
            self._did(
                "step", ref=ref, number=number, action=action, note=note, confirm=confirm, **given
            )
            row = self._find(ref)
            step = next(s for s in self._runs[row.id].steps if s.number == number)
            if action not in step.actions:
                raise DeskError("refused", f"step {number} is {step.state}: cannot {action}")
            if action == "run" and step.confirm and confirm != step.confirm:
                raise DeskError("refused", f"step {number} wants {step.confirm} typed")
            state = {
                "run": "running",
                "done": "succeeded",
                "fail": "failed",
                "skip": "skipped",
                "undo": "rolled_back",
            }[action]
            self._set_step(row.id, number, state=state, started_at=self.now, note=note)
            self._say(row.id, "STEP", f"{number} {state} {note}".strip())
            return self._done(row, f"step {number} {state}")

    def abort_run(self, ref: str, *, reason: str) -> views.Done:
        with self._lock:
            self._did("abort_run", ref=ref, reason=reason)
            row = self._find(ref)
            self._runs[row.id] = changed(self._runs[row.id], state="aborted")
            self._say(row.id, "RUN", f"aborted: {reason}")
            return self._done(row, "run broken off")

    def review(self, ref: str, *, form: str = "md") -> str:
        row = self._find(ref)
        return f"# {row.id}\n" if form == "md" else '{"id": "' + row.id + '"}'

    def tokens(self, *, limit: int = 100) -> list[views.TokenRow]:
        self._find("latest")
        row = views.TokenRow(
            id="a2b3c4d5",
            name=self.dress("jo"),
            role="responder",
            state="live",
            created_by=self.dress("mira"),
            created_at=NOW,
            expires_at=NOW + timedelta(days=30),
            revoked_at=None,
            used_at=None,
        )
        return [row][:limit]

    def create_token(
        self, *, name: str, role: str = "responder", seconds: int = 2_592_000
    ) -> views.TokenMade:
        self._did("create_token", name=name, role=role, seconds=seconds)
        until = NOW + timedelta(seconds=seconds)
        text = "tocsin_a2b3c4d5_" + "x" * 43
        return views.TokenMade(text="made", id="a2b3c4d5", token=text, expires_at=until)

    def revoke_token(self, token: str) -> views.Done:
        self._did("revoke_token", token=token)
        return views.Done(text="revoked", revision=self.revision)

    def audit(self, *, limit: int = 100) -> list[views.AuditLine]:
        self._find("latest")
        line = views.AuditLine(
            at=NOW,
            who=self.dress("jo"),
            via="tls 192.0.2.7",
            action="resolve",
            outcome="forbidden",
            detail="token a2b3c4d5",
        )
        return [line][:limit]


def as_json(value: Any) -> Any:
    """A view as JSON values."""
    return msgspec.to_builtins(value) if isinstance(value, View | list) else value
