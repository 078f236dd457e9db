"""Filters of the questions as SQL conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aetia.model.errors import UsageError
from aetia.model.stored import PROMOTED, STORED, Signal
from aetia.store._duck_question import Question
from aetia.store.backend import Filter

_NUMBERS = {"duration_ms": "coalesce(duration_ns, 0) / 1e6", "duration_ns": "coalesce(duration_ns, 0)::DOUBLE"}


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions on columns that every row has from the start, and on those that hot rows lack. Empty: none.

    `attributes` are those that a row must have to meet them, with their value where only one will do."""

    promoted: str = ""
    full: str = ""
    attributes: tuple[tuple[str, str | None], ...] = ()

    @property
    def all(self) -> str:
        return " AND ".join(part for part in (self.promoted, self.full) if part)


def conditions(question: Question, signal: Signal, filters: Sequence[Filter]) -> Conditions:
    """The filters as SQL over stored columns. Raises UsageError for one that cannot be."""
    quick: list[str] = []
    slow: list[str] = []
    needed: list[tuple[str, str | None]] = []
    for condition in filters:
        at_once = condition.field in PROMOTED[signal] or condition.field == "duration_ms"
        (quick if at_once else slow).append(_condition(question, signal, condition))
        if not at_once and condition.field not in STORED[signal].names and condition.op != "!=":
            needed.append((condition.field, condition.value if condition.op == "=" else None))
    return Conditions(" AND ".join(quick), " AND ".join(slow), tuple(needed))


def _condition(question: Question, signal: Signal, condition: Filter) -> str:
    field, op, value = condition.field, condition.op, condition.value
    if not field or field in ("time", "attributes"):
        raise UsageError(f"There is no filter on '{field}'; give a column such as service, or the key of an attribute.")
    numeric = signal == "spans" and field in _NUMBERS
    if numeric:
        left = _NUMBERS[field]
    elif field in STORED[signal].names:
        left = f"nullif({field}, '')"
    else:
        left = f"nullif(attributes[{question.bind(field)}], '')"
    if op == "exists":
        return f"{left} IS NOT NULL"
    if op in (">", "<") or (numeric and op in ("=", "!=")):
        number = left if numeric else f"TRY_CAST({left} AS DOUBLE)"
        comparison = f"{number} {op} {question.bind(_number(condition))}"
        return comparison if numeric else f"coalesce({comparison} AND NOT isnan({number}), false)"
    return _on_text(f"({left})::VARCHAR" if numeric else left, op, question.bind(value))


def _on_text(left: str, op: str, value: str) -> str:
    match op:
        case "=":
            return f"{left} = {value}"
        case "!=":
            return f"{left} IS DISTINCT FROM {value}"
        case "contains":
            return f"contains({left}, {value})"
        case _:
            raise UsageError(f"There is no comparison '{op}'; use =, !=, contains, >, < or exists.")


def _number(condition: Filter) -> float:
    try:
        number = float(condition.value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise UsageError(
            f"'{condition.field}' {condition.op} compares numbers; '{condition.value[:80]}' is none. Give a number."
        )
    return number
