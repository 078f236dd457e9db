"""Brings a run to exact numbers of rows: leaves out whole requests, log lines and samples, evenly over time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from aetia.lab.sim.engine import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Exact numbers of rows; a run that makes fewer keeps what it makes."""

    spans: int
    logs: int
    metrics: int


def thin(rows: Rows, quota: int, rng: np.random.Generator) -> Rows:
    """At most `quota` rows, exactly that many if there are: random whole requests, and the first spans of one more.

    The spans of a request are recorded with parents before children, so its first spans are a valid tree.
    """
    if len(rows) <= quota:
        return rows
    sizes = np.bincount(rows.request)
    order = rng.permutation(len(sizes))
    room = quota - np.cumsum(sizes[order])
    full = int((room >= 0).sum())
    keep_request = np.zeros(len(sizes), np.bool_)
    keep_request[order[:full]] = True
    keep = keep_request[rows.request]
    left = quota - int(keep.sum())
    keep[np.flatnonzero(rows.request == order[full])[:left]] = True
    position = np.cumsum(keep, dtype=np.int64).astype(np.int32) - 1
    kept: dict[str, Any] = {field.name: getattr(rows, field.name)[keep] for field in fields(Rows)}
    kept["parent"] = np.where(kept["parent"] < 0, -1, position[kept["parent"]]).astype(np.int32)
    return Rows(**kept)


class Cut:
    """Leaves out log lines and samples at random so that the totals are met exactly."""

    def __init__(self, totals: Totals | None, noise: int, samples: int, rng: np.random.Generator) -> None:
        self._totals, self._rng = totals, rng
        self._lines = 0 if totals is None else max(0, totals.logs - noise)
        self._spans, self._spare = 0, 0.0
        self._written, self._samples, self._seen, self._kept = 0, samples, 0, 0

    def _some(self, table: pa.Table, n: int) -> pa.Table:
        if n >= table.num_rows:
            return table
        chosen: Any = np.sort(self._rng.choice(table.num_rows, size=max(n, 0), replace=False))
        return table.take(chosen)

    def logs(self, table: pa.Table, spans: int) -> pa.Table:
        """The share of the lines that belongs to this many spans of all."""
        if self._totals is None:
            return table
        self._spans += spans
        due = self._lines * min(1.0, self._spans / self._totals.spans) if self._totals.spans else 0.0
        out = self._some(table, int(due) - self._written)
        self._written += out.num_rows
        return out

    def metrics(self, table: pa.Table) -> pa.Table:
        """The share of the samples that belongs to this metric."""
        if self._totals is None:
            return table
        self._seen += table.num_rows
        due = self._totals.metrics * min(1.0, self._seen / self._samples)
        out = self._some(table, int(due) - self._kept)
        self._kept += out.num_rows
        return out
