"""A run with a movable clock, to tell stories about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runbooks.allow import AllowedCommand, AllowedHttp, AllowList
from runbooks.engine import advance, decode_run, encode_run, new_run
from runbooks.events import (
    Advance,
    AttemptBegun,
    AttemptFinished,
    Done,
    Event,
    RunStep,
    Start,
)
from runbooks.load import load_runbook
from runbooks.model import Effect, Runbook
from runbooks.runs import Facts, Run

START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
TEXT = """
apiVersion: runbook/v1
id: contain
version: 3
title: Contain
params:
  tool: {type: enum, values: [shell, mail], default: mail}
  api: {type: url, default: "http://127.0.0.1:1"}
  limit: {type: number}
secrets: {T: {from: env, name: CTL}}
steps:
  - {id: look, type: command, title: Look, effect: read_only, argv: [ctl, list, "${params.tool}"],
     timeout: 10s, capture: {version: {pointer: /v/0/id}}}
  - {id: judge, type: manual, title: Judge,
     capture: {verdict: {type: enum, values: [attack, benign], required: true},
               n: {type: int, default: 0}}}
  - id: disable
    type: command
    title: Disable ${params.tool}
    effect: destructive
    argv: [ctl, disable, "${params.tool}", "${incident.id}"]
    env: {CTL: "${secrets.T}"}
    if: steps.judge.verdict == 'attack'
    needs: [judge]
    rollback: {type: command, argv: [ctl, enable, "${params.tool}"], timeout: 5s}
  - {id: flag, type: http, title: Flag, effect: reversible, idempotent: true, method: PUT,
     base: "${params.api}", path: [flags, "${steps.look.version}"], json: {on: true},
     retry: {max: 2, delay: 30s, on_status: [503]}, needs: [look]}
  - {id: verify, type: wait_signal, title: Verify, signal: "${incident.signal}", op: "<",
     value: "${incident.threshold}", for: 3m, timeout: 20m, needs: [disable, flag]}
  - {id: tell, type: manual, title: Tell, rollback: {type: manual, text: Take it back}}
"""
ALLOW = AllowList(
    commands=(AllowedCommand(path="/opt/ctl", args=((),), max_effect=Effect.DESTRUCTIVE),),
    http=(
        AllowedHttp(
            origin="http://127.0.0.1:1",
            methods=("PUT", "GET"),
            paths=("/",),
            max_effect=Effect.REVERSIBLE,
        ),
    ),
    secrets=("CTL",),
)
FACTS = Facts(
    id="INC-7",
    severity="SEV2",
    signal="misuse_rate",
    series={"feature": "chat"},
    baseline=0.01,
    threshold=0.05,
)


class Story:
    """A run with a movable clock; every accepted event is checked for what always holds."""

    def __init__(self, text: str = TEXT, facts: Facts = FACTS, allow: AllowList = ALLOW) -> None:
        self.runbook: Runbook = load_runbook(text, "r.yaml")
        self.now = START
        self.allow = allow
        self.run: Run = new_run(self.runbook, "run-1", facts, START)
        self.entries: list[str] = []

    def send(self, event: Event, after: float = 1.0) -> Advance:
        self.now += timedelta(seconds=after)
        advanced = advance(self.runbook, self.run, event, self.now, self.allow)
        if advanced.refusal is not None:
            assert advanced.run is self.run
            assert not advanced.effects
            assert not advanced.entries
        else:
            assert decode_run(encode_run(advanced.run)) == advanced.run
        self.run = advanced.run
        self.entries += [entry.text for entry in advanced.entries]
        return advanced

    def refused(self, event: Event) -> str:
        advanced = self.send(event)
        assert advanced.refusal is not None
        return f"{advanced.refusal.code}: {advanced.refusal.text} {advanced.refusal.hint}"

    def state(self, step: str) -> str:
        found = self.run.step(step)
        assert found is not None
        return found.state.value

    def start(self) -> Story:
        assert self.send(Start(actor="mira")).refusal is None
        return self

    def looked(self) -> Story:
        self.start().send(RunStep(step="look", actor="mira"))
        self.send(
            AttemptFinished(
                step="look", attempt=1, ok=True, status=0, output='{"v": [{"id": "v41"}]}'
            )
        )
        return self

    def judged(self, verdict: str = "attack") -> Story:
        self.looked().send(Done(step="judge", actor="mira", captured={"verdict": verdict}))
        return self

    def disabled(self) -> Story:
        self.judged().send(RunStep(step="disable", actor="mira", confirm="INC-7"))
        return self

    def begun(self, step: str) -> Story:
        found = self.run.step(step)
        assert found is not None
        assert found.attempt is not None
        number = found.attempt.number
        assert self.send(AttemptBegun(step=step, attempt=number), after=0).refusal is None
        return self
