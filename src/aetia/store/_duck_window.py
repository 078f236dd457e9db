"""A whole window as the telemetry of a diagnosis, and what there is in the store."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute

from aetia.model.stored import SIGNALS, Signal
from aetia.model.tables import ANALYSIS_COLUMNS, Telemetry
from aetia.model.window import Window
from aetia.store._duck_question import Question
from aetia.store.backend import Extent

pc = pyarrow.compute
_HASH_RANGE = 2**64


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
    tables: dict[str, pa.Table] = {}
    where = ""
    share = 1.0
    count = question.one(f"SELECT count(*) FROM {question.rows('spans', '1 AS one', window)}")[0]
    if count > most_spans:
        share = most_spans / count
        limit = question.bind(int(share * _HASH_RANGE))
        # Rows without a trace are drawn one by one, by what tells them apart.
        drawn = "CASE WHEN coalesce(trace_id, '') = '' THEN hash({alone}) ELSE hash(trace_id) END < " + limit
        where = drawn
    for signal in SIGNALS:
        columns = ", ".join(ANALYSIS_COLUMNS[signal])
        condition = ""
        if where and signal == "spans":
            condition = where.format(alone="span_id, time")
        elif where and signal == "logs":
            condition = f"coalesce(trace_id, '') = '' OR hash(trace_id) < {limit}"
        source = question.rows(signal, columns, window, condition)
        tables[signal] = question.arrow(f"SELECT {columns} FROM {source} ORDER BY time")
    return replace(Telemetry(), **tables, sampled=share)
