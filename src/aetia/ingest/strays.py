"""Rows whose time cannot be right: unset clocks and other times far from all the rest.

One such row would stretch the time that the data covers by years, and with it every window that is counted from
the start or the end of the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aetia.ingest.values import pc
from aetia.model.tables import Dropped, Telemetry
from aetia.model.window import NS_PER_SECOND, Window

DAY_NS = 86_400 * NS_PER_SECOND
BELIEVABLE = Window(631_152_000 * NS_PER_SECOND, 4_102_444_800 * NS_PER_SECOND)
"""1990 to 2100: where the middle of the data lies inside, no row outside can be right."""
FAR_NS = 30 * DAY_NS
SHARE = 0.01
"""Up to this share of the rows at either end may be strays."""
_TABLES = ("spans", "logs", "metrics")


def set_strays_aside(telemetry: Telemetry) -> Telemetry:
    """The telemetry without spans, log lines and metric points at times that cannot be right.

    They are those outside of 1990 to 2100 when most of the data lies inside, and those more than 30 days away from
    the middle 98 % of the rows when these cover less than three days. Costs one minimum and maximum per table when
    there are none.
    """
    columns = {name: _times(telemetry.table(name)) for name in _TABLES}
    filled = [column for column in columns.values() if len(column) > column.null_count]
    if not filled:
        return telemetry
    limits = [pc.min_max(column) for column in filled]
    extent = Window(min(one["min"].as_py() for one in limits), max(one["max"].as_py() for one in limits))
    if extent.end_ns - extent.start_ns <= FAR_NS:
        return telemetry
    keep = _plausible(np.concatenate([column.drop_null().to_numpy() for column in filled]))
    tables: dict[str, Any] = {}
    dropped: list[Dropped] = []
    for name, column in columns.items():
        inside = pc.fill_null(
            pc.and_(pc.greater_equal(column, keep.start_ns), pc.less_equal(column, keep.end_ns)), True
        )
        strays = len(inside) - int(pc.sum(inside).as_py() or 0)
        table = telemetry.table(name)
        tables[name] = table.filter(inside) if strays else table
        dropped.append(Dropped(table=name, rows=strays, reason="a time far from all others; set the recorder's clock"))
    kept = Telemetry(
        **tables, changes=telemetry.changes, topology=telemetry.topology, dropped=telemetry.dropped,
        sampled=telemetry.sampled,
    )  # fmt: skip
    return kept.with_dropped(*dropped)


def _times(table: pa.Table) -> Any:
    return table["time"].cast(pa.int64())


def _plausible(times_ns: NDArray[np.int64]) -> Window:
    """The first and the last time that can be right, both inclusive."""
    low, middle, high = (int(value) for value in np.quantile(times_ns, (SHARE, 0.5, 1 - SHARE), method="nearest"))
    start, end = int(times_ns.min()), int(times_ns.max())
    if BELIEVABLE.contains(middle):
        start, end = max(start, BELIEVABLE.start_ns), min(end, BELIEVABLE.end_ns)
    if high - low < FAR_NS // 10:
        start = low - FAR_NS if start < low - FAR_NS else start
        end = high + FAR_NS if end > high + FAR_NS else end
    return Window(start, end)
