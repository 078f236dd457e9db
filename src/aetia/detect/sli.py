"""Opens an incident when users are hurt: latency, success or throughput of an entry point broke."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from aetia.detect._entries import Entries, entries
from aetia.detect._measure import STATISTICS, breach_of, figures, measure
from aetia.detect._proof import Proof, around, measured, proof
from aetia.detect._requests import Harm, find
from aetia.detect._weak import Breakage, weak_breakages
from aetia.model.diagnosis import Incident, SliBreach
from aetia.model.window import Window
from aetia.plugins import plugin
from aetia.signals.view import Facts, View

MERGE_NS = 60_000_000_000
"""Harms less than a minute apart belong to one incident."""
INTERRUPTION_NS = 300_000_000_000
MIN_BASELINE_NS = 60_000_000_000
DECLARATIONS = ("metric", "metrics", "operation", "operations")
STRONG_P = 1e-6
ALERT_BASELINE_NS = 3_600_000_000_000


@plugin(
    "detector",
    summary="SLI breaches of entry points: latency quantiles, success share, throughput",
    source="RCABench's SLI validation (arXiv 2510.04711) and PAVE's latency tolerance, plus throughput loss",
    cost="one sort over the entry spans; 1 M spans in about 0.1 s",
)
class SliDetector:
    """Incidents from entry spans; without any, from SLI metrics, then alerts, then error lines.

    Inputs: spans with `entry`, else metrics that are recognised or named in `sli` (values of the mapping,
    metric names or entry operations). Direction: a breach is always for the worse. Source: research of
    RCABench/PAVE.
    """

    def detect(
        self,
        facts: Facts,
        *,
        baseline: Window | None = None,
        incident: Window | None = None,
        sli: dict[str, object] | None = None,
    ) -> list[Incident]:
        """Incidents in order of onset; with `incident` given, that one with the SLIs that broke in it."""
        declared = declared_names(sli)
        data = entries(facts, declared)
        if incident is not None:
            return [_given(facts, data, baseline, incident, declared)]
        if data is not None and not _declares_metrics(facts, declared):
            return _from_requests(data, baseline)
        return _from_weak(facts, baseline, declared)

    def prove(
        self,
        facts: Facts,
        incident: Incident,
        *,
        baseline: Window | None = None,
        sli: dict[str, object] | None = None,
    ) -> Proof:
        """The breaches of an incident, who was hurt and how badly, with the evidence for each; `baseline` and `sli` are
        those that it was detected with."""
        return proof(facts, incident, incident.baseline if incident.given else baseline, declared_names(sli))

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        """The numbers behind one breach, or behind all harm of an incident, again; for `aetia recheck`. Raises
        SignalError when the view has no such entry point or metric."""
        return measured(view, **args)


def declared_names(sli: dict[str, object] | None) -> frozenset[str]:
    """Metric names and entry operations that a case declares as its SLIs, under the keys of DECLARATIONS; each a
    text or a list of texts. Other keys are results or notes and tell the detector nothing."""
    found: set[str] = set()
    for key in DECLARATIONS:
        value = (sli or {}).get(key)
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, list | tuple):
            found |= {item for item in value if isinstance(item, str)}
    return frozenset(found)


def _declares_metrics(facts: Facts, declared: frozenset[str]) -> bool:
    return bool(declared) and any(series.raw in declared for series in facts.metrics.series)


def _given(
    facts: Facts, data: Entries | None, baseline: Window | None, window: Window, declared: frozenset[str]
) -> Incident:
    base = baseline or _before(_extent(facts, data, window), window)
    breaches: tuple[SliBreach, ...] = measure(data, base, window) if data is not None else ()
    if not breaches and (data is None or _declares_metrics(facts, declared)):
        weak = [
            b
            for b in weak_breakages(facts, base, declared)
            if b.onset_ns < window.end_ns and b.end_ns > window.start_ns
        ]
        breaches = tuple(b.breach for b in weak if b.breach is not None)
    onset = min((breach.onset_ns for breach in breaches), default=window.start_ns)
    return Incident(baseline=base, window=window, onset_ns=max(onset, window.start_ns), breaches=breaches, given=True)


def _extent(facts: Facts, data: Entries | None, window: Window) -> Window:
    """From the first to the last thing recorded; the window itself when there is nothing."""
    starts: list[int] = []
    ends: list[int] = []
    if data is not None and data.bins:
        starts.append(int(data.bin_start_ns[0]))
        ends.append(int(data.bin_start_ns[-1]) + data.step_ns)
    for times in (facts.logs.time_ns, facts.metrics.bin_start_ns):
        if len(times) and data is None:
            starts.append(int(times[0]))
            ends.append(int(times[-1]) + 1)
    return Window(min(starts), max(ends)) if starts else window


def _before(extent: Window, window: Window) -> Window:
    """The part before a window; when that is empty, the part after it; else an empty window at its start."""
    if extent.start_ns < window.start_ns:
        return Window(extent.start_ns, window.start_ns)
    if extent.end_ns > window.end_ns:
        return Window(window.end_ns, extent.end_ns)
    return Window(window.start_ns, window.start_ns)


def _from_requests(data: Entries, baseline: Window | None) -> list[Incident]:
    reference = None
    if baseline is not None:
        end = data.bin_start_ns + data.step_ns
        reference = (data.bin_start_ns >= baseline.start_ns - data.step_ns) & (end <= baseline.end_ns + data.step_ns)
    harms = find(data, reference)
    if baseline is not None:
        harms = [harm for harm in harms if harm.end_ns > baseline.end_ns]
    incidents: list[Incident] = []
    healthy_from = int(data.bin_start_ns[0])
    for group in _merged(data, harms):
        window = Window(_onset(group), max(harm.end_ns for harm in group))
        base = baseline or _baseline(data, healthy_from, window)
        breaches = measure(data, base, window, group) or _as_breaches(data, group, window)
        incidents.append(Incident(baseline=base, window=window, onset_ns=window.start_ns, breaches=breaches))
        healthy_from = window.end_ns + data.step_ns
    return incidents


def _merged(data: Entries, harms: list[Harm]) -> Iterable[list[Harm]]:
    """Harms that overlap, or lie less than a minute apart, as one incident; never across an interruption."""
    gaps = data.bin_start_ns[1:][np.diff(data.bin_start_ns) > max(INTERRUPTION_NS, 10 * data.step_ns)]
    merged: list[list[Harm]] = []
    end = 0
    for harm in harms:
        joins = merged and harm.onset_ns <= end + max(MERGE_NS, 3 * data.step_ns)
        if joins and not np.any((gaps > merged[-1][0].onset_ns) & (gaps <= harm.onset_ns)):
            merged[-1].append(harm)
            end = max(end, harm.end_ns)
        else:
            merged.append([harm])
            end = harm.end_ns
    return merged


def _onset(harms: list[Harm]) -> int:
    """The earliest onset among the harms beyond doubt, of all harms when there is none."""
    strong = [harm.onset_ns for harm in harms if harm.p < STRONG_P]
    return min(strong or [harm.onset_ns for harm in harms])


def _baseline(data: Entries, healthy_from: int, window: Window) -> Window:
    """What lies between the last incident and this one, less one bin; all before it, or the part after,
    when that is shorter than a minute."""
    end = window.start_ns - data.step_ns
    if end - healthy_from >= MIN_BASELINE_NS:
        return Window(healthy_from, end)
    begin, last = int(data.bin_start_ns[0]), int(data.bin_start_ns[-1]) + data.step_ns
    if end - begin >= MIN_BASELINE_NS or last - window.end_ns < MIN_BASELINE_NS:
        return Window(min(begin, window.start_ns), max(min(begin, window.start_ns), end))
    return Window(window.end_ns + data.step_ns, max(last, window.end_ns + data.step_ns))


def _as_breaches(data: Entries, harms: list[Harm], window: Window) -> tuple[SliBreach, ...]:
    """Harms that are too short or weak to show over the whole window, as they were found; measured against all that
    lies outside of it."""
    seen = figures(data, around(data, window), window)
    best: dict[tuple[int, str], Harm] = {}
    for harm in harms:
        key = harm.group, harm.sli
        if key not in best or harm.p < best[key].p:
            best[key] = harm
    found: list[SliBreach] = []
    for (group, sli), harm in sorted(best.items()):
        statistic = {"success": "share", "latency": STATISTICS[harm.quantile], "throughput": "rate"}[sli]
        breach = breach_of(data, seen, group, harm.sli, statistic, harm.onset_ns)
        found.append(msgspec.structs.replace(breach, p_value=harm.p))
    return tuple(found)


def _from_weak(facts: Facts, baseline: Window | None, declared: frozenset[str]) -> list[Incident]:
    incidents: list[Incident] = []
    merged: list[list[Breakage]] = []
    for found in weak_breakages(facts, baseline, declared):
        if merged and found.onset_ns <= max(b.end_ns for b in merged[-1]) + max(MERGE_NS, 2 * found.step_ns):
            merged[-1].append(found)
        else:
            merged.append([found])
    for group in merged:
        window = Window(group[0].onset_ns, max(*(b.end_ns for b in group), group[0].onset_ns + 1))
        base = baseline or _before(_extent(facts, None, window), window)
        if base.seconds == 0:  # alerts alone: nothing recorded says where health began
            base = Window(window.start_ns - ALERT_BASELINE_NS, window.start_ns)
        breaches = tuple(b.breach for b in group if b.breach is not None)
        incidents.append(Incident(baseline=base, window=window, onset_ns=window.start_ns, breaches=breaches))
    return incidents
