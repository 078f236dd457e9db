"""Detection, triage and localization of the leading candidates together, each answered by evidence that is there.

Source: TrioXpert (arXiv 2506.10043), section 8 of the agents survey: the three tasks are answered side by side, since
each is a reason to doubt the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from aetia.model.diagnosis import Assessment, Evidence, Hypothesis

LEADING = 3
"""Candidates that are assessed, beside the roots: the ones that a reader compares."""


def assessed(
    hypotheses: Sequence[Hypothesis],
    roots: Sequence[int],
    evidence: Mapping[str, Evidence],
    asked: Mapping[str, Assessment] | None = None,
) -> tuple[Hypothesis, ...]:
    """The ranking with the assessment of those that lead; `asked` is what experts said of candidates, by name."""
    leading = {*range(LEADING), *roots}
    return tuple(
        msgspec.structs.replace(item, assessment=assess(item, evidence, (asked or {}).get(item.entity.name)))
        if at in leading
        else item
        for at, item in enumerate(hypotheses)
    )


def assess(hypothesis: Hypothesis, evidence: Mapping[str, Evidence], asked: Assessment | None = None) -> Assessment:
    """One candidate by the evidence that its hypothesis cites and the `evidence` holds, and by what experts said.

    Whatever speaks for it shows that it is abnormal; what is a sign of its class of fault tells the class; what can
    only have begun there tells the place, once a verdict supports it: several candidates may show such. What has no
    strength says nothing.
    """
    cited = [evidence[key] for key in (*hypothesis.evidence, *hypothesis.against) if key in evidence]
    speaking = [item for item in cited if item.strength > 0]
    ill = [item for item in speaking if item.polarity == "for"]
    kind, verdict = hypothesis.fault_class, hypothesis.verdict
    own = [item for item in ill if item.own]
    began = verdict in ("supported", "verified") and bool(own)
    found = Assessment(
        abnormal=True if ill else False if speaking else None,
        abnormal_by=_ids(ill or speaking),
        fault_class=kind,
        triage_by=_ids([item for item in ill if kind is not None and item.fault_class == kind]),
        origin=False if verdict == "refuted" else True if began else None,
        origin_by=tuple(key for key in hypothesis.against if key in evidence) if verdict == "refuted" else _ids(own),
    )
    return found if asked is None else _joined(found, asked, evidence)


def _joined(found: Assessment, asked: Assessment, evidence: Mapping[str, Evidence]) -> Assessment:
    """What the evidence says, with the evidence of experts that agree, and what only they answer."""

    def both(mine: tuple[str, ...], theirs: tuple[str, ...], *, agree: bool) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*mine, *(key for key in theirs if agree and key in evidence))))

    abnormal = asked.abnormal if found.abnormal is None else found.abnormal
    kind = found.fault_class or asked.fault_class
    return msgspec.structs.replace(
        found,
        abnormal=abnormal,
        abnormal_by=both(found.abnormal_by, asked.abnormal_by, agree=asked.abnormal == abnormal),
        fault_class=kind,
        severity=asked.severity,
        triage_by=both(found.triage_by, asked.triage_by, agree=asked.fault_class in (None, kind)),
        origin_by=both(found.origin_by, asked.origin_by, agree=found.origin is not False),
        conflicts=asked.conflicts,
    )


def _ids(items: Sequence[Evidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.id for item in items))
