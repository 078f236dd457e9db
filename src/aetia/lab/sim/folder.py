"""Writes case folders chunk by chunk, complete or not at all, and takes back folders that nothing got into."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as _parquet

from aetia.ingest.case import new_folder, write_case
from aetia.model.case import Case
from aetia.model.tables import SCHEMAS, Telemetry

# Tells the reader that the columns are in the model's types already.
pq: Any = _parquet
_MARK = {b"aetia.normal": b"1"}


class TableFile:
    """A Parquet file of one table in the model's schema, appended to in row groups."""

    def __init__(self, folder: Path, name: str) -> None:
        self.schema: pa.Schema = SCHEMAS[name].with_metadata(_MARK)
        keys = [
            f.name
            for f in SCHEMAS[name]
            if f.name not in ("time", "trace_id", "span_id", "parent_span_id", "duration_ns", "body", "value")
        ]
        self._writer: Any = pq.ParquetWriter(
            folder / f"{name}.parquet",
            self.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=keys,
            write_page_checksum=True,
        )

    def append(self, table: pa.Table) -> None:
        """Write one row group."""
        self._writer.write_table(table.cast(self.schema), row_group_size=1 << 18)

    def close(self) -> None:
        self._writer.close()


@contextmanager
def no_empty_folders(target: Path) -> Generator[None]:
    """Folders from the target upwards that were not there before and hold nothing afterwards are removed."""
    absent = [folder for folder in (target, *target.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in absent:
            with suppress(OSError):  # it holds something, or it was never made
                folder.rmdir()


@contextmanager
def case_folder(target: Path, *, overwrite: bool = False) -> Generator[CaseFolder, None, None]:
    """A case folder that appears when everything is written. Raises IngestError when it cannot be written."""
    with no_empty_folders(target.parent), new_folder(target, overwrite=overwrite) as scratch:
        folder = CaseFolder(scratch)
        try:
            yield folder
        finally:
            for table in folder.tables:
                table.close()


class CaseFolder:
    """The files of a case that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spans, self.logs, self.metrics = (TableFile(path, name) for name in ("spans", "logs", "metrics"))
        self.tables = (self.spans, self.logs, self.metrics)

    def finish(self, case: Case, telemetry: Telemetry) -> None:
        """Write the case file and the small tables: changes and topology."""
        rest = self.path / "rest"
        write_case(rest, case, telemetry)
        for file in sorted(rest.iterdir()):
            file.rename(self.path / file.name)
        rest.rmdir()
