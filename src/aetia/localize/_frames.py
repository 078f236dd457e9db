"""Numbers that several rankers share: series per service, exposure of the windows, per-trace totals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aetia.signals.frames import F64, I32, I64, Bool
from aetia.signals.red import service_entry_mask
from aetia.signals.view import View

BIN_NS = 10_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSeries:
    """s series of services: `values` (s, b) with NaN where unknown, `service` (s,), `kind` (s,), and the
    bins of the baseline and of the incident (b,)."""

    values: F64
    service: I32
    kind: tuple[str, ...]
    baseline: Bool
    incident: Bool

    def __len__(self) -> int:
        return len(self.kind)


def by_name(view: View, score: F64) -> dict[str, float]:
    """Score per service name from a score per service code, zeros and unknowns left out."""
    return {
        name: float(value)
        for name, value in zip(view.names.services, score, strict=True)
        if np.isfinite(value) and value > 0
    }


def services(view: View) -> int:
    return len(view.names.services)


def service_series(view: View) -> ServiceSeries:
    """Metric series of services; those of requests, errors and latency from spans when there are no
    metrics."""
    metric = _metric_series(view)
    return metric if len(metric) else span_series(view)


def _metric_series(view: View) -> ServiceSeries:
    """Series of metrics with an owner: its service, else that of its instance, else the callee of its
    edge."""
    frame, instance_service = view.metrics, view.topology.instance_service
    owner = np.array(
        [
            s.service
            if s.service >= 0
            else int(instance_service[s.instance])
            if 0 <= s.instance < len(instance_service)
            else s.callee
            for s in frame.series
        ],
        np.int32,
    )
    keep = np.flatnonzero(owner >= 0)
    base, now = view.bin_masks
    return ServiceSeries(
        values=frame.values[keep],
        service=owner[keep],
        kind=tuple(frame.series[k].what for k in keep.tolist()),
        baseline=base,
        incident=now,
    )


def span_series(view: View) -> ServiceSeries:
    """Requests per bin, failed share and mean latency in ms of each service in bins of 10 s.

    Bins in which nothing was recorded are left out, so that separate minutes hours apart stay comparable.
    """
    spans, n = view.spans, services(view)
    base_rows, now_rows = view.span_masks
    used = np.flatnonzero((base_rows | now_rows) & (spans.service >= 0) & service_entry_mask(spans))
    if len(used) == 0:
        return _empty()
    bin_ns = int(np.clip(view.incident.seconds * 1e9 / 6, 1e9, BIN_NS))
    # A bin belongs to one window only: incident bins and baseline bins are numbered apart.
    label = (spans.start_ns[spans.root[used]] // bin_ns) * 2 + now_rows[used]
    kinds, place = np.unique(label, return_inverse=True)
    bins = len(kinds)
    cell = spans.service[used].astype(np.int64) * bins + place
    count = np.bincount(cell, minlength=n * bins).reshape(n, bins).astype(np.float64)
    failed = np.bincount(cell[spans.error[used]], minlength=n * bins).reshape(n, bins)
    total = np.bincount(cell, spans.duration_ns[used] / 1e6, minlength=n * bins).reshape(n, bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, latency = failed / count, total / count
    present = np.flatnonzero(count.sum(axis=1) > 0)
    values = np.concatenate([latency[present], share[present], count[present]])
    incident = kinds % 2 == 1
    return ServiceSeries(
        values=values,
        service=np.tile(present, 3).astype(np.int32),
        kind=("latency",) * len(present) + ("errors",) * len(present) + ("traffic",) * len(present),
        baseline=~incident,
        incident=incident,
    )


def _empty() -> ServiceSeries:
    none = np.zeros(0, np.bool_)
    return ServiceSeries(values=np.zeros((0, 0)), service=np.zeros(0, np.int32), kind=(), baseline=none, incident=none)


def largest(view: View, owner: NDArray[np.integer], value: F64) -> F64:
    """Largest value of each service (services,), 0 where it has none; unknown values are ignored."""
    out = np.zeros(services(view))
    known = np.isfinite(value) & (owner >= 0)
    np.maximum.at(out, owner[known], value[known])
    return out


def observed_seconds(times_ns: I64, mask: Bool, bin_ns: int = BIN_NS) -> float:
    """Seconds of the bins in which anything of the mask was recorded; at least one bin."""
    return max(len(np.unique(times_ns[mask] // bin_ns)), 1) * bin_ns / 1e9


def traces_in(view: View) -> tuple[int, int]:
    """Number of traces (tops) in the baseline and in the incident."""
    spans = view.spans
    top = spans.parent < 0
    base, now = view.span_masks
    return int(np.sum(base & top)), int(np.sum(now & top))


def missing(view: View, tables: Iterable[str]) -> str | None:
    """Why a ranker has nothing to work on, or None: a table that is empty, or empty in one of the windows."""
    masks = {
        "spans": lambda: view.span_masks,
        "logs": lambda: view.log_masks,
        "metrics": lambda: view.bin_masks,
    }
    for table in tables:
        base, now = masks[table]()
        if len(base) == 0:
            return f"no {table} in the telemetry"
        if not now.any():
            return f"no {table} in the incident window"
        if not base.any():
            return f"no {table} in the baseline"
    return None
