"""A whole window as the telemetry of a diagnosis, and what there is in the store."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute

from aetia.model.stored import SIGNALS, STORED, Signal
from aetia.model.tables import ANALYSIS_COLUMNS, Telemetry
from aetia.model.window import Window
from aetia.store._duck_question import Question
from aetia.store.backend import Extent

pc = pyarrow.compute
_HASH_RANGE = 2**64
_NO_TRACE = "coalesce(trace_id, '') = ''"


def extents(question: Question) -> tuple[Extent, ...]:
    return tuple(_extent(question, signal) for signal in SIGNALS)


def _extent(question: Question, signal: Signal) -> Extent:
    parts = [part for part in question.snapshot.parts[signal] if part.rows]
    hot = question.snapshot.hot[signal]
    starts, ends = [part.start_ns for part in parts], [part.end_ns for part in parts]
    if hot.num_rows:
        times = pc.min_max(hot["time"].cast(pa.int64()))
        starts.append(times["min"].as_py())
        ends.append(times["max"].as_py() + 1)
    rows = sum(part.rows for part in parts) + hot.num_rows
    return Extent(signal=signal, rows=rows, window=Window(min(starts), max(ends)) if starts else None)


def telemetry(question: Question, window: Window, most_spans: int) -> Telemetry:
    count = question.one(f"SELECT count(*) FROM {question.rows('spans', '1 AS one', window)}")[0]
    share = min(1.0, most_spans / count) if count else 1.0
    drawn = dict.fromkeys(SIGNALS, "")
    if share < 1.0:
        below = f"< {question.bind(int(share * _HASH_RANGE))}"
        # Spans of no trace are drawn one by one, by what tells them apart.
        drawn["spans"] = f"CASE WHEN {_NO_TRACE} THEN hash(span_id, time) ELSE hash(trace_id) END {below}"
        drawn["logs"] = f"{_NO_TRACE} OR hash(trace_id) {below}"
    tables: dict[str, pa.Table] = {}
    for signal in SIGNALS:
        columns = ", ".join(ANALYSIS_COLUMNS[signal])
        source = question.rows(signal, columns, window, drawn[signal])
        tables[signal] = _encoded(signal, question.arrow(f"SELECT {columns} FROM {source} ORDER BY time"))
    return replace(Telemetry(), **tables, sampled=share)


def _encoded(signal: Signal, table: pa.Table) -> pa.Table:
    """The columns of few words as dictionaries: a third of the memory, and what the analysis makes of them anyway."""
    for number, field in enumerate(table.schema):
        stored = STORED[signal].field(field.name)
        if pa.types.is_dictionary(stored.type):
            words = table.column(number).dictionary_encode().unify_dictionaries()
            table = table.set_column(number, field.name, words)
    return table
