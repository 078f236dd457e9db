"""Which parts of an hour are worth being made one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from aetia.store.catalog import Part
from aetia.store.settings import Settings

FAN_IN = 8
"""Parts of about one size that make a merge worth while: each row is then rewritten about log8(part/segment) times."""
_MOST = 32
QUIET_SECONDS = 300.0
"""An hour that has received nothing for so long is over, whatever its parts' sizes."""


def next_merge(
    parts: Sequence[Part], held: Collection[int], settings: Settings, now_s: float, *, eager: bool = False
) -> list[Part]:  # fmt: skip
    """The parts to merge next, or none. `held` are numbers of parts that must stay as they are; `eager` takes every
    hour for over."""
    for group in _hours(parts):
        small = [part for part in group if part.number not in held and _is_small(part, settings)]
        if len(small) < 2:
            continue
        over = eager or now_s - max(part.received_s for part in small) > QUIET_SECONDS
        if over and len(chosen := _fitting(small, settings)) > 1:
            return chosen
        for _, tier in groupby(sorted(small, key=_tier), key=_tier):
            listed = list(tier)
            if len(listed) >= FAN_IN and len(chosen := _fitting(listed, settings)) > 1:
                return chosen
    return []


def _hours(parts: Sequence[Part]) -> Iterator[list[Part]]:
    def place(part: Part) -> tuple[str, str]:
        return part.signal, part.hour

    for _, group in groupby(sorted(parts, key=place), key=place):
        yield list(group)


def _is_small(part: Part, settings: Settings) -> bool:
    return part.rows * 2 <= settings.part_rows and part.bytes * 2 <= settings.part_bytes


def _tier(part: Part) -> int:
    return int(math.log(max(part.rows, 1), FAN_IN))


def _fitting(parts: Sequence[Part], settings: Settings) -> list[Part]:
    """The first parts in time that fit into one."""
    chosen: list[Part] = []
    rows = size = 0
    for part in sorted(parts, key=lambda part: (part.start_ns, part.number)):
        rows, size = rows + part.rows, size + part.bytes
        if chosen and (rows > settings.part_rows or size > settings.part_bytes or len(chosen) >= _MOST):
            break
        chosen.append(part)
    return chosen
