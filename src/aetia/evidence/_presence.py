"""When each instance was heard of, over spans, logs and metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.evidence._memo import once, once_for_facts
from aetia.signals.frames import I32, I64, Bool
from aetia.signals.view import Facts, View

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Per instance code: rows heard in the baseline and in the incident, first and last time of any row."""

    base: I64
    incident: I64
    first_ns: I64
    last_ns: I64


def presence(view: View) -> Presence:
    """Presence of all instances, computed once."""
    return once(view, "presence", _build)


def _build(view: View) -> Presence:
    n = len(view.names.instances)
    first, last = (times.copy() for times in once_for_facts(view, "instances heard", _heard))
    base, incident = (
        _rows(view.spans.instance, span_mask, n) + _rows(view.logs.instance, log_mask, n)
        for span_mask, log_mask in zip(view.span_masks, view.log_masks, strict=True)
    )
    _add_metrics(view, base, incident, first, last)
    return Presence(base=base, incident=incident, first_ns=first, last_ns=last)


def _rows(instance: I32, mask: Bool, n: int) -> I64:
    """Rows of each instance inside a mask, shape (n,)."""
    return np.bincount(instance[np.flatnonzero(mask)] + 1, minlength=n + 1)[1:]


def _heard(facts: Facts) -> tuple[I64, I64]:
    """First and last time of any span or log line per instance."""
    n = len(facts.names.instances)
    first, last = np.full(n + 1, NEVER), np.full(n + 1, -1, np.int64)  # the last place serves rows of no instance
    for instance, time_ns in ((facts.spans.instance, facts.spans.start_ns), (facts.logs.instance, facts.logs.time_ns)):
        begin, end = np.full(n + 1, NEVER), np.full(n + 1, -1, np.int64)
        begin[instance[::-1]] = time_ns[::-1]  # rows are in time order: the last assignment stays
        end[instance] = time_ns
        first, last = np.minimum(first, begin), np.maximum(last, end)
    return first[:n], last[:n]


def _add_metrics(view: View, base: I64, incident: I64, first: I64, last: I64) -> None:
    frame = view.metrics
    owner = np.array([s.instance for s in frame.series], dtype=np.int64)
    known = np.flatnonzero(owner >= 0)
    if len(known) == 0 or len(frame.bin_start_ns) == 0:
        return
    finite = np.isfinite(frame.values[known])
    in_base, in_incident = view.bin_masks
    np.add.at(base, owner[known], finite[:, in_base].sum(axis=1))
    np.add.at(incident, owner[known], finite[:, in_incident].sum(axis=1))
    any_seen = finite.any(axis=1)
    start, end = finite.argmax(axis=1), finite.shape[1] - 1 - finite[:, ::-1].argmax(axis=1)
    rows = known[any_seen]
    np.minimum.at(first, owner[rows], frame.bin_start_ns[start[any_seen]])
    np.maximum.at(last, owner[rows], frame.bin_start_ns[end[any_seen]])
