"""How sure the answer is: a calibrated probability per hypothesis.

A logistic model over a few features of the board, fitted by `bench/fit_confidence.py` on simulated incidents (given and
detected onset, all telemetry and metrics only, fault-free windows included) and on the two Nezha systems.
"""

from __future__ import annotations

import numpy as np

from aetia.localize._board import Board, contributions
from aetia.signals.frames import F64, I64

FEATURES = ("constant", "score", "margin", "channels", "spans", "calm")
WEIGHTS = np.array([-1.03, 2.30, 2.78, 0.18, 0.09, -0.17])


def features(board: Board, score: F64, order: I64, *, spans: bool, calm: bool) -> F64:
    """Features of the first hypothesis, shape (6,): 1, its score, its lead over the second in units of score, channels
    that support it (at most 4), whether spans were recorded, and whether enough requests were to say that no SLI is
    broken."""
    first = float(score[order[0]])
    second = float(score[order[1]]) if len(order) > 1 else 0.0
    channels = sum(weight >= 0.1 for weight, _ in contributions(board, int(order[0])))
    return np.array([1.0, first, first - second, float(min(channels, 4)), float(spans), float(calm)])


def probabilities(board: Board, score: F64, order: I64, *, spans: bool, calm: bool) -> F64:
    """Probability that each ranked candidate is a root, shape (ranked,); the first's is calibrated, the others share
    what is left in proportion to their scores."""
    sure = 1.0 / (1.0 + float(np.exp(-(features(board, score, order, spans=spans, calm=calm) @ WEIGHTS))))
    rest = score[order].copy()
    rest[0] = 0.0
    total = float(rest.sum())
    out = (1.0 - sure) * np.divide(rest, total, out=np.zeros(len(rest)), where=total > 0)
    out = np.minimum(out, sure)
    out[0] = sure
    return out
