"""What an investigation starts from: the answer of a localizer, with who was hurt and how badly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aetia.localize._assess import assessed
from aetia.model.diagnosis import Diagnosis, Impact, Incident

if TYPE_CHECKING:
    from aetia.detect._proof import Proof
    from aetia.localize.localizer import Localization


def prior_of(found: Localization, *, localizer: str, incident: Incident | None, proof: Proof | None) -> Diagnosis:
    """The diagnosis before any policy asks further; its case, source, repairs and cost are for the caller to add.

    `proof` is what the detector shows of the incident again; without one the breaches are taken at their word."""
    chosen = proof.incident if proof is not None else incident
    return Diagnosis(
        localizer=localizer,
        incident=chosen,
        hypotheses=assessed(found.hypotheses, found.roots, {item.id: item for item in found.evidence}),
        roots=found.roots,
        evidence=(*found.evidence, *(proof.evidence if proof is not None else ())),
        propagation=found.propagation,
        impact=(proof.impact if proof is not None else None) or impact_of(chosen),
        severity=proof.severity if proof is not None else None,
        rejected=found.rejected,
        abstained=found.abstained,
        missing=found.missing,
        silent=dict(found.silent),
    )


def impact_of(incident: Incident | None) -> Impact:
    """Who was hurt: the breaches of one entry point are counted once, by the worst of them."""
    if incident is None or not incident.breaches:
        return Impact()
    requests: dict[str, int] = {}
    affected: dict[str, int] = {}
    for found in incident.breaches:
        name = found.entry.name
        requests[name] = max(requests.get(name, 0), found.requests)
        affected[name] = max(affected.get(name, 0), found.affected)
    return Impact(
        entries=tuple(sorted(requests, key=lambda name: (-affected[name], name))),
        requests=sum(requests.values()),
        affected=sum(affected.values()),
    )
