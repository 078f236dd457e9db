"""Every edge of a propagation checked by observation: did trouble pass along it, and was it there first at its source?

Pure functions over answers of the tool `hop`. A fault travels from a service to those that call it: `source` is nearer
to the cause, `target` nearer to the user. Source: hop checks of OpenRCA 2.0 (PAVE), causal order as in section 15.1 of
the agents survey.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aetia.model.journal import ToolAnswer, Traced
from aetia.model.quantities import percent

CARRIED = 0.5
"""Share of the target's trouble that a source has to account for before trouble is said to have passed from it."""
TELLING = 0.1
"""Share from which on the beginnings of both are compared."""
CLEARED = 0.02
"""Share below which it is said not to have passed."""
ENOUGH_WRONG = 10
MANY_WRONG = 30
CLOCK_ERROR_S = 2.0
"""How wrong clocks of two hosts may be beside one another."""
STEPS_OFF = 3
"""Steps of the measurement of an onset by which it may be off."""
SAME_S = 0.05
"""Beginnings that lie no further apart are said to be at the same time."""
COMMON = 0.9
"""Share of all complaints that a service has to be part of to be what they have in common."""
NAMED = 0.5
"""What a complaint accounts for where no requests tell."""
SICK = 0.02
"""Share of requests beyond the usual from which on a service is in trouble."""
PLAIN = 0.25
"""The same from which on its trouble is plain enough to say where it did not come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSeen:
    """What was observed of one hop: the share of the target's trouble that the source accounts for (0..1), how often
    the target complained of it, and when trouble began at either (s from the start of the incident, None: unknown)."""

    source: str
    target: str
    accounts: float
    complaints: int
    source_began_s: float | None
    target_began_s: float | None
    step_s: float
    wrong: int
    sick: float
    evidence: str | None = None

    @property
    def weight(self) -> float:
        """How much of the target's trouble came along this hop, by requests, else by what the target says."""
        return max(self.accounts, NAMED if self.complaints else 0.0)

    @property
    def in_direction(self) -> bool | None:
        """Whether trouble passed from the source to the target; None where too little was seen."""
        if self.accounts >= CARRIED or self.complaints:
            return True
        clear = self.wrong >= MANY_WRONG and self.sick >= PLAIN and self.accounts < CLEARED
        return False if clear else None

    @property
    def in_time(self) -> bool | None:
        """Whether trouble of the source began no later than the target's, within the error of clocks and steps; None
        where they do not share enough trouble for their beginnings to mean the same."""
        if self.source_began_s is None or self.target_began_s is None or self.accounts < TELLING:
            return None
        return self.source_began_s <= self.target_began_s + CLOCK_ERROR_S + STEPS_OFF * self.step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A service as one answer of `hop` showed it: how much more of its requests than usual went wrong (`sick`), the
    share of them that no call accounts for (`own`), and its hops."""

    name: str
    sick: float
    own: float | None
    requests: int
    wrong: int
    evidence: str | None
    hops: tuple[HopSeen, ...] = field(default=())

    def from_source(self, source: str) -> HopSeen | None:
        return next((hop for hop in self.hops if hop.source == source), None)


def seen(answer: ToolAnswer) -> Seen | None:
    """What an answer of `hop` shows; None for an error or an empty answer."""
    if answer.error is not None or not answer.rows:
        return None
    own, rest = answer.rows[0], answer.rows[1:]
    evidence = answer.evidence.id if answer.evidence is not None else None
    hops = tuple(_hop(row, own, evidence) for row in rest)
    return Seen(name=own["target"], sick=own["sick"], own=own["accounts"], requests=own["requests"],
                wrong=own["went_wrong"], evidence=evidence, hops=hops)  # fmt: skip


def _hop(row: Mapping[str, Any], own: Mapping[str, Any], evidence: str | None) -> HopSeen:
    return HopSeen(
        source=row["source"], target=row["target"], accounts=row["accounts"], complaints=row["complaints"],
        source_began_s=row["source_began_s"], target_began_s=row["target_began_s"], step_s=row["step_s"],
        wrong=own["went_wrong"], sick=own["sick"], evidence=evidence,
    )  # fmt: skip


def culprit(edges: Iterable[tuple[str, str, int]]) -> str | None:
    """The service that all complaints have in common: (speaker, named, lines) of each pair. Who is named, where one
    pair alone complains; None where complaints point to several."""
    pairs = [(speaker, named, lines) for speaker, named, lines in edges if lines > 0]
    total = sum(lines for _, _, lines in pairs)
    cover: dict[str, int] = {}
    for speaker, named, lines in pairs:
        for name in {speaker, named}:
            cover[name] = cover.get(name, 0) + lines
    named_lines = {name: sum(lines for _, named, lines in pairs if named == name) for name in cover}
    best = sorted(cover, key=lambda name: (-cover[name], -named_lines[name], name))[:1]
    return best[0] if best and cover[best[0]] >= COMMON * total else None


def traced(source: str, target: str, at_target: Seen | None) -> Traced:
    """The record of one hop, whatever was seen of it."""
    hop = at_target.from_source(source) if at_target is not None else None
    if hop is None or at_target is None:
        return Traced(source=source, target=target, in_time=None, in_direction=None,
                      reason=f"no call of {target} to {source} was recorded in the incident")  # fmt: skip
    ill = at_target.sick >= SICK
    words = [f"{source} accounts for {percent(hop.accounts)} of the trouble of {target}" if ill
             else f"requests of {target} went wrong no more than usual"]  # fmt: skip
    if hop.complaints:
        words.append(f"{target} complains of {source} {hop.complaints} times")
    if hop.source_began_s is not None and hop.target_began_s is not None:
        words.append(f"it began there {_lead(hop.target_began_s - hop.source_began_s)}")
    return Traced(source=source, target=target, in_time=hop.in_time, in_direction=hop.in_direction,
                  evidence=hop.evidence, reason="; ".join(words))  # fmt: skip


def _lead(seconds: float) -> str:
    """How much earlier than at the target it began at the source."""
    if abs(seconds) < SAME_S:
        return "at the same time"
    return f"{abs(seconds):.1f} s {'earlier' if seconds > 0 else 'later'}"


def path(root: str, ends: Iterable[str], known: Mapping[str, Seen]) -> list[str]:
    """The way from a root to the end (a broken entry) along which most of the trouble was seen to travel, root first;
    empty where none was seen. Hops that were seen not to carry it are not taken."""
    order = {name: at for at, name in enumerate(ends)}
    callers: dict[str, list[HopSeen]] = {}
    for one in known.values():
        for hop in one.hops:
            if hop.weight > CLEARED and hop.in_time is not False:
                callers.setdefault(hop.source, []).append(hop)
    queue: list[tuple[float, int, str, tuple[str, ...]]] = [(0.0, 0, root, (root,))]
    done: set[str] = set()
    while queue:
        cost, hops, at, way = heapq.heappop(queue)
        if at in done:
            continue
        done.add(at)
        if at in order:
            return list(way)
        for hop in callers.get(at, ()):
            if hop.target not in done:
                lost = -math.log(min(hop.weight, 1.0))
                heapq.heappush(queue, (cost + lost, hops + 1, hop.target, (*way, hop.target)))
    return []
