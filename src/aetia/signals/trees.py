"""Forests given as parent rows: roots, depths, cycles, children and ancestors by pointer doubling.

Pointer doubling (Wyllie 1979) answers for a chain of n spans in log2(n) gathers, whatever the depth.
"""

from __future__ import annotations

import numpy as np

from aetia.signals.frames import I32, I64, Bool
from aetia.signals.ids import U64
from aetia.signals.keys import run_starts, stable_order

_STEPS = 48
"""Levels that are climbed one by one, which is cheap for traces of usual depth, before pointer doubling takes over."""


def cut_cycles(parent: I32, start: I64, key: U64) -> tuple[I32, int]:
    """Parents with every cycle cut at its earliest span (then smallest key), and the number of cuts."""
    n = len(parent)
    rows = np.arange(n, dtype=np.int32)
    if np.all(parent < rows):  # every parent starts first: nothing can go round
        return parent, 0
    jump = np.where(parent < 0, rows, parent)
    for _ in range(n.bit_length()):
        onward = jump[jump]
        if np.array_equal(onward, jump):  # all at tops, or going round cycles whose length is a power of two
            break
        jump = onward
    inside = np.unique(jump[parent[jump] >= 0])
    if len(inside) == 0:
        return parent, 0
    rank = np.empty(len(inside), np.int64)
    rank[np.lexsort((key[inside], start[inside]))] = np.arange(len(inside))
    step = np.searchsorted(inside, parent[inside])
    least = rank.copy()
    for _ in range(len(inside).bit_length()):
        least = np.minimum(least, least[step])
        step = step[step]
    cut = inside[least == rank]
    parent = parent.copy()
    parent[cut] = -1
    return parent, len(cut)


def roots_and_depths(parent: I32) -> tuple[I32, I32]:
    """Root row and depth (0 for tops) of each row of a forest without cycles."""
    rows = np.arange(len(parent), dtype=np.int32)
    jump = np.where(parent < 0, rows, parent)
    depth = (parent >= 0).astype(np.int32)
    while True:
        onward = jump[jump]
        if np.array_equal(onward, jump):
            return jump, depth
        depth = depth + depth[jump]
        jump = onward


def climb(parent: I32, seeds: I32) -> Bool:
    """Mask of the seeds and all their ancestors."""
    marked = np.zeros(len(parent), np.bool_)
    seeds = seeds[seeds >= 0]
    marked[seeds] = True
    for _ in range(_STEPS):
        seeds = parent[seeds]
        seeds = seeds[seeds >= 0]
        seeds = seeds[~marked[seeds]]
        if len(seeds) == 0:
            return marked
        marked[seeds] = True
    jump = parent
    while len(seeds):
        reached = jump[np.flatnonzero(marked)]
        reached = reached[reached >= 0]
        if len(reached) == 0:
            break
        marked[reached] = True
        jump = np.where(jump >= 0, jump[jump], -1)
    return marked


def child_index(parent: I32) -> tuple[I64, I64, I32]:
    """(children sorted by parent then row, start of each parent's run (p,), the parents (p,))."""
    child = np.flatnonzero(parent >= 0)
    if len(child) == 0:
        return child, np.zeros(0, np.int64), np.zeros(0, np.int32)
    child = child[stable_order(parent[child])]
    owner = parent[child]
    first = np.flatnonzero(run_starts(owner))
    return child, first, owner[first]


def union_of_children(children: tuple[I64, I64, I32], parent: I32, start: I64, duration: I64) -> tuple[I64, int]:
    """Length of the union of the children's intervals clipped to their parent, per parent of `child_index`
    (p,), and the number of children that reach outside. Rows must be in order of start.

    The parents are laid end to end on one time line, so one running maximum serves all of them.
    """
    child, first, owner = children
    above = parent[child]
    span_ns = duration[above]
    begin = start[child] - start[above]
    end = begin + duration[child]
    clipped = int(np.count_nonzero((begin < 0) | (end > span_ns)))
    np.clip(begin, 0, span_ns, out=begin)
    np.clip(end, 0, span_ns, out=end)
    shift = np.zeros(len(owner), np.int64)
    np.cumsum(duration[owner][:-1], out=shift[1:])
    sizes = np.diff(first, append=len(child))
    moved = np.repeat(shift, sizes)
    begin += moved
    end += moved
    furthest = np.maximum.accumulate(end)
    begin[1:] = np.maximum(begin[1:], furthest[:-1])
    np.subtract(end, begin, out=end)
    np.maximum(end, 0, out=end)
    return np.add.reduceat(end, first), clipped
