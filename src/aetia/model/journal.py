"""The journal of an investigation: everything that happened, in order, as typed events. All of it is JSON by msgspec.

Live views, replay, postmortems and training records read nothing else. An event never changes; a number `at_s` is the
time since the investigation was opened, measured outside of the engine, so that a replay meets the same times.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from aetia.model.diagnosis import Diagnosis, Evidence

SCHEMA = "aetia.journal/1"
State = Literal["proposed", "supported", "refuted", "verified"]
ErrorCategory = Literal[
    "validation", "repeated", "budget", "timeout", "transient", "quota", "auth", "dependency", "permanent"
]


class ToolError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a tool or a model gave no answer, for a program to act on (the fields of SERF, arXiv 2603.13417)."""

    category: ErrorCategory
    code: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = None
    instruction: str = ""
    """What to do instead."""
    seen: str | None = None
    """The evidence that already answers a repeated call."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, tag="tool"):
    """One question to the telemetry. `agent` asks it, `why` says what it is to tell apart."""

    tool: str
    args: dict[str, Any] = {}
    agent: str = "root"
    why: str = ""


class ModelCall(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """One turn of a language model: messages and tools in the form of OpenAI's chat completions."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    max_tokens: int = 1024
    agent: str = "root"
    why: str = ""
    most_s: float | None = None
    """The model may take no longer, where less than the rest of the deadline is meant."""


class Approval(msgspec.Struct, frozen=True, kw_only=True, tag="approval"):
    """A question to a person, who may answer no."""

    question: str
    agent: str = "root"


Request = ToolCall | ModelCall | Approval


class ToolAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool"):
    """What a tool found: rows of plain values, at most `limit` of them, and the fact as evidence."""

    rows: tuple[dict[str, Any], ...] = ()
    evidence: Evidence | None = None
    limit: int = 0
    truncated: bool = False
    error: ToolError | None = None
    seconds: float = 0.0


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="model"):
    """What a model said; `calls` are (id, tool name, arguments as JSON text)."""

    text: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    error: ToolError | None = None
    seconds: float = 0.0


class Approved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="approval"):
    """What the person said."""

    granted: bool
    by: str = ""
    seconds: float = 0.0


Answer = ToolAnswer | ModelAnswer | Approved


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a million tokens of a model cost, in whatever currency the two share."""

    per_million_in: float
    per_million_out: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.per_million_in + tokens_out * self.per_million_out) / 1_000_000


class Sentence(msgspec.Struct, frozen=True, kw_only=True):
    """One statement and the ids of the evidence that it rests on; there is at least one."""

    text: str
    evidence: tuple[str, ...]


class Steer(msgspec.Struct, frozen=True, kw_only=True):
    """A person's wish in the middle of it."""

    wish: Literal["exclude", "look_at", "stop"]
    entity: str = ""


class Situation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The system as far as it is known: its name, versions and neighbours by component."""

    system: str = ""
    versions: dict[str, str] = {}
    neighbours: dict[str, tuple[str, ...]] = {}


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """The start: what the statistical prior said, and what the investigation may spend."""

    prior: Diagnosis
    policy: str
    seed: int
    deadline_s: float
    max_calls: int
    max_tokens: int
    schema: str = SCHEMA
    at_s: float = 0.0
    checks: tuple[str, ...] = ()
    """Codes of the checks that watched; a replay needs the same, because they may have ended the policy."""
    options: dict[str, Any] = {}
    """What the policy was made with, for a replay to make the same."""
    question: str = ""
    """What a person wants to know; answered when the policy has ended."""
    price: Price | None = None
    max_cost: float | None = None
    paced: bool = False
    """Whether questions that would not end in time were refused by the latency observed before."""
    situation: Situation | None = None
    """Of the candidates, for a memory of the incident; the investigation itself never sees it."""


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag="asked"):
    """A request, with its number in the investigation."""

    number: int
    request: Request
    at_s: float


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag="answered"):
    """The answer to the request of that number."""

    number: int
    answer: Answer
    at_s: float


class Believed(msgspec.Struct, frozen=True, kw_only=True, tag="believed"):
    """A hypothesis whose belief or state moved, and what moved it."""

    entity: str
    before: float
    after: float
    state: State
    because: tuple[str, ...] = ()
    """Evidence ids."""
    reason: str = ""
    at_s: float = 0.0


class Traced(msgspec.Struct, frozen=True, kw_only=True, tag="traced"):
    """One hop of a propagation, checked by observation; None where nothing was recorded to check it with."""

    source: str
    target: str
    in_time: bool | None
    in_direction: bool | None
    evidence: str | None = None
    reason: str = ""
    at_s: float = 0.0


class Warned(msgspec.Struct, frozen=True, kw_only=True, tag="warned"):
    """A failure of reasoning that a check saw (RF-01 to RF-16, arXiv 2601.22208); `stopped`: it ended the policy."""

    check: str
    text: str
    agent: str = "root"
    stopped: bool = False
    at_s: float = 0.0


class Steered(msgspec.Struct, frozen=True, kw_only=True, tag="steered"):
    steer: Steer
    at_s: float = 0.0


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag="closed"):
    """The end: how it ended and the diagnosis."""

    outcome: Literal["answered", "abstained", "out of budget", "stopped", "failed"]
    diagnosis: Diagnosis
    calls: int
    tokens: int
    reason: str = ""
    at_s: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    """By the prices that were given; None without any."""
    answer: tuple[Sentence, ...] = ()
    """To the question of a person."""


Event = Opened | Asked | Answered | Believed | Traced | Warned | Steered | Closed
