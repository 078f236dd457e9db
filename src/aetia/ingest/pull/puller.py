"""A source fetched again and again: each time what is new since the last time, every row once.

Telemetry arrives late: a trace is complete when its last span is stored, a scrape is seen seconds after it was made.
So the last `delay_s` are left for later, every fetch begins `overlap_s` before the end of the last one, and rows that
were handed over already are left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from aetia.ingest.pull import Limits, Prefer, pull, shown_source
from aetia.ingest.values import decoded, pc
from aetia.model.tables import SCHEMAS, Dropped, Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.net import Client

KEYS: dict[str, tuple[str, ...]] = {
    "spans": ("time", "trace_id", "span_id", "service", "name"),
    "logs": ("time", "trace_id", "span_id", "service", "instance", "body"),
    "metrics": ("time", "name", "service", "instance", "node", "attributes"),
    "changes": ("time", "kind", "service", "description"),
    "topology": ("caller", "callee", "kind"),
}
"""What makes a row the same row."""
MEMORY_S = 900.0
"""A trace that is found late brings spans from long before; what is older than this is not handed over again."""
LONGEST_PAUSE_S = 600.0
LONGEST_WINDOW_S = 3600.0


class Puller:
    """Fetches increments of one source. Not thread-safe; times are given, so that it has no clock of its own.

    Raises what `pull` raises; then nothing is lost, the next fetch begins where this one should have, and `due_ns`
    backs off. `last_end_ns` is where the next one begins: keep it to go on after a restart.
    """

    def __init__(
        self, kind: str, url: str, *, client: Client, interval_s: float = 30.0, delay_s: float = 10.0,
        overlap_s: float = 30.0, limits: Limits | None = None, prefer: Prefer | None = None,
        last_end_ns: int | None = None,
    ) -> None:  # fmt: skip
        self.kind, self.source, self._url, self._client = kind, shown_source(kind, url), url, client
        self._interval_ns, self._delay_ns, self._overlap_ns = (
            round(seconds * NS_PER_SECOND) for seconds in (interval_s, delay_s, overlap_s)
        )
        self._limits, self._prefer = limits, prefer
        self.last_end_ns = last_end_ns
        self.failures = 0
        self._due_ns = 0
        self._seen: dict[str, pa.Table] = {}

    def due(self, now_ns: int) -> bool:
        """Whether it is time to fetch."""
        return now_ns >= self._due_ns

    @property
    def due_ns(self) -> int:
        """When to fetch next."""
        return self._due_ns

    def fetch(self, now_ns: int) -> Telemetry:
        """What is new up to `now - delay`. Raises NetError, IngestError and UsageError."""
        end = now_ns - self._delay_ns
        begin = self.last_end_ns if self.last_end_ns is not None else end - self._interval_ns
        skipped = end - begin - round(LONGEST_WINDOW_S * NS_PER_SECOND)
        begin = max(begin, begin + skipped)
        if end <= begin:
            return Telemetry()
        # Set before asking: a fetch that fails, for whatever reason, is not tried again at once.
        pause = min(self._interval_ns << min(self.failures, 10), round(LONGEST_PAUSE_S * NS_PER_SECOND))
        self.failures += 1
        self._due_ns = now_ns + max(pause, self._interval_ns)
        window = Window(begin - self._overlap_ns, end)
        found = pull(
            self.kind, self._url, window, client=self._client, limits=self._limits, full=True, prefer=self._prefer
        )
        self.failures, self.last_end_ns, self._due_ns = 0, end, now_ns + self._interval_ns
        if skipped > 0:
            reason = (
                f"{skipped / NS_PER_SECOND:.0f} s in which the source was not asked are too long ago to catch up with"
            )
            found = found.with_dropped(Dropped(table="windows", rows=1, reason=reason, source=self.source))
        return self._new(found, min(end - round(MEMORY_S * NS_PER_SECOND), window.start_ns))

    def _new(self, found: Telemetry, oldest: int) -> Telemetry:
        """The rows that were not handed over before, in order of time; none from before `oldest`."""
        tables: dict[str, Any] = {}
        for name in SCHEMAS:
            table = found.table(name)
            keys = _keys(name, table)
            if "time" in table.column_names:
                recent = pc.greater_equal(keys["time"], oldest)
                table, keys = table.filter(recent), keys.filter(recent)
            fresh = _unseen(keys, self._seen.get(name))
            tables[name] = table.take(fresh)
            if "time" in table.column_names:
                tables[name] = tables[name].sort_by("time")
            seen = pa.concat_tables([*([self._seen[name]] if name in self._seen else []), keys.take(fresh)])
            if "time" in seen.column_names:
                seen = seen.filter(pc.greater_equal(seen["time"], oldest))
            self._seen[name] = seen.combine_chunks()
        return replace(found, **tables)


def _keys(name: str, table: pa.Table) -> pa.Table:
    """The columns that identify rows: numbers and texts without nulls, because nulls are equal to nothing."""
    columns: dict[str, Any] = {}
    for column in KEYS[name]:
        if column not in table.column_names:
            columns[column] = pa.array([""] * table.num_rows, pa.string())
        elif column == "time":
            columns[column] = pc.fill_null(table[column].cast(pa.int64()), 0)
        else:
            columns[column] = pc.fill_null(decoded(table[column]).cast(pa.string()), "")
    return pa.table(columns)


def _unseen(keys: pa.Table, seen: pa.Table | None) -> Any:
    """Positions of the first of each key that is not among those seen, in order."""
    if not keys.num_rows:
        return pa.array([], pa.int64())
    numbered = keys.append_column("row", pa.array(np.arange(keys.num_rows)))
    first = numbered.group_by(keys.column_names).aggregate([("row", "min")]).rename_columns([*keys.column_names, "row"])
    if seen is not None and seen.num_rows:
        first = first.join(seen, keys.column_names, join_type="left anti")
    return pa.array(np.sort(first["row"].to_numpy()))
