"""Rules: the investigation of an experienced engineer without a model.

Walks from where users are hurt, and from the leader of the prior, down the calls that trouble came along, one hop at a
time, and splits the blame on the way between what began at a service and what it got from those it calls. Where the
prior is in doubt, beliefs move by what was found: blame that the leader passes on, complaints that have one service in
common, callers that tell nothing of themselves, and experts of each modality on the leader and its alternatives. One
thing is asked however sure the prior is: whether a leader that fails by itself fails over what a callee gave it, since
a callee that answers early and without an error looks well to every modality. Else, where the prior is sure, the walk
checks the path alone. Source: section 15.1 of the agents survey: a prior, and questions
where it is in doubt; recursion of section 8.2 of the survey on failures of agents. Cost: a few dozen questions, most
of them answered from one pass over the spans.
"""

from __future__ import annotations

import math
from collections.abc import Generator

from aetia.model import entity
from aetia.model.journal import Answer, ToolAnswer, ToolCall, Traced
from aetia.plugins import plugin
from aetia.reason.blame import Blame
from aetia.reason.callees import handed
from aetia.reason.experts import logs, metrics, traces
from aetia.reason.experts.collaborate import Joint, collaborate
from aetia.reason.hops import SICK, culprit, path
from aetia.reason.ledger import LEAST, MOST, Entry
from aetia.reason.policy import Desk, Questions, Steps
from aetia.reason.recollection import recollect
from aetia.reason.way import (
    ALTERNATIVES,
    EXPLAINED,
    USERS,
    Asking,
    Walk,
    descend,
    hurt,
    look,
    service_of,
    trace,
    verify,
)

SURE = 0.9
"""Belief in the leader from which on requests are not asked against it."""
SETTLED = 0.97
"""Belief from which on complaints are not either: the prior knows little of who complains of whom."""
PASSED_ON, LAID_ON = 0.65, 0.6
"""Share of the leader's trouble that has to come from elsewhere, and share of it that one other service has to keep."""
DECISIVE = 4.5
"""Log-odds of a finding that takes the blame from one service and lays it on another: 90 to 1."""
PROPOSED = 0.05
"""What is believed of a service that the prior did not name and that the walk ends at."""
GONE = ("A", "E")
"""Fault classes of what tells nothing any more."""
BROKEN = "C"
"""Fault class of what answers, and wrongly."""
HANDED = 0.95
"""Share of the belief in a service that goes to the callee that broke it."""
FAILURES, LOSSES = "errors", "network"
"""Channels of the prior: requests that fail with nothing failing below; packets that are lost."""


@plugin("policy", summary="asks by rules, without a model", source="agents survey, section 15.1", cost="no model")
class Rules:
    """Deterministic questions and beliefs."""

    def steps(self, desk: Desk) -> Steps:
        ranked = desk.ledger.ranked()
        if not ranked:
            return
        walk = Walk(hurt(desk))
        yield from descend(desk, walk, walk.starts)
        leader, entry = ranked[0]
        moved = yield from _handed_on(desk, leader, entry)
        if not moved and (entry.belief < SETTLED or desk.wished):
            yield from _doubt(desk, walk, leader, entry)
        yield from trace(desk, walk)
        verify(desk, walk)
        if entry.prior < SURE:
            yield from recollect(desk)


# ------------------------------------------------------------------------------------------------ doubt


def _handed_on(desk: Desk, leader: str, entry: Entry) -> Generator[Questions, tuple[Answer, ...], bool]:
    """A leader that fails over what a callee gave it, or did not: asked however sure the prior is, because a callee
    that answers early and without an error looks well to every modality."""
    service, said = entry.entity.service, entry.hypothesis
    if service is None or said is None or said.fault_class != BROKEN or not _cites(desk, entry, FAILURES):
        return False
    answers = yield (
        ToolCall(tool="before_failure", args={"service": service}, why="did a call come back too soon?"),
        ToolCall(tool="workload", args={"service": service}, why="does a callee do less for each request?"),
    )
    found = handed(service, [answer if isinstance(answer, ToolAnswer) else ToolAnswer() for answer in answers])
    if found is None:
        return False
    name = _named(desk, found.service)
    moved = HANDED * entry.belief
    _believe(desk, name, desk.ledger.entries[name].belief + moved, (found.evidence,), found.reason)
    _believe(desk, leader, entry.belief - moved, (found.evidence,), found.reason)
    return True


def _cites(desk: Desk, entry: Entry, channel: str) -> bool:
    """Whether the prior has evidence of a channel for a candidate."""
    cited = entry.hypothesis.evidence if entry.hypothesis is not None else ()
    return any(desk.evidence[item].query.channel == channel for item in cited if item in desk.evidence)


def _believe(desk: Desk, name: str, belief: float, because: tuple[str, ...], reason: str) -> None:
    """Move a belief to a value."""
    before, after = desk.ledger.entries[name].belief, min(max(belief, LEAST), MOST)
    desk.ledger.weigh(name, math.log(after / (1 - after)) - math.log(before / (1 - before)), because, reason)


def _doubt(desk: Desk, walk: Walk, leader: str, entry: Entry) -> Asking:
    """Test the leader against what it may have got from elsewhere, and its alternatives beside it."""
    first = entry.entity.service
    blame = None
    if first is not None:
        blame = yield from descend(desk, walk, {first: 1.0})
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
    because = walk.evidence(first, *path(other, [first], walk.known), other)
    if not because or other in ("", USERS) or share < LAID_ON or kept > 1.0 - PASSED_ON:
        return
    # Who loses packets itself times out on those it calls, and is timed out on: its complaints tell of itself.
    if not _requests_tell(walk, first) and _cites(desk, desk.ledger.entries[leader], LOSSES):
        return
    reason = f"most of the trouble of {first} comes from {other}, and little begins in it"
    _shift(desk, leader, other, because, reason)


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
    services = {name: service_of(desk.ledger.entries[name]) for name in chosen}
    asked = list(dict.fromkeys(services.values()))
    yield from look(desk, walk, asked)
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
