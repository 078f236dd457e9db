"""A window of the store as a case folder, which `aetia diagnose` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from aetia.ingest.case import write_case
from aetia.model.case import Case
from aetia.model.stored import SIGNALS, Signal
from aetia.model.tables import SCHEMAS, TIME, Telemetry
from aetia.model.window import Window
from aetia.store.catalog import Part, Snapshot

pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet
Unreadable = Callable[[Path, str], None]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The folder, the rows in it by signal, and the files that could not be read, one sentence each."""

    folder: str
    rows: dict[Signal, int]
    problems: tuple[str, ...] = ()


def export(
    snapshot: Snapshot, window: Window, out: Path, case: Case, unreadable: Unreadable, *, overwrite: bool = False
) -> Exported:  # fmt: skip
    """Write the rows of the window with all their attributes. `unreadable` is told of parts that cannot be read; the
    others are exported. Raises IngestError when the folder cannot be written."""
    problems: list[str] = []

    def bad(path: Path, why: str) -> None:
        problems.append(f"{path} cannot be read: {why}")
        unreadable(path, why)

    tables = {signal: _plain(rows_of(snapshot, signal, window, bad)) for signal in SIGNALS}
    telemetry = Telemetry(
        spans=tables["spans"], logs=tables["logs"], metrics=tables["metrics"], changes=tables["changes"]
    )
    write_case(out, case, telemetry, overwrite=overwrite)
    rows: dict[Signal, int] = {signal: tables[signal].num_rows for signal in SIGNALS}
    return Exported(folder=str(out), rows=rows, problems=tuple(problems))


def rows_of(snapshot: Snapshot, signal: Signal, window: Window, unreadable: Unreadable) -> pa.Table:
    """The rows of the window in the order of their times, in the columns that a case has."""
    names = list(SCHEMAS[signal].names)
    bounds = [pa.scalar(value, TIME) for value in (window.start_ns, window.end_ns)]
    found: list[pa.Table] = []
    for part in snapshot.parts[signal]:
        try:
            found.append(_read(part, names, bounds))
        except (OSError, pa.ArrowException) as error:
            unreadable(part.path, " ".join(str(error).split()))
    hot = snapshot.hot[signal]
    times = hot["time"].cast(pa.int64()).to_numpy()
    rows = np.flatnonzero(window.mask(times))
    if len(rows):
        found.append(snapshot.full(signal, rows).select(names))
    if not found:
        return SCHEMAS[signal].empty_table()
    return pa.concat_tables(found).unify_dictionaries().sort_by("time")


def _read(part: Part, names: list[str], bounds: list[Any]) -> pa.Table:
    """The rows of the window; row groups outside of it are not read."""
    low, high = bounds
    time = pc.field("time")
    inside = (time >= low) & (time < high)
    return pq.read_table(part.path, columns=names, filters=inside, page_checksum_verification=True).select(names)


def _plain(table: pa.Table) -> pa.Table:
    """Maps of attributes as JSON text, which is what a case holds."""
    if not pa.types.is_map(table.schema.field("attributes").type):
        return table
    place = table.schema.get_field_index("attributes")
    return table.set_column(place, "attributes", json_of_maps(table["attributes"]))


def json_of_maps(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """Maps of texts as JSON objects, null where there is none."""
    import duckdb

    source = pa.Table.from_arrays([column], names=["attributes"])
    with duckdb.connect(config={"threads": 1}) as database:  # the rows have to stay in their order
        database.register("source", source)
        found = database.sql("SELECT CAST(to_json(attributes) AS VARCHAR) AS text FROM source").to_arrow_table()
    return found["text"].combine_chunks()
