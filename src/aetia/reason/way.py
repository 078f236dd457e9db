"""The way of a fault: a walk over observed hops, the path from a candidate to broken entries, and the joint verdict.

Shared by policies: whoever proposed a candidate, its path is checked hop by hop and the final candidates are settled as
a group by what was observed, before anybody is believed. Deterministic, by answers of the tools `hop` and `topology`
alone. Source: section 15.1 of the agents survey; recursion of section 8.2 of the survey on failures of agents; joint
checks of candidates against anchoring (RF-13 of arXiv 2601.22208). Cost: a few dozen questions, most of them answered
from one pass over the spans.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from aetia.model.entity import Entity
from aetia.model.journal import Answer, ToolAnswer, ToolCall
from aetia.reason.blame import Blame, Source, Symptom, explain
from aetia.reason.experts import traces
from aetia.reason.hops import SICK, Seen, path, seen, traced
from aetia.reason.ledger import SUPPORTED, Entry
from aetia.reason.policy import Desk, Questions, key_of

ALTERNATIVES = 3
"""Candidates behind the leader that are settled with it."""
MOST_HOPS, AT_ONCE, LEAST_REACH, MOST_UP = 32, 8, 0.03, 6
EXPLAINED = 0.5
WRONG, USERS = "wrong", "users"

Asking = Generator[Questions, tuple[Answer, ...], None]


@dataclass(slots=True)
class Walk:
    """What was seen of services, each asked once, and the graph of blame that it spans from `starts`. `room` is how
    many questions may still be asked, None where the limits of the investigation alone hold."""

    starts: dict[str, float]
    known: dict[str, Seen] = field(default_factory=dict[str, Seen])
    answers: dict[str, ToolAnswer] = field(default_factory=dict[str, ToolAnswer])
    room: int | None = None

    def own(self, symptom: Symptom) -> float:
        """The share that no call accounts for; all of it where nothing was seen to come from elsewhere."""
        if symptom.node == USERS:
            return 0.0
        one = self.known.get(symptom.node)
        if one is None:
            return 1.0
        if one.own is not None and one.sick >= SICK:
            return one.own
        return 0.0 if any(hop.complaints for hop in one.hops) else 1.0

    def sources(self, symptom: Symptom) -> list[Source]:
        """Callees by what they account for; by complaints where requests tell of no trouble."""
        if symptom.node == USERS:
            return [Source(Symptom(name, WRONG), 1.0, share) for name, share in self.starts.items()]
        one = self.known.get(symptom.node)
        if one is None:
            return []
        told = one.own is not None and one.sick >= SICK
        weights = [(hop.source, hop.accounts if told else hop.weight if hop.complaints else 0.0) for hop in one.hops]
        return [Source(Symptom(source, WRONG), weight, 1.0) for source, weight in weights if weight > 0]

    def evidence(self, *names: str) -> tuple[str, ...]:
        """Ids of what was seen of these services."""
        found = [self.known[name].evidence for name in names if name in self.known]
        return tuple(dict.fromkeys(item for item in found if item is not None))

    def afford(self, questions: int) -> int:
        """How many of so many questions may be asked; they count as asked."""
        if self.room is None:
            return questions
        granted = max(min(questions, self.room), 0)
        self.room -= granted
        return granted


def hurt(desk: Desk) -> dict[str, float]:
    """Services of the broken entries with the share of hurt requests at each; else where the prior's path ends."""
    incident = desk.prior.incident
    found: dict[str, float] = {}
    for breach in incident.breaches if incident is not None else ():
        if breach.entry.service is not None:
            found[breach.entry.service] = max(found.get(breach.entry.service, 0.0), float(breach.affected or 1))
    if not found and desk.prior.propagation:
        found[desk.prior.propagation[-1].target] = 1.0
    total = sum(found.values())
    return {name: share / total for name, share in sorted(found.items())}


def descend(desk: Desk, walk: Walk, starts: dict[str, float]) -> Generator[Questions, tuple[Answer, ...], Blame]:
    """Ask of each service that blame reaches where its trouble came from, most blamed first, until nothing is open or
    the hops are spent; returns where the blame came to rest."""
    scope = Walk(starts, walk.known, walk.answers)
    while True:
        blame = explain(scope, Symptom(USERS, WRONG))
        waiting = [name for name, share in blame.ranked()
                   if share >= LEAST_REACH and name not in walk.answers and name != USERS]  # fmt: skip
        room = MOST_HOPS - len(walk.answers)
        if not waiting or room <= 0:
            return blame
        seen_before = len(walk.answers)
        yield from look(desk, walk, waiting[: min(AT_ONCE, room)])
        if len(walk.answers) == seen_before:
            return blame  # no question has room any more


def look(desk: Desk, walk: Walk, names: Sequence[str]) -> Asking:
    """Where the trouble of some services came from; what was asked before is not asked again."""
    names = [name for name in dict.fromkeys(names) if name not in walk.answers]
    answers = yield from _answers(desk, walk, [call for name in names for call in traces.questions(name)])
    for name, answer in zip(names, answers, strict=True):
        if answer is None:
            continue
        walk.answers[name] = answer
        if (one := seen(answer)) is not None:
            walk.known[name] = one


def _answers(
    desk: Desk, walk: Walk, calls: Sequence[ToolCall]
) -> Generator[Questions, tuple[Answer, ...], list[ToolAnswer | None]]:
    """Answers to some questions, those that any agent got before included; None where a question found no room."""
    before = {key_of(call): answer for call, answer in desk.answered}
    fresh = [call for call in calls if key_of(call) not in before]
    fresh = fresh[: walk.afford(len(fresh))]
    if fresh:
        given = yield tuple(fresh)
        before |= {key_of(call): answer for call, answer in zip(fresh, given, strict=True)
                   if isinstance(answer, ToolAnswer)}  # fmt: skip
    return [before.get(key_of(call)) for call in calls]


# --------------------------------------------------------------------------------------------- the path


def trace(desk: Desk, walk: Walk) -> Asking:
    """The path from the leader to where users are hurt, every hop checked by observation and recorded."""
    ranked = standing(desk)
    if not ranked:
        return
    top = ranked[0][1].entity
    if any(hop.source == _start(top) for hop in desk.hops):
        return
    chain = yield from _chain(desk, walk, top)
    for source, target in itertools.pairwise(chain):
        desk.trace(traced(source, target, walk.known.get(target)))


def _chain(desk: Desk, walk: Walk, top: Entity) -> Generator[Questions, tuple[Answer, ...], list[str]]:
    """Along what was observed; else along the prior's path; else up the callers that the topology knows."""
    ends = walk.starts
    root = _start(top)
    if top.service is not None:
        if root in ends:
            return []
        found = path(root, ends, walk.known)
        if found:
            return found
    prior = desk.prior.propagation
    if prior and prior[0].source.removeprefix("node ") == root:
        chain = [prior[0].source, *(hop.target for hop in prior)]
        yield from look(desk, walk, chain[1:])
        return chain
    if top.service is None:
        return []
    return (yield from _climb(desk, walk, root))


def _start(top: Entity) -> str:
    """Where the fault of a candidate begins to travel: at the far end of a link, at the service that answers for any
    other part."""
    return top.callee or top.service or top.name


def _climb(desk: Desk, walk: Walk, root: str) -> Generator[Questions, tuple[Answer, ...], list[str]]:
    """The shortest way up the callers to a broken entry, by level."""
    came: dict[str, str] = {root: root}
    level = [root]
    for _ in range(MOST_UP):
        calls = [ToolCall(tool="topology", args={"service": name}, why="who calls it?") for name in level]
        answers = yield from _answers(desk, walk, calls)
        following: list[str] = []
        for name, answer in zip(level, answers, strict=True):
            for row in answer.rows if answer is not None else ():
                if row["relation"] == "caller" and row["name"] not in came:
                    came[row["name"]] = name
                    following.append(row["name"])
        reached = [name for name in following if name in walk.starts]
        if reached:
            chain = [reached[0]]
            while chain[-1] != root:
                chain.append(came[chain[-1]])
            yield from look(desk, walk, chain[:-1])
            return chain[::-1]
        level = following[:AT_ONCE]
        if not level:
            break
    return []


# ---------------------------------------------------------------------------------------------- verdict


def standing(desk: Desk) -> list[tuple[str, Entry]]:
    """Candidates, most believed first, without those that a person took out."""
    return [(name, entry) for name, entry in desk.ledger.ranked() if name not in desk.excluded]


def examine_group(desk: Desk, walk: Walk) -> Asking:
    """See where trouble came from at the broken entries, at the leader and at its alternatives."""
    yield from descend(desk, walk, walk.starts)
    services = [entry.entity.service for _, entry in standing(desk)[: 1 + ALTERNATIVES]]
    yield from look(desk, walk, [name for name in services if name is not None])


def refute(desk: Desk, walk: Walk) -> tuple[str, ...]:
    """Refute the alternatives that the leader accounts for; returns their names."""
    ranked = standing(desk)
    if not ranked:
        return ()
    root, refuted = ranked[0][1].entity.service, list[str]()
    for name, other in ranked[1 : 1 + ALTERNATIVES]:
        service = other.entity.service
        because = walk.evidence(service) if service is not None else ()
        if root is None or service is None or service == root or not because:
            continue
        share = explain(walk, Symptom(service, WRONG)).shares.get(root, 0.0)
        if share >= EXPLAINED:
            desk.ledger.settle(name, "refuted", because, f"most of what {service} shows comes from {root}")
            refuted.append(name)
    return tuple(refuted)


def verify(desk: Desk, walk: Walk) -> None:
    """Settle the leader and its alternatives together: a candidate is verified when it leads, has evidence of its own,
    no alternative accounts for it and no hop of its path was seen to contradict; one that the leader accounts for is
    refuted."""
    refute(desk, walk)
    ranked = standing(desk)
    if not ranked or ranked[0][1].belief < SUPPORTED:
        return
    (leader, entry), group = ranked[0], ranked[1 : 1 + ALTERNATIVES]
    root = entry.entity.service
    own = tuple(item for item in cited(entry) if item in desk.evidence and desk.evidence[item].polarity == "for")
    broken = [hop for hop in desk.hops if hop.in_direction is False or hop.in_time is False]
    taken = _taken(walk, root, [service_of(other) for _, other in group])
    observed = [hop for hop in desk.hops if hop.in_direction]
    if own and not broken and taken is None and (observed or not desk.hops):
        hops = tuple(hop.evidence for hop in observed if hop.evidence is not None)
        because = tuple(dict.fromkeys((*own, *hops)))
        desk.ledger.settle(
            leader, "verified", because, "own evidence, every observed hop agrees, no alternative takes it"
        )
    elif own:
        reason = "own evidence" if taken is None else f"own evidence, though {taken} accounts for part of it"
        desk.ledger.settle(leader, "supported", own, reason)


def cited(entry: Entry) -> tuple[str, ...]:
    """The evidence for a candidate: what the prior gave and what was found since."""
    given = entry.hypothesis.evidence if entry.hypothesis is not None else ()
    return tuple(dict.fromkeys((*given, *entry.evidence_for)))


def service_of(entry: Entry) -> str:
    return entry.entity.service or entry.entity.name


def _taken(walk: Walk, root: str | None, others: Sequence[str]) -> str | None:
    """The alternative at which most of the leader's trouble comes to rest, None where the leader keeps it."""
    if root is None or root not in walk.known:
        return None
    shares = explain(walk, Symptom(root, WRONG)).shares
    return next((other for other in others if other != root and shares.get(other, 0.0) >= EXPLAINED), None)
