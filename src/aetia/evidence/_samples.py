"""Did the samples of each group rise between baseline and incident? Rank tests for all groups by one sort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.signals.frames import F64, I64, Bool
from aetia.signals.keys import sorted_in_groups
from aetia.signals.stats import auc_of_sorted

NS_PER_MS = 1e6
LOG_FLOOR_MS = 0.2
FULL_RISE = float(np.log(4.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShift:
    """Per group, each of shape (g,): sample counts, medians and 90 % quantiles in ms, AUC of incident over baseline
    samples (0.5: no change), one-sided p value of a rise, and `bounded` in 0..1: how much and how surely it rose."""

    base_count: I64
    incident_count: I64
    base_median: F64
    incident_median: F64
    base_p90: F64
    incident_p90: F64
    auc: F64
    p: F64
    bounded: F64


def group_shift(values_ns: I64, group: I64, incident: Bool, n_groups: int) -> GroupShift:
    """Mann-Whitney U with average ranks for ties, per group; groups without samples on a side have bounded 0.

    Rows that come in order of group and value are not sorted again.
    """
    g, ordered, inc = group, values_ns, incident
    if np.any((group[1:] < group[:-1]) | ((group[1:] == group[:-1]) & (values_ns[1:] < values_ns[:-1]))):
        order = sorted_in_groups(values_ns, group)
        g, ordered, inc = group[order], values_ns[order], incident[order]
    ordered = ordered / NS_PER_MS
    # Rows by number: a mask of many short runs takes four times as long to gather by.
    before, during = np.flatnonzero(~inc), np.flatnonzero(inc)
    test = auc_of_sorted(ordered, g, inc, n_groups)
    auc, p = np.nan_to_num(test.auc, nan=0.5), np.nan_to_num(test.p_greater, nan=1.0)
    base_median, base_p90 = _quantiles(ordered[before], g[before], n_groups)
    incident_median, incident_p90 = _quantiles(ordered[during], g[during], n_groups)
    rise = np.maximum(
        np.log((incident_median + LOG_FLOOR_MS) / (base_median + LOG_FLOOR_MS)),
        np.log((incident_p90 + LOG_FLOOR_MS) / (base_p90 + LOG_FLOOR_MS)) / 2,
    )
    bounded = np.clip(2 * auc - 1, 0, 1) * np.clip(rise / FULL_RISE, 0, 1) * (1 - p)
    return GroupShift(
        base_count=test.n_baseline,
        incident_count=test.n_incident,
        base_median=base_median,
        incident_median=incident_median,
        base_p90=base_p90,
        incident_p90=incident_p90,
        auc=auc,
        p=p,
        bounded=np.where(test.n_incident * test.n_baseline > 0, bounded, 0.0),
    )


def _quantiles(ordered: F64, group: I64, n_groups: int) -> tuple[F64, F64]:
    """(median, 90 % quantile) per group of values sorted within groups; 0 for empty groups."""
    bounds = np.searchsorted(group, np.arange(n_groups + 1))
    left, count = bounds[:-1], np.diff(bounds)
    if len(ordered) == 0:
        return np.zeros(n_groups), np.zeros(n_groups)
    top = len(ordered) - 1

    def at(share: float) -> F64:
        return np.where(
            count > 0, ordered[np.minimum(left + (share * np.maximum(count - 1, 0)).astype(np.int64), top)], 0.0
        )

    low, high = at(0.5), ordered[np.minimum(left + count // 2, top)]
    median = np.where(count > 0, 0.5 * (low + high), 0.0)
    return median, at(0.9)
