"""One question to the embedded store: a snapshot, a cursor, and SQL over part files and hot rows as one relation.

SQL texts are put together from fixed identifiers and from the names of parameters; every value, file name and text of
a caller travels as a parameter.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from aetia.model.errors import StoreError, UsageError
from aetia.model.patience import go_on
from aetia.model.stored import SIGNALS, STORED, Signal
from aetia.model.window import Window
from aetia.store._duck_engine import Engine

pq: Any = pyarrow.parquet
_NAMED = re.compile(r"\$(p\d+)")
_FAR = 9_000_000_000_000_000_000
"""Nanoseconds beyond which DuckDB has no timestamps; windows are cut there."""
MOST_BINS = 10_000
MOST_ROWS = 10_000


class Part(Protocol):
    """A Parquet file of one signal, all rows within `[start_ns, end_ns)`."""

    @property
    def path(self) -> Path: ...
    @property
    def rows(self) -> int: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def end_ns(self) -> int: ...
    @property
    def rollup(self) -> Path | None:
        """What is counted of it (`store.rollups`), None where it has to be read."""
        ...


class Snapshot(Protocol):
    """What a store held at one moment; see `store.catalog.Snapshot`."""

    @property
    def hot(self) -> Mapping[Signal, pa.Table]: ...
    @property
    def parts(self) -> Mapping[Signal, Sequence[Part]]: ...
    def full(self, signal: Signal, rows: Any) -> pa.Table: ...


class Reading(Protocol):
    """A store that gives snapshots, and leaves a file, a part or a rollup, out of further ones that cannot be read."""

    def reading(self, window: Window | None = None, signals: Sequence[Signal] = SIGNALS) -> Any: ...
    def exclude(self, path: Path, problem: str) -> None: ...


class Question:
    """Parameters and relations of one question. Not shared between threads."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
        self.cursor = cursor
        self.snapshot = snapshot
        self._values: dict[str, Any] = {}
        self._registered: set[str] = set()

    # ---- parameters and answers -----------------------------------------------------------------------------

    def bind(self, value: Any) -> str:
        """The name under which SQL refers to a value."""
        name = f"p{len(self._values)}"
        self._values[name] = value
        return f"${name}"

    def fetch(self, sql: str) -> list[Any]:
        """All rows as tuples."""
        return self.cursor.execute(sql, self._used(sql)).fetchall()

    def one(self, sql: str) -> Any:
        """The only row."""
        return self.fetch(sql)[0]

    def arrays(self, sql: str) -> dict[str, Any]:
        """All rows as numpy columns; columns must have no nulls."""
        self.cursor.execute(sql, self._used(sql))
        return self.cursor.fetchnumpy()

    def arrow(self, sql: str) -> pa.Table:
        return self.cursor.sql(sql, params=self._used(sql)).to_arrow_table()

    def run(self, sql: str) -> None:
        self.cursor.execute(sql, self._used(sql)).fetchall()

    def _used(self, sql: str) -> dict[str, Any]:
        go_on()
        return {name: self._values[name] for name in set(_NAMED.findall(sql))}

    # ---- relations ------------------------------------------------------------------------------------------

    def rows(
        self, signal: Signal, columns: str, window: Window | None, where: str = "", *, hot: bool = True,
        parts: Sequence[Part] | None = None, within: str = "",
    ) -> str:  # fmt: skip
        """A relation of the rows of a signal in a window: `SELECT columns` from the part files and the hot rows.

        `columns` and `where` are SQL over stored columns; `where` is tried in each branch before the union. `parts`
        narrows the files. `within` names a table that stands for the hot rows, for columns that those lack.
        """
        chosen = self.parts(signal, window) if parts is None else [p for p in parts if _touches(p, window)]
        inside = [part for part in chosen if covers(window, part)]
        border = [part for part in chosen if not covers(window, part)]
        branches = [
            self._branch(columns, self._files(some), bound, where)
            for some, bound in ((inside, None), (border, window))
            if some
        ]
        if hot and (within or self.snapshot.hot[signal].num_rows):
            branches.append(self._branch(columns, within or self.hot(signal), window, where))
        if not branches:
            branches = [self._branch(columns, self._nothing(signal), None, "false")]
        return "(" + " UNION ALL ".join(branches) + ")"

    def parts(self, signal: Signal, window: Window | None) -> list[Part]:
        """The part files that may hold rows of the window, oldest first."""
        found = [part for part in self.snapshot.parts[signal] if part.rows and _touches(part, window)]
        return sorted(found, key=lambda part: (part.start_ns, str(part.path)))

    def counted(self, window: Window | None) -> tuple[dict[str, Part], list[Part]]:
        """The parts of spans in a window that have a rollup (by their names in it), and those that have none."""
        parts = self.parts("spans", window)
        return {part.path.stem: part for part in parts if part.rollup}, [part for part in parts if not part.rollup]

    def rolled(self, relation: str, columns: str, parts: Iterable[Part], where: str = "") -> str:
        """A relation of what the rollups of some parts, at least one, have in one of their relations."""
        files = self.bind([str(part.rollup) for part in parts])
        condition = _both(f"relation = '{relation}'", where)
        return f"(SELECT {columns} FROM read_parquet({files}) WHERE {condition})"

    def hot(self, signal: Signal) -> str:
        """The hot rows as a table with the promoted columns and `hot_row`, the number of a row."""
        name = f"hot_{signal}"
        if name not in self._registered:
            table = self.snapshot.hot[signal]
            numbers = pa.array(np.arange(table.num_rows, dtype=np.int64))
            self.register(name, table.append_column("hot_row", numbers))
        return name

    def full(self, signal: Signal, numbers: Any) -> str:
        """Some hot rows with all columns, as a table; `numbers` are ascending row numbers, shape (n,)."""
        rows = np.asarray(numbers, np.int64)
        name = f"full_{len(self._registered)}"
        self.register(name, self.snapshot.full(signal, rows).append_column("hot_row", pa.array(rows)))
        return name

    def full_rows(self, signal: Signal, window: Window | None, where: str = "") -> str:
        """The hot rows of a window that meet a condition on promoted columns, with all columns, as a table."""
        found = self.arrays(
            f"SELECT hot_row FROM {self.hot(signal)} WHERE {_both(self.bounds(window), where)} ORDER BY hot_row"
        )["hot_row"]
        return self.full(signal, found)

    def register(self, name: str, table: pa.Table) -> None:
        self.cursor.register(name, table)
        self._registered.add(name)

    def bounds(self, window: Window | None) -> str:
        """The condition that the time of a stored row lies in a window."""
        if window is None:
            return ""
        low, high = (self.bind(min(max(edge, -_FAR), _FAR)) for edge in (window.start_ns, window.end_ns))
        return f"time >= make_timestamp_ns({low})::TIMESTAMPTZ_NS AND time < make_timestamp_ns({high})::TIMESTAMPTZ_NS"

    def _files(self, parts: Sequence[Part]) -> str:
        return f"read_parquet({self.bind([str(part.path) for part in parts])}, union_by_name=true)"

    def _branch(self, columns: str, source: str, window: Window | None, where: str) -> str:
        condition = _both(self.bounds(window), where)
        return f"SELECT {columns} FROM {source}" + (f" WHERE {condition}" if condition else "")

    def _nothing(self, signal: Signal) -> str:
        name = f"nothing_{signal}"
        if name not in self._registered:
            self.register(name, STORED[signal].empty_table())
        return name


Answer = TypeVar("Answer")


def ask(
    engine: Engine, store: Reading, window: Window | None, signals: Sequence[Signal],
    answer: Callable[[Question], Answer],
) -> Answer:  # fmt: skip
    """The answer from what the store holds now. A file that cannot be read is left out of the store, and the question
    asked again."""
    left_out: set[Path] = set()
    while True:
        with store.reading(window, signals) as snapshot:
            parts: list[Part] = [part for signal in signals for part in snapshot.parts[signal]]
            paths = [path for part in parts for path in (part.path, part.rollup) if path is not None]
            try:
                with engine.cursor() as cursor:
                    return answer(Question(cursor, snapshot))
            except StoreError as error:
                bad = named_in(error, paths)
                if bad is None or bad in left_out:
                    raise
                left_out.add(bad)
                store.exclude(bad, f"cannot be read: {error}")


def named_in(error: StoreError, paths: Iterable[Path]) -> Path | None:
    """The file that an error of DuckDB is about, if it is one of these and cannot be read by others either."""
    told = str(error.__cause__)
    named = next((path for path in paths if str(path) in told), None)
    return named if named is not None and _is_bad(named) else None


def _is_bad(path: Path) -> bool:
    """Whether a Parquet file is damaged or gone, rather than out of reach for a moment (too many open files)."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for _ in file.iter_batches():
                pass
    except pa.ArrowException:
        return True
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES)
    return False


def _both(one: str, other: str) -> str:
    return f"({one}) AND ({other})" if one and other else one or other or "true"


def _touches(part: Part, window: Window | None) -> bool:
    return window is None or (part.start_ns < window.end_ns and window.start_ns < part.end_ns)


def covers(window: Window | None, part: Part) -> bool:
    return window is None or (window.start_ns <= part.start_ns and part.end_ns <= window.end_ns)


# ---- what callers may give ---------------------------------------------------------------------------------


def checked_limit(limit: int, most: int = MOST_ROWS) -> int:
    if not 0 < limit <= most:
        raise UsageError(f"The limit is {limit}; give a number from 1 to {most:,}.")
    return limit


def grid(window: Window, step_ns: int) -> tuple[int, int]:
    """Start of bin 0 and the number of bins. Raises UsageError."""
    if step_ns <= 0:
        raise UsageError(f"The step is {step_ns} ns; give a positive one.")
    start = window.start_ns // step_ns * step_ns
    bins = -(-(window.end_ns - start) // step_ns) if window.end_ns > window.start_ns else 0
    if bins > MOST_BINS:
        raise UsageError(f"A step of {step_ns} ns makes {bins:,} bins of this window; {MOST_BINS:,} are the most.")
    return start, bins


def text(value: Any) -> str | None:
    """A text of a row, None where it is empty."""
    return value or None


def is_text(question: Question, column: str, value: str) -> str:
    """The condition that a stored column has a text; "" stands for missing."""
    return f"{column} = {question.bind(value)}" if value else f"coalesce({column}, '') = ''"
