"""Checks of how evidence is cited and read: RF-01, RF-02, RF-03, RF-07 and RF-08.

Source: the taxonomy of arXiv 2601.22208 ("Stalled, Biased, and Confused"), as section 7 of the agents survey has it.
Cost per event: O(text) for what a model says, O(cited evidence) for beliefs, O(1) for the rest.
"""

from __future__ import annotations

import re

import msgspec

from aetia.model.diagnosis import Evidence
from aetia.model.journal import Answered, Asked, Believed, Closed, Event, ModelAnswer, ModelCall, ToolAnswer, ToolCall
from aetia.model.journal import Traced as Hop
from aetia.reason.checks._notes import (
    EVIDENCE_ID,
    FINISH,
    PLAUSIBLE,
    Notes,
    about,
    arguments,
    cited_in,
    decided,
    directly_about,
    held,
    log_odds,
    mentioned,
    names_of,
    places,
    raised,
    said,
    words,
)
from aetia.reason.checks._watch import Failing, Watch
from aetia.reason.policy import Desk

TRIAGE, LEAST_COVERED = 4, 0.5
"""The strongest evidence for the prior's plausible candidates that is to be looked at, and the share that suffices."""
FIRST_LOOK, EVERY = 24, 8
"""Questions after which the selection of evidence is judged, and judged again."""
LEAST_LOG_ODDS = 0.1
"""A belief that moves less against its evidence has hardly moved: several experts' words are weighed together."""
LEAST_STRENGTH = 0.2
"""Evidence that together (noisy-or) is weaker carries no hypothesis."""
LEAST_ITEMS = 3
"""Items of the six of RF-08 that a verified hypothesis must have."""
PRECEDENCE_NS = 60_000_000_000
_GO = r"(?:go|goes|going|went|gone|moves?d?|shoots?|shot|ticks?|is|was|are|were|stays?|came|comes?)"
_UP = re.compile(
    rf"\b(?:rose|rises?n?|rising|increas(?:e[sd]?|ing)|higher|gr[eo]ws?|growing|grown|spik(?:e[sd]?|ing)|climb(?:s|ed|ing)?"
    rf"|soar(?:s|ed|ing)?|surg(?:e[sd]?|ing)|jump(?:s|ed|ing)?|doubl(?:e[sd]?|ing)|tripl(?:e[sd]?|ing)|{_GO} up"
    r"|more than before|elevated)\b", re.I,
)  # fmt: skip
_DOWN = re.compile(
    rf"\b(?:fell|falls?|fallen|falling|decreas(?:e[sd]?|ing)|lower|drop(?:s|ped|ping)?|sh?r[aiu]nk(?:s|ing)?|declin(?:e[sd]?|ing)"
    rf"|halv(?:e[sd]?|ing)|collaps(?:e[sd]?|ing)|s[aiu]nk(?:s|ing)?|plung(?:e[sd]?|ing)|plummet(?:s|ed|ing)?|{_GO} down"
    r"|less than before)\b", re.I,
)  # fmt: skip
_DENIED = re.compile(r"\b(?:no|not|never|neither|nor|without|if|whether|unless)\b|n't\b", re.I)
_TRAFFIC = re.compile(r"request|traffic|throughput|calls|rate|load", re.I)


class FabricatedEvidence(Watch):
    """RF-01: cites evidence that does not exist, or asks about a place that the telemetry has never heard of."""

    code, title = "RF-01", "fabricated evidence"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._modelled: set[str] = set()

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if isinstance(event, Believed | Hop):
            cited = event.because if isinstance(event, Believed) else (event.evidence,) if event.evidence else ()
            return self._missing("root", cited, desk, "")
        if isinstance(event, Asked):
            request = event.request
            if isinstance(request, ModelCall):
                self._modelled.add(request.agent)
            elif isinstance(request, ToolCall) and request.agent not in self._modelled:
                return self._missing(request.agent, cited_in(request.args), desk, "")
            return None
        if not isinstance(event, Answered):
            return None
        if isinstance(event.answer, ModelAnswer):
            return self._spoken(event, event.answer, desk)
        return self._invented(event) if isinstance(event.answer, ToolAnswer) else None

    def _spoken(self, event: Answered, answer: ModelAnswer, desk: Desk) -> Failing | None:
        cited = list(EVIDENCE_ID.findall(answer.text))
        for text in (answer.text, *(text for _, _, text in answer.calls)):
            cited += cited_in(arguments(text))
        if all(item in desk.evidence for item in cited):
            return None
        prompt = self.notes.prompt(event)
        shown = [m for m in prompt.messages if m.get("role") != "assistant"] if prompt is not None else []
        return self._missing(self.notes.agent(event), tuple(cited), desk, msgspec.json.encode(shown).decode())

    def _missing(self, agent: str, cited: tuple[str, ...], desk: Desk, shown: str) -> Failing | None:
        missing = [item for item in dict.fromkeys(cited) if item not in desk.evidence and item not in shown]
        if not missing:
            return None
        return Failing(agent, f"no evidence is called {', '.join(missing[:3])}; cite what a tool answered.")

    def _invented(self, event: Answered) -> Failing | None:
        request = self.notes.asked.get(event.number)
        error = event.answer.error if isinstance(event.answer, ToolAnswer) else None
        if not isinstance(request, ToolCall) or error is None or error.category != "validation":
            return None
        if not (error.code == "SignalError" or error.code.startswith("unknown_")):
            return None
        unknown = [name for name in sorted(places(request)) if name not in self.notes.names and name in error.message]
        if not unknown:
            return None
        return Failing(request.agent, f"{unknown[0]} is nowhere in the telemetry; ask about places that answers named.")


class MetricInterpretation(Watch):
    """RF-02: a claim has the direction of its evidence reversed, or a belief moves against its evidence."""

    code, title = "RF-02", "misread metric"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        for claim in said(event, self.notes):
            items = held(claim.cited, desk)
            for item in items:
                if len(items) == 1 and self._reversed(claim.text, item):
                    return Failing(
                        claim.agent,
                        f"{item.id} says that {item.claim.what} went {_direction(item)}, the claim reverses it.",
                    )
        if isinstance(event, Believed) and event.because:
            own = [i for i in held(event.because, desk) if directly_about(i, event.entity, desk) and i.strength > 0]
            move = log_odds(event.after) - log_odds(event.before)
            wrong = "against" if move > LEAST_LOG_ODDS else "for" if move < -LEAST_LOG_ODDS else None
            if own and wrong and len(own) == len(event.because) and all(item.polarity == wrong for item in own):
                return Failing("root", f"belief in {event.entity} moves against its evidence {own[0].id}.")
        return None

    def _reversed(self, text: str, item: Evidence) -> bool:
        named = {word[:4] for word in words(item.claim.what.replace("_", " "))}
        if _DENIED.search(text) or not named & {word[:4] for word in words(text)}:
            return False
        up, down = bool(_UP.search(text)), bool(_DOWN.search(text))
        return (up and not down and _direction(item) == "down") or (down and not up and _direction(item) == "up")


def _direction(item: Evidence) -> str:
    """Where the measured series went; what the claim says where the result has no two numbers to compare."""
    before, during = item.result.get("baseline"), item.result.get("incident")
    if isinstance(before, int | float) and isinstance(during, int | float) and before != during:
        return "up" if during > before else "down"
    return {"new": "up", "gone": "down"}.get(item.claim.direction, item.claim.direction)


class ConfusedProvenance(Watch):
    """RF-03: blames the observer: a caller for what its callee shows, or for a log line that accuses another."""

    code, title = "RF-03", "confused provenance"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if not raised(event) or not isinstance(event, Believed):
            return None
        name = event.entity
        items = [item for item in held(event.because, desk) if item.polarity == "for" and item.strength > 0]
        if not items or len(items) < len(event.because):
            return None
        own = [item for item in items if about(item, name, desk)]
        if not own and all(self._below(name, item) for item in items):
            return Failing(
                "root",
                f"{name} calls {items[0].about.name}, whose fault {items[0].id} is; it is no proof against the caller.",
            )
        accused = [self._accused(name, item) for item in own if "log" in item.query.channel]
        if own and len(accused) == len(items) and all(accused):
            return Failing(
                "root", f"{name} only printed {own[0].id}, which accuses {accused[0]}; look at {accused[0]}."
            )
        return None

    def _below(self, name: str, item: Evidence) -> bool:
        # Traffic is the one thing that a caller does to its callee.
        place = item.about.service or item.about.name
        return self.notes.calls(name, place) and not _TRAFFIC.search(item.claim.what)

    def _accused(self, name: str, item: Evidence) -> str | None:
        named = [other for other in mentioned(item.claim.text, self.notes.names) if self.notes.calls(name, other)]
        return next((other for other in named if not self.notes.questions[other]), None)


class ArbitrarySelection(Watch):
    """RF-07: decides, or asks on and on, without a look at the strongest evidence of the prior."""

    code, title = "RF-07", "arbitrary selection of evidence"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._cited: set[str] = set()
        self._raised: set[str] = set()
        self._questions = 0

    def find(self, event: Event, desk: Desk) -> Failing | None:
        for claim in said(event, self.notes):
            self._cited.update(claim.cited)
        if raised(event) and isinstance(event, Believed):
            self._raised.add(event.entity)
        due = isinstance(event, Closed) and decided(event, self._raised)
        agent = "root"
        if isinstance(event, Asked) and isinstance(event.request, ToolCall):
            agent = event.request.agent
            self._questions += 1
            due = event.request.tool == FINISH
            due |= self._questions >= FIRST_LOOK and (self._questions - FIRST_LOOK) % EVERY == 0
        if not due or not self._questions:
            return None
        plausible = [h for h in desk.prior.hypotheses if (h.probability or 0.0) >= PLAUSIBLE]
        ids = tuple(dict.fromkeys(item for hypothesis in plausible for item in hypothesis.evidence))
        top = sorted((i for i in held(ids, desk) if i.polarity == "for"), key=lambda i: (-i.strength, i.id))[:TRIAGE]
        unseen = [item for item in top if not self._looked_at(item)]
        if len(unseen) <= len(top) * (1 - LEAST_COVERED):
            return None
        return Failing(
            agent,
            f"{len(unseen)} of the {len(top)} strongest findings were never looked at, "
            f"first {unseen[0].id} about {unseen[0].about.name}.",
        )

    def _looked_at(self, item: Evidence) -> bool:
        return item.id in self._cited or any(name and self.notes.questions[name] for name in names_of(item.about))


class Insufficiency(Watch):
    """RF-08: a hypothesis counts as supported or verified on evidence that is too weak, or misses too much of what
    proves a cause: precedence, strength, mechanism, discrimination, provenance, granularity."""

    code, title = "RF-08", "insufficient evidence"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if not isinstance(event, Believed) or event.state not in ("supported", "verified"):
            return None
        entry = desk.ledger.entries.get(event.entity)
        if entry is None or (event.state == "supported" and not raised(event)):
            return None
        if not event.because and event.state == "verified":
            return Failing("root", f"{event.entity} is called verified without evidence.")
        ids = (*(entry.hypothesis.evidence if entry.hypothesis else ()), *entry.evidence_for, *event.because)
        items = [item for item in held(tuple(dict.fromkeys(ids)), desk) if item.polarity == "for"]
        left = 1.0
        for item in items:
            left *= 1.0 - item.strength
        if 1.0 - left < LEAST_STRENGTH:
            return Failing(
                "root",
                f"all evidence for {event.entity} together has strength {1.0 - left:.2f}; that supports nothing.",
            )
        if event.state == "verified" and (count := self._items(event.entity, items, desk)) < LEAST_ITEMS:
            return Failing(
                "root",
                f"{event.entity} is called verified with {count} of 6: precedence, strength, mechanism, "
                "discrimination, provenance, granularity.",
            )
        return None

    def _items(self, name: str, items: list[Evidence], desk: Desk) -> int:
        entity = desk.ledger.entries[name].entity
        onset = desk.prior.incident.onset_ns if desk.prior.incident is not None else None
        begun = [item.claim.onset_ns for item in items if item.claim.onset_ns is not None]
        early = onset is not None and bool(begun) and min(begun) <= onset + PRECEDENCE_NS
        hops = [hop for hop in desk.hops if hop.source in names_of(entity)]
        own = [item for item in items if about(item, name, desk)]
        return sum((
            early or any(hop.in_time for hop in hops),
            any(item.strength >= 0.3 for item in items),
            bool(hops) or name in self.notes.neighbours,
            any(other != name and (e.state == "refuted" or e.against) for other, e in desk.ledger.entries.items()),
            bool(own),
            any(item.about.level == entity.level for item in own),
        ))  # fmt: skip
