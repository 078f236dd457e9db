"""Reader of RCAEval's layout: `<dataset>/<service>_<fault>/<repetition>` with `inject_time.txt` and CSV files.

Source: Pham et al., "RCAEval: A Benchmark for Root Cause Analysis of Microservice Systems with Telemetry
Data", WWW 2025. RE1 has metrics only; RE2 and RE3 add logs and, for some systems, traces.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa

from aetia.ingest.datasets._rcaeval_tables import TIME_COLUMNS, read_logs, read_metrics, read_spans
from aetia.ingest.normalise import parse_times
from aetia.ingest.reader import Loaded, Match
from aetia.model.case import Case, Truth
from aetia.model.errors import CorruptSource, UnrecognisedSource, UsageError
from aetia.model.faults import class_of
from aetia.model.tables import Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.plugins import plugin

_FAULTS = {
    "cpu": "cpu", "mem": "memory", "disk": "disk", "delay": "network_delay", "loss": "network_loss",
    "socket": "socket",
}  # fmt: skip
_CODE_FAULT = re.compile(r"f\d+")
_LABEL = re.compile(rf"(?P<service>.+)_(?P<fault>{'|'.join(_FAULTS)}|f\d+)")
# The short files hold what the benchmark's own evaluation reads; the long ones repeat it in raw form.
_METRIC_FILES = ("simple_metrics.csv", "simple_data.csv", "metrics.csv", "data.csv")
_INJECTION = "inject_time.txt"
_MAX_DEPTH = 4
_ASSUMED_SECONDS = 600
_TAIL_BYTES = 1 << 18


@plugin(
    "reader",
    summary="RCAEval's data sets RE1, RE2 and RE3: metrics, logs and traces around an injection",
    source="Pham et al., WWW 2025",
)
class RCAEvalReader:
    """One case per repetition folder. Case ids are `<dataset>/<service>_<fault>/<repetition>`."""

    def recognise(self, path: Path) -> Match | None:
        """Fits a case folder, a dataset folder or a folder of datasets."""
        first = next(_case_folders(path), None) if path.is_dir() else None
        if first is None:
            lone = path.is_dir() and (path / _INJECTION).is_file()
            return Match(confidence=0.2, found=(_INJECTION,), missing=(" or ".join(_METRIC_FILES),)) if lone else None
        files = tuple(name for name in (*_METRIC_FILES, "logs.csv", "traces.csv") if (first / name).is_file())
        missing = tuple(name for name in ("logs.csv", "traces.csv") if name not in files)
        labelled = _label(first) is not None
        return Match(confidence=0.95 if labelled else 0.7, found=(_INJECTION, *files), missing=missing)

    def cases(self, path: Path) -> list[Case]:
        """All repetitions below the path, sorted by id; only the ends of one file of each are read."""
        return sorted((_case(folder) for folder in _found(path)), key=lambda case: case.id)

    def load(self, path: Path, case_id: str | None = None, *, full: bool = False) -> Loaded:
        """One repetition. A file that cannot be read is counted as dropped; CorruptSource when none can."""
        folders = {_id(folder): folder for folder in _found(path)}
        if case_id is None and len(folders) != 1:
            raise UsageError(f"{path}: {len(folders)} cases, name one, such as {min(folders)}.")
        if case_id is not None and case_id not in folders:
            raise UsageError(f"{path}: no case '{case_id}'; cases are called {min(folders)}, ….")
        folder = folders[case_id] if case_id is not None else next(iter(folders.values()))
        metrics, bad_metrics = read_metrics(_metric_file(folder))
        services = frozenset(str(name) for name in metrics["service"].unique().to_pylist() if name)
        spans, bad_spans = read_spans(folder / "traces.csv", services, full=full)
        logs, bad_logs = read_logs(folder / "logs.csv", services, full=full)
        telemetry = Telemetry(spans=spans, logs=logs, metrics=metrics)
        dropped = [*bad_metrics, *bad_spans, *bad_logs]
        if dropped and not sum(telemetry.rows.values()):
            raise CorruptSource(f"{folder}: nothing can be read ({dropped[0].reason}).")
        return Loaded(case=_case(folder), telemetry=telemetry.with_dropped(*dropped))


def _case_folders(path: Path) -> Iterator[Path]:
    """Folders with an injection time and metrics, at the path or up to four levels below it."""
    for depth in range(_MAX_DEPTH + 1):
        for marker in path.glob("/".join(["*"] * depth + [_INJECTION])):
            if any((marker.parent / name).is_file() for name in _METRIC_FILES):
                yield marker.parent


def _found(path: Path) -> list[Path]:
    folders = list(_case_folders(path))
    if not folders:
        raise UnrecognisedSource(f"{path}: no folder with {_INJECTION} and metrics; give RCAEval's folder.")
    return folders


def _metric_file(folder: Path) -> Path:
    return next(folder / name for name in _METRIC_FILES if (folder / name).is_file())


def _id(folder: Path) -> str:
    """`<dataset>/<service>_<fault>/<repetition>`, or the last two parts where there is no repetition folder."""
    parts = folder.resolve().parts
    return "/".join(parts[-2:] if _LABEL.fullmatch(parts[-1]) else parts[-3:])


def _label(folder: Path) -> re.Match[str] | None:
    folder = folder.resolve()
    return _LABEL.fullmatch(folder.name) or _LABEL.fullmatch(folder.parent.name)


def _case(folder: Path) -> Case:
    onset = _injection_ns(folder / _INJECTION)
    baseline, incident = _windows(_metric_file(folder), onset)
    label, name = _label(folder), _id(folder)
    truth: tuple[Truth, ...] | None = None
    if label is not None:
        fault = "code_defect" if _CODE_FAULT.fullmatch(label["fault"]) else _FAULTS.get(label["fault"])
        truth = (Truth(service=label["service"], fault_class=class_of(fault), fault=fault, onset_ns=onset),)
    return Case(
        id=name, system=name.split("/")[0], baseline=baseline, incident=incident, truth=truth,
        source="RCAEval (WWW 2025), github.com/phamquiluan/RCAEval",
    )  # fmt: skip


def _injection_ns(path: Path) -> int:
    try:
        return round(float(path.read_text(encoding="utf-8-sig").split()[0]) * NS_PER_SECOND)
    except (OSError, ValueError, IndexError, OverflowError) as error:
        raise CorruptSource(f"{path}: not epoch seconds ({error}); write the time of injection into it.") from error


def _windows(metrics: Path, onset: int) -> tuple[Window, Window]:
    """What was recorded before and from the injection on; ten minutes where the file does not say."""
    first, last = _extent(metrics)
    margin = _ASSUMED_SECONDS * NS_PER_SECOND
    start = first if first is not None and first < onset else onset - margin
    end = last + NS_PER_SECOND if last is not None and last >= onset else onset + margin
    return Window(start, onset), Window(onset, end)


def _extent(path: Path) -> tuple[int | None, int | None]:
    """Times of the first and the last row, reading only the ends of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header, first = file.readline().decode(errors="replace"), file.readline().decode(errors="replace")
        file.seek(max(0, size - _TAIL_BYTES))
        last = (file.read().decode(errors="replace").splitlines() or [""])[-1]
    names = next(csv.reader([header.lstrip("\ufeff")]), [])
    place = next((i for i, name in enumerate(names) if name.strip().lower() in TIME_COLUMNS), None)
    if place is None:
        return None, None
    return _epoch_ns(first, place), _epoch_ns(last, place)


def _epoch_ns(line: str, place: int) -> int | None:
    cells = next(csv.reader([line]), [])
    if place >= len(cells):
        return None
    return cast("int | None", parse_times([cells[place]]).cast(pa.int64())[0].as_py())
