"""A window of the store as a case that `aetia diagnose` reads, in one file."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aetia.model.stored import SIGNALS
from aetia.model.window import Window
from aetia.serve.operations._asking import WindowParams, window_of
from aetia.serve.operations.registry import Download, operation
from aetia.serve.problems import Refused
from aetia.store.store import Store

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

MOST_ROWS = 20_000_000
SCRATCH = "scratch"
"""Folder inside the data folder for what is being sent; emptied at every start."""


class ExportParams(WindowParams, frozen=True, kw_only=True):
    pass


@operation(
    path="/export", scope="read", summary="All telemetry of a window as a case", example={"start": "-10m"},
    produces=("application/x-tar",),
)  # fmt: skip
def export(state: ServeState, params: ExportParams) -> Download:
    """A tar file with the folder `case`: Parquet files with all attributes and `case.json`."""
    window = window_of(state, params)
    store = state.owned_store()
    rows = rows_in(store, window)
    if rows > MOST_ROWS:
        raise Refused(
            "too_large", f"the window holds about {rows:,} rows, more than {MOST_ROWS:,}.", try_="a shorter one"
        )
    place = state.folder / SCRATCH
    place.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=place))
    gone = _remover(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(gone)
        store.export(window, folder / "case")
        with tarfile.open(folder / "case.tar", "w") as archive:
            archive.add(folder / "case", "case")
        shutil.rmtree(folder / "case")
        stack.pop_all()
    return Download(folder / "case.tar", "case.tar", "application/x-tar", gone)


def rows_in(store: Store, window: Window) -> int:
    """Rows that touch the window, from what the files say of themselves."""
    with store.reading(window) as snapshot:
        return sum(
            sum(part.rows for part in snapshot.parts[signal])
            + sum(chunk.table.num_rows for chunk in snapshot.chunks(signal))
            for signal in SIGNALS
        )


def _remover(folder: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(folder, ignore_errors=True)
