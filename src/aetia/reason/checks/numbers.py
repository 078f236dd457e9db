"""Check of the numbers in claims against the results of the evidence that they cite: RF-16.

Source: arXiv 2601.22208. Cost per event: O(numbers in the text × scalars in the cited results).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from aetia.model.diagnosis import Evidence
from aetia.model.journal import Event
from aetia.reason.checks._notes import held, said
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
TOLERANCE = 0.02
SCALES = (1.0, 100.0, 1e3, 1e-3, 1e6, 1e-6, 60.0, 1 / 60.0)
"""Shares as percent, and the units of time and size that a sentence may prefer to the telemetry's."""
MOST = 300


class ArithmeticMistake(Watch):
    """RF-16: a number in a claim is neither in the cited evidence nor a ratio, difference or sum of its numbers."""

    code, title = "RF-16", "arithmetic mistake"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        for claim in said(event, self.notes):
            items = held(claim.cited, desk)
            if not items or len(items) < len(claim.cited):
                continue
            known: list[float] | None = None
            for stated, slack in stated_numbers(claim.text):
                known = _known(items) if known is None else known
                if not any(_same(stated, value * scale, slack) for value in known for scale in SCALES):
                    where = ", ".join(item.id for item in items[:2])
                    return Failing(
                        claim.agent, f"{stated:g} is not what {where} holds, nor a ratio or difference of it."
                    )
        return None


def stated_numbers(text: str) -> Iterator[tuple[float, float]]:
    """(number, half a unit of its last digit) of each number that a claim can be held to."""
    for found in _NUMBER.finditer(_THOUSANDS.sub("", text)):
        number, digits, unit = float(found[1]), found[2], found[3]
        if number > LARGE or (unit is None and digits is None and number <= SMALL):
            continue
        yield number, 0.5 * 10.0 ** -len(digits or "")


def _same(stated: float, value: float, slack: float) -> bool:
    return abs(abs(stated) - abs(value)) <= max(slack, TOLERANCE * abs(value))


def _known(items: list[Evidence]) -> list[float]:
    """What the evidence says in numbers, with ratios, differences and sums of the scalars among them."""
    scalars: list[float] = []
    others: list[float] = []
    for item in items:
        scalars += [value for _, value in zip(range(MOST), _scalars(item.result), strict=False)]
        others += [item.claim.magnitude, item.strength, *(number for number, _ in stated_numbers(item.claim.text))]
        others += [float(value) for value in item.query.args.values() if isinstance(value, int | float)]
    near = scalars[:12]
    for one in near:
        for other in near:
            others += [one - other, one + other]
            if other:
                others += [one / other, (one - other) / other]
    return [*scalars, *others]


def _scalars(value: Any, depth: int = 0) -> Iterator[float]:
    """Numbers of a result; of a list of numbers its length, ends and extremes."""
    if isinstance(value, bool) or depth > 4:
        return
    if isinstance(value, int | float):
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
