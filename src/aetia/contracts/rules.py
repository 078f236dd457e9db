"""What every answer has to be, whatever the algorithm: bounded, finite, ordered, explained, repeatable, plain JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, get_args

import msgspec

from aetia.evidence.channel import Channel, Finding, Reading
from aetia.localize.localizer import Localization
from aetia.model.diagnosis import Diagnosis, Direction, Evidence, Hypothesis, Incident, canonical, digest
from aetia.model.entity import Entity
from aetia.model.faults import FAULT_CLASSES, class_of
from aetia.report.interchange import from_json, to_json
from aetia.report.recheck import recheck
from aetia.signals.frames import Names
from aetia.signals.view import View

TOLERANCE = 1e-9
MAX_POINTS = 64
MAX_ROOTS = 3
Scores = dict[tuple[Any, ...], float]


class ContractBroken(AssertionError):
    """An algorithm does not keep the contract of its kind; the message says which part and where."""


def require(holds: object, message: str) -> None:
    """Raises ContractBroken with the message unless `holds`."""
    if not holds:
        raise ContractBroken(message)


def place_of(where: Entity, back: Mapping[str, str] | None = None) -> tuple[Any, ...]:
    """What identifies an entity; `back` maps names in use to those to compare by."""

    def plain(text: str | None) -> str | None:
        if text is None or back is None:
            return text
        stem, dash, number = text.rpartition("-")
        if text not in back and stem in back:
            return f"{back[stem]}{dash}{number}"
        return back.get(text, text)

    names = (where.service, where.instance, where.node, where.caller, where.callee)
    return (where.level, *(plain(name) for name in names), where.operation)


def known(where: Entity, names: Names) -> bool:
    """Whether the telemetry has the names of an entity."""
    services = (where.service, where.caller, where.callee)
    return (
        all(name is None or name in names.services for name in services)
        and (where.instance is None or where.instance in names.instances)
        and (where.node is None or where.node in names.nodes)
        and any(name is not None for name in (where.service, where.node, where.instance))
    )


def same_scores(first: Scores, second: Scores, when: str) -> None:
    """Raises ContractBroken when two answers differ in who they name or by how much."""
    require(
        first.keys() == second.keys(),
        f"{when}: other entities are named: {sorted(map(str, first.keys() ^ second.keys()))}",
    )
    for key, score in first.items():
        other = second[key]
        near = math.isclose(score, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        require(near, f"{when}: the score of {key} changes from {score!r} to {other!r}")


def sound_reading(channel: Channel, view: View) -> Reading:
    """The reading of a channel, checked together with the measurement behind each finding."""
    reading: Any = channel.observe(view)
    if not isinstance(reading, Reading):
        raise ContractBroken(f"observe must return a Reading, not {type(reading).__name__}")
    scores = [finding.score for finding in reading.findings]
    require(
        bool(reading.findings) == (reading.silent is None),
        "a reading has findings, or says in `silent` why there are none",
    )
    require(reading.silent is None or reading.silent.strip(), "`silent` must say why there is nothing")
    _bounded("findings", scores)
    require(scores == sorted(scores, reverse=True), f"findings come strongest first, not {scores}")
    for finding in reading.findings:
        _sound_finding(finding, view)
        measured(channel, view, finding)
    return reading


def _bounded(what: str, scores: Iterable[float]) -> None:
    for score in scores:
        require(0.0 <= score <= 1.0, f"scores of {what} lie in 0..1, not {score!r}")


def _sound_finding(finding: Finding, view: View) -> None:
    claim, about = finding.claim, finding.entity
    require(known(about, view.names), f"a finding is about {about}, which the telemetry does not have")
    require(claim.what and claim.text, f"the claim about {about} says neither what nor why")
    require(claim.direction in get_args(Direction), f"the claim about {about} moves {claim.direction!r}")
    require(math.isfinite(claim.magnitude), f"the magnitude of the claim about {about} is {claim.magnitude!r}")
    _sound_fault(about, finding.fault_class, finding.fault)


def _sound_fault(about: Entity, fault_class: str | None, fault: str | None) -> None:
    require(fault_class is None or fault_class in FAULT_CLASSES, f"{about}: there is no fault class {fault_class!r}")
    require(
        fault is None or class_of(fault) == fault_class, f"{about}: fault {fault!r} is not of class {fault_class!r}"
    )


def plain(value: Any) -> bool:
    """Whether a value is JSON as it stands: no numpy scalars, no infinities, no keys other than text."""
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in cast("dict[Any, Any]", value).items())
    if isinstance(value, list):
        return all(plain(item) for item in cast("list[Any]", value))
    return value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))


def measured(channel: Channel, view: View, finding: Finding) -> str:
    """Digest of the measurement behind a finding, taken with arguments that have been through JSON."""
    args: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(finding.args))
    require(args == finding.args, f"arguments of `measure` must be plain JSON values: {finding.args}")
    result: Any = channel.measure(view, **args)
    require(isinstance(result, dict) and result, f"measure({args}) must return the numbers, not {result!r}")
    chart: Any = result.get("series")
    if chart is not None:
        require(
            isinstance(chart, dict) and {"start_ns", "step_ns", "unit", "values"} <= chart.keys(),
            "`series` lacks a key",
        )
        require(
            len(chart["values"]) <= MAX_POINTS,
            f"`series` holds {len(chart['values'])} points; {MAX_POINTS} are allowed",
        )
    first = digest(canonical(result))
    require(
        first == digest(canonical(channel.measure(view, **args))),
        f"measure({args}) answers differently the second time",
    )
    return first


def reading_scores(reading: Reading, back: Mapping[str, str] | None = None) -> Scores:
    """Strongest score per place, what is claimed and fault."""
    out: Scores = {}
    for finding in reading.findings:
        key = (*place_of(finding.entity, back), finding.claim.what, finding.fault, finding.own)
        out[key] = max(out.get(key, 0.0), float(finding.score))
    return out


def sound_localization(answer: object, view: View, incident: Incident) -> Localization:
    """A localizer's answer, checked together with its evidence."""
    if not isinstance(answer, Localization):
        raise ContractBroken(f"localize must return a Localization, not {type(answer).__name__}")
    found = answer.hypotheses
    require(
        bool(found) == (answer.abstained is None), "an answer ranks hypotheses, or says in `abstained` why it does not"
    )
    require(answer.abstained is None or answer.abstained.strip(), "`abstained` must say why there is no answer")
    scores = [hypothesis.score for hypothesis in found]
    require(all(math.isfinite(score) for score in scores), f"scores are finite, not {scores}")
    require(scores == sorted(scores, reverse=True), f"hypotheses come most suspicious first, not {scores}")
    owners = [hypothesis.entity.service or f"node {hypothesis.entity.node}" for hypothesis in found]
    require(len(set(owners)) == len(owners), f"one hypothesis per service, node or external, not {owners}")
    for hypothesis in (*found, *answer.rejected):
        _sound_hypothesis(hypothesis, view)
    _bounded("probability", sure_of(answer))
    in_range = all(0 <= root < len(found) for root in answer.roots) and len(set(answer.roots)) == len(answer.roots)
    require(in_range, f"roots {answer.roots} are no places in a ranking of {len(found)}")
    require(
        (1 if found else 0) <= len(answer.roots) <= MAX_ROOTS * bool(found), f"one to three roots, not {answer.roots}"
    )
    _sound_evidence(answer, view, incident)
    for hop in answer.propagation:
        require(hop.source and hop.target and hop.source != hop.target, f"a hop leads nowhere: {hop}")
    return answer


def sure_of(answer: Localization) -> list[float]:
    """The probabilities of the ranked hypotheses that have one."""
    return [hypothesis.probability for hypothesis in answer.hypotheses if hypothesis.probability is not None]


def _sound_hypothesis(hypothesis: Hypothesis, view: View) -> None:
    require(known(hypothesis.entity, view.names), f"{hypothesis.entity} is blamed, which the telemetry does not have")
    _sound_fault(hypothesis.entity, hypothesis.fault_class, hypothesis.fault)
    require(hypothesis.verdict != "refuted" or hypothesis.reason, f"{hypothesis.entity} is ruled out without a reason")


def _sound_evidence(answer: Localization, view: View, incident: Incident) -> None:
    ids = [item.id for item in answer.evidence]
    require(len(set(ids)) == len(ids), f"evidence repeats itself: {ids}")
    named = {i for h in (*answer.hypotheses, *answer.rejected) for i in (*h.evidence, *h.against)}
    named |= {hop.evidence for hop in answer.propagation if hop.evidence is not None}
    require(named <= set(ids), f"evidence is named and not there: {sorted(named - set(ids))}")
    _bounded("evidence", (item.strength for item in answer.evidence))
    diagnosis = Diagnosis(
        localizer="under test",
        incident=incident,
        hypotheses=answer.hypotheses,
        roots=answer.roots,
        evidence=answer.evidence,
        propagation=answer.propagation,
        rejected=answer.rejected,
        abstained=answer.abstained,
        missing=answer.missing,
        silent=dict(answer.silent),
    )
    back = from_json(to_json(diagnosis))
    require(back.hypotheses == answer.hypotheses, "the answer changes on its way through JSON")
    for outcome in recheck(back, view):
        require(outcome.holds, f"evidence {outcome.evidence.query} does not hold when it is run again: {outcome.why}")


def answer_scores(answer: Localization, back: Mapping[str, str] | None = None) -> Scores:
    """Score per place."""
    return {place_of(h.entity, back): h.score for h in answer.hypotheses}


def evidence_digests(evidence: Sequence[Evidence]) -> list[str]:
    """What the evidence measured, in order of its identity."""
    return sorted(item.digest for item in evidence)


def sound_incidents(found: object) -> list[Incident]:
    """A detector's incidents, checked."""
    if not isinstance(found, list):
        raise ContractBroken(f"detect must return a list of incidents, not {type(found).__name__}")
    incidents: list[Incident] = found
    onsets = [incident.onset_ns for incident in incidents]
    require(onsets == sorted(onsets), f"incidents come in order of onset, not {onsets}")
    for incident in incidents:
        _sound_incident(incident)
    return incidents


def _sound_incident(incident: Incident) -> None:
    window = incident.window
    inside = window.start_ns <= incident.onset_ns <= window.end_ns
    require(inside, f"the onset {incident.onset_ns} lies outside of the incident {window}")
    require(incident.given or incident.breaches or window.seconds > 0, "an incident without any breach has no length")
    for breach in incident.breaches:
        numbers = (breach.baseline, breach.incident, breach.p_value)
        require(all(math.isfinite(number) for number in numbers), f"a breach is not finite: {breach}")
        require(0.0 <= breach.p_value <= 1.0, f"the p value of a breach is {breach.p_value}")
        require(breach.requests >= 0 and breach.affected >= 0, f"requests are counted below zero: {breach}")
        shares = breach.sli != "success" or (0.0 <= breach.baseline <= 1.0 and 0.0 <= breach.incident <= 1.0)
        require(shares, f"success is a share in 0..1: {breach}")
    back = msgspec.json.decode(msgspec.json.encode(incident), type=Incident)
    require(back == incident, "an incident changes on its way through JSON")


def incident_scores(incidents: Sequence[Incident], back: Mapping[str, str] | None = None) -> Scores:
    """p value per breach, with its window."""
    out: Scores = {}
    for number, incident in enumerate(incidents):
        out[number, "window", incident.window, incident.onset_ns] = 0.0
        for breach in incident.breaches:
            out[number, *place_of(breach.entry, back), breach.sli, breach.requests, breach.affected] = breach.p_value
    return out
