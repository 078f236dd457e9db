"""A person's question about an incident, answered in sentences that rest on evidence that exists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aetia.model.diagnosis import Evidence
from aetia.model.journal import Answered, Event, ModelAnswer, ModelCall, Opened, Sentence, ToolAnswer
from aetia.reason import _llm_words as words
from aetia.reason._llm_agent import REPLY, opening
from aetia.reason._llm_board import Board
from aetia.reason._llm_brief import fit, symptoms
from aetia.reason._llm_levels import NO_OBJECT, mending
from aetia.reason._llm_reading import objects, read_object, strings, word
from aetia.reason.policy import Desk, Policy, Steps

MOST_SENTENCES, MOST_EVIDENCE, MOST_DOCUMENT, MOST_SENTENCE = 6, 40, 5_400, 400


class Answering:
    """A policy, and after it the question of the desk. The desk's answer stays empty where the model had none that
    evidence backs."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.options: dict[str, Any] = getattr(policy, "options", {})

    def steps(self, desk: Desk) -> Steps:
        yield from self._policy.steps(desk)
        board = Board(desk)
        problem: tuple[str, str] | None = None
        for _ in range(2):
            if desk.left_s <= 0 or not desk.evidence:
                return
            (answer,) = yield (_call(board, problem),)
            if not isinstance(answer, ModelAnswer):
                return
            if answer.error is not None:
                board.warn(f"model-{answer.error.category}", answer.error.message, "answer")
                return
            sentences, wrong = _read(answer.text, board)
            desk.answer = sentences or desk.answer
            if not wrong:
                return
            problem = (answer.text, wrong)


def _call(board: Board, problem: tuple[str, str] | None) -> ModelCall:
    desk, planned = board.desk, 2 if problem is None else 1
    ranked = desk.ledger.ranked()
    observed = [(hop.source, hop.target) for hop in desk.hops if hop.in_direction]
    leading = {name for name, _ in ranked[:3]}
    cited = {key for _, entry in ranked[:3] for key in (*entry.evidence_for, *entry.against)}
    cited |= {key for item in desk.prior.hypotheses if item.entity.name in leading for key in item.evidence}
    evidence = sorted(desk.evidence.values(), key=lambda item: (item.id not in cited, -item.strength, item.id))
    document: dict[str, Any] = {
        "question": desk.question,
        "symptoms": symptoms(desk),
        "candidates": [
            {"entity": name, "belief": round(entry.belief, 3), "state": entry.state} for name, entry in ranked[:8]
        ],
        "spread": (observed or [(hop.source, hop.target) for hop in desk.prior.propagation])[:20],
        "evidence": board.facts(evidence[:MOST_EVIDENCE]),
    }
    messages = opening(words.ANSWER, fit(document, MOST_DOCUMENT, ("evidence", "spread", "candidates")), board)
    if problem is not None:
        messages = (*messages, *mending(*problem, board))
    return ModelCall(
        messages=messages, response_format=words.ANSWER_FORMAT, max_tokens=REPLY, agent="answer",
        why="answer the question" if problem is None else "mend the answer",
        most_s=desk.pace.allotment("model answer", desk.left_s, planned),
    )  # fmt: skip


def _read(text: str, board: Board) -> tuple[tuple[Sentence, ...], str]:
    """The sentences that rest on evidence, and what is wrong with the others."""
    found = read_object(text)
    if found is None:
        board.warn("malformed-answer", f"the answer cannot be read: {text[:100]}", "answer")
        return (), NO_OBJECT
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
