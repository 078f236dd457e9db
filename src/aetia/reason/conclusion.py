"""From the ledger to the diagnosis: beliefs become the ranking, and only what is backed by evidence is said."""

from __future__ import annotations

import msgspec

from aetia.localize._assess import assessed
from aetia.model.diagnosis import Diagnosis, Hop, Hypothesis, Verdict
from aetia.model.journal import State
from aetia.reason.experts.heard import heard
from aetia.reason.ledger import Entry
from aetia.reason.policy import Desk

_VERDICT: dict[State, Verdict] = {
    "proposed": "open", "supported": "supported", "refuted": "refuted", "verified": "verified",
}  # fmt: skip


def conclude(desk: Desk, outcome: str) -> Diagnosis:
    """The prior diagnosis with the ranking, the verdicts, the evidence and the hops of the ledger.

    Where nothing was learned the prior stands as it was. A candidate that a person excluded is not in the ranking.
    """
    prior = desk.prior
    cost = msgspec.structs.replace(prior.cost, seconds=round(prior.cost.seconds + desk.spent.at_s, 3),
                                   tokens=desk.spent.tokens, money=desk.cost)  # fmt: skip
    ranked = [(name, entry) for name, entry in desk.ledger.ranked() if name not in desk.excluded]
    if prior.abstained is not None or desk.abstained or not ranked:
        abstained = prior.abstained or desk.abstained or "no hypothesis was left"
        return msgspec.structs.replace(prior, abstained=abstained, hypotheses=(), roots=(), cost=cost)
    roots = _roots(desk, [name for name, _ in ranked])
    hypotheses = _assessed(desk, tuple(_hypothesis(entry) for _, entry in ranked), roots)
    cited = {item for hypothesis in hypotheses for item in (*hypothesis.evidence, *hypothesis.against)}
    hops = tuple(
        Hop(source=hop.source, target=hop.target, relation="observed", evidence=hop.evidence)
        for hop in desk.hops if hop.in_direction is not False and hop.in_time is not False
    )  # fmt: skip
    cited |= {hop.evidence for hop in hops if hop.evidence is not None} | _of_harm(prior)
    for told in (item.assessment for item in hypotheses if item.assessment is not None):
        cited |= {*told.abnormal_by, *told.triage_by, *told.origin_by}
    return msgspec.structs.replace(
        prior, hypotheses=hypotheses, roots=roots, cost=cost,
        evidence=tuple(item for key, item in desk.evidence.items() if key in cited),
        propagation=hops or (prior.propagation if ranked[0][0] == prior.hypotheses[0].entity.name else ()),
    )  # fmt: skip


def _assessed(desk: Desk, hypotheses: tuple[Hypothesis, ...], roots: tuple[int, ...]) -> tuple[Hypothesis, ...]:
    """The ranking with what is known of those that lead, by the evidence and by the experts whose questions were
    answered."""
    names = {item.entity.name: item.entity.service or item.entity.name for item in hypotheses}
    said = heard(names.values(), desk.answered)
    asked = {name: said[of] for name, of in names.items() if of in said}
    return assessed(hypotheses, roots, desk.evidence, asked)


def _of_harm(prior: Diagnosis) -> set[str]:
    """The evidence that users are hurt."""
    breaches = prior.incident.breaches if prior.incident is not None else ()
    return {item for item in (*(breach.evidence for breach in breaches), prior.impact.evidence) if item is not None}


def _hypothesis(entry: Entry) -> Hypothesis:
    said = entry.hypothesis or Hypothesis(entity=entry.entity, score=entry.belief)
    untouched = entry.hypothesis is not None and entry.state == "proposed" and not entry.reasons
    return msgspec.structs.replace(
        said, probability=said.probability if untouched else round(entry.belief, 4),
        verdict=said.verdict if untouched else _VERDICT[entry.state],
        evidence=tuple(dict.fromkeys((*said.evidence, *entry.evidence_for))),
        against=tuple(dict.fromkeys((*said.against, *entry.against))),
    )  # fmt: skip


def _roots(desk: Desk, names: list[str]) -> tuple[int, ...]:
    """The joint answer of the prior where its members still lead; the first of the ranking always."""
    joint = [desk.prior.hypotheses[at].entity.name for at in desk.prior.roots if at < len(desk.prior.hypotheses)]
    kept = [names.index(name) for name in joint if name in names and desk.ledger.entries[name].state != "refuted"]
    return tuple(sorted({0, *(at for at in kept if at < len(joint))}))
