"""Under which name the server keeps what it says of itself, and telemetry without it."""

from __future__ import annotations

import socket
from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute
SERVICE = "aetia"
INSTANCE = socket.gethostname()


def without_own(table: pa.Table) -> pa.Table:
    """The rows that this server did not write about itself; with columns `service` and `instance`. It is watched like
    any service, but it is no part of the system that it watches: its own bad moments open no incident there and are
    blamed for none."""
    service: Any = table["service"]
    if pa.types.is_dictionary(service.type) and not any(
        SERVICE in chunk.dictionary.to_pylist() for chunk in service.chunks
    ):
        return table  # most batches that arrive: a filter costs more than this look
    own = pc.and_(pc.equal(service, SERVICE), pc.equal(table["instance"], INSTANCE))
    return table.filter(pc.invert(pc.fill_null(own, False)))
