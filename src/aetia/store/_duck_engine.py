"""The one DuckDB database of a process: settings and cursors."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from aetia.model.errors import GivenUp, StoreError, UsageError
from aetia.model.patience import stopping

MEMORY_MIB = 384
THREADS = 2


class Engine:
    """A DuckDB database in memory that reads the files below `folders` and nothing else: no network, no extensions.

    What does not fit into `memory_mib` goes to `scratch`, which is made where it is missing; without one that fails.
    """

    def __init__(
        self, scratch: Path | None, folders: Sequence[Path], *, memory_mib: int = MEMORY_MIB, threads: int = THREADS
    ) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_mib}MiB",
                "threads": max(1, min(threads, os.cpu_count() or 1)),
                "temp_directory": str(scratch.resolve()) if scratch else "",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "allow_persistent_secrets": False,
                "python_enable_replacements": False,
                "preserve_insertion_order": False,
            },
        )
        try:
            _set_up(self._connection, [folder.resolve() for folder in folders])
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def cursor(self) -> Generator[duckdb.DuckDBPyConnection]:
        """A connection of its own for one question; its statements end when nobody waits for the answer any more. What
        DuckDB cannot do becomes a StoreError, a text that is no Unicode a UsageError."""
        try:
            cursor = self._connection.cursor()
        except duckdb.Error as error:
            raise StoreError(f"The store is closed ({_first_line(error)}).") from error
        try:
            with stopping(cursor.interrupt):
                yield cursor
        except UnicodeEncodeError as error:
            raise UsageError("A text of the question is no Unicode; leave lone surrogates out.") from error
        except duckdb.InterruptException:
            raise GivenUp("The question was stopped: nobody waits for its answer any more.") from None
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
