"""What every reader keeps: it never raises on what is not its own, names what is missing, and changes no file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from aetia.contracts.rules import ContractBroken, require
from aetia.contracts.situations import content
from aetia.ingest.reader import Loaded, Match, Reader
from aetia.model.errors import IngestError
from aetia.model.tables import ANALYSIS_COLUMNS, SCHEMAS

Factory = Callable[[], Reader]
FOREIGN: dict[str, bytes] = {
    "empty.json": b"",
    "empty.csv": b"",
    "empty.parquet": b"",
    "empty.pb": b"",
    "spans.parquet": b"PAR1",
    "data.csv": b"\x00\xff\xfe",
    "case.json": b"[1, 2",
    "traces.json": b'{"data": 3}',
    "notes.txt": "grüße, 你好".encode(),
    "metrics.csv": b"time\n\n\n",
    "logs.jsonl": b'{"resourceLogs": null}\nnot json',
    "long.csv": b"," * 10_000,
    "deep.json": b"[" * 20_000,
}
"""Files that look like something and are not."""


def recognises_nothing(factory: Factory) -> None:
    """A folder, a folder of folders and a file without content: not recognised, not raised."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "empty").mkdir()
        (root / "nested" / "empty").mkdir(parents=True)
        (root / "file").touch()
        for path in (root / "empty", root / "nested", root / "file"):
            _unrecognised(factory(), path)


def recognises_no_absent_path(factory: Factory) -> None:
    """Paths without anything behind them: not recognised, not raised."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (Path(folder) / "absent", Path(folder) / "absent" / "metrics.csv"):
            _unrecognised(factory(), path)


def _unrecognised(reader: Reader, path: Path) -> None:
    match = _sound_match(reader.recognise(path))
    require(match is None or match.confidence < 0.5, f"{path.name} holds nothing, yet it is recognised: {match}")


def survives_foreign_files(factory: Factory) -> None:
    """Files of other kinds, one by one and all together."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "all"
        root.mkdir()
        for name, data in FOREIGN.items():
            (root / name).write_bytes(data)
            alone = Path(folder) / f"only-{name}"
            alone.mkdir()
            (alone / name).write_bytes(data)
            _answers(factory(), alone)
            _answers(factory(), alone / name)
        _answers(factory(), root)


def _answers(reader: Reader, path: Path) -> None:
    """Recognise, list and load: an answer of the right type, or an IngestError."""
    try:
        _sound_match(reader.recognise(path))
        for case in reader.cases(path):
            sound_loaded(reader.load(path, case.id))
    except IngestError as error:
        require(str(error).strip(), f"an IngestError about {path.name} says nothing")


def names_what_is_missing(factory: Factory) -> None:
    """Listing and loading what does not exist."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nowhere"
        for call in (factory().cases, factory().load):
            try:
                call(path)
            except IngestError as error:
                require("nowhere" in str(error), f"the error does not name the path: {error}")
                continue
            raise ContractBroken("a path that does not exist is read without an IngestError")


def reads_its_own_layout(factory: Factory, sample: Path) -> None:
    """A sample in the reader's layout is recognised, listed and loaded, twice alike, and no file is touched."""
    before = _fingerprint(sample)
    match = _sound_match(factory().recognise(sample))
    require(match is not None and match.confidence >= 0.5, f"its own layout is not recognised: {match}")
    cases = factory().cases(sample)
    ids = [case.id for case in cases]
    require(cases and ids == sorted(set(ids)), f"cases are sorted by id and told apart, not {ids}")
    for case in cases:
        first, second = sound_loaded(factory().load(sample, case.id)), sound_loaded(factory().load(sample, case.id))
        require(first.case == second.case and content(first.telemetry) == content(second.telemetry), "two loads differ")
        require(first.case == case, f"the case that is loaded is not the one that was listed: {first.case}")
        require(sum(first.telemetry.rows.values()), f"case {case.id} holds no rows")
        sound_loaded(factory().load(sample, case.id, full=True), full=True)
    _refuses_unknown_case(factory(), sample)
    require(_fingerprint(sample) == before, "reading changes the files that are read")


def _refuses_unknown_case(reader: Reader, sample: Path) -> None:
    from aetia.model.errors import AetiaError

    try:
        reader.load(sample, "no such case")
    except AetiaError as error:
        require("no such case" in str(error), f"the error does not name the case: {error}")
        return
    raise ContractBroken("a case that is not there is loaded")


def _sound_match(match: object) -> Match | None:
    if match is None:
        return None
    if not isinstance(match, Match):
        raise ContractBroken(f"recognise must return a Match or None, not {type(match).__name__}")
    require(0.0 <= match.confidence <= 1.0, f"confidence lies in 0..1, not {match.confidence}")
    return match


def sound_loaded(loaded: object, *, full: bool = False) -> Loaded:
    """What a reader hands on, checked against the schemas."""
    if not isinstance(loaded, Loaded):
        raise ContractBroken(f"load must return a Loaded, not {type(loaded).__name__}")
    telemetry = loaded.telemetry
    for name, schema in SCHEMAS.items():
        table = telemetry.table(name)
        wanted = schema.names if full else ANALYSIS_COLUMNS[name]
        lacking = [column for column in wanted if column not in table.column_names]
        require(not lacking, f"table {name} lacks {lacking}")
        for column in wanted:
            kind = table.schema.field(column).type
            plain = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
            right = plain == schema.field(column).type
            require(right, f"column {column} of {name} is {kind}; the schema says {schema.field(column).type}")
    require(0.0 < telemetry.sampled <= 1.0, f"the share of traces that were read is {telemetry.sampled}")
    for record in telemetry.dropped:
        require(record.rows > 0 and record.reason, f"a record of dropped rows says neither how many nor why: {record}")
    return loaded


def _fingerprint(path: Path) -> str:
    """Digest of the names, contents and times of all files below a path."""
    whole = hashlib.sha256()
    for file in sorted([path] if path.is_file() else (item for item in path.rglob("*") if item.is_file())):
        whole.update(str(file).encode() + file.read_bytes() + str(file.stat().st_mtime_ns).encode())
    return whole.hexdigest()
