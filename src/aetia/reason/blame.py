"""Blame by recursion: a symptom's blame is split between a node's own evidence and its sources, and so on down.

Source: `explain(n, s)` of section 8.2 of the survey on failures of agents. Nothing here knows what a node is: services
that call services, steps of an agent that read what earlier steps wrote. What is asked of a domain is the interface
`Sources`. The mass that arrives at a node stays there in proportion to its own evidence and flows on in proportion to
how much each source accounts for the symptom; where nothing below is bad, all of it stays.

No mass is lost or made. Cycles are solved as the random walk they are: what goes round comes to rest where evidence is,
and where there is none it is shared by those who pass it on. The order in which a node names its sources never matters.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

LEAST = 1e-6
"""Share of the blame below which a node is not opened any more."""
BUDGET = 10_000
SETTLED = 1e-9
MOST_ROUNDS = 2_000
"""Rounds through a cycle; what still moves then has met no evidence worth naming."""


class Symptom(NamedTuple):
    """What is wrong, and where."""

    node: str
    what: str


class Source(NamedTuple):
    """Something that may account for a symptom: the symptom it shows itself, the share of the other symptom that it
    would account for (`weight`, 0..1), and how bad it is (`bad`, 0 = healthy)."""

    symptom: Symptom
    weight: float
    bad: float


class Sources(Protocol):
    """What a domain knows: the strength of a node's own evidence (0 = none) and where its symptom may come from."""

    def own(self, symptom: Symptom) -> float: ...

    def sources(self, symptom: Symptom) -> Sequence[Source]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """`shares` of the blame by node sum to 1. `unopened` are symptoms that the budget did not reach; what flowed to
    them is counted as theirs. `opened` symptoms were asked about, each once."""

    shares: dict[str, float]
    unopened: tuple[Symptom, ...]
    opened: int

    def ranked(self) -> list[tuple[str, float]]:
        """Nodes, most blamed first; equals by name."""
        return sorted(self.shares.items(), key=lambda item: (-item[1], item[0]))


class _Split(NamedTuple):
    """How a node divides what arrives: what it keeps, and what each source gets."""

    kept: float
    passed: tuple[tuple[Symptom, float], ...]


ALL_KEPT = _Split(1.0, ())


def explain(domain: Sources, symptom: Symptom, *, budget: int = BUDGET, least: float = LEAST) -> Blame:
    """Who is to blame for a symptom.

    Opens at most `budget` symptoms, those that most of the blame can reach first. Cost: O(edges log nodes) and the
    rounds that cycles need; depth costs no stack. Raises ValueError for evidence or weights that are negative or no
    numbers.
    """
    splits, unopened = _open(domain, symptom, budget, least)
    arrived: dict[Symptom, float] = dict.fromkeys(splits, 0.0)
    arrived[symptom] = 1.0
    shares: dict[str, float] = {}
    for group in _groups(splits, symptom):
        kept = _settle(group, splits, arrived)
        for one, mass in kept:
            shares[one.node] = shares.get(one.node, 0.0) + mass
    total = math.fsum(shares.values())
    return Blame(
        shares={node: mass / total for node, mass in sorted(shares.items())},
        unopened=tuple(sorted(unopened)),
        opened=len(splits) - len(unopened),
    )


def _open(domain: Sources, start: Symptom, budget: int, least: float) -> tuple[dict[Symptom, _Split], list[Symptom]]:
    """The splits of all symptoms that matter, best-first by the largest share that one path brings to each."""
    splits: dict[Symptom, _Split] = {}
    best = {start: 1.0}
    queue = [(-1.0, start)]
    unopened: list[Symptom] = []
    while queue:
        reach, at = heapq.heappop(queue)
        if at in splits or -reach < best[at]:
            continue
        if len(splits) - len(unopened) >= budget or -reach < least:
            splits[at] = ALL_KEPT
            unopened.append(at)
            continue
        splits[at] = split = _split(domain.own(at), domain.sources(at), at)
        for source, share in split.passed:
            # A share may be too small for a product with it; it is still to be counted somewhere.
            if source not in splits and (source not in best or -reach * share > best[source]):
                best[source] = -reach * share
                heapq.heappush(queue, (reach * share, source))
    return splits, unopened


def _split(own: float, sources: Sequence[Source], at: Symptom) -> _Split:
    pulls: dict[Symptom, list[float]] = {}
    for source in sources:
        pull = _strength(source.weight, at) * _strength(source.bad, at)
        if pull > 0 and source.symptom != at:
            pulls.setdefault(source.symptom, []).append(pull)
    own = _strength(own, at)
    pulled = [(name, math.fsum(sorted(parts))) for name, parts in sorted(pulls.items())]
    total = math.fsum([own, *(pull for _, pull in pulled)])
    if not pulled or total <= 0:
        return ALL_KEPT
    return _Split(own / total, tuple((name, pull / total) for name, pull in pulled if pull / total > 0))


def _strength(value: float, at: Symptom) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"evidence and weights are numbers of at least 0, not {value} (at {at.node})")
    return value


def _settle(
    group: list[Symptom], splits: dict[Symptom, _Split], arrived: dict[Symptom, float]
) -> list[tuple[Symptom, float]]:
    """What stays with each member of a group of symptoms that reach one another; the rest is handed on."""
    if len(group) == 1:
        at = group[0]
        split = splits[at]
        for source, share in split.passed:
            arrived[source] += arrived[at] * share
        return [(at, arrived[at] * split.kept)]
    inside = set(group)
    moving = {at: arrived[at] for at in group}
    entered = math.fsum(moving.values())
    seen: dict[Symptom, float] = dict.fromkeys(group, 0.0)
    kept: dict[Symptom, float] = dict.fromkeys(group, 0.0)
    for _ in range(MOST_ROUNDS):
        following: dict[Symptom, float] = dict.fromkeys(group, 0.0)
        for at, mass in moving.items():
            if mass == 0:
                continue
            seen[at] += mass
            kept[at] += mass * splits[at].kept
            for source, share in splits[at].passed:
                if source in inside:
                    following[source] += mass * share
                else:
                    arrived[source] += mass * share
        moving = following
        if math.fsum(moving.values()) <= SETTLED * entered:
            break
    rest, weight = math.fsum(moving.values()), math.fsum(seen.values())
    return [(at, kept[at] + (rest * seen[at] / weight if weight > 0 else 0.0)) for at in group]


def _groups(splits: dict[Symptom, _Split], start: Symptom) -> list[list[Symptom]]:
    """Groups of symptoms that reach one another, those that pass blame on before those that get it (the order in which
    Tarjan's algorithm closes components, reversed); without recursion."""
    number: dict[Symptom, int] = {start: 0}
    low: dict[Symptom, int] = {start: 0}
    stack, on_stack = [start], {start}
    work: list[tuple[Symptom, Iterator[Symptom]]] = [(start, _targets(splits, start))]
    groups: list[list[Symptom]] = []
    while work:
        at, targets = work[-1]
        for target in targets:
            if target not in number:
                number[target] = low[target] = len(number)
                stack.append(target)
                on_stack.add(target)
                work.append((target, _targets(splits, target)))
                break
            if target in on_stack:
                low[at] = min(low[at], number[target])
        else:
            work.pop()
            if work:
                above = work[-1][0]
                low[above] = min(low[above], low[at])
            if low[at] == number[at]:
                groups.append(_close(stack, on_stack, at))
    return groups[::-1]


def _close(stack: list[Symptom], on_stack: set[Symptom], at: Symptom) -> list[Symptom]:
    group: list[Symptom] = []
    while True:
        member = stack.pop()
        on_stack.discard(member)
        group.append(member)
        if member == at:
            return sorted(group)


def _targets(splits: dict[Symptom, _Split], at: Symptom) -> Iterator[Symptom]:
    return iter([source for source, _ in splits[at].passed])
