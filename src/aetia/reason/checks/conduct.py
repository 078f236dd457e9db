"""Checks of conduct: RF-00, RF-10, RF-11 and RF-12: what a policy says and does, apart from what it believes.

Source: arXiv 2601.22208, section 7 of the agents survey. Cost per event: O(text) for what a model says, else O(1).
"""

from __future__ import annotations

import re
from collections import Counter, deque

from aetia.model.journal import Answered, Asked, Closed, Event, ModelAnswer, ToolAnswer, ToolCall
from aetia.reason.checks._notes import (
    EVIDENCE_ID,
    FINISH,
    Notes,
    arguments,
    names_of,
    places,
    sentences,
    words,
)
from aetia.reason.checks._watch import Failing, Watch
from aetia.reason.checks._words import accused
from aetia.reason.policy import Desk

SPECULATION, LEAST_SENTENCES, LEAST_WORDS = 0.3, 5, 5
"""Share of claims without evidence that is too much, in answers of at least so many claims of so many words."""
ALIKE, TEXTS_KEPT, LEAST_TEXT = 0.8, 4, 8
"""Share of common word triples that makes two texts one, the texts of an agent that are kept, and words they need."""
STALLED = 5
"""Turns of a model in a row that bring no new evidence."""
_ROLE = re.compile(
    r"^\s*(?:<\|?/?(?:tool|function)[\w|]*>?|\[tool"
    r"|(?:observation|user|(?:tool|function) (?:output|result|response)s?)\s*:)",
    re.I | re.M,
)
_REPORTS = r"(?:return|show|report|sa[iy]|f[io]und|confirm|reveal|answer|indicate|list|give|gave|print)"
_QUOTED = (
    r"\b{tool}\b[^.\n]{{0,60}}?\b" + _REPORTS,
    r"\b(?:(?:output|result|answer|response)s? (?:of|from)|according to|as per) (?:the )?{tool}\b",
    r"\b{tool}(?:'s)? (?:output|result|answer|response)s?\b",
    r"^\W*{tool}\b(?:\([^)\n]*\))?\W*(?:→|[-=]+>|:)",
    r"^\s*\[{tool}\]",
)
"""Ways to quote a tool; {{tool}} is its name."""
_AHEAD = re.compile(r"\b(?:will|would|should|could|may|might|can|if|whether|to see|let me|let's)\b|'ll\b", re.I)
_PLAN = re.compile(
    r"^(?:let me|let's|i will|i'll|i need|i want|i should|next|first|then|now|to )\b|\?$"
    r"|\b(?:will|should|need to) (?:check|look|ask|compare|call|query)",
    re.I,
)


class Divergence(Watch):
    """RF-00: the structured answer is another than the one in words, or than the one that the ledger leads to."""

    code, title = "RF-00", "divergent answer"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._final: tuple[str, set[str]] | None = None

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if isinstance(event, Asked) and isinstance(event.request, ToolCall) and event.request.tool == FINISH:
            self._final = (event.request.agent, places(event.request) & self.notes.names)
        elif isinstance(event, Closed) and event.outcome == "answered" and event.diagnosis.hypotheses and self._final:
            agent, named = self._final
            leads = event.diagnosis.hypotheses[0].entity
            if named and not named & set(names_of(leads)):
                return Failing(agent, f"the answer was {sorted(named)[0]}, the beliefs lead to {leads.name}.")
        elif isinstance(event, Answered) and isinstance(event.answer, ModelAnswer):
            return self._spoken(self.notes.agent(event), event.answer)
        return None

    def _spoken(self, agent: str, answer: ModelAnswer) -> Failing | None:
        spoken = {name for name, yes in accused(answer.text, self.notes.names) if yes}
        for _, tool, text in answer.calls:
            call = ToolCall(tool=tool, args=arguments(text))
            named = places(call) & self.notes.names if tool == FINISH else set[str]()
            if spoken and named and not spoken & named:
                return Failing(
                    agent, f"in words the cause is {sorted(spoken)[0]}, in the answer it is {sorted(named)[0]}."
                )
        return None


class RoleConfusion(Watch):
    """RF-10: a model plays the tool: it writes an answer of its own, or uses one of a tool that it never asked."""

    code, title = "RF-10", "role confusion"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._answered: set[str] = set()

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if not isinstance(event, Answered):
            return None
        if isinstance(event.answer, ToolAnswer):
            request = self.notes.asked.get(event.number)
            if isinstance(request, ToolCall) and event.answer.error is None:
                self._answered.add(request.tool)
            return None
        if not isinstance(event.answer, ModelAnswer):
            return None
        agent, text = self.notes.agent(event), event.answer.text
        if _ROLE.search(text):
            return Failing(agent, "the text plays the part of a tool; only answers to questions count.")
        prompt = self.notes.prompt(event)
        tools = (
            {str(tool.get("function", {}).get("name", "")) for tool in prompt.tools}
            if prompt is not None
            else set[str]()
        )
        for tool in sorted(tools - self._answered - {"", FINISH}):
            if tool in text and _quotes(tool, text):
                return Failing(agent, f"{tool} is quoted and was never answered; ask it first.")
        return None


def _quotes(tool: str, text: str) -> bool:
    """Whether a text says what a tool answered; what it is to answer is no quotation."""
    forms = (form.format(tool=re.escape(tool)) for form in _QUOTED)
    found = (match for form in forms for match in re.finditer(form, text, re.I | re.M))
    return any(not _AHEAD.search(_sentence(text, match.start())) for match in found)


def _sentence(text: str, at: int) -> str:
    """The sentence around a place in a text."""
    start = max(text.rfind(sign, 0, at) for sign in ".!?\n") + 1
    ends = [end for sign in ".!?\n" if (end := text.find(sign, at)) >= 0]
    return text[start : min(ends, default=len(text))]


class Speculation(Watch):
    """RF-11: more than 30 % of what is claimed cites no evidence, instead of a question that would bring some."""

    code, title = "RF-11", "excessive speculation"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if not isinstance(event, Answered) or not isinstance(event.answer, ModelAnswer):
            return None
        answer = event.answer
        if arguments(answer.text):
            return None  # a structured answer cites in its fields
        if any(tool != FINISH for _, tool, _ in answer.calls):
            return None
        claims = [s for s in sentences(answer.text) if len(words(s)) >= LEAST_WORDS and not _PLAN.search(s)]
        loose = [s for s in claims if not EVIDENCE_ID.search(s)]
        if len(claims) < LEAST_SENTENCES or len(loose) <= SPECULATION * len(claims):
            return None
        return Failing(
            self.notes.agent(event), f"{len(loose)} of {len(claims)} claims cite no evidence; ask a tool instead."
        )


class Repetition(Watch):
    """RF-12: the same call or nearly the same text again, or turn after turn that brings nothing new."""

    code, title = "RF-12", "repetition"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._texts: dict[str, deque[set[tuple[str, ...]]]] = {}
        self._idle: Counter[str] = Counter()
        self._known: set[str] = set()

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if not isinstance(event, Answered):
            return None
        agent = self.notes.agent(event)
        if isinstance(event.answer, ToolAnswer):
            return self._tool(agent, event.answer)
        if not isinstance(event.answer, ModelAnswer) or event.answer.error is not None:
            return None
        self._idle[agent] += 1
        if self._again(agent, event.answer.text):
            return Failing(agent, "nearly the same text again; say what is new, or finish.")
        if self._idle[agent] > STALLED:
            return Failing(agent, f"{self._idle[agent]} turns without new evidence; ask something else, or finish.")
        return None

    def _tool(self, agent: str, answer: ToolAnswer) -> Failing | None:
        if answer.error is not None and answer.error.category == "repeated":
            seen = f"; {answer.error.seen} answers it" if answer.error.seen else ""
            return Failing(agent, f"the same question again{seen}.")
        if answer.error is None and (answer.evidence is None or answer.evidence.id not in self._known):
            self._idle[agent] = 0
            self._known |= {answer.evidence.id} if answer.evidence is not None else set()
        return None

    def _again(self, agent: str, text: str) -> bool:
        spoken = words(text)
        if len(spoken) < LEAST_TEXT:
            return False
        triples = set(zip(spoken, spoken[1:], spoken[2:], strict=False))
        kept = self._texts.setdefault(agent, deque(maxlen=TEXTS_KEPT))
        again = any(len(triples & old) >= ALIKE * len(triples | old) for old in kept)
        kept.append(triples)
        return again
