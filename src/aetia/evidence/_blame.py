"""Who is to blame when edges between services are abnormal: the endpoint that owns all of them."""

from __future__ import annotations

import numpy as np

from aetia.signals.frames import F64, I32, Bool

CALLER_DISCOUNT = 0.7


def edge_blame(caller: I32, callee: I32, score: F64, mass: F64, n_services: int) -> F64:
    """Blame per service, shape (n_services,), in 0..1 (higher = more suspicious).

    A neighbour of the culprit owns one abnormal edge among many sound ones; the culprit owns them all. For each
    service: P = the largest of the mean score of its incoming edges, of all its edges, and (at a discount: a callee
    is the likelier end of a slow or broken call) of its outgoing ones; C = its edges' share of the total mass;
    I = mean score of its incoming edges (its outgoing ones at the same discount when it has none);
    blame = sqrt(I * F) with F = 2PC/(P+C).
    """
    if len(score) == 0:
        return np.zeros(n_services)

    def mean(ends: I32) -> tuple[F64, Bool]:
        count = np.bincount(ends, minlength=n_services)
        total = np.bincount(ends, score, n_services)
        return np.divide(total, count, out=np.zeros(n_services), where=count > 0), count > 0

    inward, has_inward = mean(callee)
    outward, _ = mean(caller)
    count = np.bincount(np.concatenate([caller, callee]), minlength=n_services)
    both_sum = np.bincount(np.concatenate([caller, callee]), np.concatenate([score, score]), n_services)
    everywhere = np.divide(both_sum, count, out=np.zeros(n_services), where=count > 0)
    mass_sum = np.bincount(np.concatenate([caller, callee]), np.concatenate([mass, mass]), n_services)
    total_mass = float(mass.sum())
    coverage = np.minimum(mass_sum / total_mass, 1.0) if total_mass > 0 else np.zeros(n_services)
    precision = np.maximum(np.maximum(inward, everywhere), CALLER_DISCOUNT * outward)
    reached = np.where(has_inward, inward, CALLER_DISCOUNT * outward)
    both = precision + coverage
    f_score = np.divide(2 * precision * coverage, both, out=np.zeros(n_services), where=both > 0)
    return np.sqrt(reached * f_score)
