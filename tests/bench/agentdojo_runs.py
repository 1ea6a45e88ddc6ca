"""AgentDojo's runs, and what each would look like as an event's `data`.

The runs are a content-free extract; the folder `agentdojo` holds `runs.ndjson.gz` and
`labels.ndjson.gz`. A run becomes one interaction: suite = feature, pipeline = model and release,
task = prompt name. Three traps are honoured: `attack_success` means nothing without an attack; a
task that starts with `injection_task_` is an attacker's goal run as a user's, and no benign load;
and a tool is expected when *other* pipelines used it for the same task, never by the run's own.
"""

from __future__ import annotations

import gzip
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from monitor.stream.event import InteractionData
from monitor.stream.sections import (
    AttackSignal,
    Coverage,
    Deployment,
    GenAI,
    Named,
    Outcome,
    PolicyCheck,
    Redaction,
    ToolCall,
    Usage,
)
from monitor.stream.vocabulary import RiskTier

GPT4O = "gpt-4o-2024-05-13"
DETECTOR = "transformers_pi_detector"
INJECTION_PREFIX = "injection_task_"
"""A goal of an attacker, run as if a user had asked for it: neither benign load nor an attack."""

_TIERS: dict[RiskTier, str] = {
    "financial": "send_money schedule_transaction update_scheduled_transaction reserve_hotel "
    "reserve_restaurant reserve_car_rental",
    "admin": "update_password add_user_to_channel invite_user_to_slack remove_user_from_slack",
    "external_comm": "send_email share_file post_webpage send_direct_message send_channel_message "
    "add_calendar_event_participants",
    "destructive": "delete_email delete_file cancel_calendar_event",
    "write": "update_user_info append_to_file create_file create_calendar_event "
    "reschedule_calendar_event",
    "read": "get_balance get_iban get_most_recent_transactions get_scheduled_transactions "
    "get_user_info read_file get_channels get_users_in_channel get_webpage read_channel_messages "
    "read_inbox check_restaurant_opening_hours get_all_car_rental_companies_in_city "
    "get_all_hotels_in_city get_all_restaurants_in_city get_car_fuel_options get_car_price_per_day "
    "get_car_rental_address get_car_types_available get_contact_information_for_restaurants "
    "get_cuisine_type_for_restaurants get_current_date get_current_year get_current_day "
    "get_day_calendar_events get_dietary_restrictions_for_all_restaurants get_flight_information "
    "get_hotels_address get_hotels_prices get_price_for_restaurants "
    "get_rating_reviews_for_car_rental get_rating_reviews_for_hotels "
    "get_rating_reviews_for_restaurants get_restaurants_address get_user_information "
    "get_draft_emails get_file_by_id get_received_emails get_sent_emails get_unread_emails "
    "list_files search_calendar_events search_contacts_by_email search_contacts_by_name "
    "search_emails search_files search_files_by_content search_files_by_email "
    "search_files_by_filename search_received_emails search_sent_emails <empty-function-name>",
}
RISK_TIERS: dict[str, RiskTier] = {
    tool: tier for tier, tools in _TIERS.items() for tool in tools.split()
}
"""What each tool can do to the world, by hand; a tool that is not here has no tier."""

_REDACTION = Redaction(status="no_content", redactor="extract", residual_self_check="clean")


class _RunLine(msgspec.Struct, frozen=True):
    run: str
    pipeline: str
    suite: str
    task: str
    tools: tuple[tuple[str, tuple[str, ...]], ...]
    tool_errors: tuple[str, ...]
    tool_chars: int
    assistant_chars: int
    refusal_text: int
    pi_detector_omitted: int
    signatures: tuple[str, ...]
    duration_s: float | None
    error: bool


class _LabelLine(msgspec.Struct, frozen=True):
    run: str
    attack: str | None
    attack_success: bool | None


@dataclass(frozen=True, slots=True)
class Run:
    """One agent run with its truth."""

    line: _RunLine
    attack: str | None
    harmful: bool
    """The attack reached its goal; false without an attack, whatever the label says there."""

    @classmethod
    def of(cls, line: object, *, attack: str | None, success: bool | None) -> Run:
        """A run of its line and its label.

        Raises:
            msgspec.ValidationError: the line is not one of a run.
        """
        made = line if isinstance(line, _RunLine) else msgspec.convert(line, _RunLine)
        return cls(made, attack, attack is not None and success is True)

    @property
    def benign(self) -> bool:
        """Whether it is ordinary load."""
        return self.attack is None and not self.line.task.startswith(INJECTION_PREFIX)


def find_data(name: str = "agentdojo") -> Path | None:
    """The folder of that name under `DATA`, or beside the repository; None where it is absent."""
    beside = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("DATA") or beside) / name
    return folder if folder.is_dir() else None


class Corpus:
    """All runs, and which tools a task is expected to use."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(runs)
        self._data: dict[tuple[str, bool], InteractionData] = {}
        self._users: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for run in self.runs:
            if run.benign:
                for tool, _ in run.line.tools:
                    self._users[run.line.suite, run.line.task, tool].add(run.line.pipeline)

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Read the two files of `folder`.

        Raises:
            OSError: one is not there.
        """
        runs = msgspec.json.Decoder(_RunLine).decode_lines(
            gzip.decompress((folder / "runs.ndjson.gz").read_bytes())
        )
        labels = msgspec.json.Decoder(_LabelLine).decode_lines(
            gzip.decompress((folder / "labels.ndjson.gz").read_bytes())
        )
        truth = {label.run: label for label in labels}
        return cls(
            Run.of(line, attack=label.attack, success=label.attack_success)
            for line in runs
            for label in (truth[line.run],)
        )

    @cached_property
    def benign(self) -> dict[tuple[str, str], list[Run]]:
        """Benign runs by (suite, pipeline)."""
        found: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in self.runs:
            if run.benign:
                found[run.line.suite, run.line.pipeline].append(run)
        return dict(found)

    @cached_property
    def attacked(self) -> dict[tuple[str, str, str], list[Run]]:
        """Attacked runs by (attack, suite, pipeline)."""
        found: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
        for run in self.runs:
            if run.attack is not None:
                found[run.attack, run.line.suite, run.line.pipeline].append(run)
        return dict(found)

    def expected(self, run: Run, tool: str) -> bool:
        """Whether another pipeline used `tool` for this task when nobody attacked."""
        users = self._users.get((run.line.suite, run.line.task, tool), set())
        return bool(users - {run.line.pipeline})

    def out_of_set(self, run: Run) -> bool:
        """Whether the run called any tool that is not expected."""
        return any(not self.expected(run, tool) for tool, _ in run.line.tools)

    def data(self, run: Run, *, signals: bool = False) -> InteractionData:
        """The run as an event's `data`, without its actor; kept, because load is drawn again.

        Args:
            run: the run.
            signals: let the signatures of known attacks ride along; else only behaviour speaks.
        """
        key = (run.line.run, signals)
        if key not in self._data:
            self._data[key] = _data(self, run, signals=signals)
        return self._data[key]


def _data(corpus: Corpus, run: Run, *, signals: bool) -> InteractionData:
    line = run.line
    guarded = line.pipeline.endswith(DETECTOR)
    checks = (_detector_check(line),) if guarded else ()
    return InteractionData(
        deployment=Deployment(
            environment="prod",
            feature=line.suite,
            surface="agent",
            service="agentdojo",
            service_version=line.pipeline,
        ),
        gen_ai=GenAI(
            operation="invoke_agent",
            request_model=line.pipeline,
            prompt=Named(name=f"{line.suite}.{line.task}", version="v1"),
            usage=Usage(input_tokens=line.tool_chars // 4, output_tokens=line.assistant_chars // 4),
            duration_ms=None if line.duration_s is None else round(max(line.duration_s, 0) * 1000),
        ),
        outcome=_outcome(line),
        policy_checks=checks,
        tool_calls=_tool_calls(corpus, run),
        attack_signals=tuple(
            AttackSignal(kind="prompt_injection", vector="tool_output", signature_id=one)
            for one in (line.signatures if signals else ())
        ),
        redaction=_REDACTION,
        coverage=Coverage(
            checks_expected=(DETECTOR,) if guarded else (),
            dropped_attributes=0,
            sampling_mode="none",
            emitter="agentdojo",
        ),
    )


def _outcome(line: _RunLine) -> Outcome:
    if line.error:
        return Outcome(status="error", source="provider_error", error_type="run_failed")
    if line.refusal_text:
        return Outcome(status="refused", refusal_category="other", source="text_classifier")
    return Outcome(status="answered", source="finish_reason")


def _detector_check(line: _RunLine) -> PolicyCheck:
    """The real guardrail of that pipeline, false positives and all."""
    omitted = line.pi_detector_omitted > 0
    return PolicyCheck(
        check_id=DETECTOR,
        category="security.prompt_injection.indirect",
        stage="tool_output",
        result="violation" if omitted else "pass",
        action="modify" if omitted else "none",
    )


def _tool_calls(corpus: Corpus, run: Run) -> tuple[ToolCall, ...]:
    """The calls in their order; which ones failed is not known, so the first ones are said to."""
    failed = len(run.line.tool_errors)
    return tuple(
        ToolCall(
            tool=tool,
            risk_tier=RISK_TIERS.get(tool),
            status="error" if at < failed else "ok",
            in_expected_set=corpus.expected(run, tool),
            arg_keys=tuple(key[:64] for key in keys[:32]),
        )
        for at, (tool, keys) in enumerate(run.line.tools[:64])
    )
