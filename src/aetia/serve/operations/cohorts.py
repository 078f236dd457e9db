"""Latency as a map, and what sets a part of it apart from the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from aetia.model.window import Window
from aetia.serve.operations._asking import Instant, Limit, Name, Step, WindowParams, step_of, window_of
from aetia.serve.operations.registry import operation
from aetia.serve.problems import Refused
from aetia.signals.frames import F64
from aetia.signals.stats import fisher_p
from aetia.store.backend import Cohorts, HeatMap, Selection, ValueCount

if TYPE_CHECKING:
    from aetia.serve.state import ServeState
    from aetia.store.backend import Backend

FALSE_DISCOVERIES = 0.05
"""Share of the named attributes that may be named by chance."""
SMALLEST_EFFECT = 0.02
"""Difference of shares below which a difference is nothing that anybody would look at, however sure it is."""


MOST_KEYS, MOST_VALUES = 60, 50


class HeatMapParams(WindowParams, frozen=True, kw_only=True):
    service: Annotated[Name, Meta(description="of this service; of all without it")] = None
    operation: Annotated[Name, Meta(description="of this operation of the service")] = None
    step: Step = None


class HeatMapAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Requests by time and latency."""

    window: Window
    service: str | None
    operation: str | None
    map: HeatMap


class CompareParams(WindowParams, frozen=True, kw_only=True):
    service: Annotated[Name, Meta(description="requests of this service")] = None
    operation: Annotated[Name, Meta(description="and of this operation")] = None
    low_ms: Annotated[float, Meta(ge=0, description="that lasted at least so long")] = 0.0
    high_ms: Annotated[Annotated[float, Meta(ge=0)] | None, Meta(description="and less than this")] = None
    failed: Annotated[bool | None, Meta(description="only those that failed, or only those that did not")] = None
    baseline_start: Annotated[
        Instant | None, Meta(description="compare with a time of its own, from here; without it, with the same time")
    ] = None
    baseline_end: Annotated[Instant | None, Meta(description="to here; default `start`")] = None
    sort: Annotated[Literal["effect", "sureness"], Meta(description="largest difference first, or the surest")] = (
        "effect"
    )
    limit: Limit = 50


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A value that occurs more often (or, `effect` below 0, less often) in the selection than in the rest.

    `share_inside` and `share_outside` are its shares of the two, `effect` their difference, `log_odds` the logarithm of
    the ratio of the odds (half a request added to every count). `p` is that of Fisher's exact test on the side of the
    effect, `q` twice that (either side
    was possible) after Benjamini and Hochberg over all values that were tested; `sure` says that it is small and the
    effect worth a look."""

    key: str
    value: str | None
    inside: int
    outside: int
    share_inside: float
    share_outside: float
    effect: float
    log_odds: float
    p: float
    q: float
    sure: bool


class CompareAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What sets the selection apart from the requests of `baseline`. `tested` values were compared; `incomplete` says
    that rare values of attributes with many were left out, or requests: `looked_at` is the share of the time whose
    requests were compared, below 1 beyond 500,000 spans; then it is where most of the selection is."""

    window: Window
    baseline: Window
    inside: int
    outside: int
    differences: tuple[Difference, ...]
    tested: int
    false_discoveries: float
    incomplete: bool
    looked_at: float
    truncated: bool


@operation(path="/heatmap", scope="read", summary="Requests by time and latency", example={"service": "checkout"})
def heat_map(state: ServeState, params: HeatMapParams) -> HeatMapAnswer:
    """Counts per bin of time and of latency (a grid of powers of the fourth root of two), and of the failed ones."""
    window = window_of(state, params)
    step_ns = step_of(window, params.step, 60)
    found = state.backend.heat_map(window, step_ns, service=params.service, name=params.operation)
    return HeatMapAnswer(window=window, service=params.service, operation=params.operation, map=found)


@operation(path="/compare", scope="read", summary="What sets slow or failed requests apart from the rest",
           example={"service": "checkout", "start": "-15m", "low_ms": 500})  # fmt: skip
def compare(state: ServeState, params: CompareParams) -> CompareAnswer:
    """Takes a box of the heat map (a time and a latency range), and compares the attributes of the requests in it with
    those of all other requests of the same service and operation in the same window, or in the one of the baseline.
    With `failed` the status itself is not compared."""
    window = window_of(state, params)
    baseline = _baseline(state, params, window)
    if params.high_ms is not None and params.high_ms <= params.low_ms:
        raise Refused("bad_request", "high_ms has to be above low_ms.")
    chosen = Selection(
        window=window, service=params.service, name=params.operation, low_ms=params.low_ms, high_ms=params.high_ms,
        failed=params.failed,
    )  # fmt: skip
    cohorts = against(state.backend, chosen, baseline)
    rows = [row for row in differences(cohorts) if params.failed is None or row.key != "status"]
    surest = params.sort == "sureness"
    rows.sort(key=lambda row: (not row.sure, row.q if surest else 0.0, -abs(row.effect), row.key, row.value or ""))
    return CompareAnswer(
        window=window, baseline=baseline, inside=cohorts.inside, outside=cohorts.outside,
        differences=tuple(rows[: params.limit]), tested=len(rows), false_discoveries=FALSE_DISCOVERIES,
        incomplete=cohorts.truncated, looked_at=cohorts.looked_at, truncated=len(rows) > params.limit,
    )  # fmt: skip


def _baseline(state: ServeState, params: CompareParams, window: Window) -> Window:
    """The time that is compared with; raises Refused (400) where it cuts the window."""
    if params.baseline_start is None and params.baseline_end is None:
        return window
    asked = WindowParams(start=params.baseline_start, end=params.baseline_end or str(window.start_ns))
    found = window_of(state, asked)
    apart = found.end_ns <= window.start_ns or found.start_ns >= window.end_ns
    around = found.start_ns <= window.start_ns and found.end_ns >= window.end_ns
    if not (apart or around):
        raise Refused("bad_request", "the baseline has to hold the whole window, or nothing of it.",
                      try_="baseline_end=<start>")  # fmt: skip
    return found


def against(backend: Backend, chosen: Selection, baseline: Window) -> Cohorts:
    """A selection and the requests of the same service (and operation) in another time: counts of what lies outside are
    those of `baseline`, without the selection."""
    here, window = backend.cohorts(chosen, most_keys=MOST_KEYS, most_values=MOST_VALUES), chosen.window
    if baseline == window:
        return here
    all_of = msgspec.structs.replace(chosen, low_ms=0.0, high_ms=None, failed=None)
    around = baseline.start_ns <= window.start_ns and baseline.end_ns >= window.end_ns
    apart = (
        [Window(baseline.start_ns, window.start_ns), Window(window.end_ns, baseline.end_ns)] if around else [baseline]
    )
    tables = [_Table(here, here.outside, "outside")] if around else list[_Table]()
    looked_at = here.looked_at
    for span in apart:
        if span.start_ns < span.end_ns:
            found = backend.cohorts(
                msgspec.structs.replace(all_of, window=span), most_keys=MOST_KEYS, most_values=MOST_VALUES
            )
            tables.append(_Table(found, found.inside, "inside"))
            looked_at = min(looked_at, found.looked_at)
    inside = _Table(here, here.inside, "inside")
    keys = dict.fromkeys(key for table in (inside, *tables) for key in table.counts)
    rows: list[ValueCount] = []
    cut = here.truncated or any(table.truncated for table in tables)
    for key in keys:
        values = dict.fromkeys(value for table in (inside, *tables) for value in table.counts.get(key, ()))
        for value in (*values, *(() if None in values else (None,))):
            mine, others = inside.count(key, value), [table.count(key, value) for table in tables]
            known = [count for count in others if count is not None]
            if mine is None or len(known) < len(others):
                cut = True
            elif mine or sum(known):
                rows.append(ValueCount(key=key, value=value, inside=mine, outside=sum(known)))
    outside = sum(table.size for table in tables)
    return Cohorts(inside=here.inside, outside=outside, values=tuple(rows), truncated=cut, looked_at=looked_at)


class _Table:
    """How often each value occurs in one cohort."""

    def __init__(self, cohorts: Cohorts, size: int, side: Literal["inside", "outside"]) -> None:
        self.size, self.truncated = size, cohorts.truncated
        self.counts: dict[str, dict[str | None, int]] = {}
        for row in cohorts.values:
            self.counts.setdefault(row.key, {})[row.value] = row.inside if side == "inside" else row.outside

    def count(self, key: str, value: str | None) -> int | None:
        """None where the value may be one of those that were left out."""
        held = self.counts.get(key)
        if held is None:  # nothing has the attribute, or there were too many attributes to list
            return (self.size if value is None else 0) if len(self.counts) < MOST_KEYS else None
        if value in held:
            return held[value]
        return 0 if value is None or sum(name is not None for name in held) < MOST_VALUES else None


def differences(cohorts: Cohorts) -> list[Difference]:
    """Every value, tested on the side of its effect. Values that are the same everywhere say nothing and are left
    out, so that they do not weaken the others."""
    inside, outside = cohorts.inside, cohorts.outside
    if not inside or not outside:
        return []
    rows = [row for row in cohorts.values if not (row.inside == inside and row.outside == outside)]
    here, there = np.array([row.inside for row in rows]), np.array([row.outside for row in rows])
    above = fisher_p(there, outside, here, inside)
    below = fisher_p(here, inside, there, outside)
    p = np.where(here * outside >= there * inside, above, below)
    q = benjamini_hochberg(np.minimum(1.0, 2 * p))
    made: list[Difference] = []
    for row, chance, adjusted in zip(rows, p.tolist(), q.tolist(), strict=True):
        share, rest = row.inside / inside, row.outside / outside
        effect = share - rest
        odds = math.log((row.inside + 0.5) / (inside - row.inside + 0.5)) - math.log(
            (row.outside + 0.5) / (outside - row.outside + 0.5)
        )
        made.append(
            Difference(
                key=row.key,
                value=row.value,
                inside=row.inside,
                outside=row.outside,
                share_inside=share,
                share_outside=rest,
                effect=effect,
                log_odds=odds,
                p=chance,
                q=adjusted,
                sure=adjusted <= FALSE_DISCOVERIES and abs(effect) >= SMALLEST_EFFECT,
            )
        )
    return made


def benjamini_hochberg(p: F64) -> F64:
    """Adjusted p-values (n,): the smallest false discovery rate at which each would be named (Benjamini and Hochberg
    1995)."""
    if not len(p):
        return p
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.minimum.accumulate(scaled[::-1])[::-1]
    out = np.empty(len(p))
    out[order] = np.minimum(adjusted, 1.0)
    return out
