"""Bodies of requests as tables, whatever wrote them: OTLP protobuf, or rows of changes as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pyarrow as pa

from aetia.ingest.otlp_columns import Batch, Limits
from aetia.ingest.otlp_columns import decode as decode_otlp
from aetia.ingest.redaction import Redactor
from aetia.model.stored import PROMOTED, STORED, Signal
from aetia.store.backend import ChangeRow

_changes = msgspec.json.Decoder(list[ChangeRow])


class Decoder:
    """How a store decodes what comes in: within its limits, with its redactor."""

    def __init__(self, limits: Limits, redactor: Redactor | None = None) -> None:
        self._limits = limits
        self._redactor = redactor

    def decode(self, signal: Signal, bodies: Sequence[bytes]) -> Batch:
        batch = decode(signal, bodies, limits=self._limits, redactor=self._redactor)
        exceptions = batch.exceptions
        return replace(
            batch,
            table=conform(batch.table, signal),
            exceptions=None if exceptions is None else conform(exceptions, "logs"),
        )


def conform(table: pa.Table, signal: Signal) -> pa.Table:
    """The table with the promoted columns of a signal in their types."""
    names = PROMOTED[signal]
    schema = pa.schema([STORED[signal].field(name) for name in names])
    return table if table.schema.equals(schema) else table.select(names).cast(schema)


def decode(
    signal: Signal, bodies: Sequence[bytes], *, full: bool = False, limits: Limits, redactor: Redactor | None = None
) -> Batch:
    """The tables of some bodies of one signal; see `ingest.otlp_columns.Batch`. A body of changes is a JSON array."""
    if signal == "changes":
        return _decode_changes(bodies)
    return decode_otlp(signal, bodies, full=full, limits=limits, redactor=redactor)


def _decode_changes(bodies: Sequence[bytes]) -> Batch:
    rows: list[ChangeRow] = []
    counts: list[int] = []
    failed: dict[int, str] = {}
    for number, body in enumerate(bodies):
        try:
            found = _changes.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            failed[number] = f"no JSON array of changes: {error}"
            found = []
        usable = [row for row in found if -(2**63) <= row.time_ns < 2**63]
        counts.append(len(usable))
        if len(usable) < len(found):
            failed[number] = "a time that is no 64-bit number of nanoseconds"
            counts[-1] = 0
            continue
        rows += usable
    columns = {
        "time": pa.array([row.time_ns for row in rows], pa.int64()),
        "kind": pa.array([row.kind for row in rows], pa.string()),
        "service": pa.array([row.service for row in rows], pa.string()),
        "description": pa.array([row.description for row in rows], pa.string()),
        "attributes": pa.array([row.attributes for row in rows], pa.string()),
    }
    table = pa.table(columns).cast(STORED["changes"])
    return Batch(table, None, tuple(bodies), tuple(counts), ((0, ""),) * len(bodies), failed)
