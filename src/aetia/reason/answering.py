"""A person's question about an incident, answered in sentences that rest on evidence that exists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aetia.model.diagnosis import Evidence
from aetia.model.journal import Answered, Event, ModelAnswer, ModelCall, Opened, ToolAnswer
from aetia.reason import _llm_words as words
from aetia.reason._llm_agent import REPLY, opening
from aetia.reason._llm_board import Board
from aetia.reason._llm_brief import fit, symptoms
from aetia.reason._llm_reading import objects, read_object, strings, word
from aetia.reason.policy import Desk, Policy, Steps

MOST_SENTENCES, MOST_EVIDENCE, MOST_DOCUMENT, MOST_SENTENCE = 6, 40, 5_400, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One statement and the ids of the evidence that it rests on; there is at least one."""

    text: str
    evidence: tuple[str, ...]


class Answering:
    """A policy, and after it the question. `sentences` holds the answer; it is empty where the model had none that
    evidence backs."""

    def __init__(self, policy: Policy, question: str) -> None:
        self._policy, self._question = policy, question
        self.sentences: tuple[Sentence, ...] = ()

    def steps(self, desk: Desk) -> Steps:
        yield from self._policy.steps(desk)
        board = Board(desk)
        problem: tuple[str, str] | None = None
        for _ in range(2):
            if desk.left_s <= 0 or not desk.evidence:
                return
            (answer,) = yield (self._call(board, problem),)
            if not isinstance(answer, ModelAnswer):
                return
            if answer.error is not None:
                board.warn(f"model-{answer.error.category}", answer.error.message, "answer")
                return
            self.sentences, wrong = _read(answer.text, board)
            if not wrong:
                return
            problem = (answer.text, wrong)

    def _call(self, board: Board, problem: tuple[str, str] | None) -> ModelCall:
        desk = board.desk
        ranked = desk.ledger.ranked()
        leading = {name for name, _ in ranked[:3]}
        cited = {key for _, entry in ranked[:3] for key in (*entry.evidence_for, *entry.against)}
        cited |= {key for item in desk.prior.hypotheses if item.entity.name in leading for key in item.evidence}
        evidence = sorted(desk.evidence.values(), key=lambda item: (item.id not in cited, -item.strength, item.id))
        document: dict[str, Any] = {
            "question": self._question,
            "symptoms": symptoms(desk),
            "candidates": [{"entity": name, "belief": round(entry.belief, 3)} for name, entry in ranked[:8]],
            "spread": [[hop.source, hop.target] for hop in desk.prior.propagation[:20]],
            "evidence": board.facts(evidence[:MOST_EVIDENCE]),
        }
        messages = opening(words.ANSWER, fit(document, MOST_DOCUMENT, ("evidence", "spread", "candidates")), board)
        if problem is not None:
            said, wrong = problem
            again = board.redactor.quote({"problem": wrong, "instead": "the JSON object again"})
            told = {"role": "assistant", "content": board.redactor.text(said, 600)}
            messages = (*messages, told, {"role": "user", "content": again})
        return ModelCall(
            messages=messages, response_format=words.ANSWER_FORMAT, max_tokens=REPLY, agent="answer",
            why="answer the question" if problem is None else "mend the answer", most_s=round(desk.left_s / 2, 3),
        )  # fmt: skip


def _read(text: str, board: Board) -> tuple[tuple[Sentence, ...], str]:
    """The sentences that rest on evidence, and what is wrong with the others."""
    found = read_object(text)
    if found is None:
        board.warn("malformed-answer", f"the answer cannot be read: {text[:100]}", "answer")
        return (), "the answer is no JSON object of the form that was asked for"
    kept: list[Sentence] = []
    wrong: list[str] = []
    for item in objects(found.get("sentences"), MOST_SENTENCES):
        known, invented = board.cited(strings(item.get("evidence")))
        said = board.redactor.restore(board.redactor.text(word(item.get("text")), MOST_SENTENCE))
        if invented or not known:
            what = f"evidence that does not exist: {', '.join(invented[:4])}" if invented else "no evidence"
            wrong.append(f"{said[:60]} … cites {what}")
            board.warn("RF-01", f"a sentence cites {what}", "answer")
        if known and said:
            kept.append(Sentence(text=said, evidence=known))
    return tuple(kept), "; ".join(wrong[:4]) or ("" if kept else "there is no sentence")


def evidence_of(events: Iterable[Event]) -> dict[str, Evidence]:
    """All evidence in a journal by its id: that of the prior, and what tools answered."""
    held: dict[str, Evidence] = {}
    for event in events:
        if isinstance(event, Opened):
            held |= {item.id: item for item in event.prior.evidence}
        elif isinstance(event, Answered) and isinstance(event.answer, ToolAnswer) and event.answer.evidence is not None:
            held.setdefault(event.answer.evidence.id, event.answer.evidence)
    return held
