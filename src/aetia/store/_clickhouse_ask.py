"""What the questions to ClickHouse share: the executor, the looked-up schema, grids, limits, cursors and filters."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.store._clickhouse_http import Execute
from aetia.store._clickhouse_schema import COLUMNS_SQL, NAMED_TABLES, UNNAMED, Schema
from aetia.store.backend import Filter

MOST_ROWS, MOST_BINS = 10_000, 10_000
SCHEMA_SECONDS = 30.0
_OPS = ("=", "!=", "contains", ">", "<", "exists")
_NUMBERS = ("duration_ns", "duration_ms")
_MOST_NS = 2**63 - 1
_T = TypeVar("_T")


class Asker:
    """Asks ClickHouse. Holds no connection; any number of threads may share one."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._lock = threading.Lock()
        self._schema: tuple[float, Schema] | None = None

    def schema(self) -> Schema:
        """The tables of the database, looked up again after half a minute."""
        with self._lock:
            known = self._schema
        if known is not None and time.monotonic() - known[0] < SCHEMA_SECONDS:
            return known[1]
        tables: dict[str, dict[str, str]] = {}
        for table, column, kind in self.rows(COLUMNS_SQL, {}):
            tables.setdefault(table, {})[column] = kind
        found = Schema(tables, self._unnamed(tables)).checked()
        with self._lock:
            self._schema = (time.monotonic(), found)
        return found

    def _unnamed(self, tables: Mapping[str, Any]) -> frozenset[str]:
        """The tables with rows that have no service; the sort key finds these at once."""
        asked = [
            f"(SELECT '{name}' AS found FROM {name} WHERE {UNNAMED} LIMIT 1)" for name in NAMED_TABLES if name in tables
        ]
        return frozenset(row[0] for row in self.rows(" UNION ALL ".join(asked), {})) if asked else frozenset()

    def table(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        return self._execute(sql, params)

    def rows(self, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The answer row by row; for small answers."""
        table = self._execute(sql, params)
        return list(zip(*map(_values, table.columns), strict=True))


def _values(column: Any) -> list[Any]:
    """A column's values; texts inside of maps and lists too are texts, whatever bytes a producer wrote."""
    if not pa.types.is_map(column.type) and not pa.types.is_list(column.type):
        return column.to_pylist()
    return [_decoded(value) for value in column.cast(_as_bytes(column.type)).to_pylist()]


def _as_bytes(kind: Any) -> Any:
    if pa.types.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    return pa.binary() if pa.types.is_string(kind) else kind


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_decoded(item) for item in value]
    return value


def within(window: Window, start: str = "start_ns", end: str = "end_ns") -> dict[str, int]:
    """The window as parameters, inside of what a DateTime64(9) can hold."""
    return {start: min(max(window.start_ns, 0), _MOST_NS), end: min(max(window.end_ns, 0), _MOST_NS)}


def checked_limit(limit: int) -> int:
    if not 0 < limit <= MOST_ROWS:
        raise UsageError(f"a limit of {limit} cannot be; ask for 1 to {MOST_ROWS} rows.")
    return limit


def grid(window: Window, step_ns: int) -> tuple[int, int]:
    """Start of bin 0 and the number of bins. Raises UsageError for a step that gives no grid or too large a one."""
    if step_ns <= 0:
        raise UsageError(f"a step of {step_ns} ns makes no grid; give a positive one.")
    start = window.start_ns // step_ns
    bins = 0 if window.start_ns == window.end_ns else (window.end_ns - 1) // step_ns - start + 1
    if bins > MOST_BINS:
        raise UsageError(f"{bins} bins are more than {MOST_BINS}; take a longer step or a shorter window.")
    return start * step_ns, bins


def missing(text: str) -> str | None:
    """A text of an answer, None where there is none."""
    return text or None


# ---- cursors ----------------------------------------------------------------------------------------------


def cursor_of(*values: str | int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def read_cursor(cursor: str, shape: type[_T]) -> _T:
    """What `cursor_of` wrote. Raises UsageError for anything else."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=shape)
    except (ValueError, msgspec.MsgspecError):
        raise UsageError("the cursor is none of this question; begin again without one.") from None


# ---- filters ----------------------------------------------------------------------------------------------


class Conditions:
    """Filters as one condition on a source, the columns it reads and its parameters."""

    def __init__(self, filters: Sequence[Filter], columns: Iterable[str]) -> None:
        self.fields: set[str] = set()
        self.params: dict[str, Any] = {}
        self._columns = frozenset(columns)
        parts = [self._condition(number, condition) for number, condition in enumerate(filters)]
        self.sql = " AND ".join(f"({part})" for part in parts) or "1"

    def _condition(self, number: int, condition: Filter) -> str:
        field, op, value = condition.field, condition.op, condition.value
        if not field or field == "time" or op not in _OPS:
            raise UsageError(
                f"cannot filter {field!r} by {op!r}; give a column or an attribute and one of {', '.join(_OPS)}."
            )
        name = f"f{number}"
        if field in _NUMBERS and "duration_ns" in self._columns:
            self.fields.add("duration_ns")
            plain = "duration_ns" if field == "duration_ns" else "(duration_ns / 1000000)"
            if op in ("contains", "exists"):
                return self._text(f"toString({plain})", name, op, value)
            return self._number(f"toFloat64({plain})", name, op, value)
        if field in self._columns:
            self.fields.add(field)
            have = field
        else:
            self.fields.add("attributes")
            self.params[f"k{number}"] = field
            have = f"attributes[{{k{number}:String}}]"
        if op in (">", "<"):
            return f"ifNull({self._number(f'toFloat64OrNull({have})', name, op, value)}, 0)"
        return self._text(have, name, op, value)

    def _number(self, have: str, name: str, op: str, value: str) -> str:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(f"{value!r} is no number to compare with.")
        self.params[name] = number
        return f"{have} {op} {{{name}:Float64}}"

    def _text(self, have: str, name: str, op: str, value: str) -> str:
        if op == "exists":
            return f"{have} != ''"
        self.params[name] = value
        wanted = f"{{{name}:String}}"
        if op == "contains":
            return f"{have} != '' AND position({have}, {wanted}) > 0"
        return f"{have} = {wanted} AND {have} != ''" if op == "=" else f"{have} != {wanted} OR {have} = ''"
