"""An investigation again, from its journal alone: the same questions, the recorded answers, the same diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aetia.model.diagnosis import Diagnosis
from aetia.model.errors import ReportError
from aetia.model.journal import Answered, Asked, Event, Steer, Steered
from aetia.reason.checks.registry import default_checks
from aetia.reason.engine import Check, Given, investigate
from aetia.reason.journals import closed, opened
from aetia.reason.making import make_policy
from aetia.reason.policy import Policy, limits_of


def replay(
    events: Sequence[Event],
    *,
    policy: Policy | None = None,
    checks: Sequence[Check] | None = None,
    tell: Callable[[Event], None] = lambda event: None,
) -> Diagnosis:
    """Run the engine with the recorded answers; `policy` stands in for the one that the journal names,
    `checks` for those that watched.

    Raises ReportError at the first question that differs from the journal, and when the journal ends before the
    investigation does.
    """
    first, recorded = opened(events), _Recorded(events)
    run = investigate(
        first.prior,
        policy or make_policy(first.policy, first.options, first.question),
        name=first.policy,
        limits=limits_of(first),
        seed=first.seed,
        checks=default_checks(first.checks) if checks is None else checks,
        tell=tell,
        options=first.options,
        question=first.question,
        paced=first.paced,
        situation=first.situation,
    )
    try:
        asked = next(run)
        while True:
            asked = run.send(recorded.answer(asked))
    except StopIteration as end:
        return end.value


class _Recorded:
    """The questions, answers and wishes of a journal by the number of the question."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._asked = {event.number: event for event in events if isinstance(event, Asked)}
        self._answered = {event.number: event for event in events if isinstance(event, Answered)}
        self._ended = closed(events) is not None
        self._steers: dict[int, list[Steer]] = {}
        waiting: list[Steer] = []
        for event in events:  # a wish is written down before the answers it came with
            if isinstance(event, Steered):
                waiting.append(event.steer)
            elif isinstance(event, Answered) and waiting:
                self._steers[event.number], waiting = waiting, []

    def answer(self, asked: tuple[Asked, ...]) -> Given:
        for item in asked:
            if item.number in self._asked and self._asked[item.number].request != item.request:
                raise _differs(item.number)
            if item.number not in self._answered:
                if self._ended:
                    raise _differs(item.number)
                raise ReportError(
                    f"the journal ends before question {item.number} was answered; it cannot be replayed."
                )
        answers = [self._answered[item.number] for item in asked]
        # The first answer that a wish came with may be one that the engine gave itself, before all that were asked.
        due = [number for number in self._steers if number <= asked[-1].number]
        steers = [steer for number in due for steer in self._steers.pop(number)]
        return Given(answers=tuple(a.answer for a in answers), at_s=answers[-1].at_s, steers=tuple(steers))


def _differs(number: int) -> ReportError:
    return ReportError(f"question {number} differs from the journal; replay it with the version that wrote it.")
