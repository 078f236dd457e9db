"""All columns of hot rows: their requests are read back from the journal and decoded.

Questions that look at attributes ask for many rows again and again, so what was decoded of a whole group of requests is
kept for the next one, within a bound.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from aetia.ingest.otlp_columns import Limits
from aetia.model.errors import StoreError
from aetia.model.stored import STORED, Signal
from aetia.store.decoding import decode
from aetia.store.hot import Chunk, Integers, Origin
from aetia.store.settings import MIB

_KEPT_BYTES = 128 * MIB
_WORTH_KEEPING = 0.25
"""Share of a group's rows from which on the whole group is decoded."""


class Unpacker:
    """May be used from several threads; what two of them decode at once is decoded twice."""

    def __init__(self, limits: Limits, kept_bytes: int = _KEPT_BYTES) -> None:
        self._limits = limits
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, Signal], tuple[Origin, pa.Table]] = OrderedDict()
        self._bytes = 0

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def rows(self, signal: Signal, chunks: Sequence[Chunk], rows: Integers) -> pa.Table:
        """All columns (`model.stored.STORED`) of rows of the concatenated chunks, given as ascending row numbers,
        shape (n,). Raises StoreError when the journal cannot be read."""
        schema = STORED[signal]
        try:
            found = [self._of_origin(signal, *place) for place in located(chunks, rows)]
        except OSError as error:
            raise StoreError(f"The journal cannot be read: {error}; run aetia store check.") from error
        return pa.concat_tables(found) if found else schema.empty_table()

    def forget(self) -> None:
        """Drop what nobody may ask for again."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _of_origin(self, signal: Signal, origin: Origin, rows: Integers) -> pa.Table:
        whole = self._known(origin, signal)
        if whole is None and (origin.exceptions or len(rows) >= _WORTH_KEEPING * origin.rows):
            whole = self._keep(origin, signal, self._decoded(signal, origin, np.arange(len(origin.offsets))))
        if whole is not None:
            return whole if len(rows) == whole.num_rows else whole.take(pa.array(rows, pa.int64()))
        ends = np.cumsum(origin.body_rows)
        body_of_row = np.searchsorted(ends, rows, side="right")
        which = np.unique(body_of_row)
        starts = (ends - origin.body_rows)[which]
        new_starts = np.cumsum(origin.body_rows[which]) - origin.body_rows[which]
        place = np.searchsorted(which, body_of_row)
        chosen = rows - starts[place] + new_starts[place]
        return self._decoded(signal, origin, which).take(pa.array(chosen, pa.int64()))

    def _decoded(self, signal: Signal, origin: Origin, which: Integers) -> pa.Table:
        batch = decode(origin.bodies, origin.read(which), full=True, limits=self._limits)
        table = batch.exceptions if origin.exceptions else batch.table
        assert table is not None
        return table.cast(STORED[signal])

    def _known(self, origin: Origin, signal: Signal) -> pa.Table | None:
        with self._lock:
            found = self._kept.get((id(origin), signal))
            if found is None or found[0] is not origin:
                return None
            self._kept.move_to_end((id(origin), signal))
            return found[1]

    def _keep(self, origin: Origin, signal: Signal, table: pa.Table) -> pa.Table:
        with self._lock:
            if (id(origin), signal) not in self._kept and table.nbytes < self._kept_bytes:
                self._kept[id(origin), signal] = origin, table
                self._bytes += table.nbytes
            while self._bytes > self._kept_bytes:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes
        return table


def located(chunks: Sequence[Chunk], rows: Integers) -> Iterator[tuple[Origin, Integers]]:
    """Ascending row numbers of the concatenated chunks as (origin, row numbers within it)."""
    start = 0
    for chunk in chunks:
        for origin in chunk.origins:
            low, high = np.searchsorted(rows, (start, start + origin.rows))
            if high > low:
                yield origin, rows[low:high] - start
            start += origin.rows
