"""Reading one CSV file as an Arrow table, forgiving bad rows, bad bytes and bad numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv

from aetia.model.tables import Dropped

# A quoted value must fit into a block; blocks of the file's own size spare small files the large buffers.
_BLOCK_BYTES = 16 * 1024 * 1024


def read_csv(
    path: Path, table: str, types: Mapping[str, pa.DataType] | None = None, text: Iterable[str] = ()
) -> tuple[pa.Table, list[Dropped]]:
    """The file, and what of it had to be left out: rows with the wrong number of fields, or all of it.

    `types` chooses the columns and declares their types (missing ones are null); without it all columns are
    read and their types inferred, except those named by `text`. A file whose values do not fit the types is
    read as text. An empty or unreadable file gives a table without rows.
    """
    try:
        content = path.read_bytes()
        if not content:
            return pa.table({}), []
        if not _is_utf8(content):
            content = content.decode("utf-8", "replace").encode()
        try:
            read, bad = _parse(content, types, text)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            read, bad = _parse(content, dict.fromkeys(types or _header(content), pa.string()), ())
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        reason = f"the file cannot be read as CSV ({str(error).splitlines()[0]}); restore it"
        return pa.table({}), [Dropped(table=table, rows=1, reason=reason, source=path.name)]
    reason = "a row with the wrong number of fields; its line was cut short or two were written as one"
    return read, [Dropped(table=table, rows=bad, reason=reason, source=path.name)] if bad else []


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _reader(content: bytes) -> Any:
    # The stubs know paths and Python files only.
    return pa.BufferReader(content)


def _header(content: bytes) -> list[str]:
    names = pyarrow.csv.open_csv(_reader(content)).schema.names
    return list(dict.fromkeys(names))


def _parse(content: bytes, types: Mapping[str, pa.DataType] | None, text: Iterable[str]) -> tuple[pa.Table, int]:
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
    block = max(1 << 16, min(_BLOCK_BYTES, len(content) + 1))
    table = pyarrow.csv.read_csv(
        _reader(content),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=convert,
    )
    return table, bad
