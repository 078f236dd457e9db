"""Critical path: which spans a request really waited for, and for how long.

The rule is that of CRISP (Zhang et al., USENIX ATC 2022): from the end of a span backwards, the child
that finished last was waited for; before it began, the child that had finished last by then; and so on. Children
that overlap a chosen one ran in its shadow. Children are first clipped to all their ancestors.

The choice among siblings does not depend on what lies above, so all families of all traces are solved at once:
the previous child is a binary search on one time line, the chain of chosen children a pointer doubling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.signals.frames import I32, I64, Bool, SpanFrame
from aetia.signals.trees import child_index, climb, roots_and_depths


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPath:
    """s segments in order of time, disjoint and inside the root: row `row[i]` was waited for in
    `[start_ns[i], end_ns[i])`. A span that waits for a child in the middle has several segments."""

    row: I32
    start_ns: I64
    end_ns: I64

    def __len__(self) -> int:
        return len(self.row)

    def time_by_row(self) -> dict[int, int]:
        """Nanoseconds on the path per row."""
        rows, inverse = np.unique(self.row, return_inverse=True)
        total = np.zeros(len(rows), np.int64)
        np.add.at(total, inverse, self.end_ns - self.start_ns)
        return dict(zip(rows.tolist(), total.tolist(), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    """A solved forest. `child` holds rows by (parent, end); `chosen` and `owner` run along it."""

    begin: I64
    end: I64
    on_path: Bool
    child: I64
    first: I64
    owner: I32
    chosen: Bool


def critical_path(spans: SpanFrame, root_row: int) -> CriticalPath:
    """The critical path of the tree below a row, the row included. O(n log n) in the spans of the trace."""
    rows = np.flatnonzero(spans.root == spans.root[root_row])
    parent = _local_parents(spans.parent, rows, len(spans))
    top = int(np.searchsorted(rows, root_row))
    if parent[top] >= 0:
        parent[top] = -1
        root, _ = roots_and_depths(parent)
        inside = np.flatnonzero(root == top)
        rows, parent = rows[inside], _local_parents(parent, inside, len(parent))
    solved = _solve(parent, spans.start_ns[rows], spans.duration_ns[rows])
    local, begin, end = _segments(solved, parent)
    return CriticalPath(row=rows[local].astype(np.int32), start_ns=begin, end_ns=end)


def critical_time(spans: SpanFrame, mask: Bool | None = None) -> I64:
    """Nanoseconds (n,) that each span spends on the critical path of its trace; 0 off the path.

    With a mask only the masked spans are solved (a span whose parent is not masked is a top); others are 0.
    Per trace the times sum to the duration of the top.
    """
    total = np.zeros(len(spans), np.int64)
    rows = np.arange(len(spans)) if mask is None else np.flatnonzero(mask)
    if len(rows) == 0:
        return total
    parent = spans.parent if mask is None else _local_parents(spans.parent, rows, len(spans))
    solved = _solve(parent, spans.start_ns[rows], spans.duration_ns[rows])
    own = solved.end - solved.begin
    if len(solved.child):
        waited = np.where(solved.chosen, own[solved.child], 0)
        own[solved.owner] -= np.add.reduceat(waited, solved.first)
    total[rows] = np.where(solved.on_path, own, 0)
    return total


def _local_parents(parent: I32, rows: I64, n: int) -> I32:
    """Parents of some rows as positions in `rows`; -1 where the parent is not among them."""
    place = np.full(n + 1, -1, np.int32)  # the last place serves parent -1
    place[rows] = np.arange(len(rows), dtype=np.int32)
    return place[parent[rows]]


def _clip(parent: I32, start: I64, duration: I64) -> tuple[I64, I64]:
    """Begin and end of each span clamped into its parent, that into its own parent, and so on.

    Clamping into an interval composes associatively, so pointer doubling applies.
    """
    begin, end = start.copy(), start + duration
    jump = parent.copy()
    rows = np.flatnonzero(jump >= 0)
    while len(rows):
        above = jump[rows]
        low, high = begin[above], end[above]
        begin[rows] = np.clip(begin[rows], low, high)
        end[rows] = np.clip(end[rows], low, high)
        jump[rows] = jump[above]
        rows = rows[jump[rows] >= 0]
    return begin, end


def _solve(parent: I32, start: I64, duration: I64) -> _Solved:
    """Choose the children that were waited for, in all families at once."""
    begin, end = _clip(parent, start, duration)
    child, first, owner = child_index(parent)
    if len(child) == 0:
        every = np.ones(len(parent), np.bool_)
        none = np.zeros(0, np.bool_)
        return _Solved(begin=begin, end=end, on_path=every, child=child, first=first, owner=owner, chosen=none)
    sizes = np.diff(first, append=len(child))
    shift = np.zeros(len(owner), np.int64)
    np.cumsum((end - begin)[owner][:-1] + 1, out=shift[1:])
    offset = np.repeat(shift - begin[owner], sizes)
    # Reversed before the stable sort: of two children with the same end the longer one comes last and is chosen.
    finish = (end[child] + offset)[::-1]
    order = np.argsort(finish, kind="stable")
    finish = finish[order]
    child = child[::-1][order]
    previous = np.searchsorted(finish, begin[child] + offset, side="right") - 1
    np.minimum(previous, np.arange(len(child)) - 1, out=previous)
    previous[previous < np.repeat(first, sizes)] = -1
    chosen = climb(previous.astype(np.int32), (first + sizes - 1).astype(np.int32))
    reached = parent < 0
    reached[child[chosen]] = True
    return _Solved(
        begin=begin,
        end=end,
        on_path=_unbroken(parent, reached),
        child=child,
        first=first,
        owner=owner,
        chosen=chosen,
    )


def _unbroken(parent: I32, reached: Bool) -> Bool:
    """Rows that are reached and whose ancestors all are."""
    whole = reached.copy()
    jump = parent.copy()
    rows = np.flatnonzero((jump >= 0) & whole)
    while len(rows):
        above = jump[rows]
        whole[rows] = whole[above]
        jump[rows] = jump[above]
        rows = rows[(jump[rows] >= 0) & whole[rows]]
    return whole


def _segments(solved: _Solved, parent: I32) -> tuple[I64, I64, I64]:
    """(row, begin, end) of what remains of each span on the path between the children it waited for."""
    waited = solved.child[solved.chosen & solved.on_path[solved.child]]
    above = parent[waited]
    later = np.empty(len(waited), np.int64)
    later[-1:] = solved.end[above[-1:]]
    follows = above[1:] == above[:-1]
    later[:-1] = np.where(follows, solved.begin[waited[1:]], solved.end[above[:-1]])
    head = np.ones(len(waited), np.bool_)
    head[1:] = ~follows
    path = np.flatnonzero(solved.on_path)
    until = solved.end.copy()
    until[above[head]] = solved.begin[waited[head]]
    row = np.concatenate((path, above.astype(np.int64)))
    begin = np.concatenate((solved.begin[path], solved.end[waited]))
    end = np.concatenate((until[path], later))
    kept = np.flatnonzero(end > begin)
    kept = kept[np.argsort(begin[kept], kind="stable")]
    return row[kept], begin[kept], end[kept]
