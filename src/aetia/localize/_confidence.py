"""How sure the answer is: a calibrated probability per hypothesis."""

from __future__ import annotations

import numpy as np

from aetia.localize._board import Board, contributions
from aetia.localize._graph import CallGraph
from aetia.signals.frames import F64, I64

BIAS, PER_SCORE, PER_MARGIN, PER_CHANNEL = -2.0, 2.5, 2.5, 0.3


def probabilities(board: Board, score: F64, order: I64, graph: CallGraph) -> F64:
    """Probability that each ranked candidate is a root, shape (ranked,); the first's is calibrated, the others share
    what is left in proportion to their scores."""
    first = float(score[order[0]])
    second = float(score[order[1]]) if len(order) > 1 else 0.0
    channels = sum(weight >= 0.1 for weight, _ in contributions(board, int(order[0])))
    logit = BIAS + PER_SCORE * first + PER_MARGIN * (first - second) / max(first, 1e-9) + PER_CHANNEL * min(channels, 4)
    sure = 1.0 / (1.0 + float(np.exp(-logit)))
    rest = score[order].copy()
    rest[0] = 0.0
    total = float(rest.sum())
    out = (1.0 - sure) * np.divide(rest, total, out=np.zeros(len(rest)), where=total > 0)
    out = np.minimum(out, sure)
    out[0] = sure
    return out
