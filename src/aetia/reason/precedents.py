"""Which remembered incidents speak for which cause, and how loudly. Pure: no file, no clock.

Only a diagnosis that checks verified or a person confirmed is a precedent; what nobody vouches for is shown and weighs
nothing, so that forged or mistaken memories cannot sway anybody. Memories of one source have one voice together,
however many they are. Source: incident memory with expiry, contradiction and provenance, sections 1.2 and 13 of the
agents survey and section 8 of the failures survey.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from aetia.model.diagnosis import Hypothesis, Precedent, Remedy
from aetia.model.journal import Situation
from aetia.reason.fingerprints import (
    LONGEST_NAME,
    Fingerprint,
    Quote,
    comparable,
    component,
    likeness,
    quoted,
    symptoms,
)

DAY_NS = 86_400 * 10**9
HALF_LIFE_DAYS, OLDEST_DAYS = 90.0, 365.0
LEAST_ALIKE = 0.3
"""Likeness below which an incident is no reminder at all."""
SAME_SYMPTOMS = 0.8
"""Likeness of symptoms from which two different causes contradict one another."""
OTHER_SYSTEM, NEIGHBOUR_CHANGED, FIX_FAILED = 0.5, 0.7, 0.7
"""What is left of a weight in another system, after a new version beside the component, after a fix in vain."""
LEAST_NEIGHBOURS = 0.5
"""Share of the component's neighbours that must be the same."""
MOST_OF_A_VOICE, MOST = 5, 200
"""Reminders of one source for one cause, and of all."""
MOST_PRECEDENTS, MOST_REMEDIES = 5, 3
"""What an investigation is told of, and of each how much of what was done."""
TRUST = {"person": 1.0, "checks": 0.8, "nobody": 0.0}
Vouched = Literal["person", "checks", "nobody"]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a memory comes from: the journal's digest, the telemetry that it read, and who said it was right."""

    journal: str
    source: str
    vouched: Vouched = "nobody"
    by: str = ""


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about it, and whether that helped."""

    action: str
    worked: bool
    at_ns: int
    by: str = ""


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One incident and what caused it; `situation` holds the members of the blamed path alone."""

    id: str
    incident: str
    """The same for all memories of one incident, whoever investigated it."""
    fingerprint: Fingerprint
    component: str
    fault_class: str | None
    fault: str | None
    summary: str
    provenance: Provenance
    happened_ns: int
    remembered_ns: int
    situation: Situation = Situation()
    quotes: tuple[Quote, ...] = ()
    fixes: tuple[Fix, ...] = ()

    @property
    def cause(self) -> tuple[str, str]:
        return self.component, self.fault_class or ""


class Reminder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory that an incident brings to mind; `weight` 0 where it is no precedent, and `why` in words."""

    memory: Memory
    likeness: float
    weight: float
    why: tuple[str, ...] = ()
    contradicted_by: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that looks for precedents: its fingerprint under one hypothesis, where and when it happened."""

    fingerprint: Fingerprint
    incident: str
    component: str
    at_ns: int
    situation: Situation = Situation()


def remind(question: Question, memories: Sequence[Memory]) -> list[Reminder]:
    """What an incident brings to mind, weightiest first, equals by likeness. Its own memory is none of it."""
    found = [
        _alone(question, memory)
        for memory in sorted(memories, key=lambda memory: memory.id)
        if memory.incident != question.incident and comparable(question.fingerprint, memory.fingerprint)
    ]
    alike = _loudest([item for item in found if item.likeness >= LEAST_ALIKE])
    return sorted((_against(item, alike) for item in alike), key=_order)


def voices(reminders: Sequence[Reminder]) -> dict[tuple[str, str], float]:
    """How much speaks for each cause (component, fault class), 0..1: noisy-or over the loudest of each source."""
    loudest: dict[tuple[str, str], dict[str, float]] = {}
    for item in reminders:
        if item.weight > 0.0:
            of = loudest.setdefault(item.memory.cause, {})
            source = item.memory.provenance.source
            of[source] = max(of.get(source, 0.0), item.weight)
    return {cause: _any(of.values()) for cause, of in loudest.items()}


def precedents(found: Sequence[tuple[Hypothesis, Sequence[Reminder]]]) -> tuple[Precedent, ...]:
    """What an investigation is told of the reminders of its candidates, weightiest first; what weighs nothing is none.

    Each memory speaks for one candidate, that of its own component before the one that it is most like, and each source
    has one voice for each candidate, so that whoever writes many memories gains nothing.
    """
    best: dict[str, tuple[tuple[bool, float, float], Precedent]] = {}
    for hypothesis, reminders in found:
        for item in reminders:
            if item.weight <= 0.0 or item.memory.provenance.vouched == "nobody":
                continue
            same = item.memory.component == component(hypothesis.entity)
            rank = (same, item.weight, item.likeness)
            if item.memory.id not in best or rank > best[item.memory.id][0]:
                best[item.memory.id] = (rank, _precedent(hypothesis, item))
    loudest: dict[tuple[str, str], Precedent] = {}
    for item in sorted((item for _, item in best.values()), key=lambda item: (-item.weight, -item.likeness, item.id)):
        loudest.setdefault((item.candidate, item.source), item)
    return tuple(loudest.values())[:MOST_PRECEDENTS]


def pointed(told: Sequence[Precedent]) -> list[str]:
    """Candidates that precedents speak for, those with most voices first: noisy-or over sources."""
    of: dict[str, dict[str, float]] = {}
    for item in told:
        voices = of.setdefault(item.candidate, {})
        voices[item.source] = max(voices.get(item.source, 0.0), item.weight)
    return sorted(of, key=lambda name: (-_any(of[name].values()), name))


def expired(memory: Memory, now_ns: int, situation: Situation | None = None) -> str:
    """Why a memory no longer holds: its age, another version of the component, another place of it; else empty."""
    days = (now_ns - memory.happened_ns) / DAY_NS
    if abs(days) > OLDEST_DAYS:
        return f"it is {days:.0f} days old" if days > 0 else f"it happened {-days:.0f} days later"
    if situation is None or not _same_system(memory.situation, situation):
        return ""
    name = memory.component
    then, now = memory.situation.versions.get(name), situation.versions.get(name)
    if then is not None and now is not None and then != now:
        return f"{name} was version {then} then and is {now} now"
    if situation.neighbours and name in memory.situation.neighbours and name not in situation.neighbours:
        return f"{name} is no longer there"
    kept = _neighbours_kept(memory, situation)
    return f"{1 - kept:.0%} of the neighbours of {name} are others now" if kept < LEAST_NEIGHBOURS else ""


def contradicts(one: Memory, other: Memory) -> bool:
    """Whether two memories of one system tell different causes for the same symptoms."""
    return (
        one.cause != other.cause
        and one.incident != other.incident
        and _same_system(one.situation, other.situation)
        and likeness(symptoms(one.fingerprint), symptoms(other.fingerprint)) >= SAME_SYMPTOMS
    )


def _alone(question: Question, memory: Memory) -> Reminder:
    """The weight of one memory, before what the others say against it."""
    alike = likeness(question.fingerprint.tokens, memory.fingerprint.tokens)
    why: list[str] = []
    trust = TRUST[memory.provenance.vouched]
    if trust == 0.0:
        why.append("nobody said that it was right")
    if reason := expired(memory, question.at_ns, question.situation):
        return Reminder(memory=memory, likeness=round(alike, 4), weight=0.0, why=(*why, reason))
    age = abs(question.at_ns - memory.happened_ns) / DAY_NS  # an old incident may be looked at again
    held = alike * trust * 0.5 ** (age / HALF_LIFE_DAYS)
    for factor, words in _doubts(memory, question.situation):
        held *= factor
        why.append(words)
    return Reminder(memory=memory, likeness=round(alike, 4), weight=round(held, 6), why=tuple(why))


def _doubts(memory: Memory, situation: Situation) -> list[tuple[float, str]]:
    doubts: list[tuple[float, str]] = []
    if not _same_system(memory.situation, situation):
        doubts.append((OTHER_SYSTEM, "it happened in another system, or in one without a name"))
    else:
        then, now = memory.situation.versions, situation.versions
        changed = sorted(name for name in then.keys() & now.keys() if then[name] != now[name])
        if changed:
            doubts.append((NEIGHBOUR_CHANGED, f"{', '.join(changed)} on its path has another version now"))
        kept = _neighbours_kept(memory, situation)
        if kept < 1.0:
            doubts.append((kept, f"{1 - kept:.0%} of the neighbours of {memory.component} are others now"))
    if memory.fixes and not any(fix.worked for fix in memory.fixes):
        doubts.append((FIX_FAILED, "what was done about it did not help"))
    return doubts


def _precedent(hypothesis: Hypothesis, item: Reminder) -> Precedent:
    """A reminder as values that a journal keeps; all words are quotes, since anybody may have written the file."""
    memory = item.memory
    helped = sorted(memory.fixes, key=lambda fix: (fix.worked, fix.at_ns), reverse=True)[:MOST_REMEDIES]
    return Precedent(
        id=quoted(memory.id, LONGEST_NAME), candidate=hypothesis.entity.name,
        component=quoted(memory.component, LONGEST_NAME),
        fault_class=quoted(memory.fault_class, 2) if memory.fault_class else None,
        fault=quoted(memory.fault, LONGEST_NAME) if memory.fault else None, happened_ns=memory.happened_ns,
        likeness=item.likeness, weight=item.weight, source=quoted(memory.provenance.source),
        vouched="person" if memory.provenance.vouched == "person" else "checks",
        remedies=tuple(Remedy(action=quoted(fix.action), worked=fix.worked) for fix in helped),
        why=tuple(quoted(words) for words in item.why[:4]),
    )  # fmt: skip


def _order(item: Reminder) -> tuple[float, float, str]:
    return -item.weight, -item.likeness, item.memory.id


def _loudest(found: Sequence[Reminder]) -> list[Reminder]:
    """The first few of each source and cause: the rest would only take the place of other voices."""
    taken: Counter[tuple[str, tuple[str, str]]] = Counter()
    kept: list[Reminder] = []
    for item in sorted(found, key=_order):
        taken[voice := (item.memory.provenance.source, item.memory.cause)] += 1
        if taken[voice] <= MOST_OF_A_VOICE:
            kept.append(item)
    return kept[:MOST]


def _against(item: Reminder, others: Sequence[Reminder]) -> Reminder:
    """Two causes for the same symptoms lower each other, each source that contradicts once."""
    loudest: dict[str, float] = {}
    ids: list[str] = []
    for other in others:
        if other.weight > 0.0 and contradicts(item.memory, other.memory):
            ids.append(other.memory.id)
            source = other.memory.provenance.source
            loudest[source] = max(loudest.get(source, 0.0), other.weight)
    if not ids:
        return item
    kept = item.weight / (item.weight + _any(loudest.values()))
    why = (*item.why, f"for the same symptoms another cause is told by {', '.join(ids[:3])}")
    return msgspec.structs.replace(
        item, contradicted_by=tuple(ids), why=why, weight=round(item.weight * kept, 6)
    )  # fmt: skip


def _same_system(one: Situation, other: Situation) -> bool:
    return bool(one.system) and one.system == other.system


def _neighbours_kept(memory: Memory, situation: Situation) -> float:
    """Jaccard of the component's neighbours then and now; 1 where one of them is not known."""
    then = set(memory.situation.neighbours.get(memory.component, ()))
    now = set(situation.neighbours.get(memory.component, ()))
    return len(then & now) / len(then | now) if then and now else 1.0


def _any(weights: Iterable[float]) -> float:
    """Noisy-or; sorted, so that the order of the sources does not show in the last digit."""
    left = 1.0
    for value in sorted(weights):
        left *= 1.0 - value
    return 1.0 - left
