"""Would users notice? Extra time measured against what an entry request takes at all."""

from __future__ import annotations

import numpy as np

from aetia.evidence._memo import once
from aetia.evidence._samples import NS_PER_MS
from aetia.signals.frames import F64
from aetia.signals.view import View

SHARE = 0.1
FLOOR_MS = 2.0


def material(view: View, extra_ms: F64) -> F64:
    """How much extra time per call matters, 0..1: one half at a tenth of the usual duration of an entry request."""
    scale = once(view, "entry duration", _entry_ms) * SHARE + FLOOR_MS
    extra = np.maximum(extra_ms, 0.0)
    return extra / (extra + scale)


def _entry_ms(view: View) -> float:
    spans = view.spans
    chosen = spans.entry & view.span_masks[0]
    return float(np.median(spans.duration_ns[chosen])) / NS_PER_MS if chosen.any() else 0.0
