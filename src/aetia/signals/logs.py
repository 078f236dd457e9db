"""Log lines as numpy columns: services, severities, templates and the span each line belongs to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.model.tables import Telemetry
from aetia.signals.drain import mine
from aetia.signals.frames import I8, I32, I64, LogFrame, Names, SpanFrame, Template
from aetia.signals.names import code_column


def build_logs(telemetry: Telemetry, names: Names, spans: SpanFrame) -> LogFrame:
    """The log table of some telemetry, sorted by time (stable); rows without a time are left out."""
    table = telemetry.logs
    if table.num_rows == 0:
        return _empty()
    time = pc.cast(table["time"], pa.int64()).to_numpy()
    severity = severity_codes(table["severity"])
    codes, templates = mine(table["body"], severity)
    order = np.argsort(time, kind="stable")
    return LogFrame(
        time_ns=time[order], service=code_column(table["service"], names.services)[order],
        instance=code_column(table["instance"], names.instances)[order], severity=severity[order],
        template=codes[order], span=np.full(len(order), -1, np.int32), templates=templates, source_row=order.astype(np.int64),
    )  # fmt: skip


def severity_codes(column: pa.ChunkedArray) -> I8:
    order = ("trace", "debug", "info", "warn", "error", "fatal")
    return (code_column(column, order) + 1).astype(np.int8)


def _empty() -> LogFrame:
    e32 = np.zeros(0, np.int32)
    return LogFrame(time_ns=np.zeros(0, np.int64), service=e32, instance=e32, severity=np.zeros(0, np.int8), template=e32, span=e32)
