"""Arrow tables as plain values, times as nanoseconds: Arrow itself gives those only with pandas, which nobody needs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def numbered(table: pa.Table) -> pa.Table:
    """The table with its times as integers."""
    fields = [pa.field(f.name, pa.int64()) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """One dictionary per row."""
    return numbered(table).to_pylist()


def columns(table: pa.Table) -> dict[str, list[Any]]:
    """One list per column."""
    return numbered(table).to_pydict()
