"""How long the next question may take: the deadline split over what is still to be asked, by the latency seen so far.

Adaptive Timeout Budget Allocation (ATBA, arXiv 2603.13417): a turn of a model gets
max(least, min(p95 of its kind x SAFETY, time left / turns still planned)), so that one slow turn costs no other, and
what always answers fast is not waited for when it hangs. Tools run in this process and cannot be cut short: one that
would not end before the deadline is refused instead. Every kind (a tool, a role of the model) has latencies of its own.

All times come from recorded answers, so that a replay allots the same.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque

from aetia.model.journal import Answer, Approval, ModelCall, Request, ToolAnswer, ToolCall, ToolError

SIDE_BY_SIDE = 32
"""Turns of a model that run at the same time; of more, each group of so many gets its share of the time."""
SAFETY = 3.0
"""Times the p95 after which a turn is given up: turns of one kind differ in how much is read and written."""
LEAST_S, LEAST_PART = 1.0, 0.1
"""No turn gets less, in seconds and as a part of the whole deadline, as long as so much is left. A model that answers a
first turn with a word may need ten times as long for the next."""
ENOUGH, KEPT = 3, 200
"""Answers of one kind from which on their latency counts, and how many of the last ones are kept."""


class Pace:
    """How long answers took in one investigation, by kind."""

    def __init__(self, deadline_s: float = math.inf) -> None:
        self._least_s = max(LEAST_S, LEAST_PART * deadline_s) if math.isfinite(deadline_s) else LEAST_S
        self._seen: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))

    def saw(self, request: Request, answer: Answer) -> None:
        """Remember how long an answer took. Of failures only time-outs tell of latency: they took at least so long."""
        if isinstance(request, Approval):
            return
        error = getattr(answer, "error", None)
        if error is None or (isinstance(error, ToolError) and error.category == "timeout" and answer.seconds > 0):
            self._seen[kind_of(request)].append(answer.seconds)

    def p95(self, kind: str) -> float | None:
        """The latency that 95 % of the answers of a kind kept to; None where too few were seen."""
        return self._rank(kind, 0.95)

    def usual(self, kind: str) -> float:
        """The median latency of a kind; 0 where too few were seen."""
        return self._rank(kind, 0.5) or 0.0

    def expected(self, kind: str) -> float | None:
        """The p95 of a kind, else the largest one of the kinds beside it (tools, or roles of the model), which is what
        to reckon with when planning; a time-out is never taken from another kind."""
        family = kind.partition(" ")[0]
        beside = (self.p95(other) for other in self._seen if other.partition(" ")[0] == family)
        own = self.p95(kind)
        return own if own is not None else max((p95 for p95 in beside if p95 is not None), default=None)

    def allotment(self, kind: str, left_s: float, planned: int, at_once: int = 1) -> float:
        """Seconds that one turn may take when `left_s` are left, `planned` turns are still to come one after the other,
        this one included, and `at_once` are asked side by side. Never more than what is left."""
        waves = -(-max(at_once, 1) // SIDE_BY_SIDE)
        share = left_s / (max(planned, 1) * waves)
        p95 = self.p95(kind)
        wanted = share if p95 is None else min(p95 * SAFETY, share)
        return round(max(min(max(self._least_s, wanted), left_s / waves), 0.0), 3)

    def fits(self, kind: str, left_s: float, turns: int) -> bool:
        """Whether so many turns of a kind, one after the other, end in the time left; unknown ones are given a try."""
        expected = self.expected(kind)
        return left_s > 0 and (expected is None or turns * expected <= left_s)

    def refused(self, call: ToolCall, left_s: float, before_s: float = 0.0) -> ToolAnswer | None:
        """The typed error for a tool that would not end in time, where those before it take `before_s`; else None."""
        p95 = self.p95(kind_of(call))
        if p95 is None or before_s + p95 <= left_s:
            return None
        return ToolAnswer(error=no_time(f"{call.tool} takes up to {p95:.1f} s, and {max(left_s, 0.0):.1f} s are left."))

    def _rank(self, kind: str, share: float) -> float | None:
        seen = self._seen.get(kind, ())
        if len(seen) < ENOUGH:
            return None
        return sorted(seen)[math.ceil(share * len(seen)) - 1]


def kind_of(request: ToolCall | ModelCall) -> str:
    """What latencies are compared among: one tool, or one role of the model (the agent up to a colon)."""
    if isinstance(request, ToolCall):
        return f"tool {request.tool}"
    return f"model {request.agent.partition(':')[0]}"


def no_time(message: str) -> ToolError:
    """The error of a question for which no time is left."""
    return ToolError(
        category="budget", code="no_time", message=message, instruction="finish with what is known, or abstain"
    )
