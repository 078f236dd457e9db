"""Reading one CSV file as an Arrow table, forgiving bad rows, bad bytes and bad numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv

from aetia.model.errors import CorruptSource
from aetia.model.tables import Dropped

# A quoted value may not be longer than a block; log messages of a few MB have been seen in public data.
_BLOCK_BYTES = 16 * 1024 * 1024


def read_csv(
    path: Path, table: str, types: Mapping[str, pa.DataType] | None = None, text: Iterable[str] = ()
) -> tuple[pa.Table, list[Dropped]]:
    """The file, and the rows that do not have as many fields as its header.

    `types` chooses the columns and declares their types (missing ones are null); without it all columns are
    read and their types inferred, except those named by `text`. A file whose values do not fit the types is
    read as text. An empty file gives a table without rows. Raises CorruptSource when nothing can be read.
    """
    try:
        if path.stat().st_size == 0:
            return pa.table({}), []
        try:
            read, bad = _parse(path, types, text)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            content = path.read_bytes().decode("utf-8-sig", "replace").encode()
            read, bad = _parse(BytesIO(content), dict.fromkeys(types or _header(content), pa.string()), ())
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise CorruptSource(f"{path}: cannot be read as CSV ({error}); restore the file.") from error
    reason = "a row with the wrong number of fields; its line was cut short or two were written as one"
    return read, [Dropped(table=table, rows=bad, reason=reason, source=path.name)] if bad else []


def _header(content: bytes) -> list[str]:
    names = pyarrow.csv.open_csv(BytesIO(content)).schema.names
    return list(dict.fromkeys(names))


def _parse(
    source: Path | BytesIO, types: Mapping[str, pa.DataType] | None, text: Iterable[str]
) -> tuple[pa.Table, int]:
    bad = 0

    def skip(_: object) -> Literal["skip"]:
        nonlocal bad
        bad += 1
        return "skip"

    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string()))
    if types is not None:
        convert = pyarrow.csv.ConvertOptions(
            column_types=dict(types), include_columns=list(types), include_missing_columns=True
        )
    table = pyarrow.csv.read_csv(
        source,
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=convert,
    )
    return table, bad
