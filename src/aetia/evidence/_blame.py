"""Who is to blame when edges between services are abnormal: the endpoint that owns all of them."""

from __future__ import annotations

import numpy as np

from aetia.signals.frames import F64, I32


def edge_blame(caller: I32, callee: I32, score: F64, mass: F64, n_services: int) -> F64:
    """Blame per service, shape (n_services,), in 0..1 (higher = more suspicious).

    A neighbour of the culprit owns one abnormal edge among many sound ones; the culprit owns them all. For
    each service: P = mean score of the edges that touch it, C = its edges' share of the total mass,
    I = mean score of its incoming edges (P when it has none), blame = sqrt(I * F) with F = 2PC/(P+C).
    """
    edges = len(score)
    if edges == 0:
        return np.zeros(n_services)
    total = float(mass.sum())
    ends = np.concatenate([caller, callee])
    touching = np.bincount(ends, minlength=n_services)
    score_sum = np.bincount(ends, np.concatenate([score, score]), n_services)
    mass_sum = np.bincount(ends, np.concatenate([mass, mass]), n_services)
    incoming = np.bincount(callee, minlength=n_services)
    incoming_sum = np.bincount(callee, score, n_services)
    precision = np.divide(score_sum, touching, out=np.zeros(n_services), where=touching > 0)
    coverage = mass_sum / total if total > 0 else np.zeros(n_services)
    inward = np.divide(incoming_sum, incoming, out=precision.copy(), where=incoming > 0)
    both = precision + coverage
    f_score = np.divide(2 * precision * coverage, both, out=np.zeros(n_services), where=both > 0)
    return np.sqrt(inward * f_score)
