"""Rules: the investigation of an experienced engineer without a model.

Walks from where users are hurt, and from the leader of the prior, down the calls that trouble came along, one hop at a
time, and splits the blame on the way between what began at a service and what it got from those it calls. Where the
prior is in doubt, beliefs move by what was found: blame that the leader passes on, complaints that have one service in
common, callers that tell nothing of themselves, and experts of each modality on the leader and its alternatives. Where
the prior is sure, the walk checks the path alone. Source: section 15.1 of the agents survey: a prior, and questions
where it is in doubt; recursion of section 8.2 of the survey on failures of agents. Cost: a few dozen questions, most
of them answered from one pass over the spans.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from aetia.model import entity
from aetia.model.entity import Entity
from aetia.model.journal import Answer, ToolAnswer, ToolCall, Traced
from aetia.plugins import plugin
from aetia.reason.blame import Blame, Source, Symptom, explain
from aetia.reason.experts import logs, metrics, traces
from aetia.reason.experts.collaborate import Joint, collaborate
from aetia.reason.hops import SICK, Seen, culprit, path, seen, traced
from aetia.reason.ledger import SUPPORTED, Entry
from aetia.reason.policy import Desk, Questions, Steps

SURE = 0.9
"""Belief in the leader from which on requests are not asked against it."""
SETTLED = 0.97
"""Belief from which on complaints are not either: the prior knows little of who complains of whom."""
ALTERNATIVES = 3
PASSED_ON, LAID_ON = 0.65, 0.6
"""Share of the leader's trouble that has to come from elsewhere, and share of it that one other service has to keep."""
DECISIVE = 4.5
"""Log-odds of a finding that takes the blame from one service and lays it on another: 90 to 1."""
PROPOSED = 0.05
"""What is believed of a service that the prior did not name and that the walk ends at."""
MOST_HOPS, AT_ONCE, LEAST_REACH, MOST_UP = 32, 8, 0.03, 6
EXPLAINED = 0.5
GONE = ("A", "E")
"""Fault classes of what tells nothing any more."""
WRONG, USERS = "wrong", "users"

Asking = Generator[Questions, tuple[Answer, ...], None]


@dataclass(slots=True)
class Walk:
    """What was seen of services, each asked once, and the graph of blame that it spans from `starts`."""

    starts: dict[str, float]
    known: dict[str, Seen] = field(default_factory=dict[str, Seen])
    answers: dict[str, ToolAnswer] = field(default_factory=dict[str, ToolAnswer])

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


@plugin("policy", summary="asks by rules, without a model", source="agents survey, section 15.1", cost="no model")
class Rules:
    """Deterministic questions and beliefs."""

    def steps(self, desk: Desk) -> Steps:
        ranked = desk.ledger.ranked()
        if not ranked:
            return
        walk = Walk(_hurt(desk))
        yield from _descend(walk, walk.starts)
        leader, entry = ranked[0]
        if entry.belief < SETTLED or desk.wished:
            yield from _doubt(desk, walk, leader, entry)
        yield from _way(desk, walk)
        _verify(desk, walk)


def _hurt(desk: Desk) -> dict[str, float]:
    """Services of the broken entries with the share of hurt requests at each; else where the prior's path ends."""
    incident = desk.prior.incident
    hurt: dict[str, float] = {}
    for breach in incident.breaches if incident is not None else ():
        if breach.entry.service is not None:
            hurt[breach.entry.service] = max(hurt.get(breach.entry.service, 0.0), float(breach.affected or 1))
    if not hurt and desk.prior.propagation:
        hurt[desk.prior.propagation[-1].target] = 1.0
    total = sum(hurt.values())
    return {name: share / total for name, share in sorted(hurt.items())}


def _descend(walk: Walk, starts: dict[str, float]) -> Generator[Questions, tuple[Answer, ...], Blame]:
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
        yield from _ask(walk, waiting[: min(AT_ONCE, room)])


def _ask(walk: Walk, names: Sequence[str]) -> Asking:
    """Where the trouble of some services came from; what was asked before is not asked again."""
    names = [name for name in dict.fromkeys(names) if name not in walk.answers]
    if not names:
        return
    answers = yield tuple(call for name in names for call in traces.questions(name))
    for name, answer in zip(names, answers, strict=True):
        assert isinstance(answer, ToolAnswer)
        walk.answers[name] = answer
        if (one := seen(answer)) is not None:
            walk.known[name] = one


# ------------------------------------------------------------------------------------------------ doubt


def _doubt(desk: Desk, walk: Walk, leader: str, entry: Entry) -> Asking:
    """Test the leader against what it may have got from elsewhere, and its alternatives beside it."""
    first = entry.entity.service
    blame = None
    if first is not None:
        blame = yield from _descend(walk, {first: 1.0})
    sure = entry.belief >= SURE and not desk.wished
    if sure and (first is None or _requests_tell(walk, first)):
        return
    if first is None or not _keeps(walk, first):
        yield from _complaints(desk, leader)
    if not sure:
        yield from _silent_callers(desk, leader)
    if first is not None and blame is not None:
        _pass_on(desk, walk, leader, first, blame)
    if not sure:
        yield from _experts(desk, walk, leader)


def _requests_tell(walk: Walk, service: str) -> bool:
    one = walk.known.get(service)
    return one is not None and one.requests > 0


def _keeps(walk: Walk, service: str) -> bool:
    """Whether requests show that most of a service's trouble begins in it."""
    one = walk.known.get(service)
    return one is not None and one.own is not None and one.sick >= SICK and one.own > EXPLAINED


def _pass_on(desk: Desk, walk: Walk, leader: str, first: str, blame: Blame) -> None:
    """Move belief from the leader to the service at which most of the leader's own trouble came to rest."""
    shares = dict(blame.shares)
    kept = shares.pop(first, 0.0)
    other, share = max(sorted(shares.items()), key=lambda item: item[1], default=("", 0.0))
    because = _evidence(walk, first, other)
    if not because or other in ("", USERS) or share < LAID_ON or kept > 1.0 - PASSED_ON:
        return
    reason = f"{share:.0%} of the trouble of {first} comes from {other}, {kept:.0%} begins in it"
    _shift(desk, leader, other, because, reason)


def _evidence(walk: Walk, *names: str) -> tuple[str, ...]:
    found = [walk.known[name].evidence for name in names if name in walk.known]
    return tuple(dict.fromkeys(item for item in found if item is not None))


def _shift(desk: Desk, leader: str, service: str, because: tuple[str, ...], reason: str) -> None:
    """Lay on a service what is taken from the leader."""
    name = _named(desk, service)
    if name == leader or desk.ledger.ranked()[0][0] not in (leader, name):
        return
    desk.ledger.weigh(leader, -DECISIVE, because, reason)
    desk.ledger.weigh(name, DECISIVE, because, reason)


def _named(desk: Desk, service: str) -> str:
    """The most believed candidate of a service; proposed where there is none."""
    for name, entry in desk.ledger.ranked():
        if entry.entity.service == service:
            return name
    desk.ledger.propose(service, entity.service(service), PROPOSED)
    return service


def _complaints(desk: Desk, leader: str) -> Asking:
    """Who cannot reach whom by the logs: the service that all of them have in common is cut off or gone."""
    (answer,) = yield (ToolCall(tool="hop", agent="logs", why="what do all complaints have in common?"),)
    if not isinstance(answer, ToolAnswer) or answer.evidence is None:
        return
    common = culprit((row["target"], row["source"], row["unreached"]) for row in answer.rows)
    if common is not None and common != desk.ledger.entries[leader].entity.service:
        _shift(desk, leader, common, (answer.evidence.id,), f"all complaints in the logs have {common} in common")


def _silent_callers(desk: Desk, leader: str) -> Asking:
    """Requests that stopped coming where they came from a service that records none: that one is to be looked at."""
    incident = desk.prior.incident
    breaches = incident.breaches if incident is not None else ()
    starved = sorted({b.entry.service for b in breaches if b.sli == "throughput" and b.entry.service is not None})
    if not starved or any(b.sli != "throughput" for b in breaches):
        return
    answers = yield tuple(ToolCall(tool="topology", args={"service": name}, why="who called it?") for name in starved)
    told = [answer for answer in answers if isinstance(answer, ToolAnswer)]
    because = [answer.evidence.id for answer in told if answer.evidence is not None]
    if len(because) < len(starved):
        return
    callers = [{row["name"] for row in answer.rows if row["relation"] == "caller" and not row["calls"]}
               for answer in told]  # fmt: skip
    common = set[str].intersection(*callers)
    if len(common) == 1:
        (silent,) = common
        reason = f"{', '.join(starved)} lost the requests of {silent}, which records none of its own"
        _shift(desk, leader, silent, tuple(because), reason)
        if desk.ledger.entries[desk.ledger.ranked()[0][0]].entity.service == silent:
            for name, proof in zip(starved, because, strict=True):
                desk.trace(Traced(source=silent, target=name, in_time=None, in_direction=None, evidence=proof,
                                  reason=f"{name} gets no requests of {silent} any more"))  # fmt: skip


def _experts(desk: Desk, walk: Walk, leader: str) -> Asking:
    """Each modality's verdict on the leader and its alternatives, reconciled per candidate."""
    names = [name for name, entry in desk.ledger.ranked() if entry.entity.service is not None]
    chosen = list(dict.fromkeys([*names[: 1 + ALTERNATIVES], *(name for name in desk.wished if name in names)]))
    services = {name: _service(desk.ledger.entries[name]) for name in chosen}
    asked = list(dict.fromkeys(services.values()))
    yield from _ask(walk, asked)
    answers = yield tuple(call for name in asked for call in (*metrics.questions(name), *logs.questions(name)))
    said = [answer if isinstance(answer, ToolAnswer) else ToolAnswer() for answer in answers]
    joint = {
        name: collaborate(
            name,
            (
                metrics.verdict(name, said[2 * at]), logs.verdict(name, said[2 * at + 1]),
                traces.verdict(name, walk.answers.get(name, ToolAnswer())),
            ),
        )
        for at, name in enumerate(asked)
    }  # fmt: skip
    _weigh_experts(desk, {name: joint[service] for name, service in services.items()})
    told = {name: metrics.verdict(name, said[2 * at]) for at, name in enumerate(asked)}
    first = services.get(leader)
    gone = [name for name, one in told.items() if one.own and one.strength >= 1.0 and one.fault_class in GONE]
    # Whoever is called by a dead leader falls silent too: the leader has to be alive by its own metrics and requests.
    alive = first is not None and told[first].abnormal is not None and not _keeps(walk, first)
    if alive and len(gone) == 1 and gone[0] != first:
        _shift(desk, leader, gone[0], joint[gone[0]].evidence, f"{gone[0]} fell silent or died, {first} did not")


def _service(entry: Entry) -> str:
    return entry.entity.service or entry.entity.name


def _weigh_experts(desk: Desk, said: dict[str, Joint]) -> None:
    """Experts confirm an order and do not overturn it: the prior has read the same modalities."""
    order = [name for name, _ in desk.ledger.ranked()]
    for name, joint in said.items():
        if not joint.evidence or joint.log_odds == 0:
            continue
        leads = name == order[0]
        log_odds = max(joint.log_odds, 0.0) if leads else min(joint.log_odds, 0.0)
        reason = joint.reason if not joint.conflicts else f"{'; '.join(joint.conflicts)} ({joint.reason})"
        desk.ledger.weigh(name, log_odds, joint.evidence, reason[:400])


# --------------------------------------------------------------------------------------------- the path


def _way(desk: Desk, walk: Walk) -> Asking:
    """The path from the leader to where users are hurt, every hop checked by observation."""
    top = desk.ledger.ranked()[0][1].entity
    if any(hop.source == top.service for hop in desk.hops):
        return
    chain = yield from _chain(desk, walk, top)
    for source, target in itertools.pairwise(chain):
        desk.trace(traced(source, target, walk.known.get(target)))


def _chain(desk: Desk, walk: Walk, top: Entity) -> Generator[Questions, tuple[Answer, ...], list[str]]:
    """Along what was observed; else along the prior's path; else up the callers that the topology knows."""
    ends = walk.starts
    root = top.service or top.name
    if top.service is not None:
        if root in ends:
            return []
        found = path(root, ends, walk.known)
        if found:
            return found
    prior = desk.prior.propagation
    if prior and prior[0].source.removeprefix("node ") == root:
        chain = [prior[0].source, *(hop.target for hop in prior)]
        yield from _ask(walk, chain[1:])
        return chain
    if top.service is None:
        return []
    return (yield from _climb(walk, root))


def _climb(walk: Walk, root: str) -> Generator[Questions, tuple[Answer, ...], list[str]]:
    """The shortest way up the callers to a broken entry, by level."""
    came: dict[str, str] = {root: root}
    level = [root]
    for _ in range(MOST_UP):
        answers = yield tuple(ToolCall(tool="topology", args={"service": name}, why="who calls it?") for name in level)
        following: list[str] = []
        for name, answer in zip(level, answers, strict=True):
            rows = answer.rows if isinstance(answer, ToolAnswer) else ()
            for row in rows:
                if row["relation"] == "caller" and row["name"] not in came:
                    came[row["name"]] = name
                    following.append(row["name"])
        reached = [name for name in following if name in walk.starts]
        if reached:
            chain = [reached[0]]
            while chain[-1] != root:
                chain.append(came[chain[-1]])
            yield from _ask(walk, chain[:-1])
            return chain[::-1]
        level = following[:AT_ONCE]
        if not level:
            break
    return []


# ---------------------------------------------------------------------------------------------- verdict


def _verify(desk: Desk, walk: Walk) -> None:
    """Settle the leader and its alternatives together: a candidate is verified when it leads, has evidence of its own,
    no alternative accounts for it and no hop of its path was seen to contradict; one that the leader accounts for is
    refuted."""
    ranked = desk.ledger.ranked()
    leader, entry = ranked[0]
    group = [(name, other) for name, other in ranked[1 : 1 + ALTERNATIVES]]
    root = entry.entity.service
    for name, other in group:
        service = other.entity.service
        because = _evidence(walk, service) if service is not None else ()
        if root is None or service is None or service == root or not because:
            continue
        share = explain(walk, Symptom(service, WRONG)).shares.get(root, 0.0)
        if share >= EXPLAINED:
            desk.ledger.settle(name, "refuted", because, f"{root} accounts for {share:.0%} of what {service} shows")
    if entry.belief < SUPPORTED:
        return
    own = tuple(item for item in _cited(entry) if item in desk.evidence and desk.evidence[item].polarity == "for")
    broken = [hop for hop in desk.hops if hop.in_direction is False or hop.in_time is False]
    taken = _taken(walk, root, [_service(other) for _, other in group])
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


def _cited(entry: Entry) -> tuple[str, ...]:
    given = entry.hypothesis.evidence if entry.hypothesis is not None else ()
    return tuple(dict.fromkeys((*given, *entry.evidence_for)))


def _taken(walk: Walk, root: str | None, others: Sequence[str]) -> str | None:
    """The alternative at which most of the leader's trouble comes to rest, None where the leader keeps it."""
    if root is None or root not in walk.known:
        return None
    shares = explain(walk, Symptom(root, WRONG)).shares
    return next((other for other in others if other != root and shares.get(other, 0.0) >= EXPLAINED), None)
