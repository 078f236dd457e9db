"""Check of the numbers in claims against the results of the evidence that they cite: RF-16.

Source: arXiv 2601.22208. Cost per event: O(numbers in the text × scalars in the cited results).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from aetia.model.diagnosis import Evidence
from aetia.model.journal import Event
from aetia.reason.checks._notes import MOST_DEPTH, held, said
from aetia.reason.checks._watch import Failing, Watch
from aetia.reason.policy import Desk

_NUMBER = re.compile(
    r"(?<![\w.:/-])(\d+(?:\.(\d+))?(?:[eE][+-]?\d+)?)\s?(%|percent|ms|µs|us|min|s|x|×)?(?![\w:/-]|\.\d)"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
SMALL = 10
"""Bare integers up to here count things in a sentence ("3 services") and are not looked up."""
LARGE = 1e9
"""Times since 1970 and other identifiers; what is measured is smaller."""
TOLERANCE = 0.005
"""Of the value, besides half a unit of the last digit that is stated: what is computed from rounded values is off."""
UNITS: dict[str, tuple[float, ...]] = {
    "": (1.0,),
    "%": (100.0, 1.0),
    "x": (1.0,),
    "us": (1.0, 1e-3, 1e3, 1e6),
    "ms": (1.0, 1e-6, 1e-3, 1e3),
    "s": (1.0, 1e-9, 1e-6, 1e-3, 60.0),
    "min": (1.0, 1 / 60.0, 1 / 60e3, 1 / 60e9),
}
"""Unit in which a sentence states a number → factors from the units in which telemetry may hold it: a share in
percent, a time in ns, µs, ms or s."""
_ALIASES = {"percent": "%", "µs": "us", "×": "x"}
RATIOS, DIFFERENCES = ("", "%", "x"), ("", "us", "ms", "s", "min", "%")
"""Units in which a ratio, and those in which a difference, of two measured values may be stated."""
TIMES = {"baseline", "incident", "before", "during", "after", "usual", "expected", "observed"}
"""Fields that hold one quantity at two times."""
MOST, MOST_PAIRED = 300, 16


class ArithmeticMistake(Watch):
    """RF-16: a number in a claim is neither in the cited evidence nor a ratio, difference or sum of its numbers."""

    code, title = "RF-16", "arithmetic mistake"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        for claim in said(event, self.notes):
            items = held(claim.cited, desk)
            if not items or len(items) < len(claim.cited):
                continue
            known: Known | None = None
            for stated in stated_numbers(claim.text):
                known = known_numbers(items) if known is None else known
                if not known.holds(stated):
                    where = ", ".join(item.id for item in items[:2])
                    return Failing(
                        claim.agent, f"{stated.number:g} is not what {where} holds, nor a ratio or difference of it."
                    )
        return None


class Stated(NamedTuple):
    """A number that a claim can be held to, half a unit of its last digit, and its unit."""

    number: float
    slack: float
    unit: str

    def is_(self, value: float) -> bool:
        return abs(self.number - abs(value)) <= self.slack + TOLERANCE * abs(value)


class Pair(NamedTuple):
    """Two measured values that belong together: of one quantity (`alike`), or of two in one row."""

    one: float
    other: float
    alike: bool

    def results(self, unit: str) -> Iterator[float]:
        """What may be said of them in a unit: of one quantity difference, ratio and relative change, of two counts the
        share that the smaller is of the greater."""
        one, other = self.one, self.other
        scale = 100.0 if unit == "%" else 1.0
        if self.alike and unit in DIFFERENCES:
            for factor in UNITS[unit]:
                yield (one - other) * factor
        if unit not in RATIOS or not other:
            return
        if self.alike:
            yield one / other * scale
            yield (one - other) / other * scale
        elif one.is_integer() and other.is_integer() and 0 <= one <= other:
            yield one / other * scale


class Known(NamedTuple):
    """What evidence says in numbers: measured, in its words, and by pairs."""

    values: tuple[float, ...]
    quoted: tuple[Stated, ...]
    pairs: tuple[Pair, ...]

    def holds(self, stated: Stated) -> bool:
        if any(stated.is_(value * factor) for value in self.values for factor in UNITS[stated.unit]):
            return True
        if any(stated.is_(other.number) for other in self.quoted if other.unit == stated.unit or not other.unit):
            return True
        return any(stated.is_(result) for pair in self.pairs for result in pair.results(stated.unit))


def stated_numbers(text: str) -> Iterator[Stated]:
    """The numbers of a text that a claim can be held to."""
    for found in _NUMBER.finditer(_THOUSANDS.sub("", text)):
        number, digits, unit = float(found[1]), found[2], found[3]
        if number > LARGE or (unit is None and digits is None and number <= SMALL):
            continue
        yield Stated(number, 0.5 * 10.0 ** -len(digits or ""), _ALIASES.get(unit or "", unit or ""))


def known_numbers(items: list[Evidence]) -> Known:
    """What the evidence says in numbers."""
    values: list[float] = []
    quoted: list[Stated] = []
    pairs: list[Pair] = []
    for item in items:
        values += [value for _, value in zip(range(MOST), _scalars(item.result), strict=False)]
        values += [item.claim.magnitude, item.strength]
        values += [float(value) for value in item.query.args.values() if _number(value)]
        quoted += stated_numbers(item.claim.text)
        values += _sums(item.result)
        pairs += _pairs(item.result)
    return Known(tuple(values), tuple(quoted), tuple(dict.fromkeys(pairs)))


def _pairs(value: Any, depth: int = 0) -> Iterator[Pair]:
    """The numbers of one object, and each quantity over the objects of a list, two by two."""
    if depth > MOST_DEPTH:
        return
    if isinstance(value, dict):
        own = cast("dict[str, Any]", value)
        named = [(key, float(item)) for key, item in own.items() if _number(item)][:MOST_PAIRED]
        for (key, one), (name, other) in itertools.permutations(named, 2):
            yield Pair(one, other, _alike(key, name))
        for item in own.values():
            yield from _pairs(item, depth + 1)
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        for column in _columns(items):
            for one, other in itertools.permutations(column[:MOST_PAIRED], 2):
                yield Pair(one, other, True)
        for item in items[:MOST_PAIRED]:
            yield from _pairs(item, depth + 1)


def _sums(value: Any, depth: int = 0) -> Iterator[float]:
    """Each quantity summed over the objects of a list, and over any two of them."""
    if depth > MOST_DEPTH:
        return
    if isinstance(value, dict):
        for item in cast("dict[str, Any]", value).values():
            yield from _sums(item, depth + 1)
    elif isinstance(value, list):
        for column in _columns(cast("list[Any]", value)):
            yield sum(column)
            yield from (one + other for one, other in itertools.combinations(column[:MOST_PAIRED], 2))


def _columns(items: list[Any]) -> Iterator[list[float]]:
    """Each quantity over the objects of a list; the numbers of a list of numbers."""
    columns: dict[str, list[float]] = {}
    for item in items:
        for key, cell in cast("dict[str, Any]", item).items() if isinstance(item, dict) else ():
            if _number(cell):
                columns.setdefault(key, []).append(float(cell))
    yield from columns.values()
    numbers = [float(item) for item in items if _number(item)]
    if numbers:
        yield [min(numbers), max(numbers), numbers[0], numbers[-1], sum(numbers) / len(numbers)]


def _alike(one: str, other: str) -> bool:
    """Whether two fields measure one quantity: at two times (`baseline` and `incident`, `calls` and `calls_before`), or
    at two places (`source_began_s` and `target_began_s`)."""
    ends = one.split("_"), other.split("_")
    at_times = {one, other} <= TIMES or one.startswith(f"{other}_") or other.startswith(f"{one}_")
    return at_times or (min(map(len, ends)) > 1 and ends[0][-2:] == ends[1][-2:])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalars(value: Any, depth: int = 0) -> Iterator[float]:
    """Numbers of a result; of a list of numbers its length, ends and extremes."""
    if depth > MOST_DEPTH:
        return
    if _number(value):
        yield float(value)
    elif isinstance(value, dict):
        for item in cast("dict[str, Any]", value).values():
            yield from _scalars(item, depth + 1)
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        yield float(len(items))
        numbers = [float(item) for item in items if isinstance(item, int | float)]
        if numbers:
            yield from (min(numbers), max(numbers), numbers[-1], sum(numbers) / len(numbers))
        else:
            for item in items[:40]:
                yield from _scalars(item, depth + 1)
