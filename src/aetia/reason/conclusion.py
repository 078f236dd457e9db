"""From the ledger to the diagnosis: beliefs become the ranking, and only what is backed by evidence is said."""

from __future__ import annotations

import msgspec

from aetia.localize._assess import assessed
from aetia.model.diagnosis import Diagnosis, Hop, Hypothesis, Verdict
from aetia.model.journal import State, Traced
from aetia.reason.experts.heard import heard
from aetia.reason.ledger import Entry
from aetia.reason.policy import Desk

NODE = "node "
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
    hypotheses = _assessed(desk, _shared_out([_hypothesis(entry) for _, entry in ranked]), roots)
    cited = {item for hypothesis in hypotheses for item in (*hypothesis.evidence, *hypothesis.against)}
    against = [hop for hop in desk.hops if hop.in_direction is False or hop.in_time is False]
    # A path with a gap leads from nowhere: where one hop was seen not to be, none is shown, and which is said.
    hops = () if against else tuple(_hop(prior, hop) for hop in desk.hops)
    missing = tuple(f"how it spread: {hop.source} to {hop.target} was ruled out ({hop.reason})" for hop in against)
    cited |= {hop.evidence for hop in hops if hop.evidence is not None} | _of_harm(prior)
    for told in (item.assessment for item in hypotheses if item.assessment is not None):
        cited |= {*told.abnormal_by, *told.triage_by, *told.origin_by}
    return msgspec.structs.replace(
        prior, hypotheses=hypotheses, roots=roots, cost=cost, missing=(*prior.missing, *missing),
        evidence=tuple(item for key, item in desk.evidence.items() if key in cited),
        propagation=hops or (
            prior.propagation if ranked[0][0] == prior.hypotheses[0].entity.name and not against else ()
        ),
    )  # fmt: skip


def _assessed(desk: Desk, hypotheses: tuple[Hypothesis, ...], roots: tuple[int, ...]) -> tuple[Hypothesis, ...]:
    """The ranking with what is known of those that lead, by the evidence and by the experts whose questions were
    answered."""
    names = {item.entity.name: item.entity.service or item.entity.name for item in hypotheses}
    said = heard(names.values(), desk.answered)
    asked = {name: said[of] for name, of in names.items() if of in said}
    return assessed(hypotheses, roots, desk.evidence, asked)


def _shared_out(hypotheses: list[Hypothesis]) -> tuple[Hypothesis, ...]:
    """Beliefs move one by one; as probabilities of one ranking they are at most 1 together."""
    total = sum(item.probability or 0.0 for item in hypotheses)
    if total <= 1.0:
        return tuple(hypotheses)
    return tuple(msgspec.structs.replace(item, probability=round((item.probability or 0.0) / total, 4))
                 for item in hypotheses)  # fmt: skip


def _hop(prior: Diagnosis, hop: Traced) -> Hop:
    """A hop with what the prior knew of it, and the evidence of whoever looked."""
    told = next((item for item in prior.propagation if (item.source, item.target) == (hop.source, hop.target)), None)
    if told is not None:
        return msgspec.structs.replace(told, evidence=hop.evidence or told.evidence)
    relation = "hosts" if hop.source.startswith(NODE) else "called by"
    return Hop(source=hop.source, target=hop.target, relation=relation, evidence=hop.evidence)


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
