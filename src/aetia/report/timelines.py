"""Charts that come straight from the view: the SLIs that broke, and errors and latency of the root cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aetia.model.diagnosis import Diagnosis
from aetia.model.window import Window
from aetia.report import wording
from aetia.report.wording import Chart
from aetia.signals.frames import KIND_CLIENT, KIND_PRODUCER, Bool, SpanFrame
from aetia.signals.view import View

BINS = 48
MIN_PER_BIN = 3
"""Spans below which a bin's share or quantile is left out of the line."""
Measure = Literal["latency", "success", "throughput", "errors"]
_UNITS: dict[Measure, str] = {"latency": "ms", "success": "share", "throughput": "req/s", "errors": "share"}
_NAMES: dict[Measure, str] = {
    "latency": "latency (p95)", "success": "success", "throughput": "requests", "errors": "share of calls that fail",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A titled chart."""

    title: str
    chart: Chart


def timelines(diagnosis: Diagnosis, view: View, limit: int = 4) -> tuple[Timeline, ...]:
    """The broken SLIs (worst first), then errors and latency of the first root cause; from spans alone."""
    if diagnosis.incident is None or len(view.spans) == 0:
        return ()
    spread = Window(diagnosis.incident.baseline.start_ns, diagnosis.incident.window.end_ns)
    found = list(_of_breaches(diagnosis, view, spread))[: limit // 2]
    return tuple((found + list(_of_root(diagnosis, view, spread)))[:limit])


def _of_breaches(diagnosis: Diagnosis, view: View, spread: Window) -> Iterator[Timeline]:
    assert diagnosis.incident is not None
    for breach in sorted(diagnosis.incident.breaches, key=lambda item: (-item.affected, item.entry.name)):
        mask = view.spans.entry & _of_service(view, breach.entry.service)
        if breach.entry.operation is not None:
            mask &= _of_operation(view, breach.entry.service, breach.entry.operation)
        yield from _timeline(breach.entry.name, view.spans, mask, breach.sli, spread)


def _of_root(diagnosis: Diagnosis, view: View, spread: Window) -> Iterator[Timeline]:
    for root in wording.roots(diagnosis)[:1]:
        served = ~np.isin(view.spans.kind, (KIND_CLIENT, KIND_PRODUCER))
        mask = served & _of_service(view, root.entity.service)
        measures: tuple[Measure, ...] = ("errors", "latency")
        for measure in measures:
            yield from _timeline(root.entity.service or root.entity.name, view.spans, mask, measure, spread)


def _of_service(view: View, name: str | None) -> Bool:
    code = view.names.service_code(name) if name else -1
    return (view.spans.service == code) & (code >= 0)


def _of_operation(view: View, service: str | None, operation: str) -> Bool:
    code = view.names.service_code(service or "")
    wanted = [i for i, (owner, name) in enumerate(view.names.operations) if owner == code and name == operation]
    return np.isin(view.spans.operation, wanted)


def _timeline(name: str, spans: SpanFrame, mask: Bool, measure: Measure, spread: Window) -> Iterator[Timeline]:
    """At most one timeline; none when the spans are too few to draw a line."""
    rows = np.flatnonzero(mask & spread.mask(spans.start_ns))
    step = max((spread.end_ns - spread.start_ns) // BINS, 1)
    place = np.minimum((spans.start_ns[rows] - spread.start_ns) // step, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    if measure == "throughput":
        values = count / (step / 1e9)
    elif measure == "latency":
        values = _quantiles(place, spans.duration_ns[rows] / 1e6, count)
    else:
        failed = np.bincount(place, weights=spans.error[rows], minlength=BINS) / np.maximum(count, 1)
        values = failed if measure == "errors" else 1.0 - failed
    enough = count >= (0 if measure == "throughput" else MIN_PER_BIN)
    drawn = tuple(float(value) if good else None for value, good in zip(values.tolist(), enough.tolist(), strict=True))
    if sum(value is not None for value in drawn) >= 6:
        chart = Chart(spread.start_ns, step, _UNITS[measure], drawn)
        yield Timeline(title=f"{wording.plain(name, 80)}: {_NAMES[measure]}", chart=chart)


def _quantiles(place: np.ndarray, values: np.ndarray, count: np.ndarray, q: float = 0.95) -> np.ndarray:
    """The q-quantile of the values of each bin, shape (BINS,); 0 for an empty bin."""
    order = np.lexsort((values, place))
    first = np.concatenate(([0], np.cumsum(count)[:-1]))
    at = first + np.floor(q * np.maximum(count - 1, 0)).astype(np.int64)
    held = np.append(values[order], 0.0)
    return np.where(count > 0, held[np.minimum(at, len(values))], 0.0)
