"""What an investigation would have answered at any time, and how much of a budget its answer was right.

An answer counts from when it stood, not only at the end: who finds the root early and goes on is worth more than who
finds it late, and who leaves a right answer loses it. Pure functions over journals and over what was spent. Source:
solved-against-budget of SWE-Effi (arXiv 2509.09853), with the answer at hand instead of the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from aetia.bench.messages import Lead, Stood
from aetia.bench.scoring import Answer
from aetia.model.diagnosis import Diagnosis, Hypothesis
from aetia.model.journal import Asked, Believed, Closed, Event, Opened, Steered
from aetia.reason.conclusion import conclude
from aetia.reason.desks import follow

Resource = Literal["seconds", "calls", "tokens"]


def leads(events: Sequence[Event]) -> tuple[Lead, ...]:
    """The answers of one journal in the order in which they stood, each with what had been spent when it came up: the
    prior's, then that of the ledger, by the rule of the conclusion, whenever beliefs had moved, then the final one. A
    journal that was cut off ends with what was believed last."""
    return tuple(_changes(_standing(events)))


def _standing(events: Sequence[Event]) -> Iterator[Lead]:
    desk, moved = None, False
    for event, desk in follow(events):
        if isinstance(event, Asked) and moved:
            yield _lead(conclude(desk, "answered"), desk.spent.at_s, desk.spent.calls, desk.spent.tokens)
            moved = False
        elif isinstance(event, Closed):
            yield _lead(event.diagnosis, event.at_s, event.calls, event.tokens)
            moved = False
        moved |= isinstance(event, Opened | Believed | Steered)
    if desk is not None and moved:
        yield _lead(conclude(desk, "answered"), desk.spent.at_s, desk.spent.calls, desk.spent.tokens)


def _lead(diagnosis: Diagnosis, at_s: float, calls: int, tokens: int) -> Lead:
    found = scored(diagnosis)
    first = tuple(item for item in found if item.score == found[0].score)
    return Lead(
        at_s=at_s, calls=calls, tokens=tokens, answer=Answer(hypotheses=first, abstained=diagnosis.abstained)
    )  # fmt: skip


def _changes(standing: Iterator[Lead]) -> Iterator[Lead]:
    """Those that name another place than the one before."""
    last = None
    for lead in standing:
        mark = ([item.entity for item in lead.answer.hypotheses], lead.answer.abstained)
        if mark != last:
            yield lead
        last = mark


def scored(diagnosis: Diagnosis) -> tuple[Hypothesis, ...]:
    """The ranking as it is scored. Scores follow its order, which is that of the beliefs; neighbours of one belief and
    one score share theirs, so that ties stay ties."""
    found: list[Hypothesis] = []
    place, before = 0, None
    for index, item in enumerate(diagnosis.hypotheses):
        mark = (item.probability, item.score)
        place = place if mark == before else -index
        before = mark
        found.append(msgspec.structs.replace(item, score=float(place), evidence=(), against=(), reason=""))
    return tuple(found)


def spent(stood: Stood, of: Resource) -> float:
    """What had been spent when an answer came up."""
    return stood.at_s if of == "seconds" else float(stood.calls if of == "calls" else stood.tokens)


def area(course: Sequence[Stood], of: Resource, budget: float, *, before: float = 0.0) -> float:
    """Share of a budget, 0..1, over which the answer at hand was right; the last one stands to the end. `before` is
    spent until the first answer is there."""
    begins = [min(before + spent(stood, of), budget) for stood in course] + [budget]
    lengths = [end - start for start, end in pairwise(begins)]
    return sum(length for stood, length in zip(course, lengths, strict=True) if stood.right) / budget


def right_at(course: Sequence[Stood], of: Resource, at: float, *, before: float = 0.0) -> bool:
    """Whether the answer at hand is right when so much has been spent; there is none before the first."""
    right = False
    for stood in course:
        if before + spent(stood, of) > at:
            break
        right = stood.right
    return right
