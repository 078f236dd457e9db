"""Wide metric tables (one column per series) as metric points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aetia.ingest.normalise import parse_times
from aetia.ingest.values import TIME, ArrayLike, Column, TimeUnit, decoded, is_text, pc
from aetia.model.tables import METRICS, Dropped
from aetia.model.window import Window

_NUMBER = r"^\s*-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class Series(NamedTuple):
    """What one column holds; the field names are those of the metrics table."""

    column: str
    name: str
    unit: str | None = None
    type: str | None = None
    service: str | None = None
    instance: str | None = None
    node: str | None = None
    attributes: str | None = None


def is_numeric(column: Column) -> bool:
    """Whether any value of the column is a number or could be one."""
    kind = column.type
    if is_text(kind):
        return bool(pc.any(pc.match_substring_regex(column, _NUMBER)).as_py())
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def floats(column: Column) -> NDArray[np.float64]:
    """The column as float64, shape (rows,); NaN where a value is missing or no number."""
    column = decoded(column)
    if is_text(column.type):
        number = pc.if_else(pc.match_substring_regex(column, _NUMBER), column, pa.scalar(None, column.type))
        column = pc.utf8_trim_whitespace(number)
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif not is_numeric(column):
        return np.full(len(column), np.nan)
    return pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy()


def melt(
    table: pa.Table, times: ArrayLike, series: Sequence[Series], *, unit: TimeUnit | None = None,
    window: Window | None = None, source: str = "",
) -> tuple[pa.Table, list[Dropped]]:  # fmt: skip
    """Metric points of the columns named by `series`, one series after the other.

    `times` is one time per row, in any form that `parse_times` takes. Missing samples (empty, NaN, infinite)
    are no points; rows without a readable time are counted as dropped.
    """
    ns = pc.fill_null(parse_times(times, unit).cast(pa.int64()), -1).to_numpy()
    timed = ns >= 0
    usable = timed if window is None else timed & window.mask(ns)
    columns = [floats(table[item.column]) for item in series]
    masks = [usable & np.isfinite(values) for values in columns]
    counts = np.array([np.count_nonzero(mask) for mask in masks], np.int64)
    code = np.repeat(np.arange(len(series), dtype=np.int32), counts)

    def words(part: str) -> ArrayLike:
        return pa.array([getattr(item, part) for item in series], pa.string()).dictionary_encode().take(code)

    parts = {name: words(name) for name in METRICS.names if name not in ("time", "value")}
    parts["time"] = pa.array(_concat([ns[mask] for mask in masks], np.int64)).cast(TIME)
    parts["value"] = pa.array(_concat([v[m] for v, m in zip(columns, masks, strict=True)], np.float64))
    lost = len(ns) - int(np.count_nonzero(timed))
    dropped = (
        [Dropped(table="metrics", rows=lost, reason="a row without a readable time", source=source)] if lost else []
    )
    return pa.table([parts[name] for name in METRICS.names], names=METRICS.names), dropped if lost else []


def _concat(arrays: Sequence[NDArray[np.generic]], kind: type[np.generic]) -> NDArray[np.generic]:
    return np.concatenate(arrays) if arrays else np.empty(0, kind)
