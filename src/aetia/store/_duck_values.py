"""Values of an attribute or column, from the newest rows that have it."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from aetia.model.window import Window
from aetia.store._duck_filters import conditions
from aetia.store._duck_newest import newest_first
from aetia.store._duck_question import Question, checked_limit
from aetia.store.backend import ENOUGH_VALUES, Filter, is_text_column

_MOST_ROWS = 200_000
"""So many rows are read at most, and one step more."""
_HOT = 10
"""A hot row costs as much as so many others where it has to be decoded."""


def attribute_values(
    question: Question, window: Window, key: str, signal: Literal["spans", "logs"], limit: int
) -> tuple[str, ...]:
    checked_limit(limit)
    column = is_text_column(signal, key)
    wanted = conditions(question, signal, (Filter(field=key, op="exists"),))
    value = f"{key if column else f'attributes[{question.bind(key)}]'} AS value"
    counts: Counter[str] = Counter()
    read = 0.0
    for step in newest_first(question, signal, window, wanted):
        for found, times in question.fetch(f"SELECT value, count(*) FROM {step.rows(value)} GROUP BY value"):
            counts[found] += times
        read += step.read * (_HOT if step.hot and wanted.full else 1)
        if counts.total() >= ENOUGH_VALUES or read >= _MOST_ROWS:
            break
    return tuple(sorted(counts, key=lambda found: (-counts[found], found.encode()))[:limit])
