"""What the tools share: components by name, how requests of each of them went, and rows of plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aetia.evidence._edges import service_entries
from aetia.evidence._load import span_seconds
from aetia.evidence._material import material
from aetia.evidence._memo import once
from aetia.evidence._places import service_or_external
from aetia.evidence._samples import GroupShift, group_shift
from aetia.model import entity
from aetia.model.entity import Entity
from aetia.reason.toolbox import NoAnswer, known_as, unknown
from aetia.signals.frames import F64, I64, Bool
from aetia.signals.keys import sorted_in_groups
from aetia.signals.red import Red, window_stats
from aetia.signals.stats import first_crossing, fisher_p, poisson_rate_p
from aetia.signals.view import View

Kind = Literal["service", "instance", "node"]
SURE_P = 1e-3
"""p-value below which a change of a rate is no chance."""
ENOUGH = 10
"""Requests in each window from which a component can be cleared."""
HEALTHY = 0.03
"""Trouble below which requests went as before."""
HALF_GONE = 0.5
"""Share of the expected requests that has to be missing before silence is trouble."""
BINS = 40
"""Parts of the incident in which the begin of trouble is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A service, an instance or a node, by its code."""

    kind: Kind
    code: int
    name: str
    entity: Entity


def component(view: View, name: str) -> Component:
    """The service, else the instance, else the node of that name; raises NoAnswer with the nearest names."""
    names = view.names
    kinds: tuple[tuple[Kind, Sequence[str]], ...] = (
        ("service", names.services), ("instance", names.instances), ("node", names.nodes),
    )  # fmt: skip
    for kind, known in kinds:
        found = known_as(name, known)
        if found is not None:
            code = known.index(found)
            return Component(kind=kind, code=code, name=found, entity=entity_of(view, kind, code))
    raise unknown("component", name, [*names.services, *names.instances, *names.nodes])


def entity_of(view: View, kind: Kind, code: int) -> Entity:
    """The entity of a code, with what is known of where it belongs."""
    names, graph = view.names, view.topology
    if kind == "service":
        return service_or_external(view, code)
    if kind == "node":
        return entity.node(names.nodes[code])
    owner, host = int(graph.instance_service[code]), int(graph.instance_node[code])
    return entity.instance(
        names.instances[code], names.services[owner] if owner >= 0 else None, names.nodes[host] if host >= 0 else None
    )


def need(view: View, table: Literal["spans", "logs", "metrics"]) -> None:
    """Raises NoAnswer where a table is empty, or nothing of it lies in the incident."""
    masks = {"spans": lambda: view.span_masks, "logs": lambda: view.log_masks, "metrics": lambda: view.bin_masks}
    incident = masks[table]()[1]
    if not incident.any():
        code, words = ("empty_window", "lie in the incident") if len(incident) else ("no_data", "were recorded")
        raise NoAnswer(code, f"no {table} {words}.", "ask a tool of another kind", category="permanent")


def number(value: float) -> float | None:
    """A plain number, None where it is not known."""
    plain = float(value)
    return float(f"{plain:.6g}") if math.isfinite(plain) else None


def strongest_first(values: F64) -> F64:
    """A key to sort by, rounded as answers are: the order of rows must not depend on the order of sums."""
    return np.array([-float(f"{value:.6g}") for value in values.tolist()])


def seconds_in(view: View, time_ns: int) -> float:
    """Seconds from the start of the incident; negative before it."""
    return round((time_ns - view.incident.start_ns) / 1e9, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the requests of each of g components went in both windows; arrays are (g,) unless said otherwise.

    `row`, `group` (m,) are the spans at which requests were measured and whose they are. `slower`, `failing` and
    `missing` in 0..1 say how much and how surely it got worse; `trouble` is the largest of them.
    """

    row: I64
    group: I64
    shift: GroupShift
    errors: tuple[I64, I64]
    rates: tuple[F64, F64]
    slower: F64
    failing: F64
    missing: F64

    @property
    def trouble(self) -> F64:
        return np.maximum(np.maximum(self.slower, self.failing), self.missing)

    @property
    def counts(self) -> tuple[I64, I64]:
        return self.shift.base_count, self.shift.incident_count

    def failed_shares(self) -> tuple[F64, F64]:
        """Failed requests per request in both windows; NaN where there were none."""
        before, after = (
            np.divide(bad, count, out=np.full(len(count), np.nan), where=count > 0)
            for bad, count in zip(self.errors, self.counts, strict=True)
        )
        return before, after


def health(view: View, kind: Kind) -> Health:
    """The health of all services, instances or nodes, computed once.

    Requests are measured where a component's part of them begins; those of a service without
    spans of its own, such as an external dependency, at the calls to it.
    """
    return once(view, f"health of {kind}s", lambda v: _health(v, kind))


def _health(view: View, kind: Kind) -> Health:
    spans, graph = view.spans, view.topology
    row = np.flatnonzero(service_entries(view))
    if kind == "service":
        group, n = spans.service[row], len(view.names.services)
        recorded = np.bincount(group[group >= 0], minlength=n) > 0
        outside = np.flatnonzero(spans.peer >= 0)
        outside = outside[~recorded[spans.peer[outside]]]
        row, group = np.concatenate([row, outside]), np.concatenate([group, spans.peer[outside]])
    else:
        group, n = spans.instance[row], len(view.names.instances)
        if kind == "node":
            group, n = np.append(graph.instance_node, np.int32(-1))[group], len(view.names.nodes)
    base, incident = view.span_masks
    kept = np.flatnonzero((group >= 0) & (base | incident)[row])
    row, group = row[kept], group[kept].astype(np.int64)
    order = sorted_in_groups(spans.duration_ns[row], group)
    row, group = row[order], group[order]
    during = incident[row]
    shift = group_shift(spans.duration_ns[row], group, during, n)
    bad = spans.error[row]
    errors = np.bincount(group[bad & ~during], minlength=n), np.bincount(group[bad & during], minlength=n)
    seconds = span_seconds(view)
    counts = shift.base_count, shift.incident_count
    rise = np.maximum(shift.incident_median - shift.base_median, (shift.incident_p90 - shift.base_p90) / 2)
    before, after = (np.divide(count, length, out=np.zeros(n), where=np.full(n, length > 0))
                     for count, length in zip(counts, seconds, strict=True))  # fmt: skip
    return Health(
        row=row, group=group, shift=shift, errors=errors, rates=(before, after),
        slower=shift.bounded * material(view, rise), failing=_failing(errors, counts),
        missing=_missing(counts, seconds),
    )  # fmt: skip


def _failing(errors: tuple[I64, I64], counts: tuple[I64, I64]) -> F64:
    """The square root of the rise of the failed share where it is no chance: 4 % more failures are 0.2."""
    n = len(counts[0])
    before, after = (np.divide(bad, count, out=np.zeros(n), where=count > 0)
                     for bad, count in zip(errors, counts, strict=True))  # fmt: skip
    sure = fisher_p(errors[0], counts[0], errors[1], counts[1]) < SURE_P
    never = (counts[0] == 0) & (counts[1] > 0)
    return np.where(sure | never, np.sqrt(np.clip(after - before, 0.0, 1.0)), 0.0)


def _missing(counts: tuple[I64, I64], seconds: tuple[float, float]) -> F64:
    """How far requests fell short of what the load of the whole system lets expect."""
    total = [int(count.sum()) for count in counts]
    if min(seconds) <= 0 or not all(total):
        return np.zeros(len(counts[0]))
    exposure = (float(total[0]), float(total[1]))
    share = np.divide(counts[1] * exposure[0], counts[0] * exposure[1], out=np.ones(len(counts[0])),
                      where=counts[0] > 0)  # fmt: skip
    sure = poisson_rate_p(counts[1], exposure[1], counts[0], exposure[0]) < SURE_P
    return np.where(sure, np.clip((1.0 - share - HALF_GONE) / (1.0 - HALF_GONE), 0.0, 1.0), 0.0)


def bad_rows(view: View, rows: I64, slow_ns: float) -> Bool:
    """Which spans failed or took longer than `slow_ns`."""
    return view.spans.error[rows] | (view.spans.duration_ns[rows] > slow_ns)


def slow_limit_ns(shift: GroupShift, code: int) -> float:
    """Duration beyond which a request of a component is slow: half more than nine of ten took, 1 ms at least."""
    if shift.base_count[code] == 0:
        return math.inf
    usual = float(shift.base_p90[code])
    return max(1.5 * usual, usual + 1.0) * 1e6


def begins(view: View, time_ns: I64, bad: Bool, usual: float) -> int | None:
    """When the share of bad ones first passes half its rise above `usual` in two bins of the incident in a row; None
    where it never rose. Resolution: a BINS-th part of the incident."""
    inside = view.incident.mask(time_ns)
    if not inside.any():
        return None
    step = max((view.incident.end_ns - view.incident.start_ns) // BINS, 1)
    at = np.minimum((time_ns[inside] - view.incident.start_ns) // step, BINS - 1)
    total, hits = np.bincount(at, minlength=BINS), np.bincount(at[bad[inside]], minlength=BINS)
    rise = hits.sum() / total.sum() - usual
    if hits.sum() < 3 or rise < 0.02:
        return None
    share = np.divide(hits, total, out=np.full(BINS, np.nan), where=total > 0)
    first = int(first_crossing(share[None, :], usual + rise / 2)[0])
    return int(view.incident.start_ns + first * step) if first >= 0 else None


def trouble_began(view: View, one: Component) -> int | None:
    """When requests of a component began to fail or to take too long, ns; None where they did not."""
    found = health(view, one.kind)
    rows = found.row[found.group == one.code]
    bad = bad_rows(view, rows, slow_limit_ns(found.shift, one.code))
    base = view.span_masks[0][rows]
    usual = float(bad[base].mean()) if base.any() else 0.0
    return begins(view, view.spans.start_ns[rows], bad, usual)


def operations(view: View) -> Red:
    """Rate, failures and times of every operation; columns are baseline and incident."""
    return once(
        view, "operations in both windows",
        lambda v: window_stats(v.spans, v.span_masks, of="operation", n_groups=len(v.names.operations)),
    )  # fmt: skip


def of_nodes(view: View, code: int) -> I64:
    """Codes of the instances that run on a node."""
    return np.flatnonzero(view.topology.instance_node == code)
