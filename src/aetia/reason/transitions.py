"""Training records from journals: what could be done, what was done, and what came of it, step by step.

Any journal of any policy can be read, also one that was cut off. Questions that were asked side by side are told as if
they had been asked one after the other, each with the answers of those before it, because that is how a policy that
asks one at a time would have met them. Nothing here says whether a step was good: a reward is the trainer's, and these
are the facts for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aetia.model.diagnosis import Diagnosis, Evidence
from aetia.model.journal import Answered, Asked, Believed, Closed, Event, ToolAnswer, ToolCall, ToolError
from aetia.reason.actions import ABSTAIN, FINISH, question
from aetia.reason.desks import follow
from aetia.reason.engine import REFUSED
from aetia.reason.journals import opened
from aetia.reason.observations import Observation, observe


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known after a step, as facts. Of a question: the evidence and whether it was new, how many rows, the
    error, the seconds, and the beliefs that this evidence moved, at whatever later time. Of an end: the diagnosis."""

    evidence: Evidence | None = None
    new: bool = False
    rows: int = 0
    error: ToolError | None = None
    seconds: float = 0.0
    moves: tuple[Believed, ...] = ()
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step. `taken` is the index of the action in `observation.actions`, None for a question that is not in the
    action space, such as one with the id of a span. `call` is the question, None for an end."""

    observation: Observation
    taken: int | None
    call: ToolCall | None
    outcome: Outcome


def transitions(events: Sequence[Event]) -> Iterator[Transition]:
    """The steps of a journal, in order. What was refused is no step, and neither is an end that a limit, a check or a
    person made, or the localizer's own silence.

    Raises ReportError when the events do not begin an investigation.
    """
    prior = opened(events).prior
    answers = {event.number: event.answer for event in events if isinstance(event, Answered)}
    moves: dict[str, list[Believed]] = {}
    for event in events:
        if isinstance(event, Believed) and event.before != event.after:
            for key in event.because:
                moves.setdefault(key, []).append(event)
    for event, desk in follow(_one_by_one(events)):
        if isinstance(event, Asked) and isinstance(event.request, ToolCall):
            answer = answers.get(event.number)
            if isinstance(answer, ToolAnswer) and not _refused(answer):
                known = set(desk.evidence)
                yield _step(observe(desk), event.request, _outcome(answer, known, moves))
        elif isinstance(event, Closed) and event.outcome in ("answered", "abstained") and prior.abstained is None:
            observation = observe(desk)
            action = FINISH if event.outcome == "answered" else ABSTAIN
            taken, outcome = observation.actions.index(action), Outcome(diagnosis=event.diagnosis)
            yield Transition(observation=observation, taken=taken, call=None, outcome=outcome)


def _one_by_one(events: Sequence[Event]) -> list[Event]:
    """The journal with every answer right behind its question."""
    answered = {event.number: event for event in events if isinstance(event, Answered)}
    told: list[Event] = []
    for event in events:
        if isinstance(event, Answered):
            continue
        told.append(event)
        if isinstance(event, Asked) and event.number in answered:
            told.append(answered[event.number])
    return told


def _refused(answer: ToolAnswer) -> bool:
    return answer.error is not None and answer.error.category in REFUSED


def _outcome(answer: ToolAnswer, known: set[str], moves: dict[str, list[Believed]]) -> Outcome:
    evidence = answer.evidence
    key = evidence.id if evidence is not None else ""
    return Outcome(
        evidence=evidence, new=evidence is not None and key not in known, rows=len(answer.rows), error=answer.error,
        seconds=answer.seconds, moves=tuple(moves.get(key, ())),
    )  # fmt: skip


def _step(observation: Observation, call: ToolCall, outcome: Outcome) -> Transition:
    key = question(call)
    taken = next((at for at, action in enumerate(observation.actions) if action.key == key), None)
    return Transition(observation=observation, taken=taken, call=call, outcome=outcome)
