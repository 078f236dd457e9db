"""What the checks share: who asked what, which names, neighbours and evidence were seen, and what was claimed.

All of it comes from events and the desk, so that the checks say the same in a replay.
"""

from __future__ import annotations

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
EVIDENCE_KEYS = frozenset({"because", "evidence", "evidence_id", "evidence_ids", "against"})
FINISH = "finish"
"""The tool with which a policy declares its answer."""
NAME_KEYS = ("name", "service", "caller", "callee", "node", "instance", "host", "peer", "source", "target")
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


def cited_in(args: dict[str, Any]) -> tuple[str, ...]:
    """Evidence that arguments cite, by the names of such arguments, one level deep."""
    found: list[str] = []
    for key, value in args.items():
        if isinstance(value, dict):
            found += cited_in(cast("dict[str, Any]", value))
        elif key in EVIDENCE_KEYS:
            items = cast("list[Any]", value) if isinstance(value, list) else [value]
            found += [item for item in items if isinstance(item, str) and item]
    return tuple(found)


def said(event: Event, notes: Notes) -> Iterator[Said]:
    """The claims in an event: reasons of beliefs and hops, the sentences of a model and of its calls' arguments."""
    if isinstance(event, Believed) and event.because:
        yield Said("root", event.reason, event.because)
    elif isinstance(event, Traced) and event.evidence is not None:
        yield Said("root", event.reason, (event.evidence,))
    elif isinstance(event, Answered) and isinstance(event.answer, ModelAnswer):
        agent = notes.agent(event)
        for sentence in sentences(event.answer.text):
            yield Said(agent, sentence, tuple(EVIDENCE_ID.findall(sentence)))
        for _, _, text in event.answer.calls:
            args = arguments(text)
            cited = cited_in(args)
            for key in ("reason", "reasoning", "summary", "text", "why"):
                if isinstance(args.get(key), str):
                    inside = tuple(EVIDENCE_ID.findall(args[key]))
                    yield Said(agent, args[key], tuple(dict.fromkeys((*cited, *inside))))


def held(cited: tuple[str, ...], desk: Desk) -> list[Evidence]:
    """The cited evidence that exists."""
    return [desk.evidence[item] for item in cited if item in desk.evidence]


def about(evidence: Evidence, name: str, desk: Desk) -> bool:
    """Whether evidence is about a candidate or a place inside it."""
    entry = desk.ledger.entries.get(name)
    own = {item for item in names_of(entry.entity) if item} if entry is not None else {name}
    return bool(own & {item for item in (*names_of(evidence.about), evidence.about.caller) if item})


def raised(event: Event) -> bool:
    return isinstance(event, Believed) and bool(event.because) and event.after > event.before


def lowered(event: Event) -> bool:
    return isinstance(event, Believed) and bool(event.because) and event.after < event.before
