"""What a request did: operation paths, sets of child operations, and where its errors began.

For faults that change what a request does, not how long it takes. Codes are in order of first appearance.
"""

from __future__ import annotations

import numpy as np

from aetia.signals.frames import I32, I64, KIND_CLIENT, KIND_PRODUCER, Bool, Names, SpanFrame
from aetia.signals.ids import mix
from aetia.signals.links import dense_codes
from aetia.signals.spans import remote_below
from aetia.signals.trees import climb

PATH_LENGTH = 3


def examples(codes: I32) -> I64:
    """For dense codes (n,): the first row that shows each code, shape (k,)."""
    first = np.zeros(int(codes.max()) + 1 if len(codes) else 0, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first


def path_signatures(spans: SpanFrame) -> I32:
    """Code (n,) of each span's operation path inside its service: the span and up to two spans above it, as far
    as they belong to the same service (the service's own call context of the span)."""
    state = mix(spans.operation.astype(np.int64).view(np.uint64))
    next_up = _above_in_service(spans)
    at = next_up
    for step in range(PATH_LENGTH - 1):
        if step:
            at = np.where(at >= 0, next_up[at], np.int32(-1))
        above = np.where(at >= 0, spans.operation[at], -2).astype(np.int64).view(np.uint64)
        state = np.where(at >= 0, mix(state ^ above), state)
    return dense_codes(state)


def path_rows(spans: SpanFrame, row: int) -> tuple[int, ...]:
    """The rows behind one span's path signature, top first."""
    rows = [row]
    while len(rows) < PATH_LENGTH:
        above = int(spans.parent[rows[-1]])
        if above < 0 or spans.service[above] != spans.service[row]:
            break
        rows.append(above)
    return tuple(reversed(rows))


def path_label(spans: SpanFrame, names: Names, row: int) -> str:
    """One span's path as text, top first: `POST /pay → charge → INSERT`."""
    codes = [int(spans.operation[r]) for r in path_rows(spans, row)]
    return " → ".join(names.operations[code][1] if code >= 0 else "?" for code in codes)


def _above_in_service(spans: SpanFrame) -> I32:
    """Parent of each span where it is of the same service, -1 otherwise."""
    same = (spans.parent >= 0) & (spans.service[spans.parent] == spans.service)
    return np.where(same, spans.parent, np.int32(-1))


def child_signatures(spans: SpanFrame) -> I32:
    """Code (n,) of the set of operations among each span's children, whatever their order and number.

    Spans without children share one code. Combine with `spans.operation` for a signature per operation.
    """
    child = np.flatnonzero(spans.parent >= 0)
    state = np.zeros(len(spans), np.uint64)
    if len(child):
        pairs = (spans.parent[child].astype(np.int64) << 32) | (spans.operation[child] + 1)
        pairs.sort()
        pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]
        owner = pairs >> 32
        first = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
        state[owner[first]] = np.add.reduceat(mix((pairs & 0xFFFFFFFF).view(np.uint64)), first)
    return dense_codes(state)


def child_operations(spans: SpanFrame, row: int) -> tuple[int, ...]:
    """Sorted distinct operation codes of one span's children: what its child signature stands for."""
    return tuple(np.unique(spans.operation[spans.parent == row]).tolist())


def deepest_error(spans: SpanFrame) -> Bool:
    """Mask (n,) of error spans below which no span has an error: where an error began, as far as spans tell."""
    failed = np.flatnonzero(spans.error)
    return spans.error & ~climb(spans.parent, spans.parent[failed])


def unanswered_error(spans: SpanFrame) -> Bool:
    """Mask (n,) of error spans at the calling end (client, producer) with no span of another service below:
    the callee failed before it could record anything, or the link to it did."""
    calling = (spans.kind == KIND_CLIENT) | (spans.kind == KIND_PRODUCER)
    return spans.error & calling & ~remote_below(spans.parent, spans.service)
