"""Resamples simulated telemetry as exporters do: gauges are averaged, counters become rates, latencies quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
from numpy.typing import NDArray

from aetia.model.window import NS_PER_SECOND

pc: Any = _compute
F64 = NDArray[np.float64]
# Upper bounds (ms) of a service mesh's latency histogram; quantiles are interpolated inside a bucket.
BUCKETS_MS = np.array([0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4])
RATE_S = 15
"""Rates and quantiles of one-second samples cover so many seconds, as the query of a scraped counter must."""
SERVED = ("server", "consumer")
CALLED = ("client", "producer")


class Calls(NamedTuple):
    """Requests of some places: which place, when answered (s since start), how long (s), failed."""

    place: NDArray[np.int64]
    end_s: F64
    took_s: F64
    failed: NDArray[np.bool_]

    def only(self, mask: NDArray[np.bool_]) -> Calls:
        """Those in the mask, shape (n,)."""
        return Calls(self.place[mask], self.end_s[mask], self.took_s[mask], self.failed[mask])


def codes(column: Any, names: Sequence[str]) -> NDArray[np.int64]:
    """A text column as codes into `names`, -1 where it is null or another text."""
    plain = column.cast(pa.string())
    return pc.fill_null(pc.index_in(plain, value_set=pa.array(names, pa.string())), -1).to_numpy().astype(np.int64)


def calls(spans: pa.Table, start_ns: int, place: NDArray[np.int64], kinds: tuple[str, ...]) -> Calls:
    """The spans of these kinds whose place is known."""
    kind = pc.is_in(spans["kind"].cast(pa.string()), value_set=pa.array(kinds)).to_numpy()
    keep = np.flatnonzero(kind & (place >= 0))
    begin = spans["time"].cast(pa.int64()).to_numpy()[keep]
    took = spans["duration_ns"].to_numpy()[keep]
    failed = pc.fill_null(pc.equal(spans["status"].cast(pa.string()), "error"), False).to_numpy()[keep]
    return Calls(place[keep], (begin + took - start_ns) / NS_PER_SECOND, took / NS_PER_SECOND, failed)


def served(spans: pa.Table, start_ns: int, services: Sequence[str]) -> Calls:
    """Requests that services answered."""
    return calls(spans, start_ns, codes(spans["service"], services), SERVED)


def called(spans: pa.Table, start_ns: int, edges: Sequence[tuple[str, str]], kinds: tuple[str, ...] = CALLED) -> Calls:
    """Calls over (caller, callee) edges as the caller saw them."""
    names = sorted({name for edge in edges for name in edge})
    caller, callee = codes(spans["service"], names), codes(spans["peer"], names)
    index = np.full((len(names) + 1, len(names) + 1), -1, np.int64)
    for code, (a, b) in enumerate(edges):
        index[names.index(a), names.index(b)] = code
    return calls(spans, start_ns, index[caller, callee], kinds)


def asked(spans: pa.Table, start_ns: int, services: Sequence[str]) -> Calls:
    """Calls to services as their callers saw them."""
    return calls(spans, start_ns, codes(spans["peer"], services), ("client",))


def joined(*parts: Calls) -> Calls:
    """Several sets of requests as one."""
    return Calls(
        np.concatenate([part.place for part in parts]), np.concatenate([part.end_s for part in parts]),
        np.concatenate([part.took_s for part in parts]), np.concatenate([part.failed for part in parts]),
    )  # fmt: skip


class Rolling(NamedTuple):
    """One-second samples of services, each of shape (services, seconds); NaN where nothing was requested."""

    load: F64
    errors: F64
    p50_s: F64
    p90_s: F64


def rolling(answered: Calls, wanted: Calls, services: int, seconds: int) -> Rolling:
    """Request and error rates per second and latency quantiles over the last `RATE_S` seconds, as a mesh has them.

    `answered` are requests as the services saw them, `wanted` as their callers did. The proxies of both ends report
    a latency, so that a slow link shows at the service that is called; errors are those of the callers, and of the
    services themselves where nobody calls them.
    """
    outside = answered.only(~np.isin(answered.place, np.unique(wanted.place)))
    counts = _last(_histogram(joined(answered, wanted), services, seconds))
    covered = np.minimum(np.arange(1, seconds + 1), RATE_S)
    load = _last(_histogram(answered, services, seconds).sum(2)) / covered
    failed = joined(outside.only(outside.failed), wanted.only(wanted.failed))
    errors = _last(_histogram(failed, services, seconds).sum(2)) / covered
    return Rolling(load, errors, _quantile(counts, 0.5) / 1e3, _quantile(counts, 0.9) / 1e3)


def _histogram(requests: Calls, services: int, seconds: int) -> F64:
    """Requests per service, second and latency bucket, shape (services, seconds, buckets)."""
    second = np.minimum(requests.end_s.astype(np.int64), seconds)  # answers after the end fall into a spare bin
    bucket = np.searchsorted(BUCKETS_MS, requests.took_s * 1e3)
    shape = (services, seconds + 1, len(BUCKETS_MS) + 1)
    flat = (requests.place * shape[1] + second) * shape[2] + bucket
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)[:, :seconds].astype(np.float64)


def _last(values: F64) -> F64:
    """Sums over the last `RATE_S` places of axis 1."""
    total = np.cumsum(values, axis=1)
    out = total.copy()
    out[:, RATE_S:] -= total[:, :-RATE_S]
    return out


def _quantile(counts: F64, q: float) -> F64:
    """Quantile in ms of histograms (..., buckets) by linear interpolation inside the bucket."""
    below = np.cumsum(counts, axis=-1)
    total = below[..., -1]
    cell = np.minimum((below >= q * total[..., None]).argmax(-1), len(BUCKETS_MS) - 1)
    upper, lower = BUCKETS_MS[cell], np.concatenate([[0.0], BUCKETS_MS])[cell]
    inside = np.take_along_axis(counts, cell[..., None], -1)[..., 0]
    before = np.take_along_axis(below, cell[..., None], -1)[..., 0] - inside
    share = np.clip((q * total - before) / np.maximum(inside, 1e-9), 0.0, 1.0)
    return np.where(total > 0, lower + (upper - lower) * share, np.nan)


class Binned(NamedTuple):
    """Wide bins of places, each of shape (places, bins); latencies in s, NaN where nothing was requested."""

    requests: F64
    errors: F64
    average: F64
    quantiles: dict[str, F64]


def binned(requests: Calls, places: int, bins: int, bin_s: int) -> Binned:
    """Sums of requests and errors, mean and exact quantiles of the latency per bin."""
    which = (requests.end_s / bin_s).astype(np.int64)
    keep = (which >= 0) & (which < bins)
    cell, took = requests.place[keep] * bins + which[keep], requests.took_s[keep]
    size = places * bins
    count = np.bincount(cell, minlength=size)
    failed = np.bincount(cell[requests.failed[keep]], minlength=size)
    with np.errstate(invalid="ignore"):
        average = np.bincount(cell, took, minlength=size) / np.where(count, count, np.nan)
    ordered = took[np.lexsort((took, cell))]
    first = np.cumsum(count) - count
    quantiles: dict[str, F64] = {}
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        at = np.minimum(first + np.ceil(q * count).astype(np.int64) - 1, max(len(ordered) - 1, 0))
        values = ordered[np.maximum(at, 0)] if len(ordered) else np.zeros(size)
        quantiles[name] = np.where(count > 0, values, np.nan).reshape(places, bins)
    shape = (places, bins)
    return Binned(
        count.reshape(shape).astype(float), failed.reshape(shape).astype(float), average.reshape(shape), quantiles
    )


def per_service(metrics: pa.Table, name: str, services: Sequence[str], start_ns: int, seconds: int) -> F64:
    """One metric sampled every second, summed over the instances of a service, shape (services, seconds).

    Counters become rates per second that never fall below zero. NaN where no instance reported.
    """
    rows = metrics.filter(pc.equal(metrics["name"].cast(pa.string()), name))
    at = np.rint((rows["time"].cast(pa.int64()).to_numpy() - start_ns) / NS_PER_SECOND).astype(np.int64) - 1
    instances = sorted(pc.unique(rows["instance"].cast(pa.string())).to_pylist())
    row = codes(rows["instance"], instances)
    values = np.full((len(instances), seconds), np.nan)
    keep = (at >= 0) & (at < seconds)
    values[row[keep], at[keep]] = rows["value"].to_numpy()[keep]
    if rows.num_rows and rows["type"][0].as_py() == "counter":
        values = np.clip(np.diff(values, axis=1, prepend=values[:, :1]), 0.0, None)
    owner = np.full(len(instances), -1)
    owner[row] = codes(rows["service"], services)
    out = np.zeros((len(services), seconds))
    seen = np.zeros_like(out, np.bool_)
    np.add.at(out, owner, np.nan_to_num(values))
    np.logical_or.at(seen, owner, np.isfinite(values))
    return np.where(seen, out, np.nan)
