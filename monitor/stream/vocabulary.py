"""The words an event may use: its enums, the taxonomy of categories, names that are never allowed.

Enums are closed, because a detector counts them. Categories are labels: a new one is news to show,
not an error.
"""

from __future__ import annotations

from typing import Literal

OTHER, REDACTED = "__other__", "__redacted__"
RESERVED = frozenset({OTHER, REDACTED})
"""Label values that only Tocsin itself gives; from outside they are refused."""

BANNED = frozenset(
    {
        "messages",
        "prompt",
        "completion",
        "content",
        "text",
        "input",
        "input.value",
        "output",
        "output.value",
        "arguments",
        "result",
        "query",
        "explanation",
        "reason",
        "email",
        "ip",
        "user_agent",
        "headers",
        "raw_response",
        "labels",
    }
)
"""Names under which gateways carry content, people or ground truth; `prompt` and `result` are
fields of the event too, in other places, as names and codes."""

TrafficClass = Literal["user", "eval", "redteam", "canary", "drill"]
DataClassification = Literal["public", "internal"]
Operation = Literal[
    "chat",
    "generate_content",
    "text_completion",
    "invoke_agent",
    "invoke_workflow",
    "execute_tool",
    "retrieval",
    "embeddings",
]
OutcomeStatus = Literal[
    "answered",
    "partial",
    "refused",
    "filtered_input",
    "filtered_output",
    "escalated",
    "tool_blocked",
    "error",
    "timeout",
    "abandoned",
]
RefusalCategory = Literal[
    "policy", "capability", "safety_over_refusal", "unauthorized", "injection_detected", "other"
]
OutcomeSource = Literal["finish_reason", "provider_error", "guardrail", "text_classifier", "human"]
CheckStage = Literal["input", "output", "tool_input", "tool_output", "retrieval", "memory"]
CheckResult = Literal["pass", "violation", "error", "skipped", "not_run"]
CheckAction = Literal["none", "annotate", "redact", "modify", "block", "escalate", "regenerate"]
CheckMode = Literal["enforce", "shadow"]
CheckSeverity = Literal["none", "low", "medium", "high"]
ToolType = Literal["function", "extension", "datastore"]
RiskTier = Literal[
    "read", "write", "external_comm", "financial", "admin", "code_exec", "destructive"
]
ToolDecision = Literal[
    "allowed", "denied", "confirmed", "user_rejected", "sandboxed", "simulated", "not_evaluated"
]
DecidedBy = Literal["policy", "human", "model", "none"]
ToolStatus = Literal["ok", "error", "timeout", "not_executed"]
AttackKind = Literal[
    "prompt_injection",
    "jailbreak",
    "exfiltration",
    "prompt_leak",
    "encoding_obfuscation",
    "tool_abuse",
]
AttackVector = Literal["user", "retrieval", "tool_output", "memory", "file"]
Rating = Literal["up", "down", "report", "none"]
RedactionStatus = Literal["redacted", "no_content", "not_needed", "failed", "unknown"]
SelfCheck = Literal["clean", "suspect", "not_run"]
SamplingMode = Literal["none", "uniform", "outcome_biased"]

CATEGORIES = (
    "security.prompt_injection.direct",
    "security.prompt_injection.indirect",
    "security.jailbreak",
    "security.prompt_leak",
    "security.data_exfiltration",
    "security.tool_misuse",
    "security.malicious_code",
    "privacy.pii",
    "privacy.secret",
    "quality.ungrounded",
    "quality.irrelevant",
    "business.denied_topic",
    "business.blocklist",
    "business.profanity",
    "content.violent_crime",
    "content.nonviolent_crime",
    "content.sex_crime",
    "content.csae",
    "content.defamation",
    "content.specialized_advice",
    "content.ip",
    "content.weapons_cbrn",
    "content.hate",
    "content.self_harm",
    "content.sexual",
    "content.elections",
    "content.harassment",
    "content.violence_graphic",
)
"""The canonical taxonomy. `category` is a label, not an enum: a new one is news, not an error."""
