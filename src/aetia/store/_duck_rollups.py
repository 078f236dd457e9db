"""What is counted once per part file of spans: cells of RED, calls, traces, and the spans of traces in several parts.

A part file never changes, so neither do these. They live in the cache, which may be deleted at any time. Rows that are
not in a counted part (hot ones, young parts) are read as rows; `_duck_red`, `_duck_edges` and `_duck_traces` put both
together. Nothing is approximated except durations, which are kept as buckets of a twelfth of an octave.

A trace may lie in several parts. Its calls within one part are among `edges`; all its spans in each of those parts are
in `border`, from which the calls between parts are found when asked for. The parts of a trace are known by its id in
`traces`, so the part that is counted last completes the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import duckdb

from aetia.model.errors import AetiaError, StoreError
from aetia.store._duck_engine import CACHE_VERSION, Engine
from aetia.store._duck_question import Part, Reading, named_in
from aetia.store._duck_sql import CALL_COLUMNS, CELL_COLUMNS, REACH_NS, STEP_NS, TRACE_COLUMNS, calls, traces_of

MOST_OPERATIONS = 50_000
"""A part with more operations (names that hold ids) is not counted; its rows are read."""
KEEP_GONE_S = 600.0
"""What was counted of a part stays so long after the part has gone: a question may still be about it."""
_TABLES = (
    "parts (id INTEGER, path VARCHAR, rows BIGINT)",
    "operations (id INTEGER, service VARCHAR, name VARCHAR, kind VARCHAR, root BOOLEAN)",
    "cells (part INTEGER, bin BIGINT, operation INTEGER, bucket SMALLINT, n INTEGER, errors INTEGER)",
    "edges (part INTEGER, bin BIGINT, caller VARCHAR, callee VARCHAR, known BOOLEAN, bucket SMALLINT, n INTEGER, "
    "errors INTEGER)",
    "traces (part INTEGER, trace_id VARCHAR, first BIGINT, last BIGINT, ended BIGINT, spans INTEGER, errors INTEGER, "
    "services VARCHAR[], service VARCHAR, name VARCHAR, rank STRUCT(child BOOLEAN, t BIGINT, took BIGINT, id VARCHAR))",
    "border (part INTEGER, trace_id VARCHAR, self UBIGINT, parent UBIGINT, service VARCHAR, peer VARCHAR, "
    "sent BOOLEAN, t BIGINT, bucket SMALLINT, errors INTEGER)",
    "keys (part INTEGER, key VARCHAR)",
)
_NAMES = tuple(table.partition(" ")[0] for table in _TABLES)
_WAIT_S = 2.0


class Rollups:
    """Counts parts in a thread of its own, and knows which are counted. `ready` maps their paths to numbers."""

    def __init__(self, engine: Engine, store: Reading) -> None:
        self._engine = engine
        self._store = store
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._skipped: set[str] = set()
        self._gone: dict[str, float] = {}
        self.ready: Mapping[str, int] = MappingProxyType({})
        self._begin()

    def _begin(self) -> None:
        with self._engine.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS version (version VARCHAR)")
            if cursor.execute("SELECT version FROM version").fetchall() != [(CACHE_VERSION,)]:
                for name in _NAMES:
                    cursor.execute(f"DROP TABLE IF EXISTS {name}")
                cursor.execute("DELETE FROM version")
                cursor.execute(f"INSERT INTO version VALUES ('{CACHE_VERSION}')")
            for table in _TABLES:
                cursor.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            known = cursor.execute("SELECT path, id FROM parts").fetchall()
        self.ready = MappingProxyType(dict(known))

    # ---- the thread ---------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="aetia-rollups", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a part that is being counted is counted first."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._closed:
            # A store that is being closed, or a file that has gone bad, must not end the counting of the others.
            with suppress(AetiaError, duckdb.Error, OSError):
                self.catch_up()
            self._wake.wait(_WAIT_S)

    def waiting(self) -> int:
        """Parts that are not counted yet."""
        with self._store.reading(None, ("spans",)) as snapshot:
            paths = {str(part.path) for part in snapshot.parts["spans"] if part.rows}
        return len(paths - self.ready.keys() - self._skipped)

    def catch_up(self) -> int:
        """Counts what is not counted yet and forgets what has gone; returns the number of parts counted."""
        done = 0
        with self._lock, self._store.reading(None, ("spans",)) as snapshot:
            parts = {str(part.path): part for part in snapshot.parts["spans"] if part.rows}
            for path, part in sorted(parts.items(), key=lambda item: -item[1].end_ns):
                if self._closed:
                    return done
                if path not in self.ready and path not in self._skipped:
                    done += self._try_to_count(part, parts)
            self._forget(set(self.ready) - parts.keys())
        return done

    def _try_to_count(self, part: Part, parts: Mapping[str, Part]) -> int:
        try:
            return self._count(part, parts)
        except StoreError as error:
            # Its rows are read as rows from now on; where the file is bad, the question that finds it leaves it out.
            self._skipped.add(str(part.path))
            if (bad := named_in(error, [Path(path) for path in parts])) is not None:
                self._store.exclude(bad, f"cannot be read: {error}")
            return 0

    def _count(self, part: Part, parts: Mapping[str, Part]) -> int:
        """All counts of one part, in one transaction; 0 when it is left to be read as rows."""
        path = str(part.path)
        others = {
            number: parts[other]
            for other, number in self.ready.items()
            if other in parts and _within_reach(part, parts[other])
        }
        with self._engine.cursor() as cursor:
            cursor.execute("BEGIN")
            (number,) = cursor.execute("SELECT coalesce(max(id), 0) + 1 FROM parts").fetchall()[0]
            _read(cursor, path)
            if not _add_cells(cursor, number):
                cursor.execute("ROLLBACK")
                self._skipped.add(path)
                return 0
            binned = f"SELECT *, t // {STEP_NS} AS bin FROM ({calls('new')})"
            cursor.execute(
                f"INSERT INTO edges SELECT {number}, bin, caller, callee, known, bucket, count(*), sum(errors) "
                f"FROM ({binned}) GROUP BY ALL"
            )
            cursor.execute(f"INSERT INTO traces SELECT {number}, * FROM ({traces_of('new')})")
            cursor.execute(
                f"INSERT INTO keys SELECT DISTINCT {number}, unnest(map_keys(attributes)) FROM read_parquet($f)",
                {"f": path},
            )
            _add_border(cursor, number, others)
            cursor.execute(f"INSERT INTO parts VALUES ({number}, $path, $rows)", {"path": path, "rows": part.rows})
            cursor.execute("COMMIT")
        self.ready = MappingProxyType({**self.ready, path: number})
        return 1

    def _forget(self, gone: set[str]) -> None:
        """Drop the counts of parts that have been gone for a while."""
        now = time.monotonic()
        self._gone = {path: self._gone.get(path, now) for path in gone}
        late = {path: self.ready[path] for path, since in self._gone.items() if now - since > KEEP_GONE_S}
        if not late:
            return
        with self._engine.cursor() as cursor:
            cursor.execute("BEGIN")
            for name in _NAMES:
                if name != "operations":
                    column = "id" if name == "parts" else "part"
                    cursor.execute(
                        f"DELETE FROM {name} WHERE list_contains($ids, {column})", {"ids": list(late.values())}
                    )
            cursor.execute("COMMIT")
        self.ready = MappingProxyType({path: number for path, number in self.ready.items() if path not in late})


def _within_reach(one: Part, other: Part) -> bool:
    return one.start_ns - REACH_NS < other.end_ns and other.start_ns - REACH_NS < one.end_ns


def _read(cursor: duckdb.DuckDBPyConnection, path: str) -> None:
    """The table `new`: every column that the counts need, of all rows of a part."""
    columns: dict[str, str] = {}
    for listed in (CELL_COLUMNS, CALL_COLUMNS, TRACE_COLUMNS):
        for column in _split(listed):
            columns[column.rpartition(" AS ")[2]] = column
    cursor.execute(f"CREATE TEMP TABLE new AS SELECT {', '.join(columns.values())} FROM read_parquet($f)", {"f": path})


def _split(columns: str) -> list[str]:
    """A list of SQL columns, cut at the commas outside of parentheses."""
    out, depth = [""], 0
    for sign in columns:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            out.append("")
        else:
            out[-1] += sign
    return [column.strip() for column in out]


def _add_cells(cursor: duckdb.DuckDBPyConnection, number: int) -> bool:
    keys = "service, name, kind, root"
    (many,) = cursor.execute(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM new)").fetchall()[0]
    if many > MOST_OPERATIONS:
        return False
    cursor.execute(
        f"INSERT INTO operations SELECT (SELECT coalesce(max(id), 0) FROM operations) + row_number() OVER (), * FROM "
        f"(SELECT DISTINCT {keys} FROM new) ANTI JOIN operations USING ({keys})"
    )
    cursor.execute(
        f"INSERT INTO cells SELECT {number}, bin, id, bucket, n, e FROM (SELECT t // {STEP_NS} AS bin, {keys}, bucket, "
        f"count(*) AS n, sum(errors) AS e FROM new GROUP BY ALL) JOIN operations USING ({keys}) "
        "ORDER BY bin, id, bucket"
    )
    return True


def _add_border(cursor: duckdb.DuckDBPyConnection, number: int, others: Mapping[int, Part]) -> None:
    """All spans of the traces that this part shares with others, here and there."""
    if not others:
        return
    cursor.execute(
        f"CREATE TEMP TABLE shared AS SELECT part, trace_id, first, last FROM traces SEMI JOIN "
        f"(SELECT trace_id FROM traces WHERE part = {number}) USING (trace_id) WHERE list_contains($ids, part)",
        {"ids": list(others)},
    )
    columns = "trace_id, self, parent, service, peer, sent, t, bucket, errors"
    cursor.execute(f"INSERT INTO border SELECT {number}, {columns} FROM new SEMI JOIN shared USING (trace_id)")
    lacking = cursor.execute(
        "SELECT part, min(first), max(last), list(trace_id) FROM shared ANTI JOIN border USING (part, trace_id) "
        "GROUP BY part"
    ).fetchall()
    for other, first, last, ids in lacking:
        cursor.execute(
            f"INSERT INTO border SELECT {other}, {columns} FROM (SELECT {CALL_COLUMNS} FROM read_parquet($f) WHERE "
            "time >= make_timestamp_ns($first)::TIMESTAMPTZ_NS AND time <= make_timestamp_ns($last)::TIMESTAMPTZ_NS "
            "AND trace_id IN (SELECT unnest($ids)))",
            {"f": str(others[other].path), "first": first, "last": last, "ids": ids},
        )
