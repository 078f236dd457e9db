"""Reader of Nezha's layout: `rca_data/<day>` with faults, `construct_data/<day>` with fault-free minutes.

Source: Yu et al., "Nezha: Interpretable Fine-Grained Root Causes Analysis for Microservices on Multi-Modal
Observability Data", FSE 2023.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa

from aetia.ingest.datasets._nezha_tables import read_logs, read_metrics, read_spans, service_of_pod
from aetia.ingest.normalise import concat
from aetia.ingest.reader import Loaded, Match
from aetia.ingest.values import pc
from aetia.model.case import Case, Truth
from aetia.model.errors import CorruptSource, UnrecognisedSource, UsageError
from aetia.model.faults import class_of
from aetia.model.tables import Dropped, Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.plugins import plugin

_FAULTS = {
    "cpu_contention": "cpu", "cpu_consumed": "cpu", "network_delay": "network_delay",
    "exception": "exception", "return": "early_return",
}  # fmt: skip
_MINUTE = 60 * NS_PER_SECOND
_DAY_FOLDER = re.compile(r"\d{4}-\d\d-\d\d")
_MINUTE_FILE = re.compile(r"(\d\d)_(\d\d)_(?:trace|log)\.csv")
# Spans and logs end three minutes after the injection minute; a metric sample describes the minute before it.
_INCIDENT_MINUTES = 4
_CONTEXT_MINUTES = 3
_METRIC_BASELINE_MINUTES = 60
_ENOUGH_MINUTES = 10
# A minute file reaches up to two minutes back (measured: -112 s) and rarely beyond its own minute.
_FILE_REACH_MINUTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """One labelled injection."""

    day: str
    pod: str
    kind: str
    onset_ns: int

    @property
    def minute_ns(self) -> int:
        return self.onset_ns - self.onset_ns % _MINUTE

    @property
    def incident(self) -> Window:
        return Window(self.onset_ns, self.minute_ns + _INCIDENT_MINUTES * _MINUTE)


def _ns(text: str) -> int:
    """UTC nanoseconds of `YYYY-MM-DD HH:MM:SS[.f]`; raises ValueError."""
    moment = datetime.fromisoformat(text.strip()).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return moment // timedelta(microseconds=1) * 1000


@dataclass(frozen=True)
class _Layout:
    """The days of one data set folder, from its file names."""

    root: Path

    @cached_property
    def label_files(self) -> dict[str, Path]:
        """Label file of each day, in order of days."""
        files = sorted(self.root.glob("rca_data/*/*fault_list.json"))
        return {path.parent.name: path for path in files if _DAY_FOLDER.fullmatch(path.parent.name)}

    @cached_property
    def _systems(self) -> dict[str, frozenset[str]]:
        """Services of each `construct_data/root_cause_<system>.json`."""
        found: dict[str, frozenset[str]] = {}
        for path in sorted(self.root.glob("construct_data/root_cause_*.json")):
            content = _json(path)
            if isinstance(content, dict):
                found[path.stem.removeprefix("root_cause_")] = frozenset(cast(dict[str, Any], content))
        return found

    def system(self, day: str) -> str:
        """Name of the system of a day: the folder's, with the label file's where there are several."""
        name = self.root.resolve().name
        if len(self._systems) < 2:
            return name
        pods = {service_of_pod(fault.pod) for fault in self.faults(day)}
        best = max(self._systems, key=lambda system: len(self._systems[system] & pods))
        return f"{name}-{best}" if self._systems[best] & pods else name

    def faults(self, day: str) -> list[_Fault]:
        """The injections of a day. Raises CorruptSource when the label file cannot be used."""
        path = self.label_files[day]
        content = _json(path)
        try:
            entries = [entry for hour in content.values() for entry in hour] if isinstance(content, dict) else content
            return [
                _Fault(
                    day=day,
                    pod=entry["inject_pod"],
                    kind=entry["inject_type"],
                    onset_ns=_ns(entry["inject_time"]),
                )
                for entry in entries
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CorruptSource(
                f"{path}: not a list of injections ({error!r}); restore it from the data set."
            ) from error

    def minute_files(self, part: str, day: str, kind: str) -> list[tuple[int, Path]]:
        """(minute in ns, file) of the minute files of a day; `part` is rca_data or construct_data."""
        midnight = _ns(f"{day} 00:00:00")
        found: list[tuple[int, Path]] = []
        for path in sorted((self.root / part / day / kind).glob("*.csv")):
            match = _MINUTE_FILE.fullmatch(path.name)
            if match:
                found.append((midnight + (int(match[1]) * 60 + int(match[2])) * _MINUTE, path))
        return found

    def fault_free(self, day: str, kind: str) -> list[tuple[int, Path]]:
        """The fault-free minute files for a day: its own, else those of the system's nearest other day."""
        system, own = self.system(day), _ns(f"{day} 00:00:00")
        days = [other for other in self.label_files if self.system(other) == system]
        days.sort(key=lambda other: (abs(_ns(f"{other} 00:00:00") - own), other))
        return next((files for other in days if (files := self.minute_files("construct_data", other, kind))), [])

    @cached_property
    def _extents(self) -> dict[str, Window | None]:
        return {}

    def metric_folder(self, day: str) -> Path:
        return self.root / "rca_data" / day / "metric"

    def metric_extent(self, day: str) -> Window | None:
        """First and last sample of a day's metrics, from the ends of one file; None when there are none."""
        if day not in self._extents:
            path = next(iter(sorted(self.metric_folder(day).glob("*_metric.csv"))), None)
            self._extents[day] = _extent(path) if path else None
        return self._extents[day]


def _json(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, OSError, UnicodeError) as error:
        raise CorruptSource(f"{path}: not JSON ({error}); restore it from the data set.") from error


def _extent(path: Path) -> Window | None:
    """Times of the first and the last row of a metric file, reading only its ends."""
    with path.open("rb") as file:
        head = file.read(4096).decode(errors="replace").splitlines()[1:2]
        file.seek(max(0, path.stat().st_size - 4096))
        tail = file.read().decode(errors="replace").splitlines()[-1:]
    try:
        first, last = (_ns(line[:19]) for line in head + tail)
    except ValueError:
        return None
    # The lines are read to the second, so the last sample lies somewhere within its second.
    return Window(first, last + NS_PER_SECOND) if last >= first else None


def _fault_free_windows(files: list[tuple[int, Path]]) -> tuple[Window, ...]:
    return tuple(Window(minute - _FILE_REACH_MINUTES * _MINUTE, minute + _MINUTE) for minute, _ in files)


def _metric_baseline(layout: _Layout, fault: _Fault) -> tuple[tuple[Window, ...], str | None]:
    """The windows of the metric baseline and what has to be said about them.

    The hour before the injection minute. Where it holds less than ten minutes, the last hour of the day
    before is added; only where nothing precedes the fault at all do the minutes after the incident serve.
    """
    before = Window(fault.minute_ns - _METRIC_BASELINE_MINUTES * _MINUTE, fault.minute_ns)
    extent = layout.metric_extent(fault.day)
    if extent is None:
        return (), "no metrics on this day"
    available = min(before.end_ns, extent.end_ns) - max(before.start_ns, extent.start_ns)
    if available >= _ENOUGH_MINUTES * _MINUTE:
        return (before,), None
    windows = (Window(max(before.start_ns, extent.start_ns), before.end_ns),) if available > 0 else ()
    system = layout.system(fault.day)
    earlier = [day for day in layout.label_files if day < fault.day and layout.system(day) == system]
    previous = layout.metric_extent(earlier[-1]) if earlier else None
    if previous is not None:
        start = max(previous.start_ns, previous.end_ns - _METRIC_BASELINE_MINUTES * _MINUTE)
        return (
            Window(start, previous.end_ns),
            *windows,
        ), f"metric baseline extended with the end of {earlier[-1]}"
    if windows:
        return windows, f"metric baseline of only {round(available / _MINUTE)} minutes"
    end = fault.incident.end_ns
    after = Window(end, end + _METRIC_BASELINE_MINUTES * _MINUTE)
    return (after,), "metric baseline taken after the incident: nothing precedes it"


@plugin(
    "reader",
    summary="Nezha's data sets: minute files of traces and logs, day files of metrics, injected faults",
    source="Yu et al., FSE 2023",
)
class NezhaReader:
    """One case per injected fault. Case ids are `<system>/<day>T<HH:MM>-<service>-<type>`."""

    def recognise(self, path: Path) -> Match | None:
        """Fits a folder with `rca_data/<day>/*fault_list.json`, more surely with `construct_data` beside."""
        if not path.is_dir():
            return None
        labels = _Layout(path).label_files
        if not labels:
            return None
        construct = (path / "construct_data").is_dir()
        found = tuple(str(file.relative_to(path)) for file in labels.values())
        return Match(
            confidence=0.98 if construct else 0.8,
            found=found + (("construct_data",) if construct else ()),
            missing=() if construct else ("construct_data (fault-free minutes)",),
        )

    def cases(self, path: Path) -> list[Case]:
        """All injected faults, sorted by id. Raises UnrecognisedSource or CorruptSource."""
        return [case for case, _ in _cases(_layout(path))]

    def load(self, path: Path, case_id: str | None = None, *, full: bool = False) -> Loaded:
        """One fault with the minute files around it, the fault-free minutes and the whole day's metrics."""
        layout = _layout(path)
        listed = _cases(layout)
        chosen = [item for item in listed if item[0].id == case_id] if case_id is not None else listed
        if len(chosen) != 1:
            known = ", ".join(case.id for case, _ in listed[:3])
            what = f"no case '{case_id}'" if case_id is not None else f"{len(listed)} cases, name one"
            raise UsageError(f"{path}: {what}; cases are called {known}, …")
        case, fault = chosen[0]
        return Loaded(case=case, telemetry=_telemetry(layout, case, fault, full))


def _layout(path: Path) -> _Layout:
    layout = _Layout(path)
    if not layout.label_files:
        raise UnrecognisedSource(f"{path}: no rca_data/<day>/*fault_list.json; give the folder that holds rca_data.")
    return layout


def _cases(layout: _Layout) -> list[tuple[Case, _Fault]]:
    faults = [fault for day in layout.label_files for fault in layout.faults(day)]
    cases = [(_case(layout, fault), fault) for fault in faults]
    seen = Counter(case.id for case, _ in cases)
    unique = [
        (msgspec.structs.replace(case, id=f"{case.id}-{fault.onset_ns // NS_PER_SECOND % 60:02d}"), fault)
        if seen[case.id] > 1 else (case, fault)
        for case, fault in cases
    ]  # fmt: skip
    return sorted(unique, key=lambda item: item[0].id)


def _case(layout: _Layout, fault: _Fault) -> Case:
    system, service = layout.system(fault.day), service_of_pod(fault.pod)
    clock = datetime.fromtimestamp(fault.onset_ns // NS_PER_SECOND, UTC)
    metrics, note = _metric_baseline(layout, fault)
    kind = _FAULTS.get(fault.kind)
    return Case(
        id=f"{system}/{fault.day}T{clock:%H:%M}-{service}-{fault.kind}",
        system=system,
        baseline=metrics[-1] if metrics else None,
        incident=fault.incident,
        truth=(
            Truth(
                service=service,
                instance=fault.pod,
                fault_class=class_of(kind),
                fault=kind,
                onset_ns=fault.onset_ns,
            ),
        ),
        baselines={
            "spans": _fault_free_windows(layout.fault_free(fault.day, "trace")),
            "logs": _fault_free_windows(layout.fault_free(fault.day, "log")),
            "metrics": metrics,
        },
        license="MIT",
        source="; ".join(filter(None, ("Nezha (FSE 2023), github.com/IntelligentDDS/Nezha", note))),
    )


def _telemetry(layout: _Layout, case: Case, fault: _Fault, full: bool) -> Telemetry:
    spans, bad_spans = _minutes(layout, case, fault, "trace", full)
    logs, bad_logs = _minutes(layout, case, fault, "log", full)
    metrics, topology, bad_metrics = read_metrics(layout.metric_folder(fault.day))
    for window in case.baseline_windows("metrics"):
        day = datetime.fromtimestamp(window.start_ns // NS_PER_SECOND, UTC).strftime("%Y-%m-%d")
        if day != fault.day and day in layout.label_files:
            earlier, _, more = read_metrics(layout.metric_folder(day), window)
            metrics, bad_metrics = concat("metrics", [earlier, metrics]), bad_metrics + more
    telemetry = Telemetry(spans=spans, logs=logs, metrics=metrics, topology=topology)
    dropped = [*bad_spans, *bad_logs, *bad_metrics]
    if dropped and not sum(telemetry.rows.values()):
        raise CorruptSource(f"{layout.root}: nothing of {case.id} can be read ({dropped[0].reason}).")
    return telemetry.with_dropped(*dropped)


def _minutes(layout: _Layout, case: Case, fault: _Fault, kind: str, full: bool) -> tuple[pa.Table, list[Dropped]]:
    """Spans or logs around the fault, and those of the fault-free minutes.

    What the fault's own files hold inside a fault-free window is left out: it was not recorded as fault-free.
    """
    name, read = ("spans", read_spans) if kind == "trace" else ("logs", read_logs)
    reach = Window(fault.onset_ns - _CONTEXT_MINUTES * _MINUTE, fault.incident.end_ns)
    around = [
        path for minute, path in layout.minute_files("rca_data", fault.day, kind)
        if reach.overlaps(Window(minute - _FILE_REACH_MINUTES * _MINUTE, minute + _MINUTE))
    ]  # fmt: skip
    table, dropped = read(around, full=full)
    for window in case.baseline_windows(name):
        time = table["time"].cast(pa.int64())
        inside = pc.and_(pc.greater_equal(time, window.start_ns), pc.less(time, window.end_ns))
        outside = table.filter(pc.invert(inside))
        if outside.num_rows < table.num_rows:
            reason = "row of a fault's file inside a fault-free window; the fault-free file itself is used"
            dropped = [*dropped, Dropped(table=name, rows=table.num_rows - outside.num_rows, reason=reason)]
        table = outside
    calm, more = read((path for _, path in layout.fault_free(fault.day, kind)), full=full)
    return concat(name, [calm, table]), dropped + more
