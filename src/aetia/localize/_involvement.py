"""Involvement: in how many of the requests that went wrong a candidate took part at all.

A fault can only hurt the requests that pass through it. Source: coverage as in spectrum-based fault localization, used
here to dampen candidates and never to accuse them.
"""

from __future__ import annotations

import numpy as np

from aetia.signals.frames import F64, I64, Bool
from aetia.signals.red import grouped_quantiles
from aetia.signals.stats import two_proportion_p
from aetia.signals.view import View

SLOW_QUANTILE = 0.95
SLOW_FACTOR = 1.5
MIN_BAD = 8
MAX_P = 0.001
MIN_EXCESS_SHARE = 0.6
FULL_COVERAGE = 0.25
LEFT = 0.3
"""What is left of a candidate that took part in none of the bad requests."""


def involvement(view: View) -> F64:
    """Factor LEFT..1 per service, shape (services,); 1 for all where the entry requests do not tell good from bad, and
    for services that record no spans in the incident."""
    spans, n = view.spans, len(view.names.services)
    everywhere = np.ones(n)
    if len(spans) == 0:
        return everywhere
    rows = np.flatnonzero(spans.entry & (spans.operation >= 0))
    bad = _bad_requests(view, rows)
    base, incident = (mask[rows] for mask in view.span_masks)
    hits, seen = int(bad[incident].sum()), int(incident.sum())
    before, usual = int(bad[base].sum()), int(base.sum())
    if hits < MIN_BAD or usual == 0 or float(two_proportion_p(before, usual, hits, seen)) > MAX_P:
        return everywhere
    if 1.0 - (before / usual) / (hits / seen) < MIN_EXCESS_SHARE:
        return everywhere
    wanted = np.unique(spans.trace[rows[bad & incident]]).astype(np.int64)
    coverage = _coverage(view, wanted)
    recorded = np.bincount(spans.service[view.span_masks[1] & (spans.service >= 0)], minlength=n) > 0
    return np.where(recorded, LEFT + (1.0 - LEFT) * np.minimum(1.0, coverage / FULL_COVERAGE), 1.0)


def _bad_requests(view: View, rows: I64) -> Bool:
    """Entry requests that failed or took far longer than their operation used to."""
    spans = view.spans
    base = view.span_masks[0][rows]
    operation, duration = spans.operation[rows], spans.duration_ns[rows]
    n = len(view.names.operations)
    usual = grouped_quantiles(duration, np.where(base, operation, -1), n, (SLOW_QUANTILE,))[:, 0]
    with np.errstate(invalid="ignore"):
        slow = duration > SLOW_FACTOR * usual[operation]
    return spans.error[rows] | slow


def _coverage(view: View, traces: I64) -> F64:
    """Share of some traces in which each service has a span or is called, shape (services,)."""
    spans, n = view.spans, len(view.names.services)
    rows = np.flatnonzero(np.isin(spans.trace, traces))
    width = np.int64(n)
    part = spans.trace[rows].astype(np.int64) * width
    called = spans.peer[rows] >= 0
    keys = np.concatenate([(part + spans.service[rows])[spans.service[rows] >= 0], (part + spans.peer[rows])[called]])
    return np.bincount(np.unique(keys) % width, minlength=n) / max(len(traces), 1)
