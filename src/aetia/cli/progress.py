"""Progress on stderr: nothing for the first second, then a spinner, or plain lines when not a terminal."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE_SECONDS = 1.0


class StageProgress:
    """Call it with the name of each stage as it begins; use it as a context manager.

    Fast runs stay silent. stdout is never touched, so that a report can be piped.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stage = ""
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._live: Progress | None = None
        self._shown = False

    def __enter__(self) -> StageProgress:
        if not self._quiet:
            self._timer = threading.Timer(PATIENCE_SECONDS, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __call__(self, stage: str) -> None:
        with self._lock:
            self._stage = stage
            if self._shown:
                self._draw()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._quiet = True
            if self._live is not None:
                self._live.stop()

    def _show(self) -> None:
        with self._lock:
            if not self._quiet:
                self._shown = True
                self._draw()

    def _draw(self) -> None:
        if not sys.stderr.isatty():
            print(f"aetia: {self._stage} … ({time.monotonic() - self._began:.0f} s)", file=sys.stderr)
            return
        if self._live is None:
            self._live = _spinner()
            self._live.add_task(self._stage, total=None)
            self._live.start()
        self._live.update(self._live.task_ids[0], description=self._stage)


def _spinner() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
