"""What the agents of one investigation share: what was examined, which names and calls were seen, and the rule by which
evidence moves beliefs.

A model only names evidence. Whether the evidence exists, whom it is about, and which way and how far it moves a belief
is taken from the evidence itself, as the tool made it. What the prior has weighed already moves nothing again, and of
what a component shows only that moves a belief which no component below it explains. Source: the shared memory of
AMER-RCL (arXiv 2601.02732) and the global evidence graph of RCLAgent v2 (arXiv 2605.14866), here with its edges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from aetia.model.diagnosis import Evidence
from aetia.model.entity import Entity
from aetia.model.journal import ToolAnswer, ToolCall, ToolError, Warned
from aetia.reason.ledger import Entry
from aetia.reason.policy import Desk, key_of
from aetia.reason.redact import Redactor, printable
from aetia.reason.toolbox import cut, said

STEP, MOST_MOVED = 1.6, 3.0
"""Log-odds that one piece of evidence of full strength moves a belief, and all of them together."""
EXPLAINED = 0.8
"""How much of a component's evidence a component below it with evidence of full strength explains."""
WORTH, NEWCOMER = 0.3, 0.02
"""Strength of evidence that makes a component a candidate, and the belief it begins with."""
MOST_RESULT = 1_600
"""Bytes of one tool's answer in a context."""
NAME_KEYS = ("name", "service", "of", "caller", "callee", "node", "instance", "host", "component", "peer")


@dataclass(frozen=True, slots=True)
class Result:
    """What an agent is shown of a tool's answer: with its rows, and without them when the context fills up."""

    full: str
    short: str
    evidence: str | None = None
    failed: bool = False


@dataclass(slots=True)
class Board:
    """The shared memory over one desk."""

    desk: Desk
    redactor: Redactor = field(default_factory=Redactor)
    calls: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Caller → callees, of all components that were looked at."""
    _examined: dict[str, tuple[str, Result]] = field(default_factory=dict[str, tuple[str, Result]])
    even: tuple[str, ...] = ()
    """Evidence from questions that were put about every leading component alike."""
    refuted: frozenset[str] = frozenset()
    """Candidates that observation has refuted: nothing that a model cites for them counts any more."""
    _asked: list[ToolCall] = field(default_factory=list[ToolCall])
    _names: set[str] = field(default_factory=set[str])
    _moved: dict[str, float] = field(default_factory=dict[str, float])
    _counted: set[str] = field(default_factory=set[str])
    _told: int = 0

    def __post_init__(self) -> None:
        prior = self.desk.prior
        self._counted |= {item.id for item in prior.evidence}
        for entity in (*(item.entity for item in prior.hypotheses), *(item.about for item in prior.evidence)):
            self._meet(entity)
        for hop in prior.propagation:
            self._names |= {hop.source, hop.target}
            self.calls.setdefault(hop.target, set()).add(hop.source)

    def warn(self, check: str, text: str, agent: str = "root") -> None:
        """Put a failure into the journal."""
        clean = cut(printable(text[:2000]), 300)
        self.desk.note(Warned(check=check, text=clean, agent=agent, at_s=self.desk.spent.at_s))

    def knows(self, name: str) -> bool:
        """Whether telemetry has named a component so."""
        return name in self._names

    def cited(self, ids: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Evidence that exists, and ids that do not."""
        known = tuple(item for item in ids if item in self.desk.evidence)
        return known, tuple(item for item in ids if item not in self.desk.evidence)

    def remembered(self, call: ToolCall) -> tuple[str, Result] | None:
        """Who asked exactly this before, and what came out."""
        return self._examined.get(key_of(call))

    def asked_by(self, agent: str) -> list[ToolCall]:
        """What one agent asked first, where a tool could answer it."""
        return [call for call in self._asked if call.agent == agent]

    def examined(self, most: int = 12) -> list[dict[str, Any]]:
        """What was asked so far, most recent first, for agents that begin later."""
        seen = [self._fact(self.desk.evidence[r.evidence]) for _, r in self._examined.values() if r.evidence]
        return seen[::-1][:most]

    def take(self, call: ToolCall, answer: ToolAnswer) -> Result:
        """Keep a tool's answer for all agents; says how it is shown."""
        shown: dict[str, Any] = {}
        if answer.error is not None:
            error = answer.error
            shown = {"error": error.category, "message": error.message, "instead": error.instruction}
            unknown = error.code.startswith("unknown_") and error.code != "unknown_tool"
            if unknown and not self._is_there(call, error):
                self.warn("RF-01", f"asks {call.tool} about what does not exist: {error.message}", call.agent)
        if answer.evidence is not None:
            self._meet(answer.evidence.about)
            shown = self._fact(answer.evidence)
        if answer.error is None:
            self._asked.append(call)
        self._rows(call, answer)
        result = self._result(shown, answer)
        self._examined.setdefault(key_of(call), (call.agent, result))
        self._instructions(call.agent)
        return result

    def _is_there(self, call: ToolCall, error: ToolError) -> bool:
        """Whether what a tool does not know does exist, as another kind of component: a machine where a tool wants a
        service is the wrong question, and not invented."""
        named = [item for item in call.args.values() if isinstance(item, str) and said(item) in error.message]
        return bool(named) and all(self.knows(item) for item in named)

    def catch_up(self) -> None:
        """Take what was answered on behalf of nobody: answers that the checks asked for."""
        for call, answer in self.desk.answered:
            if key_of(call) not in self._examined:
                self.take(call, answer)

    def unaffordable(self) -> Result:
        """What an agent is shown when no calls are left for its question."""
        shown = '{"error":"budget","message":"no questions are left; finish with what is known, or abstain"}'
        return Result(shown, shown, failed=True)

    def counts(self, place: str, cited: tuple[str, ...]) -> tuple[str, ...]:
        """The evidence that counts after an examination: what was cited, and whatever speaks against the component,
        cited or not, so that nobody picks only what suits."""
        against = [item.id for item in self.desk.evidence.values()
                   if item.polarity == "against" and place_of(item.about) == place]  # fmt: skip
        return tuple(dict.fromkeys((*cited, *against)))

    def same_place(self, one: str, other: str) -> bool:
        """Whether two names of candidates mean the same component."""
        entries = self.desk.ledger.entries
        places = [place_of(entries[name].entity) if name in entries else name for name in (one, other)]
        return one == other or places[0] == places[1]

    def weigh(self, ids: tuple[str, ...]) -> None:
        """Let evidence move the belief in whom it is about: once each, bounded, by its own polarity and strength. The
        reason that is kept is what the evidence says, and never the words of a model."""
        held = [item for item in ids if item in self.desk.evidence]
        held.sort(key=lambda item: self.desk.evidence[item].polarity)  # what speaks against is answered first
        for key in held:
            evidence = self.desk.evidence[key]
            if key in self._counted:
                continue
            name = self._candidate(evidence)
            if name is None or (name in self.refuted and evidence.polarity == "for"):
                continue
            self._counted.add(key)
            size = STEP * evidence.strength
            step = -size if evidence.polarity == "against" else size * (1.0 - self.explained(name))
            before = self._moved.get(name, 0.0)
            after = min(max(before + step, -MOST_MOVED), MOST_MOVED)
            if abs(after - before) > 1e-9:
                self._moved[name] = after
                self.desk.ledger.weigh(name, after - before, (key,), evidence.claim.text)

    def explained(self, name: str) -> float:
        """Share of what a candidate shows that the strongest component below it explains, 0..EXPLAINED."""
        entry = self.desk.ledger.entries.get(name)
        place = place_of(entry.entity) if entry is not None else name
        shown = [self.shows(other) for other in self.below(place)]
        return EXPLAINED * max(shown, default=0.0)

    def shows(self, place: str) -> float:
        """Strength of the strongest evidence for a component that tools have found so far."""
        return max(
            (item.strength for item in self.desk.evidence.values()
             if item.polarity == "for" and place_of(item.about) == place and item.id not in self._of_prior()),
            default=0.0,
        )  # fmt: skip

    def below(self, place: str) -> set[str]:
        """All components that one depends on, as far as calls were seen; mutual dependence does not count."""
        down = self._reach(place)
        return {other for other in down if place not in self._reach(other)}

    def about(self, place: str, most: int = 8) -> list[Evidence]:
        """Evidence about a component, strongest first."""
        mine = [item for item in self.desk.evidence.values() if place_of(item.about) == place]
        return sorted(mine, key=lambda item: (-item.strength, item.id))[:most]

    def _fact(self, item: Evidence) -> dict[str, Any]:
        return {
            "evidence": item.id, "says": item.claim.text, "speaks": f"{item.polarity} {item.about.name}",
            "strength": item.strength,
        }  # fmt: skip

    def facts(self, items: list[Evidence]) -> list[dict[str, Any]]:
        """Evidence in the form in which a model sees it."""
        return [self._fact(item) for item in items]

    def _reach(self, place: str) -> set[str]:
        seen: set[str] = set()
        waiting = [place]
        while waiting:
            for other in self.calls.get(waiting.pop(), ()):
                if other not in seen and other != place:
                    seen.add(other)
                    waiting.append(other)
        return seen

    def _of_prior(self) -> frozenset[str]:
        return frozenset(item.id for item in self.desk.prior.evidence)

    def _candidate(self, evidence: Evidence) -> str | None:
        """The candidate that evidence is about: that very one, else the most believed of its place, else a new one."""
        entries, about = self.desk.ledger.entries, evidence.about
        if about.name in entries:
            return about.name
        near: list[tuple[str, Entry]] = [
            item for item in self.desk.ledger.ranked() if place_of(item[1].entity) == place_of(about)
        ]
        if near:
            return near[0][0]
        if evidence.polarity == "for" and evidence.strength >= WORTH:
            self.desk.ledger.propose(about.name, about, NEWCOMER)
            return about.name
        return None

    def _meet(self, entity: Entity) -> None:
        places = (entity.name, entity.service, entity.instance, entity.node, entity.caller, entity.callee)
        self._names |= {name for name in places if name}

    def _rows(self, call: ToolCall, answer: ToolAnswer) -> None:
        centre = call.args.get("service")
        for row in answer.rows:
            self._names |= {row[key] for key in NAME_KEYS if isinstance(row.get(key), str)}
            of, name = row.get("of", centre), row.get("name")
            if isinstance(of, str) and isinstance(name, str):
                if row.get("relation") in ("callee", "host"):
                    self.calls.setdefault(of, set()).add(name)
                elif row.get("relation") == "caller":
                    self.calls.setdefault(name, set()).add(of)

    def _result(self, shown: dict[str, Any], answer: ToolAnswer) -> Result:
        data, rows = self.redactor.data, list(answer.rows)
        clean: list[Any] = [data(row, 120) for row in rows]
        head: dict[str, Any] = data(shown, 400)
        while clean and len(msgspec.json.encode(clean)) > MOST_RESULT - len(msgspec.json.encode(head)):
            clean.pop()
        cut = answer.truncated or len(clean) < len(rows)
        full = msgspec.json.encode({**head, "rows": clean, "truncated": cut}).decode()
        short = msgspec.json.encode({**head, "rows": "left out, seen before"}).decode()
        key = answer.evidence.id if answer.evidence is not None else None
        return Result(full, short, key, answer.error is not None)

    def _instructions(self, agent: str) -> None:
        for text in self.redactor.instructions[self._told :]:
            self.warn("instruction-in-telemetry", f"text of the telemetry speaks to its reader: {text}", agent)
        self._told = len(self.redactor.instructions)


def place_of(entity: Entity) -> str:
    """The component that answers for an entity: its service, else its node, else its name."""
    return entity.service or entity.node or entity.name
