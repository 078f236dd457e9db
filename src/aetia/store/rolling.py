"""Making rollups: of the rows of a part, and of the rollups of the parts that one was merged from. Runs in the worker
process; the SQL is that of the questions, so that rows and rollups give the same answers."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute

from aetia.model.errors import StoreError
from aetia.store._duck_engine import Engine
from aetia.store._duck_sql import (
    BORDER_COLUMNS,
    CALL_COLUMNS,
    CELL_COLUMNS,
    MET_COLUMNS,
    REACH_NS,
    STEP_NS,
    TRACE_COLUMNS,
    calls,
    calls_between,
    traces_of,
)
from aetia.store.catalog import part_of
from aetia.store.rollups import RELATIONS, RollupWriter, rollup_of

pc: Any = pyarrow.compute
MEMORY_MIB = 256
_BORDER = ", ".join(("part", *RELATIONS["border"]))


@dataclass(frozen=True, slots=True)
class Rolled:
    """A part that has a rollup: its name (that of its file, without suffix), its files, and the times it holds."""

    name: str
    path: Path
    rollup: Path
    start_ns: int
    end_ns: int

    def is_near(self, start_ns: int, end_ns: int) -> bool:
        """Whether a span of it may call, or be called by, one of the times `[start_ns, end_ns)`."""
        return self.start_ns - REACH_NS < end_ns and start_ns - REACH_NS < self.end_ns


def rolled_part(path: Path, *, at: Path | None = None, rollup: Path | None = None) -> Rolled:
    """The part whose place is `path`; `at`: where it lies for now, and `rollup` what belongs beside it."""
    part = part_of("spans", path, 0)
    if part is None:
        raise StoreError(f"{path} is not named as a part is.")
    return Rolled(path.stem, at or path, rollup or rollup_of(at or path), part.start_ns, part.end_ns)


class Rollups:
    """The rollups that a job makes, beside those that are there. Where one cannot be made, its part has none, and
    `problem` says why."""

    def __init__(self, folder: Path, scratch: Path, rolled: Sequence[str]) -> None:
        self._known = [rolled_part(folder / name) for name in rolled]
        self._roller = Roller(folder, scratch / "spill")
        self.cpu_s = 0.0
        self.problem = ""

    def __enter__(self) -> Rollups:
        return self

    def __exit__(self, *_: object) -> None:
        self._roller.close()

    def make(
        self, path: Path, place: Path, *, out: Path | None = None, rows: pa.Table | None = None,
        merged: Collection[str] = (),
    ) -> None:  # fmt: skip
        """The rollup of the part that lies at `path` and belongs at `place`, from what is at hand: the rollups of the
        parts that it was `merged` from (their names), or its rows. It is written to `out`, or beside the part."""
        began = time.process_time()
        new = rolled_part(place, at=path, rollup=out)
        others = [one for one in self._known if one.name not in merged and one.is_near(new.start_ns, new.end_ns)]
        sources = [one for one in self._known if one.name in merged]
        try:
            if merged and len(sources) == len(merged):
                self._roller.of_rollups(sources, new.rollup, new.name, others)
            else:
                self._roller.of_rows(path if rows is None else rows, new.rollup, new.name, others)
            self._known.append(new)
        except (StoreError, pa.ArrowException, OSError) as error:
            new.rollup.unlink(missing_ok=True)
            self.problem = f"{place.name}: {error}"
        self.cpu_s += time.process_time() - began


class Roller:
    """Makes rollups in a database of its own, in memory; what does not fit goes to `scratch`. All methods raise
    StoreError, ArrowException and OSError; what they leave behind then is no rollup."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._engine = Engine(scratch, [folder], memory_mib=MEMORY_MIB, threads=1)

    def close(self) -> None:
        self._engine.close()

    def of_rows(self, rows: pa.Table | Path, out: Path, name: str, others: Sequence[Rolled]) -> None:
        """The rollup of a part, given as a table or as its file; `others` are the parts near it that have one."""
        with self._engine.cursor() as cursor:
            source = "read_parquet($rows)"
            given: dict[str, Any] = {"rows": str(rows)}
            if isinstance(rows, pa.Table):
                cursor.register("given", rows)
                source, given = "given", {}
            cursor.execute(f"CREATE TEMP TABLE new AS SELECT {_columns()} FROM {source}", given)
            made = _Rollup(cursor, out, name)
            made.add_counts("cells", "totals", f"SELECT *, t // {STEP_NS} AS bin FROM new")
            made.add_counts("edges", "calls", f"SELECT *, t // {STEP_NS} AS bin, 1 AS n FROM ({calls('new')})")
            made.add("traces", f"{traces_of('new')} ORDER BY first, trace_id")
            made.add_table("keys", pa.table({"key": _keys(cursor, rows)}))
            if others:
                _find_shared(cursor, others)
                _collect_border(cursor, others)
                of_shared = "trace_id IN (SELECT trace_id FROM shared)"
                made.add("border", f"SELECT {BORDER_COLUMNS} FROM {source} WHERE {of_shared}", given)
                made.add("border", "FROM border")
            made.close()

    def of_rollups(self, merged: Sequence[Rolled], out: Path, name: str, others: Sequence[Rolled]) -> None:
        """The rollup of a part that was merged from others, from their rollups; `others` are further parts near it."""
        with self._engine.cursor() as cursor:
            given = {"rollups": [str(one.rollup) for one in merged]}
            made = _Rollup(cursor, out, name)
            made.add_counts("cells", "totals", f"FROM {_of('cells')}", given)
            _join_borders(cursor, merged, others)
            inside = calls_between("(FROM met SEMI JOIN merged USING (part))")
            counts = "caller, callee, known, bucket, n, errors"
            made.add_counts(
                "edges", "calls",
                f"SELECT bin, {counts} FROM {_of('edges')} UNION ALL "
                f"SELECT t // {STEP_NS} AS bin, {counts} FROM ({inside})",
                given,
            )  # fmt: skip
            made.add(
                "traces",
                "SELECT trace_id, min(first) AS first, max(last) AS last, max(ended) AS ended, sum(spans)::INTEGER AS "
                "spans, sum(errors)::INTEGER AS errors, list_distinct(flatten(list(services))) AS services, "
                "arg_min(service, rank) AS service, arg_min(name, rank) AS name, min(rank) AS rank "
                f"FROM {_of('traces')} GROUP BY trace_id ORDER BY first, trace_id",
                given,
            )
            made.add("keys", f"SELECT DISTINCT key FROM {_of('keys')} ORDER BY key", given)
            made.add(
                "border",
                "SELECT CASE WHEN part IN (FROM merged) THEN $name ELSE part END AS part, * EXCLUDE (part) FROM border "
                "SEMI JOIN (SELECT trace_id FROM border GROUP BY trace_id "
                "HAVING bool_or(part IN (FROM merged)) AND bool_or(part NOT IN (FROM merged))) USING (trace_id)",
                {"name": name},
            )
            made.close()


class _Rollup:
    """One that is being written, from what a cursor selects."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, out: Path, name: str) -> None:
        self._cursor = cursor
        self._writer = RollupWriter(out, name)

    def add(self, relation: str, sql: str, values: dict[str, Any] | None = None) -> None:
        self.add_table(relation, _arrow(self._cursor, sql, values or {}))

    def add_table(self, relation: str, table: pa.Table) -> None:
        self._writer.write(relation, table)

    def add_counts(self, binned: str, whole: str, sql: str, values: dict[str, Any] | None = None) -> None:
        """Counts by the keys of a relation, and the same without time."""
        sums = "sum(n)::INTEGER AS n, sum(errors)::INTEGER AS errors"
        keys = {name: ", ".join(RELATIONS[name][:-2]) for name in (binned, whole)}
        counted = f"SELECT {keys[binned]}, {sums} FROM ({sql}) GROUP BY ALL HAVING sum(n) <> 0"
        self._cursor.execute(f"CREATE TEMP TABLE {binned} AS {counted}", values or {})
        self.add(binned, f"FROM {binned} ORDER BY {keys[whole]}, bin")
        self.add(whole, f"SELECT {keys[whole]}, {sums} FROM {binned} GROUP BY ALL ORDER BY {keys[whole]}")

    def close(self) -> None:
        self._writer.close()


def _keys(cursor: duckdb.DuckDBPyConnection, rows: pa.Table | Path) -> Any:
    """The keys of attributes, sorted."""
    if isinstance(rows, pa.Table):
        chunks: list[Any] = rows["attributes"].chunks
        ends = [(chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()) for chunk in chunks]
        listed = [chunk.keys.slice(start, end - start) for chunk, (start, end) in zip(chunks, ends, strict=True)]
        keys = pc.unique(pa.chunked_array(listed, pa.string()))
        return keys.take(pc.sort_indices(keys))
    found = "SELECT DISTINCT unnest(map_keys(attributes)) AS key FROM read_parquet($rows) ORDER BY key"
    return _arrow(cursor, found, {"rows": str(rows)})["key"]


def _columns() -> str:
    """Every column that the relations need, once."""
    columns: dict[str, str] = {}
    for listed in (CELL_COLUMNS, CALL_COLUMNS, TRACE_COLUMNS):
        for column in _split(listed):
            columns[column.rpartition(" AS ")[2]] = column
    return ", ".join(columns.values())


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


def _of(relation: str) -> str:
    return f"(FROM read_parquet($rollups) WHERE relation = '{relation}')"


def _arrow(cursor: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> pa.Table:
    return cursor.sql(sql, params=values).to_arrow_table()


# ---- traces in several parts -------------------------------------------------------------------------------


def _find_shared(cursor: duckdb.DuckDBPyConnection, others: Sequence[Rolled]) -> None:
    """The table `shared`: the traces of `new` that others have too, with their names and where they lie there."""
    cursor.execute(
        "CREATE TEMP TABLE shared AS SELECT part, trace_id, first, last FROM (SELECT part, trace_id, first, last FROM "
        f"{_of('traces')} WHERE last >= (SELECT min(t) - {REACH_NS} FROM new) "
        f"AND first < (SELECT max(t) + {REACH_NS} FROM new)) SEMI JOIN new USING (trace_id)",
        {"rollups": [str(other.rollup) for other in others]},
    )


def _collect_border(cursor: duckdb.DuckDBPyConnection, others: Sequence[Rolled]) -> None:
    """The table `border`: all spans of the shared traces in the other parts; out of their borders, where they are."""
    cursor.execute(
        f"CREATE TEMP TABLE border AS {_once('SEMI JOIN shared USING (part, trace_id)')}",
        {"rollups": [str(other.rollup) for other in others]},
    )
    lacking = cursor.execute(
        "SELECT part, min(first), max(last), list(trace_id) FROM shared ANTI JOIN border USING (part, trace_id) "
        "GROUP BY part"
    ).fetchall()
    paths = {other.name: other.path for other in others}
    for part, first, last, ids in lacking:
        cursor.execute(
            f"INSERT INTO border SELECT $part, {BORDER_COLUMNS} FROM read_parquet($path) WHERE "
            "time >= make_timestamp_ns($first)::TIMESTAMPTZ_NS AND time <= make_timestamp_ns($last)::TIMESTAMPTZ_NS "
            "AND trace_id IN (SELECT unnest($ids))",
            {"part": part, "path": str(paths[part]), "first": first, "last": last, "ids": ids},
        )


def _join_borders(cursor: duckdb.DuckDBPyConnection, merged: Sequence[Rolled], others: Sequence[Rolled]) -> None:
    """The tables `merged` (names), `border` (what the rollups know of the parts that are still there) and `met` (the
    same as ends of calls)."""
    cursor.execute(
        "CREATE TEMP TABLE merged AS SELECT unnest($names::VARCHAR[]) AS part", {"names": [one.name for one in merged]}
    )
    here = [*merged, *others]
    cursor.execute(
        f"CREATE TEMP TABLE border AS {_once('WHERE part IN (SELECT unnest($names))')}",
        {"rollups": [str(one.rollup) for one in here], "names": [one.name for one in here]},
    )
    cursor.execute(f"CREATE TEMP TABLE met AS SELECT {MET_COLUMNS} FROM border")


def _once(condition: str) -> str:
    """SQL: rows of `border` in some rollups, of which several may have the same: the spans of a trace in a part."""
    return (
        f"SELECT {_BORDER} FROM (SELECT {_BORDER}, filename FROM read_parquet($rollups) WHERE relation = 'border') "
        f"{condition} "
        "QUALIFY filename = min(filename) OVER (PARTITION BY part, trace_id)"
    )
