"""Reading a window from its end, so that a page of the newest rows need not read all of it, and leaving out what
cannot hold the attributes that are asked for (`store.value_index`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aetia.model.stored import Signal
from aetia.model.window import Window
from aetia.store._duck_filters import Conditions
from aetia.store._duck_question import Part, Question
from aetia.store.value_index import Hashes, Index, index_of, sought

HOT_AT_ONCE = 20_000
"""So many hot rows are decoded at once where attributes are needed (about 60,000 rows a second)."""
STEP_ROWS = 32_768
"""So many rows of parts are read in the first step, twice as many in each further one."""
_MOST_PIECES = 128
"""Each costs half a millisecond of planning."""
_MOST_RUNS = 16
_NOTHING = -(2**63)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a part: all of them, or those within `[start_ns, end_ns)`, which are whole row groups."""

    part: Part
    start_ns: int
    end_ns: int
    rows: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Some of the rows of a window. What later steps bring began before `horizon_ns`."""

    question: Question
    signal: Signal
    window: Window
    where: str
    horizon_ns: int
    pieces: Sequence[Piece] = ()
    hot: str = ""
    read: float = 0.0
    """Rows that have to be looked at."""

    @property
    def last(self) -> bool:
        return self.horizon_ns == _NOTHING

    def rows(self, columns: str, where: str = "") -> str:
        """A relation of the rows of this step that meet the filters and another condition."""
        every = " AND ".join(f"({part})" for part in (self.where, where) if part)
        ask, window = self.question, self.window
        whole = [piece.part for piece in self.pieces if piece.whole]
        relations = [
            ask.rows(self.signal, columns, window, every, hot=bool(self.hot), parts=whole, within=self.hot)
        ] if whole or self.hot else []  # fmt: skip
        for piece in self.pieces:
            if not piece.whole:
                reach = Window(max(piece.start_ns, window.start_ns), min(piece.end_ns, window.end_ns))
                relations.append(ask.rows(self.signal, columns, reach, every, hot=False, parts=[piece.part]))
        return "(" + " UNION ALL ".join(f"FROM {relation}" for relation in relations) + ")"


def newest_first(
    question: Question, signal: Signal, window: Window, wanted: Conditions, *, at_once: bool = False
) -> Iterator[Step]:
    """Steps through the rows of a window, hot ones first, then parts, the newest first. `at_once`: in one step."""
    pieces = sorted(_pieces(question, signal, window, wanted, at_once), key=lambda piece: piece.end_ns)
    ends = max((piece.end_ns for piece in pieces), default=_NOTHING)
    if question.snapshot.hot[signal].num_rows:
        if not wanted.full:
            horizon = ends
            rows = question.snapshot.hot[signal].num_rows
            yield Step(question, signal, window, wanted.all, horizon, hot=question.hot(signal), read=rows)
        else:
            yield from _hot_steps(question, signal, window, wanted, ends, at_once)
    most = STEP_ROWS
    while pieces:
        chosen = [pieces.pop()]
        rows = chosen[0].rows
        while pieces and (at_once or (rows < most and len(chosen) < _MOST_PIECES)):
            chosen.append(pieces.pop())
            rows += chosen[-1].rows
        horizon = max((piece.end_ns for piece in pieces), default=_NOTHING)
        yield Step(question, signal, window, wanted.all, horizon, list(_joined(chosen)), read=rows)
        most *= 2


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Pieces that together are all of a part become one, since each is planned by itself."""
    by_part: dict[Path, list[Piece]] = {}
    for piece in pieces:
        by_part.setdefault(piece.part.path, []).append(piece)
    for held in by_part.values():
        part = held[0].part
        if len(held) > 1 and round(sum(piece.rows for piece in held)) == part.rows:
            yield Piece(part, part.start_ns, part.end_ns, part.rows, whole=True)
        else:
            yield from held


def _pieces(question: Question, signal: Signal, window: Window, wanted: Conditions, at_once: bool) -> Iterator[Piece]:
    """What may hold rows that are wanted."""
    hashes = sought(wanted.attributes)
    parts = question.parts(signal, window)
    for part in parts:
        index = index_of(part.path) if hashes.size or part.rows > STEP_ROWS else None
        groups = None if index is None else _groups(index, hashes, window)
        if index is None or groups is None:
            yield Piece(part, part.start_ns, part.end_ns, part.rows, whole=True)
        elif groups.size:
            yield from _cut(part, index, groups, max(min(_MOST_PIECES // len(parts), _MOST_RUNS), 1), at_once)


def _groups(index: Index, hashes: Hashes, window: Window) -> NDArray[np.int64] | None:
    """The numbers of row groups that may hold what is wanted; None where the file does not say."""
    try:
        held = index.may_hold(hashes)
    except (OSError, ValueError, IndexError):
        return None
    return np.flatnonzero(held & (index.last_ns >= window.start_ns) & (index.first_ns < window.end_ns))


def _cut(part: Part, index: Index, groups: NDArray[np.int64], most: int, at_once: bool) -> Iterator[Piece]:
    """Row groups as pieces: at most so many, for gaps in between, and more of them to be read step by step."""
    rows = part.rows / len(index.first_ns)
    gaps = np.diff(groups)
    wide = np.sort(np.argsort(-gaps, kind="stable")[: most - 1])
    cuts = [int(place) + 1 for place in wide if gaps[place] > 1]
    runs: list[tuple[int, int]] = []
    for start, end in itertools.pairwise([0, *cuts, len(groups)]):
        size = max(end - start if at_once else int(STEP_ROWS // rows), 1)
        runs += [(int(groups[n]), int(groups[min(n + size, end) - 1])) for n in range(start, end, size)]
    if runs == [(0, len(index.first_ns) - 1)]:
        yield Piece(part, part.start_ns, part.end_ns, part.rows, whole=True)
        return
    # Rows of one time may lie on both sides of a cut: they belong to the later piece.
    nexts = [int(index.first_ns[first]) for first, _ in runs[1:]] + [part.end_ns]
    for (first, last), following in zip(runs, nexts, strict=True):
        end_ns = min(int(index.last_ns[last]) + 1, following)
        yield Piece(part, int(index.first_ns[first]), end_ns, rows * (last - first + 1), whole=False)


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
        yield Step(question, signal, window, wanted.full, max(rest, ends), hot=table, read=size)
