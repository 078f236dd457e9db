"""What answers are worth, whoever asked: beliefs follow the answers so far by fixed rules, question by question.

The beliefs are those that `rules` reaches from the same answers: after each answer it is run again on a desk of its
own, every question that was not asked stays unanswered, and the ledger moves by what its beliefs have changed. Facts
from tools that it never reads count as they do among agents of a language model. So a policy that chooses questions
well is right more often, and none can argue its way to a belief. Cost: about 3 ms per answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy
from dataclasses import replace

from aetia.model.journal import Answer, Believed, Event, ToolAnswer, ToolCall, ToolError
from aetia.reason._llm_board import Board, place_of
from aetia.reason.actions import question
from aetia.reason.ledger import Ledger
from aetia.reason.policies.rules import Rules
from aetia.reason.policy import Desk, Questions

ALIKE = ("compare", "link", "span_self_time", "trace_children", "changes", "alerts")
"""Tools that the rules never read."""
MOST_TURNS = 100
LEAST_MOVE = 1e-9
UNASKED = ToolError(category="budget", code="unasked", message="nobody has asked this yet.")


class Weighing:
    """Lets answers move the beliefs of one desk. Call `take` with each, after the engine has."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._board = desk, Board(desk)
        self._said: dict[str, float] = {}

    def take(self, call: ToolCall, answer: ToolAnswer) -> None:
        """Move beliefs by an answer and all those before it."""
        self._board.take(call, answer)
        if answer.evidence is None:
            return
        if call.tool in ALIKE:
            self._board.weigh(self._board.counts(place_of(answer.evidence.about), (answer.evidence.id,)))
        else:
            self._follow(answer.evidence.id)

    def _follow(self, latest: str) -> None:
        """Move each belief by as much as it has changed in the eyes of the rules since the last answer."""
        desk = self._desk
        ledger, moves = believed(desk)
        for name, entry in ledger.entries.items():
            if name not in desk.ledger.entries:
                desk.ledger.propose(name, entry.entity, entry.prior, entry.hypothesis)
            said = math.log(entry.belief / (1.0 - entry.belief)) - math.log(entry.prior / (1.0 - entry.prior))
            change = said - self._said.get(name, 0.0)
            if abs(change) > LEAST_MOVE:
                mine = [move for move in moves if move.entity == name]
                because = tuple(dict.fromkeys(key for move in mine for key in move.because)) or (latest,)
                reason = mine[-1].reason if mine else "what spoke for or against it does so no more"
                desk.ledger.weigh(name, change, because, reason)
            self._said[name] = said


def believed(desk: Desk) -> tuple[Ledger, list[Believed]]:
    """The ledger that `rules` ends with when it gets the answers of a desk and no others, and the moves that led to
    it; the desk stays as it is."""
    moves: list[Believed] = []

    def tell(move: Believed) -> None:
        if move.because and move.before != move.after:
            moves.append(move)

    def note(event: Event) -> None:
        """Nobody is to hear of it."""

    own = replace(
        desk, ledger=Ledger(tell), note=note, hops=[], warnings=[], wished=list(desk.wished),
        excluded=set(desk.excluded), evidence=dict(desk.evidence), answered=list(desk.answered), spent=copy(desk.spent),
    )  # fmt: skip
    for hypothesis in desk.prior.hypotheses:
        own.ledger.propose(hypothesis.entity.name, hypothesis.entity, hypothesis.probability or 0.0, hypothesis)
    known = {question(call): answer for call, answer in desk.answered}
    work = Rules().steps(own)
    try:
        asked = next(work)
        for _ in range(MOST_TURNS):
            asked = work.send(tuple(_known(asked, known)))
    except StopIteration:
        pass
    work.close()
    return own.ledger, moves


def _known(asked: Questions, known: dict[str, ToolAnswer]) -> Iterable[Answer]:
    for request in asked:
        assert isinstance(request, ToolCall)
        yield known.get(question(request)) or ToolAnswer(error=UNASKED)
