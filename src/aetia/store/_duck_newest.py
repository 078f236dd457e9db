"""Reading a window from its end, so that a page of the newest rows need not read all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aetia.model.stored import Signal
from aetia.model.window import Window
from aetia.store._duck_filters import Conditions
from aetia.store._duck_question import Part, Question

HOT_AT_ONCE = 20_000
"""So many hot rows are decoded at once where attributes are needed (about 60,000 rows a second)."""
_NOTHING = -(2**63)


@dataclass(frozen=True, slots=True)
class Step:
    """Some of the rows of a window. What later steps bring began before `horizon_ns`."""

    question: Question
    signal: Signal
    window: Window
    where: str
    horizon_ns: int
    parts: Sequence[Part] = ()
    hot: str = ""

    @property
    def last(self) -> bool:
        return self.horizon_ns == _NOTHING

    def rows(self, columns: str, where: str = "") -> str:
        """A relation of the rows of this step that meet the filters and another condition."""
        every = " AND ".join(f"({part})" for part in (self.where, where) if part)
        return self.question.rows(
            self.signal, columns, self.window, every, hot=bool(self.hot), parts=self.parts, within=self.hot
        )


def newest_first(
    question: Question, signal: Signal, window: Window, wanted: Conditions, *, at_once: bool = False
) -> Iterator[Step]:
    """Steps through the rows of a window, hot ones first, then parts, the newest first. `at_once`: in one step."""
    parts = sorted(question.parts(signal, window), key=lambda part: part.end_ns)
    ends = max((part.end_ns for part in parts), default=_NOTHING)
    if question.snapshot.hot[signal].num_rows:
        if not wanted.full:
            horizon = ends
            yield Step(question, signal, window, wanted.all, horizon, hot=question.hot(signal))
        else:
            yield from _hot_steps(question, signal, window, wanted, ends, at_once)
    size = len(parts) if at_once else 1
    while parts:
        parts, chosen = parts[:-size], parts[-size:]
        horizon = max((part.end_ns for part in parts), default=_NOTHING)
        yield Step(question, signal, window, wanted.all, horizon, parts=chosen)
        size *= 2


def _hot_steps(
    question: Question, signal: Signal, window: Window, wanted: Conditions, ends: int, at_once: bool
) -> Iterator[Step]:
    found = question.arrays(
        f"SELECT hot_row, epoch_ns(time) AS t FROM {question.hot(signal)} "
        f"WHERE {question.bounds(window)} {f'AND ({wanted.promoted})' if wanted.promoted else ''} ORDER BY t DESC"
    )
    numbers, times = found["hot_row"], found["t"]
    size = max(len(numbers), 1) if at_once else HOT_AT_ONCE
    for first in range(0, len(numbers), size):
        rest = int(times[first + size]) + 1 if first + size < len(times) else _NOTHING
        table = question.full(signal, np.sort(numbers[first : first + size]))
        yield Step(question, signal, window, wanted.full, max(rest, ends), hot=table)
