"""The one DuckDB database of a process: settings, cursors, and the cache file that may be deleted at any time."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from aetia.model.errors import StoreError, UsageError

CACHE_VERSION = "1"
"""Of the tables in the cache; a file of another version is thrown away."""
MEMORY_MIB = 384
THREADS = 2


class Engine:
    """A DuckDB database that reads the part files below `folders` and nothing else: no network, no extensions.

    `cache` is its file (None: in memory). A file that cannot be used, because it is damaged or of another version of
    DuckDB or of Aetia, is deleted and begun anew. Raises StoreError when that fails too.
    """

    def __init__(
        self, cache: Path | None, folders: Sequence[Path], *, memory_mib: int = MEMORY_MIB, threads: int = THREADS
    ) -> None:
        self._folders = tuple(folder.resolve() for folder in folders)
        self._limits = {"memory_limit": f"{memory_mib}MiB", "threads": max(1, min(threads, os.cpu_count() or 1))}
        self._cache = cache
        try:
            self._connection = self._open()
        except (duckdb.Error, OSError):
            if cache is None:
                raise
            self._connection = self._begin_anew()

    def _open(self) -> duckdb.DuckDBPyConnection:
        scratch = self._cache.with_suffix(".tmp") if self._cache else None
        connection = duckdb.connect(
            str(self._cache) if self._cache else ":memory:",
            config={
                **self._limits,
                "temp_directory": str(scratch.resolve()) if scratch else "",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "allow_persistent_secrets": False,
                "python_enable_replacements": False,
                "preserve_insertion_order": False,
                "checkpoint_threshold": "64MB",
            },
        )
        try:
            _set_up(connection, self._folders)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self) -> duckdb.DuckDBPyConnection:
        assert self._cache is not None
        try:
            for path in (self._cache, self._cache.with_name(self._cache.name + ".wal")):
                path.unlink(missing_ok=True)
            return self._open()
        except (duckdb.Error, OSError) as error:
            raise StoreError(
                f"{self._cache} cannot be written ({_first_line(error)}); make the folder writable."
            ) from error

    @contextmanager
    def cursor(self) -> Generator[duckdb.DuckDBPyConnection]:
        """A connection of its own for one question. What DuckDB cannot do becomes a StoreError, a text that is no
        Unicode a UsageError."""
        try:
            cursor = self._connection.cursor()
        except duckdb.Error as error:
            raise StoreError(f"The store is closed ({_first_line(error)}).") from error
        try:
            yield cursor
        except UnicodeEncodeError as error:
            raise UsageError("A text of the question is no Unicode; leave lone surrogates out.") from error
        except duckdb.OutOfMemoryException as error:
            raise StoreError(f"The question needs too much memory ({_first_line(error)}); ask for less.") from error
        except duckdb.Error as error:
            raise StoreError(f"The store cannot answer: {_first_line(error)}") from error
        finally:
            cursor.close()

    def close(self) -> None:
        self._connection.close()


def _set_up(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET GLOBAL parquet_metadata_cache = true")
    listed = ", ".join("'" + str(folder).replace("'", "''") + "'" for folder in folders)
    connection.execute(f"SET GLOBAL allowed_directories = [{listed}]")
    connection.execute("SET GLOBAL enable_external_access = false")
    connection.execute("SET GLOBAL lock_configuration = true")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
