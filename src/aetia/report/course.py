"""When the fault reached whom, in order of time: it began, it went on along the path, users were hurt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec

from aetia.model.diagnosis import Diagnosis, Evidence, Hop, Incident
from aetia.model.entity import Entity
from aetia.model.quantities import percent
from aetia.report import wording

SECOND_NS = 1_000_000_000
_ORDER = {"root": 0, "hop": 1, "hurt": 2}


class Step(msgspec.Struct, frozen=True, kw_only=True, rename={"source": "from"}):
    """The fault at one service. `from` is where it came from (None where it began, and where users are hurt),
    `within_ns` how exactly the time is known (0: to a span), `text` says what is seen of it."""

    at_ns: int
    kind: Literal["root", "hop", "hurt"]
    service: str
    text: str
    source: str | None = None
    evidence: str | None = None
    within_ns: int = 0


def course(diagnosis: Diagnosis) -> tuple[Step, ...]:
    """The steps in order of time; none where no root cause is named. No effect comes before its cause: bins of time
    that say otherwise are too coarse to tell, so a hop is no later than what follows from it."""
    incident = diagnosis.incident
    if incident is None or diagnosis.abstained is not None:
        return ()
    held = {item.id: item for item in diagnosis.evidence}
    steps, reached = _began(diagnosis, incident)
    for hop in _in_order(diagnosis.propagation, reached):
        steps.append(_went(hop, held.get(hop.evidence or ""), incident, reached))
    steps = _settled(steps, incident) + _hurt(incident)
    return tuple(sorted(steps, key=lambda step: (step.at_ns, _ORDER[step.kind])))


def service_of(entity: Entity) -> str:
    """The service that stands for an entity on a map."""
    return entity.service or entity.name


def _began(diagnosis: Diagnosis, incident: Incident) -> tuple[list[Step], dict[str, int]]:
    steps: list[Step] = []
    reached: dict[str, int] = {}
    for item in wording.roots(diagnosis):
        at = min(item.onset_ns or incident.onset_ns, incident.onset_ns)
        unsure = item.probability is not None and item.probability < wording.LIKELY
        service = service_of(item.entity)
        reached[service] = at
        said = "the first suspect" if unsure else "it began here"
        evidence = item.evidence[0] if item.evidence else None
        steps.append(Step(at_ns=at, kind="root", service=service, text=said, evidence=evidence))
    return steps, reached


def _in_order(hops: Sequence[Hop], reached: dict[str, int]) -> list[Hop]:
    """Hops as the fault went, from the roots on."""
    left, seen, found = list(hops), set(reached), list[Hop]()
    while left:
        at = next((index for index, hop in enumerate(left) if hop.source in seen), 0)
        hop = left.pop(at)
        seen.add(hop.target)
        found.append(hop)
    return found


def _went(hop: Hop, proof: Evidence | None, incident: Incident, reached: dict[str, int]) -> Step:
    row = _row(hop, proof)
    began, bin_s, share = row.get("target_began_s"), row.get("step_s"), row.get("accounts")
    seen = hop.onset_ns
    if seen is None and isinstance(began, int | float):
        seen = incident.window.start_ns + round(began * SECOND_NS)
    at = max(reached.get(hop.source, incident.onset_ns), seen or 0)
    reached[hop.target] = min(at, reached.get(hop.target, at))
    source = wording.plain(hop.source, 60)
    if isinstance(share, int | float):
        text = f"{percent(float(share))} of its trouble comes from {source}"
    else:
        said = proof.claim.text if proof is not None else ""
        text = wording.plain(said, 240) if said else f"it depends on {source}"
    exact = hop.onset_ns is not None or not isinstance(bin_s, int | float)
    return Step(
        at_ns=at, kind="hop", service=hop.target, text=text, source=hop.source, evidence=hop.evidence,
        within_ns=0 if exact else round(float(bin_s or 0.0) * SECOND_NS),
    )  # fmt: skip


def _row(hop: Hop, proof: Evidence | None) -> dict[str, Any]:
    """What the evidence of a hop counted for it."""
    rows: object = (proof.result if proof is not None else {}).get("rows")
    for row in cast("list[object]", rows) if isinstance(rows, list) else ():
        if isinstance(row, dict):
            found = cast("dict[str, Any]", row)
            if found.get("source") == hop.source and found.get("target") == hop.target:
                return found
    return {}


def _settled(steps: Sequence[Step], incident: Incident) -> list[Step]:
    """Steps, in the order of the path, come no later than the harm at their service and the hops from there."""
    latest: dict[str, int] = {}
    for breach in incident.breaches:
        service = service_of(breach.entry)
        latest[service] = min(breach.onset_ns, latest.get(service, breach.onset_ns))
    found: list[Step] = []
    for step in reversed(steps):
        at = min(step.at_ns, latest.get(step.service, step.at_ns))
        if step.source is not None:
            latest[step.source] = min(at, latest.get(step.source, at))
        found.append(msgspec.structs.replace(step, at_ns=at))
    return found[::-1]


def _hurt(incident: Incident) -> list[Step]:
    found: dict[str, Step] = {}
    for breach in incident.breaches:
        service = service_of(breach.entry)
        if service not in found:
            text = f"users hurt: {wording.breach(breach)}"
            found[service] = Step(
                at_ns=breach.onset_ns, kind="hurt", service=service, text=text, evidence=breach.evidence
            )
        elif breach.onset_ns < found[service].at_ns:
            found[service] = msgspec.structs.replace(found[service], at_ns=breach.onset_ns)
    return list(found.values())
