"""Facts of some telemetry, and the view of one incident on them: what channels and localizers read.

`Facts` holds the frames and is built once. A `View` adds the windows (baseline and incident) as masks and is
cheap, so detectors, placebo windows and perturbations share the same facts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from aetia.model.tables import Telemetry
from aetia.model.window import Window, union_mask
from aetia.parallel import side_by_side
from aetia.signals.frames import Bool, LogFrame, MetricFrame, Names, SpanFrame, Topology

if TYPE_CHECKING:
    from aetia.signals.logs import Mined

BASELINE, INCIDENT = 0, 1
WORTH_THREADS = 50_000
"""Rows below which threads gain nothing."""


class Facts:
    """The frames of some telemetry, each built on first use.

    Attributes are lazy: `names`, `spans`, `logs`, `metrics`, `topology`; once the spans are built, `counts`
    reports orphans, duplicates, cut cycles, negative durations and clipped children as {what: rows}.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.counts: dict[str, int] = {}

    @functools.cached_property
    def _known(self) -> Names:
        """What the tables name; externals and operations, which the spans add, come after these services."""
        from aetia.signals.names import build_names

        return build_names(self.telemetry)

    @functools.cached_property
    def _traces(self) -> tuple[Names, SpanFrame, Topology]:
        from aetia.signals.names import metric_edges
        from aetia.signals.spans import build_spans
        from aetia.signals.topology import build_topology

        known = self._known
        spans, names, counts = build_spans(self.telemetry, known)
        self.counts.update(counts)
        edges = metric_edges(self.telemetry.metrics)
        topology = build_topology(self.telemetry, spans, names, n_services=len(known.services), metric_pairs=edges)
        return names, spans, topology

    @property
    def names(self) -> Names:
        """The shared vocabularies, externals and operations included."""
        return self._traces[0]

    @property
    def spans(self) -> SpanFrame:
        """All spans, in order of start."""
        return self._traces[1]

    @functools.cached_property
    def logs(self) -> LogFrame:
        """All log lines, in order of time."""
        from aetia.signals.logs import build_logs

        return build_logs(self.telemetry, self.names, self.spans, self._mined)

    @functools.cached_property
    def metrics(self) -> MetricFrame:
        """All metric series on one grid."""
        from aetia.signals.metrics import build_metrics

        return build_metrics(self.telemetry, self._known)

    @property
    def topology(self) -> Topology:
        """The service graph."""
        return self._traces[2]

    @functools.cached_property
    def _mined(self) -> Mined:
        from aetia.signals.logs import mine_logs

        return mine_logs(self.telemetry)

    @property
    def large(self) -> bool:
        """Whether there are so many rows that threads pay."""
        return sum(self.telemetry.rows.values()) >= WORTH_THREADS

    def build(self) -> None:
        """Build all frames now, side by side as far as one does not need the other; without it each is built when
        it is first asked for."""
        if not self.large:
            return
        _ = self._known  # shared by both
        # The lines are mined long before the spans, which the rest of the logs needs, are ready.
        side_by_side([lambda: (self.spans, self.logs), lambda: (self._mined, self.metrics)])


class View:
    """One incident on some facts: per-table baseline windows and one incident window.

    Spans belong to a window by the start of their *trace*; logs and metric bins by their own time.
    """

    def __init__(
        self,
        facts: Facts,
        baseline: tuple[Window, ...],
        incident: Window,
        baselines: Mapping[str, tuple[Window, ...]] | None = None,
    ) -> None:
        self.facts = facts
        self.incident = incident
        self.baseline = baseline
        self._baselines = dict(baselines or {})

    def baseline_of(self, table: str) -> tuple[Window, ...]:
        return self._baselines.get(table, self.baseline)

    # names, spans, logs, metrics, topology are those of the facts
    @property
    def names(self) -> Names:
        return self.facts.names

    @property
    def spans(self) -> SpanFrame:
        return self.facts.spans

    @property
    def logs(self) -> LogFrame:
        return self.facts.logs

    @property
    def metrics(self) -> MetricFrame:
        return self.facts.metrics

    @property
    def topology(self) -> Topology:
        return self.facts.topology

    @functools.cached_property
    def span_masks(self) -> tuple[Bool, Bool]:
        """(baseline, incident) masks over spans, by the start of each span's trace."""
        spans = self.spans
        start = spans.start_ns[spans.root] if len(spans) else spans.start_ns
        return union_mask(self.baseline_of("spans"), start), self.incident.mask(start)

    @functools.cached_property
    def log_masks(self) -> tuple[Bool, Bool]:
        """(baseline, incident) masks over log lines."""
        time = self.logs.time_ns
        return union_mask(self.baseline_of("logs"), time), self.incident.mask(time)

    @functools.cached_property
    def bin_masks(self) -> tuple[Bool, Bool]:
        """(baseline, incident) masks over metric bins; a bin belongs where its *start* lies."""
        start = self.metrics.bin_start_ns
        if len(start) == 0:
            return np.zeros(0, np.bool_), np.zeros(0, np.bool_)
        return union_mask(self.baseline_of("metrics"), start), self.incident.mask(start)
