"""Reader and writer of Aetia's own layout: a case folder, or a suite (a folder of cases)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa

from aetia.ingest.files import (
    category_columns,
    damaged_rows,
    list_folder,
    open_parquet,
    parquet_columns,
    pick_case,
    plain_stem,
    read_bytes,
    read_parquet,
    reading,
    require,
)
from aetia.ingest.normalise import CATEGORIES, parse_times, pc, to_table
from aetia.ingest.reader import Loaded, Match
from aetia.ingest.values import CATEGORY, SMALLEST_EPOCH, Column, TimeUnit, decoded, is_number, largest_epoch, nulls
from aetia.model.case import Case, Truth
from aetia.model.errors import CorruptSource, IngestError
from aetia.model.tables import ANALYSIS_COLUMNS, SCHEMAS, Dropped, Telemetry
from aetia.model.window import Window
from aetia.plugins import plugin

TABLES = tuple(SCHEMAS)
# Peak bytes per row of reading and analysing ten million rows of one kind (measured: 440, 250 and 230).
ROW_BYTES = {"spans": 450, "logs": 260, "metrics": 240}
FULL_ROW_BYTES = {"spans": 2500, "logs": 1000, "metrics": 240}
USABLE = 0.6
"""Share of the free memory that one reading may take."""
MIN_SPANS = 100_000
"""So many spans are read whatever the memory."""
_BUDGET_VARIABLE = "AETIA_SPAN_BUDGET"
_MARK = {b"aetia.normal": b"1"}
_FIELDS = tuple(field.name for field in msgspec.structs.fields(Truth))
_PLACES = ("service", "instance", "node", "edge", "operation")


@plugin(
    "reader",
    summary="an Aetia case folder, or a suite of them",
    cost="1 M spans, 1 M log lines and 1 M metric points in about 0.4 s on 2 cores",
)
class CaseReader:
    """`spans|logs|metrics|changes|topology.parquet` (each optional) with an optional `case.json`.

    `span_budget` is the number of spans that may be read into memory (or the variable AETIA_SPAN_BUDGET); of a
    larger file whole traces are kept, chosen by a hash of their id. Without it the memory that is free decides, and
    log lines are thinned with their traces.
    """

    def __init__(self, span_budget: int | None = None) -> None:
        self.span_budget = span_budget

    def recognise(self, path: Path) -> Match | None:
        if not path.is_dir():
            return _recognise_file(path)
        files = _case_files(path)
        if "case.json" in files:
            return Match(confidence=0.99, found=tuple(files))
        if files:
            return _recognise_tables(path, files)
        cases = _case_folders(path)
        if not cases:
            return None
        return Match(confidence=0.97, found=(f"{len(cases)} case folders",))

    def cases(self, path: Path) -> list[Case]:
        """The cases of a suite, or the one of a case folder, sorted by id."""
        require(path)
        return sorted((read_case_file(folder) for folder in _folders(path)), key=lambda case: case.id)

    def load(self, path: Path, case_id: str | None = None, *, full: bool = False) -> Loaded:
        require(path)
        folders = _folders(path)
        direct = path / folder_name(case_id) if case_id else None
        if direct in folders and read_case_file(direct).id == case_id:
            # The usual place of a case in a suite; the other case files need not be read.
            folders = [direct]
        case, folder = _find(folders, case_id, path)
        only = path if path.is_file() and path.suffix == ".parquet" else None
        return Loaded(case=case, telemetry=_read_tables(folder, only, full, self.span_budget))


# ---- recognising ------------------------------------------------------------------------------------------


def _case_files(folder: Path) -> list[str]:
    known = {"case.json", *(f"{name}.parquet" for name in TABLES)}
    return [entry.name for entry in list_folder(folder) if entry.name in known]


def _recognise_file(path: Path) -> Match | None:
    if path.name == "case.json":
        return Match(confidence=0.99, found=("case.json",))
    if path.suffix == ".parquet" and path.stem in TABLES:
        return _recognise_tables(path.parent, [path.name])
    return None


def _recognise_tables(folder: Path, files: list[str]) -> Match | None:
    """Without a `case.json` the columns decide, because other layouts also have a `logs.parquet`.

    A file that cannot be read decides nothing; when none can, the first problem is raised.
    """
    missing: list[str] = []
    problems: list[IngestError] = []
    for name in files:
        table = Path(name).stem
        try:
            present = parquet_columns(folder / name)
        except IngestError as problem:
            problems.append(problem)
            continue
        needed = {"spans": ("time", "service"), "topology": ("caller", "callee")}.get(table, ("time",))
        missing += [f"column {column} in {name}" for column in needed if column not in present]
    if len(problems) == len(files):
        raise problems[0]
    if missing:
        return Match(confidence=0.2, found=tuple(files), missing=tuple(missing))
    return Match(confidence=0.9, found=tuple(files), missing=("case.json (no windows, no labels)",))


def _case_folders(path: Path) -> list[Path]:
    return [entry for entry in list_folder(path) if entry.is_dir() and _may_be_case(entry)]


def _may_be_case(folder: Path) -> bool:
    try:
        return (folder / "case.json").is_file()
    except PermissionError:
        # Reading it says so; other cases of the suite can still be read.
        return True


def _folders(path: Path) -> list[Path]:
    """The case folders behind a path: of a suite its children, otherwise the folder itself."""
    if path.is_file():
        return [path.parent]
    if _case_files(path):
        return [path]
    folders = _case_folders(path)
    if not folders:
        raise IngestError(f"{path} holds neither a case nor case folders; a case has a case.json and tables.")
    return folders


def _find(folders: list[Path], case_id: str | None, path: Path) -> tuple[Case, Path]:
    """The case of that id and its folder, or the only one; a damaged case.json hides no other case."""
    by_id: dict[str, tuple[Case, Path]] = {}
    problem: IngestError | None = None
    for folder in folders:
        try:
            case = read_case_file(folder)
        except IngestError as error:
            problem = problem or error
            continue
        if case.id in by_id and case_id in (None, case.id):
            first = by_id[case.id][1]
            raise IngestError(f"{first} and {folder} are both called '{case.id}'; name one of the two folders.")
        by_id.setdefault(case.id, (case, folder))
    if problem is not None and case_id not in by_id:
        raise problem
    chosen = pick_case(sorted((case for case, _ in by_id.values()), key=lambda case: case.id), case_id, path)
    return by_id[chosen.id]


# ---- case.json --------------------------------------------------------------------------------------------


def read_case_file(folder: Path) -> Case:
    """The labels of a case folder; a folder without `case.json` is a case without labels.

    Unknown keys are ignored and missing ones are null. Raises CorruptSource with the key that is wrong.
    """
    path = folder / "case.json"
    with reading(path):
        absent = not path.exists() and not path.is_symlink()
    if absent:
        return Case(id=plain_stem(folder), source=str(folder))
    with reading(path):
        raw = msgspec.json.decode(read_bytes(path))
    if not isinstance(raw, dict):
        raise CorruptSource(f"{path} is no JSON object; it must hold id, baseline, incident and truth.")
    return _case(cast(dict[str, Any], raw), path, plain_stem(folder))


def _case(raw: Mapping[str, Any], path: Path, default_id: str) -> Case:
    truth = raw.get("truth")
    if truth is not None and not isinstance(truth, list | dict):
        raise CorruptSource(f"{path}: 'truth' must be a list of root causes; it is {type(truth).__name__}.")
    roots = [truth] if isinstance(truth, dict) else truth
    known = {
        key: raw[key] for key in ("system", "label", "group", "license", "source") if isinstance(raw.get(key), str)
    }
    baselines = raw.get("baselines") or {}
    if not isinstance(baselines, dict):
        raise CorruptSource(f"{path}: 'baselines' must map table names to windows.")
    sli = raw.get("sli")
    return Case(
        id=str(raw.get("id") or default_id),
        baseline=_window(raw.get("baseline"), "baseline", path),
        incident=_window(raw.get("incident"), "incident", path),
        truth=None if roots is None else tuple(_truth(item, path) for item in roots),
        baselines={str(key): _windows(value, f"baselines.{key}", path) for key, value in baselines.items()},
        sli=sli if isinstance(sli, dict) else {},
        **known,
    )


def _windows(raw: Any, key: str, path: Path) -> tuple[Window, ...]:
    single = isinstance(raw, list) and len(raw) == 2 and not isinstance(raw[0], list)
    items = [raw] if single else raw
    if not isinstance(items, list):
        raise CorruptSource(f"{path}: '{key}' must be a list of [start_ns, end_ns].")
    windows = (_window(item, key, path) for item in items)
    return tuple(window for window in windows if window is not None)


def _window(raw: Any, key: str, path: Path) -> Window | None:
    if raw is None:
        return None
    if not isinstance(raw, list | tuple) or len(raw) != 2:
        raise CorruptSource(f"{path}: '{key}' must be [start_ns, end_ns] or null.")
    start, end = (_nanoseconds(value) for value in raw)
    if start is None or end is None:
        raise CorruptSource(f"{path}: '{key}' holds a value that is no time; give epoch nanoseconds.")
    if end < start:
        raise CorruptSource(f"{path}: '{key}' ends before it starts; swap the two times.")
    return Window(start, end)


def _nanoseconds(value: Any) -> int | None:
    """A time as nanoseconds: epoch numbers of any unit from 2001 on, smaller ones as given, or ISO text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int) and abs(value) >= 2**63:
        return None
    if not isinstance(value, str) and abs(value) < 1e9:
        return int(value)
    parsed = parse_times([value]).cast(pa.int64())
    return cast("int | None", parsed[0].as_py())


def _truth(raw: Any, path: Path) -> Truth:
    if not isinstance(raw, dict):
        raise CorruptSource(f"{path}: each entry of 'truth' must be an object with service, fault and so on.")
    fields: dict[str, Any] = {key: raw[key] for key in _FIELDS if isinstance(raw.get(key), str) and key != "edge"}
    edge = _edge(raw.get("edge"))
    if edge is not None:
        fields["edge"] = edge
    fields["onset_ns"] = _nanoseconds(raw.get("onset_ns"))
    for key in _PLACES:
        if raw.get(key) is not None and key not in fields:
            raise CorruptSource(f"{path}: '{key}' of a root cause in 'truth' has the wrong type; it names a place.")
    if not any(key in fields for key in _PLACES):
        raise CorruptSource(f"{path}: a root cause in 'truth' names no place; give it a service, node or edge.")
    return Truth(**fields)


def _edge(raw: Any) -> tuple[str, str] | None:
    """`["a", "b"]`, `{"caller": "a", "callee": "b"}` or `"a -> b"`."""
    if isinstance(raw, dict):
        raw = [raw.get("caller"), raw.get("callee")]
    elif isinstance(raw, str):
        raw = raw.replace("→", "->").split("->")
    if not isinstance(raw, list) or len(raw) != 2 or not all(isinstance(end, str) for end in raw):
        return None
    return str(raw[0]).strip(), str(raw[1]).strip()


# ---- tables -----------------------------------------------------------------------------------------------


def _read_tables(folder: Path, only: Path | None, full: bool, budget: int | None) -> Telemetry:
    """The tables of a folder; one that cannot be read is counted as dropped, unless there is no other."""
    tables: dict[str, pa.Table] = {}
    dropped: list[Dropped] = []
    problem: IngestError | None = None
    paths = {name: folder / f"{name}.parquet" for name in TABLES}
    paths = {
        name: path
        for name, path in paths.items()
        if (path.exists() or path.is_symlink()) and (only is None or path.name == only.name)
    }
    shares = _shares(paths, full, budget)
    sampled = 1.0
    for name, path in paths.items():
        try:
            table, records, share = _read_table(name, path, full, shares.get(name, 1.0))
        except IngestError as error:
            problem = problem or error
            dropped.append(Dropped(table="files", rows=1, reason=str(error), source=str(path)))
            continue
        tables[name] = table
        dropped += records
        sampled = min(sampled, share)
    if problem is not None and not tables:
        raise problem
    return Telemetry(**tables, dropped=tuple(dropped), sampled=sampled)


def _read_table(name: str, path: Path, full: bool, share: float) -> tuple[pa.Table, list[Dropped], float]:
    require(path)
    wanted = SCHEMAS[name].names if full else ANALYSIS_COLUMNS[name]
    with open_parquet(path) as file, reading(path):
        schema = file.schema_arrow
        rows: int = file.metadata.num_rows
        normal = (schema.metadata or {}).get(b"aetia.normal") == b"1"
    columns = [column for column in wanted if column in schema.names]
    as_dictionary = [
        column for column in category_columns(name, columns) if pa.types.is_string(schema.field(column).type)
    ]
    if share < 1.0 and "trace_id" in columns:
        raw = _read_sample(path, columns, as_dictionary, share)
    else:
        share = 1.0
        raw = read_parquet(path, columns, as_dictionary, salvage=True)
    lost = damaged_rows(name, rows - raw.num_rows, path) if share == 1.0 else []
    with reading(path):
        if normal and _is_normal(name, raw):
            return _completed(name, raw, wanted), lost, share
        table, dropped = _normalised(name, raw, full, path)
    return table, lost + dropped, share


def _is_normal(name: str, table: pa.Table) -> bool:
    """Whether a file that says it was written by `write_case` still has the column types that it writes."""
    for field in table.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if kind != SCHEMAS[name].field(field.name).type:
            return False
    return "time" in table.column_names or name == "topology"


def _completed(name: str, table: pa.Table, wanted: Any) -> pa.Table:
    arrays: list[Column] = []
    for column in wanted:
        kind = CATEGORY if column in CATEGORIES[name] else SCHEMAS[name].field(column).type
        arrays.append(table[column] if column in table.column_names else nulls(table.num_rows, kind))
    return pa.Table.from_arrays(arrays, names=list(wanted)).unify_dictionaries()


def _normalised(name: str, raw: pa.Table, full: bool, path: Path) -> tuple[pa.Table, list[Dropped]]:
    columns = {column: raw[column] for column in raw.column_names}
    unit = _time_unit(raw["time"]) if "time" in raw.column_names else None
    return to_table(name, columns, source=str(path), time_unit=unit, full=full)


def _time_unit(column: Column) -> TimeUnit | None:
    """The unit of plain numbers by their magnitude; nanoseconds where they are too small for epoch times."""
    if not is_number(decoded(column).type):
        return None
    return "ns" if largest_epoch(column) < SMALLEST_EPOCH else None


# ---- more than memory holds -------------------------------------------------------------------------------


def _shares(paths: Mapping[str, Path], full: bool, budget: int | None) -> dict[str, float]:
    """Share of the traces to read per table; tables that are read as a whole are left out.

    Metrics are read as a whole: a series without some of its points would look like one that stopped.
    """
    rows = {name: _rows(path) for name, path in paths.items() if name in ROW_BYTES}
    spans = max(rows.get("spans", 0), 1)
    given = os.environ.get(_BUDGET_VARIABLE, "")
    budget = budget or (int(given) if given.isdigit() else 0)
    if budget:
        return {"spans": min(1.0, budget / spans)}
    need = {name: count * (FULL_ROW_BYTES if full else ROW_BYTES)[name] for name, count in rows.items()}
    free = USABLE * free_memory_bytes()
    if sum(need.values()) <= free:
        return {}
    room = free - need.pop("metrics", 0)
    share = min(1.0, max(room / max(sum(need.values()), 1), MIN_SPANS / spans))
    return {"spans": share, "logs": share}


def _rows(path: Path) -> int:
    """Rows of a Parquet file; 0 when it cannot be opened, which the reading of it reports."""
    try:
        with open_parquet(path) as file:
            return int(file.metadata.num_rows)
    except IngestError:
        return 0


def free_memory_bytes() -> int:
    """Memory that this process may still take, by the kernel, the control group and the process's own limit; 4 GiB
    when unknown."""
    free = 4 << 30
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit.isdigit():
            free = min(free, int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        return max(min(free, _free_address_space()), 0)
    return max(min(free, _free_address_space()), 0)


def _free_address_space() -> int:
    """Bytes until the limit of this process (`ulimit -v`); more than any machine has where there is none."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 1 << 62
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    size = Path("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not size.exists():
        return 1 << 62
    return limit - int(size.read_text().split()[0]) * resource.getpagesize()


def _read_sample(path: Path, columns: list[str], as_dictionary: list[str], share: float) -> pa.Table:
    """Whole traces, about `share` of them, read in batches so that the rest is never held."""
    kept: list[pa.Table] = []
    limit = np.uint64(share * float(2**64 - 2**12))
    with open_parquet(path, as_dictionary) as file, reading(path):
        for number, batch in enumerate(file.iter_batches(batch_size=1 << 17, columns=columns)):
            table = pa.Table.from_batches([batch])
            draw = trace_hash(table["trace_id"])
            nobody = np.flatnonzero(draw == 0)  # rows of no trace are thinned one by one
            draw[nobody] = np.random.default_rng(number).integers(0, 2**64, len(nobody), np.uint64, endpoint=False)
            kept.append(table.filter(pa.array(draw < limit)))
    return pa.concat_tables(kept).unify_dictionaries().combine_chunks()


def trace_hash(column: Column) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A uniform 64-bit hash per value, shape (n,): a polynomial over its bytes, then the mix of splitmix64.

    Equal ids have equal hashes in every batch and file. A null id hashes to 0.
    """
    out: list[Any] = []
    for chunk in decoded(column).cast(pa.large_binary()).chunks:
        encoded: Any = chunk.dictionary_encode()
        hashes = np.append(_byte_hash(encoded.dictionary), np.uint64(0))
        indices = pc.fill_null(encoded.indices, len(hashes) - 1).to_numpy(zero_copy_only=False)
        out.append(hashes[indices])
    return np.concatenate(out) if out else np.zeros(0, np.uint64)


def _byte_hash(values: Any) -> Any:
    if not len(values):
        return np.zeros(0, np.uint64)
    offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(values.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64)
    offsets = offsets - offsets[0]
    lengths = np.diff(offsets)
    place = np.arange(len(data)) - np.repeat(offsets[:-1], lengths)
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(int(lengths.max(initial=0)) + 1, 1099511628211, np.uint64))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((data + np.uint64(1)) * powers[place])])
        mixed = sums[offsets[1:]] - sums[offsets[:-1]] + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# ---- writing ----------------------------------------------------------------------------------------------


def write_case(folder: Path, case: Case, telemetry: Telemetry, *, overwrite: bool = False) -> Path:
    """Write a case folder in one step: it is either complete or absent. Returns the folder.

    Empty tables and columns without a value are left out. Raises IngestError when the folder exists (unless
    `overwrite`) or cannot be written.
    """
    with new_folder(folder, overwrite=overwrite) as scratch:
        for name in TABLES:
            table = telemetry.table(name)
            if table.num_rows:
                _write_table(scratch / f"{name}.parquet", name, table)
        (scratch / "case.json").write_bytes(msgspec.json.format(msgspec.json.encode(_case_dict(case)), indent=2))
    return folder


def export_case(loaded: Loaded, suite: Path, *, overwrite: bool = False) -> Path:
    """Write a loaded case into a suite folder, under a folder name made of its id."""
    return write_case(suite / folder_name(loaded.case.id), loaded.case, loaded.telemetry, overwrite=overwrite)


def folder_name(case_id: str) -> str:
    """A case id as a folder name: no separators, no leading dot, at most 120 bytes."""
    name = "".join("_" if sign in '/\\:*?"<>|' or ord(sign) < 32 else sign for sign in case_id).strip(" ")
    name = name.encode()[:120].decode("utf-8", "ignore")
    return f"case_{name}" if not name or name[0] in "._" else name


def _case_dict(case: Case) -> dict[str, Any]:
    out = msgspec.to_builtins(case)
    if case.truth is not None:
        out["truth"] = [{key: getattr(truth, key) for key in _FIELDS} for truth in case.truth]
    return {key: value for key, value in out.items() if key not in ("baselines", "label", "group") or value}


def _write_table(path: Path, name: str, table: pa.Table) -> None:
    import pyarrow.parquet

    pq: Any = pyarrow.parquet
    arrays: dict[str, Any] = {}
    for field in SCHEMAS[name]:
        if field.name in table.column_names and table[field.name].null_count < table.num_rows:
            column = decoded(table[field.name]).cast(field.type)
            arrays[field.name] = column
    plain = pa.table(arrays).replace_schema_metadata(_MARK)
    pq.write_table(
        plain,
        path,
        compression="zstd",
        compression_level=1,
        use_dictionary=[column for column in arrays if column in CATEGORIES[name]],
        row_group_size=1 << 18,
        write_page_checksum=True,
        store_schema=True,
    )


@contextmanager
def _writing(target: Path, scratch: Path) -> Generator[None]:
    """Failures to write as an IngestError with the place that was asked for, not that of the scratch folder."""
    try:
        with reading(target):
            yield
    except IngestError as error:
        cause = error.__cause__
        ours = str(target) in str(error) or str(scratch) in str(error)
        if not ours or not isinstance(cause, OSError) or cause.errno is None:
            raise
        mend = _WRITE_MENDS.get(cause.errno, "choose another folder")
        why = os.strerror(cause.errno).lower()
        raise IngestError(f"{target} cannot be written: {why}; {mend}.") from cause


_WRITE_MENDS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.EEXIST: "choose a path whose parents are folders",
    errno.ENOTDIR: "choose a path whose parents are folders",
}


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Generator[Path]:
    """A scratch folder beside the target that takes its place at the end; on any failure nothing stays."""
    scratch = target.parent / f".{target.name}.partial-{os.getpid()}"
    old = target.parent / f".{target.name}.replaced-{os.getpid()}"
    with _writing(target, scratch):
        if target.exists() and not overwrite and (not target.is_dir() or any(target.iterdir())):
            raise IngestError(f"{target} exists already; choose another folder or remove it.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
            if target.exists():
                target.rename(old)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
