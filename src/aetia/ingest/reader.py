"""The contract of readers, and what a reader hands on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aetia.model.case import Case
from aetia.model.tables import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How well a reader fits a path: `confidence` 0..1, what it found there and what it misses."""

    confidence: float
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One case with its telemetry. Telemetry without labels has a Case whose windows and truth are None."""

    case: Case
    telemetry: Telemetry


class Reader(Protocol):
    """Reads one layout. Recognising and listing never read whole files."""

    def recognise(self, path: Path) -> Match | None:
        """How well this reader fits the file or folder; None when not at all."""
        ...

    def cases(self, path: Path) -> list[Case]:
        """The cases at the path, windows and truth filled in, sorted by id; no telemetry is read."""
        ...

    def load(self, path: Path, case_id: str | None = None, *, full: bool = False) -> Loaded:
        """One case (the only one when `case_id` is None). `full` also reads columns beyond ANALYSIS_COLUMNS.

        Raises IngestError with file, place and mend when nothing can be used; what can be used is used, and the
        rest is counted in `Telemetry.dropped`.
        """
        ...
