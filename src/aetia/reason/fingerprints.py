"""What an incident looked like, told by structure, and how alike two of them are. Pure: no file, no clock.

A fingerprint holds roles, relations, kinds of evidence and normalised error templates, never names or raw text, since
embeddings of raw text do not find incidents again (EAGER, in section 14 of the failures survey). Likeness is a weighted
Jaccard over such tokens. Text that came from telemetry is kept as a quote: one line, cut, never read as an instruction.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from aetia.model.diagnosis import Diagnosis, Evidence, Hop, Hypothesis, digest
from aetia.model.entity import Entity

Role = Literal["entry", "inner", "external", "host", "link"]
LONGEST_QUOTE, MOST_QUOTES, LONGEST_NAME, LONGEST_WORD = 160, 5, 120, 60
MOST_TOKENS = 200
WEIGHTS: Mapping[str, float] = {
    "template": 4.0, "thrown": 3.0, "own": 3.0, "shape": 2.0, "fault": 2.0, "seen": 1.0, "sli": 1.0, "depth": 0.5,
}  # fmt: skip
"""Weight of a token by what is before its first colon: what few incidents share says most."""
SYMPTOMS = frozenset({"template", "thrown", "seen", "sli"})
"""Kinds of tokens that do not depend on whom the diagnosis blamed."""
ROUNDS = 4
"""Refinements of the path's shape; paths from a root to an entry point are seldom longer."""
OBSERVED = "observed"
"""What the engine calls a hop that it saw happen; nearly all are calls."""
_LEVELS: dict[str, Role] = {"external": "external", "node": "host", "edge": "link"}
_VARIABLE = re.compile(
    r"0x[0-9a-f]+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{6,}\b|\d+(?:[.,:]\d+)*|<\*>",
    re.IGNORECASE,
)
_THROWN = re.compile(r"\b[A-Z]\w{2,60}(?:Error|Exception|Fault|Failure|Timeout)\b")


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """Words of the telemetry and the evidence that holds them."""

    text: str
    evidence: str


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """The structure of one incident as one hypothesis sees it; `tokens` are sorted and have no names in them."""

    role: Role
    fault_class: str | None
    tokens: tuple[str, ...]


def fingerprint(diagnosis: Diagnosis, hypothesis: Hypothesis) -> Fingerprint:
    """The fingerprint of an incident under the assumption that this hypothesis is its root cause."""
    entries = _entries(diagnosis)
    names = _names(diagnosis)
    own = set(hypothesis.evidence)
    tokens = {f"shape:{shape(diagnosis.propagation, hypothesis.entity, entries)}"}
    tokens.add(f"depth:{_depth(diagnosis.propagation, hypothesis.entity)}")
    if hypothesis.fault is not None:
        tokens.add(f"fault:{_word(hypothesis.fault)}")
    for item in diagnosis.evidence:
        if item.query.kind != "channel":
            continue  # what tools were asked depends on the policy, and channels look at every incident
        kind = f"{_word(item.query.channel)}:{_word(item.claim.what)}:{item.claim.direction}"
        tokens.add(f"seen:{kind}")
        if item.id in own and item.polarity == "for":
            tokens.add(f"own:{kind}")
        for text in _texts(item):
            tokens.add(f"template:{digest(template(text, names))}")
            tokens.update(f"thrown:{_word(name, names)}" for name in _THROWN.findall(text[:LONGEST_QUOTE]))
    if diagnosis.incident is not None:
        for breach in diagnosis.incident.breaches:
            tokens.add(f"sli:{breach.sli}:{'up' if breach.incident > breach.baseline else 'down'}")
    return Fingerprint(
        role=_role(hypothesis.entity, entries),
        fault_class=hypothesis.fault_class,
        tokens=tuple(sorted(sorted(tokens), key=lambda token: -weight(token))[:MOST_TOKENS]),
    )


def likeness(one: Iterable[str], other: Iterable[str]) -> float:
    """Weighted Jaccard of two sets of tokens, 0 (nothing in common, or both empty) to 1 (the same)."""
    first, second = set(one), set(other)
    both = sum(sorted(weight(token) for token in first & second))
    return both / sum(sorted(weight(token) for token in first | second)) if both else 0.0


def symptoms(found: Fingerprint) -> tuple[str, ...]:
    """The tokens that were there before anybody was blamed."""
    return tuple(token for token in found.tokens if token.split(":", 1)[0] in SYMPTOMS)


def comparable(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two incidents are compared at all: the same role is blamed for the same fault class, as far as known."""
    known = one.fault_class is None or other.fault_class is None or one.fault_class == other.fault_class
    return one.role == other.role and known


def weight(token: str) -> float:
    return WEIGHTS[token.split(":", 1)[0]]


def shape(hops: Sequence[Hop], root: Entity, entries: Iterable[str]) -> str:
    """Hash of the blamed path: who is root, who is hurt, which relation joins them; no names, no order.

    Weisfeiler-Lehman refinement of the roles along the hops that the fault can have travelled from the root.
    """
    start, hurt = {root.name, root.service or root.name}, set(entries)
    path = _from_root(hops, start)
    members = {name for hop in path for name in (hop.source, hop.target)} or {root.name}
    labels = {name: "root" if name in start else "entry" if name in hurt else "between" for name in members}
    for _ in range(ROUNDS):
        around: dict[str, list[str]] = {name: [] for name in members}
        for hop in path:
            relation = "called by" if hop.relation == OBSERVED else hop.relation
            around[hop.source].append(f"to {relation} {labels[hop.target]}")
            around[hop.target].append(f"from {relation} {labels[hop.source]}")
        labels = {name: digest([labels[name], sorted(around[name])]) for name in members}
    return digest(sorted(labels.values()))


def template(text: str, names: Sequence[str] = ()) -> str:
    """An error text without what differs from one time to the next: numbers, ids, names of components."""
    line = quoted(text)
    if names:  # in one go, since a component may be called "name"
        known = "|".join(re.escape(name) for name in names)
        line = re.sub(rf"(?<![\w-])(?:{known})(?![\w-])", "<name>", line)
    return " ".join(_VARIABLE.sub("<*>", line).lower().split())


def quoted(text: object, limit: int = LONGEST_QUOTE) -> str:
    """Telemetry text as one line without control and direction-changing characters, cut at `limit`."""
    raw = str(text)[: limit * 4]
    clean = " ".join("".join(" " if unicodedata.category(char)[0] == "C" else char for char in raw).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def quotes(diagnosis: Diagnosis, hypothesis: Hypothesis) -> tuple[Quote, ...]:
    """What the telemetry itself said about a hypothesis, strongest evidence first."""
    own = [item for item in diagnosis.evidence if item.id in hypothesis.evidence]
    own.sort(key=lambda item: -item.strength)
    return tuple(Quote(text=quoted(text), evidence=item.id) for item in own for text in _texts(item))[:MOST_QUOTES]


def path_members(diagnosis: Diagnosis, hypothesis: Hypothesis) -> tuple[str, ...]:
    """The blamed component and who is on its way to the entry points, by name."""
    entity = hypothesis.entity
    path = _from_root(diagnosis.propagation, {entity.name, entity.service or entity.name})
    return tuple(dict.fromkeys((component(entity), *(name for hop in path for name in (hop.source, hop.target)))))


def component(entity: Entity) -> str:
    """The name under which an entity is deployed and has a version."""
    return quoted(entity.service or entity.node or entity.name, LONGEST_NAME)


def _from_root(hops: Sequence[Hop], start: set[str]) -> list[Hop]:
    """The hops that can be reached from the root; all of them where none begins there."""
    reached, found, waiting = set(start), list[Hop](), list(hops)
    while True:
        more = [hop for hop in waiting if hop.source in reached]
        if not more:
            return found or list(hops)
        found += more
        reached |= {hop.target for hop in more}
        waiting = [hop for hop in waiting if hop.source not in reached]


def _depth(hops: Sequence[Hop], root: Entity) -> int:
    """Hops from the root to the farthest that it reached."""
    front, seen, depth = {root.name, root.service or root.name}, set[str](), 0
    while front := {hop.target for hop in hops if hop.source in front} - (seen := seen | front):
        depth += 1
    return depth


def _entries(diagnosis: Diagnosis) -> set[str]:
    breaches = diagnosis.incident.breaches if diagnosis.incident is not None else ()
    return {name for breach in breaches for name in (breach.entry.name, breach.entry.service or breach.entry.name)}


def _names(diagnosis: Diagnosis) -> list[str]:
    """Names of components that the diagnosis knows, longest first, so that a part never hides the whole."""
    entities = [*(item.entity for item in (*diagnosis.hypotheses, *diagnosis.rejected))]
    entities += [item.about for item in diagnosis.evidence]
    found = {name for hop in diagnosis.propagation for name in (hop.source, hop.target)} | _entries(diagnosis)
    for entity in entities:
        found |= {name for name in (entity.name, entity.service, entity.instance, entity.node, entity.operation,
                                    entity.caller, entity.callee) if name}  # fmt: skip
    return sorted(found, key=lambda name: (-len(name), name))


def _role(entity: Entity, entries: set[str]) -> Role:
    role: Role = "entry" if {entity.name, entity.service} & entries else "inner"
    return _LEVELS.get(entity.level, role)


def _texts(item: Evidence) -> list[str]:
    """Texts of the telemetry that an evidence's query names: a log template, an error's message."""
    held = (item.query.args.get(key) for key in ("template", "message", "error"))
    return [text for text in held if isinstance(text, str) and text]


def _word(text: str, names: Sequence[str] = ()) -> str:
    """One word of a token; `names` are hidden where the text may hold some, which our own vocabulary does not."""
    return re.sub(r"[^a-z0-9<>*_.-]+", "_", template(text, names))[:LONGEST_WORD]
