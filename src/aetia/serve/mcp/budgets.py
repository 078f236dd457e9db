"""How long calls may take: what each tool took so far, and the deadline that the calls of one session share.

A client that names a session has a deadline, counted from its first call by the clock on the wall: an investigation
has to end, and time in which the client thinks has passed too. What is left is split over the calls to come by the
latencies that were observed (`aetia.reason.deadlines`); a call that would not end in time is refused at once. Calls
without a session have the time of any question to the server. Used from the event loop alone.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from aetia.model.journal import ToolAnswer, ToolCall, ToolError
from aetia.reason.deadlines import Pace
from aetia.serve.problems import Refused

DEFAULT_S, LONGEST_S = 120.0, 3600.0
PLANNED = 4
"""Calls that a session still plans, this one included: no single one may take all the time."""
MOST_SESSIONS, FORGET_AFTER_S = 1000, 600.0


class Budgets:
    """Latencies of all tools and the sessions of all callers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace, self._clock = Pace(), clock
        self._sessions: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._kinds: set[str] = set()

    def begin(self, who: str, session: str, deadline_s: float | None) -> tuple[float, int] | None:
        """Seconds left and calls still planned; None without session and deadline. `deadline_s` counts from now."""
        now = self._clock()
        if not session:
            return None if deadline_s is None else (deadline_s, 1)
        key = (who, session)
        ends = self._sessions.get(key)
        if ends is None or deadline_s is not None or ends + FORGET_AFTER_S < now:
            ends = self._sessions[key] = now + (DEFAULT_S if deadline_s is None else deadline_s)
        self._sessions.move_to_end(key)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return ends - now, PLANNED

    def allot(self, kind: str, left: tuple[float, int] | None, most_s: float) -> float:
        """Seconds that a call may take, of what `begin` says is left. Raises Refused (deadline) for one that would not
        end in time."""
        if left is None:
            return most_s
        left_s, planned = left
        p95 = self._pace.p95(f"tool {kind}")
        if left_s <= 0 or (p95 is not None and p95 > left_s):
            raise Refused("deadline", self._why(kind, left_s, p95), retry_after_s=0.0, try_=self._instead(left_s))
        return min(most_s, self._pace.allotment(f"tool {kind}", left_s, planned))

    def took(self, kind: str, seconds: float, *, timed_out: bool = False) -> None:
        """Remember the latency of an answer, or that there was none in so long."""
        self._kinds.add(kind)
        error = ToolError(category="timeout", code="deadline", message="no answer in time") if timed_out else None
        self._pace.saw(ToolCall(tool=kind), ToolAnswer(error=error, seconds=seconds))

    def usual(self) -> dict[str, float]:
        """p95 in seconds of each kind that was asked often enough."""
        found = {kind: self._pace.p95(f"tool {kind}") for kind in sorted(self._kinds)}
        return {kind: p95 for kind, p95 in found.items() if p95 is not None}

    def _why(self, kind: str, left_s: float, p95: float | None) -> str:
        if left_s <= 0 or p95 is None:
            return "the deadline of the session has passed."
        return f"{kind} takes up to {p95:.2g} s, and {left_s:.2g} s of the session are left."

    def _instead(self, left_s: float) -> str:
        more = "name another session, or give deadline_s to count from now"
        cheap = [kind for kind, p95 in sorted(self.usual().items(), key=lambda item: item[1]) if p95 <= left_s]
        if left_s <= 0 or not cheap:
            return f"conclude from what is known; or {more}"
        return f"what usually fits: {', '.join(cheap[:4])}; or {more}"
