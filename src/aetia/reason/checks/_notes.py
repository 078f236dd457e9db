"""What the checks share: who asked what, which names, neighbours and evidence were seen, and what was claimed.

All of it comes from events and the desk, so that the checks say the same in a replay.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec

from aetia.model.diagnosis import Evidence
from aetia.model.entity import Entity
from aetia.model.journal import (
    Answered,
    Asked,
    Believed,
    Closed,
    Event,
    ModelAnswer,
    ModelCall,
    Opened,
    Request,
    ToolAnswer,
    ToolCall,
    Traced,
)
from aetia.reason.policy import Desk

EVIDENCE_ID = re.compile(r"\bE(?=[0-9a-f]*\d)[0-9a-f]{8,24}\b")
EVIDENCE_KEYS = frozenset({"because", "evidence", "evidence_id", "evidence_ids"})
REASON_KEYS = ("reason", "reasoning", "summary", "text", "why")
LEAST_MOVE = 1e-6
"""A belief that moves less stays."""
PLAUSIBLE = 0.1
"""Candidates that the prior gives less need no look."""
FINISH = "finish"
"""The tool with which a policy declares its answer."""
NAME_KEYS = ("name", "service", "caller", "callee", "node", "instance", "host", "peer", "source", "target")
MOST_DEPTH = 4
"""Levels of a structured answer that are read."""
RELATIONS = frozenset({"caller", "callee", "host"})
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[\w./:@-]*\w")


class Said(NamedTuple):
    """One sentence that somebody claims, with the evidence cited in it."""

    agent: str
    text: str
    cited: tuple[str, ...]


class Notes:
    """A running digest of the journal; several checks may share one, each event is taken once."""

    def __init__(self) -> None:
        self._last: Event | None = None
        self.asked: dict[int, Request] = {}
        self.names: set[str] = set()
        self.neighbours: dict[str, dict[str, set[str]]] = {}
        """Name → neighbour → relations, from the answers about the call graph."""
        self.whole: set[str] = set()
        """Names whose neighbours are all known."""
        self.questions: Counter[str] = Counter()
        """Questions to tools by the place they name."""
        self.measured: set[str] = set()
        """Places about which an answer or the prior holds more than neighbours."""

    def take(self, event: Event) -> None:
        if event is self._last:
            return
        self._last = event
        if isinstance(event, Opened):
            for item in event.prior.evidence:
                self._meet(item.about)
                self.measured |= {name for name in names_of(item.about) if name}
            for hypothesis in event.prior.hypotheses:
                self._meet(hypothesis.entity)
            self.names |= {end for hop in event.prior.propagation for end in (hop.source, hop.target)}
        elif isinstance(event, Asked):
            self.asked[event.number] = event.request
            if isinstance(event.request, ToolCall):
                self.questions.update(places(event.request))
        elif isinstance(event, Believed):
            self.names.add(event.entity)
        elif isinstance(event, Answered) and isinstance(event.answer, ToolAnswer):
            self._tool(self.asked.get(event.number), event.answer)

    def agent(self, event: Event) -> str:
        """Who is behind an event; beliefs and hops are the root's."""
        request = self.asked.get(event.number) if isinstance(event, Answered) else None
        return request.agent if request is not None else "root"

    def prompt(self, event: Answered) -> ModelCall | None:
        request = self.asked.get(event.number)
        return request if isinstance(request, ModelCall) else None

    def joined(self, one: str, other: str) -> bool | None:
        """Whether two places are neighbours; None when neither's neighbours are all known."""
        if other in self.neighbours.get(one, ()) or one in self.neighbours.get(other, ()):
            return True
        return False if one in self.whole or other in self.whole else None

    def in_graph(self, name: str) -> bool:
        """Whether an answer about the call graph has named the place."""
        return name in self.neighbours or any(name in row for row in self.neighbours.values())

    def calls(self, caller: str, callee: str) -> bool:
        """Whether the caller calls the callee and not the other way round as well."""
        there = self.neighbours.get(caller, {}).get(callee, set()) | {
            {"caller": "callee", "callee": "caller"}.get(way, way)
            for way in self.neighbours.get(callee, {}).get(caller, ())
        }
        return "callee" in there and "caller" not in there

    def _meet(self, entity: Entity) -> None:
        self.names |= {name for name in names_of(entity) if name}

    def _tool(self, request: Request | None, answer: ToolAnswer) -> None:
        if not isinstance(request, ToolCall):
            return
        asked = places(request)
        if answer.error is not None:
            return
        if answer.evidence is not None:
            self._meet(answer.evidence.about)
        centre = request.args.get("service")
        graph = False
        for row in answer.rows:
            self.names |= {row[key] for key in NAME_KEYS if isinstance(row.get(key), str)}
            for caller, callee in (("caller", "callee"), ("target", "source")):
                ends = row.get(caller), row.get(callee)
                if isinstance(ends[0], str) and isinstance(ends[1], str) and ends[0] != ends[1]:
                    self.neighbours.setdefault(ends[0], {}).setdefault(ends[1], set()).add("callee")
            if row.get("relation") in RELATIONS and isinstance(row.get("name"), str):
                graph = True
                of = row["of"] if isinstance(row.get("of"), str) else centre
                if isinstance(of, str):
                    self.neighbours.setdefault(of, {}).setdefault(row["name"], set()).add(row["relation"])
        if answer.rows and not graph:
            self.measured |= asked
        if graph and not answer.truncated and isinstance(centre, str):
            self.whole.add(centre)


def names_of(entity: Entity) -> tuple[str | None, ...]:
    """All names under which an entity may be meant."""
    return (entity.name, entity.service, entity.instance, entity.node)


def places(call: ToolCall) -> set[str]:
    """The texts among the arguments of a call, one list deep; names of places are among them."""
    found: set[str] = set()
    for value in call.args.values():
        items = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
        found |= {item for item in items if isinstance(item, str)}
    return found


def sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def mentioned(text: str, names: set[str]) -> list[str]:
    """Known names in a text, in its order; a name is a whole word with its dashes and dots."""
    return [word for word in _WORD.findall(text) if word in names]


def arguments(text: str) -> dict[str, Any]:
    """The arguments of a model's call; empty where they are no JSON object."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def cited_in(value: Any, depth: int = 0) -> tuple[str, ...]:
    """Evidence that arguments or another object cite, by the names of its fields."""
    if depth >= MOST_DEPTH:
        return ()
    if isinstance(value, list):
        return tuple(item for part in cast("list[Any]", value) for item in cited_in(part, depth + 1))
    if not isinstance(value, dict):
        return ()
    item = cast("dict[str, Any]", value)
    return (*_own(item), *(found for part in item.values() for found in cited_in(part, depth + 1)))


def _own(item: dict[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for key, value in item.items():
        if key in EVIDENCE_KEYS:
            items = cast("list[Any]", value) if isinstance(value, list) else [value]
            found += [text for text in items if isinstance(text, str) and text]
    return tuple(found)


def said(event: Event, notes: Notes) -> Iterator[Said]:
    """The claims in an event: reasons of beliefs and hops, the sentences of a model and of its calls' arguments."""
    if isinstance(event, Believed) and event.because:
        yield Said("root", event.reason, event.because)
    elif isinstance(event, Traced) and event.evidence is not None:
        yield Said("root", event.reason, (event.evidence,))
    elif isinstance(event, Answered) and isinstance(event.answer, ModelAnswer):
        agent = notes.agent(event)
        structured = arguments(event.answer.text)
        for part in (structured, *(arguments(text) for _, _, text in event.answer.calls)):
            yield from _structured(agent, part)
        for sentence in () if structured else sentences(event.answer.text):
            yield Said(agent, sentence, tuple(EVIDENCE_ID.findall(sentence)))


def _structured(agent: str, value: Any, depth: int = 0) -> Iterator[Said]:
    """The reasons inside an object, each with the evidence that the same object cites."""
    if isinstance(value, dict) and depth < MOST_DEPTH:
        item = cast("dict[str, Any]", value)
        cited = _own(item)
        for key in REASON_KEYS:
            if isinstance(item.get(key), str):
                yield Said(agent, item[key], tuple(dict.fromkeys((*cited, *EVIDENCE_ID.findall(item[key])))))
        for part in item.values():
            yield from _structured(agent, part, depth + 1)
    elif isinstance(value, list) and depth < MOST_DEPTH:
        for part in cast("list[Any]", value):
            yield from _structured(agent, part, depth + 1)


def held(cited: tuple[str, ...], desk: Desk) -> list[Evidence]:
    """The cited evidence that exists."""
    return [desk.evidence[item] for item in cited if item in desk.evidence]


def about(evidence: Evidence, name: str, desk: Desk) -> bool:
    """Whether evidence is about a candidate or a place inside it."""
    entry = desk.ledger.entries.get(name)
    own = {item for item in names_of(entry.entity) if item} if entry is not None else {name}
    return bool(own & {item for item in (*names_of(evidence.about), evidence.about.caller) if item})


def directly_about(evidence: Evidence, name: str, desk: Desk) -> bool:
    """Like `about`, without edges: what passed over an edge, or did not, is another thing to each of its ends."""
    entry = desk.ledger.entries.get(name)
    if evidence.about.level == "edge" or (entry is not None and entry.entity.level == "edge"):
        return evidence.about.name == name
    return about(evidence, name, desk)


def decided(event: Closed, raised_ones: set[str]) -> bool:
    """Whether an investigation answers with a candidate whose belief it raised itself. One that only followed the path
    of what the prior was sure of has decided nothing."""
    found = event.diagnosis.hypotheses
    return event.outcome == "answered" and bool(found) and found[0].entity.name in raised_ones


def log_odds(belief: float) -> float:
    inside = min(max(belief, 1e-9), 1.0 - 1e-9)
    return math.log(inside / (1.0 - inside))


def raised(event: Event) -> bool:
    """Whether evidence moved a belief up, by more than rounding does."""
    return isinstance(event, Believed) and bool(event.because) and event.after - event.before > LEAST_MOVE


def lowered(event: Event) -> bool:
    return isinstance(event, Believed) and bool(event.because) and event.before - event.after > LEAST_MOVE
