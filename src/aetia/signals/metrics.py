"""Metric rows as one dense array: series by time bins."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.model.tables import Telemetry
from aetia.signals.frames import MetricFrame, Names, Series
from aetia.signals.kinds import recognise
from aetia.signals.names import code_column


def build_metrics(telemetry: Telemetry, names: Names) -> MetricFrame:
    """The metric table of some telemetry on one time grid."""
    table = telemetry.metrics
    if table.num_rows == 0:
        return MetricFrame()
    time = pc.cast(table["time"], pa.int64()).to_numpy()
    value = table["value"].to_numpy()
    service, instance = code_column(table["service"], names.services), code_column(table["instance"], names.instances)
    node = code_column(table["node"], names.nodes)
    encoded = pc.dictionary_encode(table["name"].combine_chunks())
    raw: list[str] = encoded.dictionary.to_pylist()
    name = encoded.indices.to_numpy(zero_copy_only=False)
    keys, series = np.unique(np.stack([service, instance, node, name]), axis=1, return_inverse=True)
    gaps = np.diff(np.unique(time))
    step = int(np.median(gaps)) if len(gaps) else 1_000_000_000
    start = int(time.min()) // step * step
    bin_of = (time - start) // step
    width = int(bin_of.max()) + 1
    flat = series.ravel() * width + bin_of
    total = np.bincount(flat, value, keys.shape[1] * width)
    count = np.bincount(flat, minlength=keys.shape[1] * width)
    with np.errstate(invalid="ignore"):
        values = (total / count).reshape(-1, width)
    out: list[Series] = []
    for k in range(keys.shape[1]):
        s, i, n, m = (int(x) for x in keys[:, k])
        kind = recognise(raw[m], None, None)
        out.append(Series(s, i, n, -1, -1, raw[m], kind.what, kind.bad, kind.unit, kind.statistic))
    return MetricFrame(series=tuple(out), values=values, bin_start_ns=start + step * np.arange(width, dtype=np.int64), step_ns=step)
