"""When each instance was heard of, over spans, logs and metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.evidence._memo import once
from aetia.signals.frames import I32, I64, Bool
from aetia.signals.view import View

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
    base, incident = np.zeros(n, np.int64), np.zeros(n, np.int64)
    first, last = np.full(n, NEVER), np.full(n, -1, np.int64)

    def add(instance: I32, time_ns: I64, masks: tuple[Bool, Bool]) -> None:
        known = instance >= 0
        if not known.any():
            return
        for target, mask in ((base, masks[0]), (incident, masks[1])):
            target += np.bincount(instance[known & mask], minlength=n)
        order = np.flatnonzero(known)  # rows are in time order: the first assignment from the back wins
        first[instance[order[::-1]]] = np.minimum(first[instance[order[::-1]]], time_ns[order[::-1]])
        last[instance[order]] = np.maximum(last[instance[order]], time_ns[order])

    add(view.spans.instance, view.spans.start_ns, view.span_masks)
    add(view.logs.instance, view.logs.time_ns, view.log_masks)
    _add_metrics(view, base, incident, first, last)
    return Presence(base=base, incident=incident, first_ns=first, last_ns=last)


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
