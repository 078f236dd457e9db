"""Reader of RCABench's datapacks: `normal_*` and `abnormal_*` parquet files, `injection.json`, `env.json`.

Source: "Rethinking the Evaluation of Microservice RCA with a Fault Propagation-Aware Benchmark", arXiv 2510.04711.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from aetia.ingest.datasets._rcabench_tables import TABLES, read_table
from aetia.ingest.datasets._rcabench_truth import read_truths
from aetia.ingest.reader import Loaded, Match
from aetia.model.case import Case
from aetia.model.errors import CorruptSource, UnrecognisedSource, UsageError
from aetia.model.tables import Dropped, Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.plugins import plugin

_PERIODS = ("normal", "abnormal")
_INJECTION = "injection.json"
_MAX_DEPTH = 4
# Some releases keep the standardised files of a datapack in a folder of this name below it.
_CONVERTED = "converted"


@plugin(
    "reader",
    summary="RCABench's datapacks: spans, logs and metrics before and during an injected fault",
    source="arXiv 2510.04711",
)
class RCABenchReader:
    """One case per datapack. Case ids are `<dataset>/<datapack>`."""

    def recognise(self, path: Path) -> Match | None:
        """Fits a datapack, a folder of datapacks and the data root above."""
        first = next(_datapacks(path), None) if path.is_dir() else None
        if first is None:
            if not (path / _INJECTION).is_file():
                return None
            missing = tuple(f"{period}_*.parquet" for period in _PERIODS if not any(path.glob(f"{period}_*.parquet")))
            return Match(confidence=0.2, found=(_INJECTION,), missing=missing)
        files = tuple(sorted(file.name for file in first.glob("*normal_*.parquet")))
        missing = tuple(name for name in ("env.json", _INJECTION) if not (first / name).is_file())
        return Match(confidence=0.95 if not missing else 0.75, found=files, missing=missing)

    def cases(self, path: Path) -> list[Case]:
        """All datapacks below the path, sorted by id; only their JSON files are read."""
        return sorted((_case(folder) for folder in _found(path)), key=lambda case: case.id)

    def load(self, path: Path, case_id: str | None = None, *, full: bool = False) -> Loaded:
        """One datapack. A file that cannot be read is counted as dropped; CorruptSource when none can."""
        folders = {_id(folder): folder for folder in _found(path)}
        if case_id is None and len(folders) != 1:
            raise UsageError(f"{path}: {len(folders)} datapacks, name one, such as {min(folders)}.")
        if case_id is not None and case_id not in folders:
            raise UsageError(f"{path}: no case '{case_id}'; cases are called {min(folders)}, ….")
        folder = folders[case_id] if case_id is not None else next(iter(folders.values()))
        return Loaded(case=_case(folder), telemetry=_telemetry(folder, full))


def _datapacks(path: Path) -> Iterator[Path]:
    """Folders with the files of both periods, at the path or up to four levels below it."""
    for depth in range(_MAX_DEPTH + 1):
        seen: set[Path] = set()
        for file in path.glob("/".join(["*"] * depth + ["abnormal_*.parquet"])):
            if file.parent not in seen and any(file.parent.glob("normal_*.parquet")):
                seen.add(file.parent)
                yield file.parent


def _found(path: Path) -> list[Path]:
    folders = list(_datapacks(path))
    if not folders:
        raise UnrecognisedSource(f"{path}: no normal_*.parquet beside abnormal_*.parquet; give a datapack's folder.")
    return folders


def _id(folder: Path) -> str:
    folder = folder.resolve()
    pack = folder.parent if folder.name == _CONVERTED else folder
    return f"{pack.parent.name}/{pack.name}"


def _case(folder: Path) -> Case:
    normal, abnormal = _windows(folder)
    injection = _object(folder / "injection.json")
    onset = abnormal.start_ns if abnormal is not None else None
    name = _id(folder)
    return Case(
        id=name, system=name.split("/")[0], baseline=normal, incident=abnormal,
        truth=read_truths(injection, onset) if injection is not None else None,
        source="RCABench, arXiv 2510.04711",
    )  # fmt: skip


def _windows(folder: Path) -> tuple[Window | None, Window | None]:
    """The normal and the abnormal period of `env.json`; None where it does not say."""
    found = _object(folder / "env.json")
    values = {} if found is None else found
    return _window(values, "NORMAL"), _window(values, "ABNORMAL")


def _window(values: dict[str, Any], period: str) -> Window | None:
    try:
        start, end = (round(float(values[f"{period}_{side}"]) * NS_PER_SECOND) for side in ("START", "END"))
        return Window(start, end)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _object(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file; None where there is no file. Raises CorruptSource when it is no object."""
    if not path.is_file():
        return None
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeError, OSError) as error:
        raise CorruptSource(f"{path}: not JSON ({error}); restore it from the data set.") from error
    if not isinstance(content, dict):
        raise CorruptSource(f"{path}: not a JSON object; restore it from the data set.")
    return cast(dict[str, Any], content)


def _telemetry(folder: Path, full: bool) -> Telemetry:
    found: dict[str, Any] = {}
    dropped: list[Dropped] = []
    for name, kinds in TABLES.items():
        files = [folder / f"{period}_{kind}.parquet" for kind in kinds for period in _PERIODS]
        found[name], more = read_table(name, [file for file in files if file.is_file()], full)
        dropped += more
    telemetry = Telemetry(spans=found["spans"], logs=found["logs"], metrics=found["metrics"])
    if not sum(telemetry.rows.values()) and dropped:
        raise CorruptSource(f"{folder}: no row can be used ({dropped[0].reason}); restore the datapack.")
    return telemetry.with_dropped(*dropped)
