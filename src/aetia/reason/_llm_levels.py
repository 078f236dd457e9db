"""From the verdicts on single components to a ranked answer: bottom-up over the calls, level by level, then together.

All components of one level are weighed side by side, those without anything below them without a model. Source:
consolidation, root-level report and synthesis of RCLAgent v2 (arXiv 2605.14866), on the call graph of services.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aetia.model.journal import ModelAnswer, ModelCall
from aetia.reason import _llm_words as words
from aetia.reason._llm_agent import REPLY, Verdict, opening
from aetia.reason._llm_board import Board
from aetia.reason._llm_brief import fit, symptoms
from aetia.reason._llm_reading import objects, read_arguments, read_object, strings, word

MOST_BELOW, MOST_RANKED, MOST_EVIDENCE = 8, 5, 40
MOST_DOCUMENT = 5_600
"""Tokens of the document of one consolidation or of the synthesis."""
NO_OBJECT = "the answer is no JSON object of the form that was asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consolidated:
    """Where the fault began, as seen from one component and those below it."""

    node: str
    blame: str
    evidence: tuple[str, ...]
    reason: str = ""


def levels(nodes: Sequence[str], board: Board) -> list[list[str]]:
    """Components by level: those below come first. Where each depends on the other, the earlier one goes first."""
    left = list(nodes)
    below = {node: board.calls.get(node, set()) & set(nodes) - {node} for node in nodes}
    found: list[list[str]] = []
    done: set[str] = set()
    while left:
        level = [node for node in left if below[node] <= done] or left[:1]
        found.append(level)
        done |= set(level)
        left = [node for node in left if node not in done]
    return found


def without_model(verdict: Verdict, below: Sequence[Consolidated], board: Board) -> Consolidated:
    """The consolidation that evidence alone makes: the component below with the strongest, if that beats its own."""
    mine = board.shows(verdict.node)
    deepest = max(below, key=lambda item: board.shows(item.blame), default=None)
    if deepest is not None and board.shows(deepest.blame) > mine:
        return Consolidated(node=verdict.node, blame=deepest.blame, evidence=deepest.evidence, reason=deepest.reason)
    return Consolidated(node=verdict.node, blame=verdict.node, evidence=verdict.evidence, reason=verdict.reason)


def consolidation(
    verdict: Verdict, below: Sequence[Consolidated], board: Board, most_s: float, problem: str | None = None
) -> ModelCall:
    """The question to a model: here, or below? With a `problem`, what was said and cannot be read, the repair turn."""
    shown = sorted(below, key=lambda item: (-board.shows(item.blame), item.node))[:MOST_BELOW]
    document = {
        "component": verdict.node,
        "verdict": _verdict(verdict),
        "evidence": board.facts(board.about(verdict.node, 6)),
        "below": [{"component": item.node, "blames": item.blame, "reason": item.reason,
                   "evidence": board.facts([board.desk.evidence[key] for key in item.evidence[:3]])}
                  for item in shown],
    }  # fmt: skip
    document = fit(document, MOST_DOCUMENT, ("below", "evidence"))
    messages = opening(words.CONSOLIDATE, document, board)
    if problem is not None:
        messages = (*messages, *mending(problem, NO_OBJECT, board))
    return ModelCall(
        messages=messages, response_format=words.BLAME_FORMAT, max_tokens=REPLY, agent=f"join:{verdict.node}",
        why="here, or below?" if problem is None else "mend the answer", most_s=most_s,
    )  # fmt: skip


def unread(answer: ModelAnswer, node: str, board: Board) -> bool:
    """Whether the model answered a consolidation with what is no JSON object; reported where it did."""
    if answer.error is not None or read_object(answer.text) is not None:
        return False
    board.warn("malformed-answer", f"does not say where the fault began: {answer.text[:100]}", f"join:{node}")
    return True


def mending(said: str, wrong: str, board: Board) -> tuple[dict[str, Any], ...]:
    """The messages of a repair turn: what the model said, and what is wrong with it."""
    return (
        {"role": "assistant", "content": board.redactor.text(said, 600)},
        {"role": "user", "content": board.redactor.quote({"problem": wrong, "instead": "the JSON object again"})},
    )


def consolidated(answer: ModelAnswer, verdict: Verdict, below: Sequence[Consolidated], board: Board) -> Consolidated:
    """What the model says, where it names a component that was examined and evidence that exists; else what evidence
    says alone."""
    agent, fallback = f"join:{verdict.node}", without_model(verdict, below, board)
    if answer.error is not None:
        board.warn(f"model-{answer.error.category}", answer.error.message, agent)
        return fallback
    found = read_object(answer.text)
    if found is None:
        return fallback
    known, invented = board.cited(strings(found.get("evidence")))
    if invented:
        board.warn("RF-01", f"cites evidence that does not exist: {', '.join(invented[:4])}", agent)
    blame = board.redactor.restore(word(found.get("blame")))
    if blame not in {verdict.node, *(item.blame for item in below), *(item.node for item in below)}:
        board.warn("RF-01", f"blames {blame or 'nobody'}, which is not among the components", agent)
        return fallback
    reason = board.redactor.text(word(found.get("reason")), 200)
    return Consolidated(node=verdict.node, blame=blame, evidence=known or fallback.evidence, reason=reason)


def root_report(joined: dict[str, Consolidated], board: Board, most: int = 10) -> list[dict[str, Any]]:
    """What the components say that none of the others calls: where the incident is seen from."""
    called = {callee for node in joined for callee in board.calls.get(node, ()) if callee != node}
    tops = [item for node, item in joined.items() if node not in called] or list(joined.values())
    return [
        {"seen_from": item.node, "blames": item.blame, "reason": item.reason, "evidence": list(item.evidence[:4])}
        for item in tops[:most]
    ]


def synthesis(
    joined: dict[str, Consolidated], board: Board, most_s: float, problem: tuple[str, str] | None = None
) -> ModelCall:
    """The question for the ranking; with a `problem`, (what was said, what is wrong with it), the repair turn."""
    ranked = board.desk.ledger.ranked()
    cited = dict.fromkeys(key for item in joined.values() for key in item.evidence)
    found = [item for key, item in board.desk.evidence.items() if key in cited or item.strength > 0]
    found.sort(key=lambda item: (item.id not in cited, -item.strength, item.id))
    document = {
        "symptoms": symptoms(board.desk),
        "report": root_report(joined, board),
        "candidates": [{"entity": name, "belief": round(entry.belief, 3), "state": entry.state}
                       for name, entry in ranked[:12]],
        "calls": [[node, other] for node in joined for other in sorted(board.calls.get(node, ())) if other in joined],
        "evidence": board.facts(found[:MOST_EVIDENCE]),
    }  # fmt: skip
    document = fit(document, MOST_DOCUMENT, ("evidence", "calls", "report", "candidates"))
    messages = opening(words.SYNTHESIZE, document, board)
    if problem is not None:
        messages = (*messages, *mending(*problem, board))
    return ModelCall(
        messages=messages, response_format=words.RANKING_FORMAT, max_tokens=REPLY, agent="synthesis",
        why="rank the candidates" if problem is None else "mend the answer", most_s=most_s,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What the synthesis answered: places and evidence that exist, or why there is no answer; `problem` is what a
    repair turn has to mend."""

    ranked: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    abstain: str = ""
    problem: str = ""


def read_ranking(answer: ModelAnswer, board: Board) -> Ranking:
    """The ranking of a model's turn, reduced to what exists; what does not is reported."""
    found = read_object(answer.text)
    if found is None and answer.calls:
        _, name, text = answer.calls[0]
        found = read_arguments(text)
        if found is not None and name == words.ABSTAIN:
            return Ranking(abstain=board.redactor.text(word(found.get("reason")), 200) or "no reason was given")
    if found is None:
        board.warn("malformed-answer", f"the ranking cannot be read: {answer.text[:100]}", "synthesis")
        return Ranking(problem=NO_OBJECT)
    if word(found.get("abstain")):
        return Ranking(abstain=board.redactor.text(found["abstain"], 200))
    problems: list[str] = []
    ranked: list[tuple[str, tuple[str, ...], str]] = []
    for item in objects(found.get("ranking"), MOST_RANKED):
        entity = board.redactor.restore(word(item.get("entity")))
        known, invented = board.cited(strings(item.get("evidence")))
        if not board.knows(entity):
            problems.append(f"there is no component {board.redactor.text(entity, 60)}")
        if invented:
            problems.append(f"there is no evidence {board.redactor.text(', '.join(invented[:4]), 100)}")
        if board.knows(entity):
            ranked.append((entity, known, board.redactor.text(word(item.get("reason")), 200)))
    for problem in problems[:4]:
        board.warn("RF-01", problem, "synthesis")
    if not ranked:
        problems = problems or ["the ranking is empty; rank at least one candidate, or abstain"]
    return Ranking(ranked=tuple(ranked), problem="; ".join(problems[:4]))


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.verdict, "blames": verdict.blames, "reason": verdict.reason}
