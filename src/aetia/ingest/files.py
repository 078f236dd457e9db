"""Files behind the readers: folders, decompression, CSV and Parquet, and one clear error for each failure."""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec
import pyarrow as pa
from google.protobuf.message import DecodeError

from aetia.ingest.normalise import CATEGORIES, concat
from aetia.ingest.reader import Loaded, Match
from aetia.model.case import Case
from aetia.model.errors import CorruptSource, IngestError
from aetia.model.tables import SCHEMAS, Dropped, Telemetry

HEAD_BYTES = 64 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_NO_DATA = (".md", ".rst", ".pdf", ".png", ".svg", ".html", ".py", ".sh", ".yml", ".yaml", ".toml", ".lock")
_NO_DATA_STEMS = ("readme", "license", "licence", "notice", "changelog", "source", "copying")


# ---- errors -----------------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn every failure that reading the path can meet into an IngestError with file, place and mend."""
    try:
        yield
    except IngestError:
        raise
    except OSError as error:
        _raise_os(path, error)
    except (pa.ArrowException, zlib.error, EOFError, DecodeError) as error:
        raise CorruptSource(f"{path} is truncated or damaged ({_short(error)}); copy or export it again.") from error
    except UnicodeDecodeError as error:
        raise CorruptSource(f"{path} is not UTF-8 text at byte {error.start}; convert it to UTF-8.") from error
    except UnicodeEncodeError as error:
        raise IngestError(f"{printable(path)} has a name that is not UTF-8; rename it.") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CorruptSource(f"{path} is not the JSON it should be ({_short(error)}); export it again.") from error
    except MemoryError as error:
        raise IngestError(f"{path} does not fit in memory; read a shorter window of it.") from error


def _raise_os(path: Path, error: OSError) -> NoReturn:
    if isinstance(error, PermissionError):
        raise IngestError(f"{path}: permission denied; make it readable for this user (chmod -R u+rX).") from error
    if isinstance(error, FileNotFoundError):
        raise IngestError(f"{path} does not exist; check the path.") from error
    if error.errno == errno.ENOSPC:
        raise IngestError(f"{path}: no space left on the device; free some or choose another folder.") from error
    if error.errno == errno.ELOOP:
        raise IngestError(f"{path} is a link that leads back to itself; name the file itself.") from error
    if error.errno == errno.EISDIR or (path.is_dir() and not path.is_symlink() and error.errno is None):
        raise IngestError(f"{path} is a folder where a file was expected; remove it or name a file.") from error
    # Arrow reports damaged files as plain OSErrors without a number.
    kind = CorruptSource if error.errno is None else IngestError
    raise kind(f"{path} could not be read ({_short(error)}); copy or export it again.") from error


def _short(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words[:160].rstrip(".;: ") or type(error).__name__


def printable(path: Path | str) -> str:
    """A path as text that can be printed and written; bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


# ---- folders ----------------------------------------------------------------------------------------------


def list_folder(folder: Path) -> list[Path]:
    """The visible entries of a folder, sorted by name. Raises IngestError when it cannot be listed."""
    with reading(folder):
        found = sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "_")))
        for entry in found:
            try:
                entry.name.encode()
            except UnicodeEncodeError as error:
                where = printable(entry)
                raise IngestError(f"{where} has a name that is not UTF-8; rename it or move it away.") from error
        return found


def data_files(folder: Path, depth: int = 2) -> list[Path]:
    """Files that may hold telemetry, down to `depth` levels: no documents, pictures or code."""
    found: list[Path] = []
    for entry in list_folder(folder):
        if entry.is_dir():
            if depth > 1:
                found.extend(data_files(entry, depth - 1))
        elif entry.suffix.lower() not in _NO_DATA and entry.stem.lower() not in _NO_DATA_STEMS:
            found.append(entry)
    return found


def require(path: Path) -> None:
    """Raise IngestError unless the path exists, can be opened and is a folder or a file that is not empty."""
    with reading(path):
        if path.is_dir():
            with os.scandir(path):
                return
        with open_file(path) as stream:
            if not stream.read(1):
                raise CorruptSource(f"{path} is empty; export it again.")


# ---- bytes ------------------------------------------------------------------------------------------------


def open_file(path: Path) -> BinaryIO:
    """The file, open for reading. Raises IngestError for what is no file: opening a pipe waits for its writer."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise IngestError(f"{path} is a pipe or a device, and files are read more than once; write it to a file first.")
    return path.open("rb")


def head(path: Path, size: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file, decompressed, UTF-16 as UTF-8; fewer when the file is short or breaks off."""
    with reading(path), open_file(path) as stream:
        raw = stream.read(max(size, 1024))
    if raw.startswith(_GZIP):
        try:
            raw = zlib.decompressobj(wbits=31).decompress(raw, size)
        except zlib.error:
            return b""
    elif raw.startswith(_ZSTD):
        try:
            with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as unpacked:
                raw = unpacked.read(size)
        except (OSError, pa.ArrowException):
            return b""
    return as_utf8(raw)[:size]


def read_bytes(path: Path) -> bytes:
    """The whole file, decompressed, UTF-16 as UTF-8. Raises CorruptSource when it is empty or breaks off."""
    raw, damage = read_usable(path)
    if damage:
        raise CorruptSource(f"{path} is truncated or damaged ({damage}); copy or export it again.")
    return raw


def read_usable(path: Path) -> tuple[bytes, str]:
    """Like `read_bytes`, but of a compressed file that breaks off what comes before, and what is wrong with it."""
    with reading(path):
        with open_file(path) as stream:
            raw = stream.read()
        damage = ""
        if raw.startswith(_GZIP):
            raw, damage = _gunzip(raw)
        elif raw.startswith(_ZSTD):
            with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as unpacked:
                raw = unpacked.read()
        if not raw:
            raise CorruptSource(f"{path} is empty; export it again.")
    return as_utf8(raw), damage


def _gunzip(raw: bytes) -> tuple[bytes, str]:
    parts: list[bytes] = []
    while raw.startswith(_GZIP):
        unpacker = zlib.decompressobj(wbits=31)
        parts.append(unpacker.decompress(raw))
        if not unpacker.eof:
            return b"".join(parts), "its compressed data break off"
        raw = unpacker.unused_data.lstrip(b"\0")
    return b"".join(parts), "other bytes follow its compressed data" if raw else ""


def as_utf8(raw: bytes) -> bytes:
    """Text without its byte order mark, UTF-16 (as some shells write it) as UTF-8; other bytes as they are."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return raw[3:]
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace").encode("utf-8", "replace")
    return raw


# ---- Parquet ----------------------------------------------------------------------------------------------


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq") or head(path, 4) == b"PAR1"


def open_parquet(path: Path, dictionary: Iterable[str] = ()) -> Any:
    """A ParquetFile, its page checksums verified where it has any."""
    import pyarrow.parquet as pq

    with reading(path):
        open_file(path).close()
        return pq.ParquetFile(path, read_dictionary=list(dictionary), page_checksum_verification=True)


def parquet_columns(path: Path) -> dict[str, pa.DataType]:
    """Names and types of the columns of a Parquet file; its rows are not read."""
    with open_parquet(path) as file, reading(path):
        schema = file.schema_arrow
        return {field.name: field.type for field in schema}


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, dictionary: Iterable[str] = (), *, salvage: bool = False
) -> pa.Table:
    """Some columns of a Parquet file (all by default); with `salvage` without the row groups that are damaged.

    Raises CorruptSource when nothing of it can be read.
    """
    wanted = None if columns is None else list(columns)
    with open_parquet(path, dictionary) as file:
        try:
            with reading(path):
                return file.read(columns=wanted)
        except CorruptSource:
            if not salvage:
                raise
            groups = [_row_group(file, number, wanted) for number in range(file.num_row_groups)]
            whole = [group for group in groups if group is not None]
            if not whole:
                raise
            return pa.concat_tables(whole)


def _row_group(file: Any, number: int, columns: list[str] | None) -> pa.Table | None:
    try:
        return file.read_row_group(number, columns=columns)
    except (OSError, pa.ArrowException):
        return None


def damaged_rows(table: str, rows: int, path: Path) -> list[Dropped]:
    """The record of rows that lie in damaged parts of a Parquet file."""
    if not rows:
        return []
    return [Dropped(table=table, rows=rows, reason="in damaged parts of the file; copy it again", source=str(path))]


# ---- CSV --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file as columns, how many of its lines had the wrong number of fields, and what broke it off."""

    columns: dict[str, Any]
    bad_lines: int
    damage: str = ""


def csv_header(path: Path) -> list[str]:
    """The column names of a CSV or TSV file; empty when the file does not look like one."""
    start = head(path)
    line = start.split(b"\n", 1)[0].rstrip(b"\r")
    if not line or b"\0" in line:
        return []
    try:
        words = _split_header(line.decode(), _delimiter(line))
    except UnicodeDecodeError:
        return []
    return words


def _split_header(line: str, delimiter: str) -> list[str]:
    import csv

    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _delimiter(line: bytes) -> str:
    counts = {sign: line.count(sign.encode()) for sign in (",", "\t", ";")}
    return max(counts, key=lambda sign: counts[sign])


def read_csv(path: Path, *, as_text: Sequence[str] = ()) -> CsvTable:
    """A CSV or TSV file, also compressed. Columns are typed where all values agree, `as_text` are not."""
    raw, damage = read_usable(path)
    if damage:
        raw = raw[: raw.rfind(b"\n") + 1]
    line = raw.split(b"\n", 1)[0].rstrip(b"\r")
    with reading(path):
        names = _unique(_split_header(line.decode(), _delimiter(line)))
    if not names:
        raise CorruptSource(f"{path} has no header line; the first line must name the columns.")
    try:
        raw.decode()
    except UnicodeDecodeError:
        # Arrow cannot report a bad line that is no UTF-8.
        raw = raw.decode("utf-8", "replace").encode()
    with reading(path):
        found, bad = _parse_csv(raw, names, _delimiter(line), as_text)
        if bad and 2 * found.num_rows < raw.count(b"\n"):
            # A quote that is never closed swallows the lines after it.
            again, fewer = _parse_csv(raw.replace(b'"', b""), names, _delimiter(line), as_text)
            if again.num_rows > found.num_rows:
                found, bad = again, fewer
    return CsvTable({name: found.column(index) for index, name in enumerate(names)}, bad, damage)


def _unique(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    out: list[str] = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        out.append(name if not count else f"{name}.{count}")
    return out


def _decimal_point(raw: bytes, delimiter: str) -> str:
    """A comma where semicolons part the columns and the first numbers have commas but no points."""
    start = raw[:HEAD_BYTES]
    commas = delimiter == ";" and re.search(rb"\d,\d", start) and not re.search(rb"\d\.\d", start)
    return "," if commas else "."


def _parse_csv(raw: bytes, names: list[str], delimiter: str, as_text: Sequence[str]) -> tuple[pa.Table, int]:
    """The table, and how many lines have the wrong number of fields."""
    import pyarrow.csv

    csv: Any = pyarrow.csv
    decimal = _decimal_point(raw, delimiter)
    bad = 0

    def skip(row: Any) -> str:
        nonlocal bad
        bad += 1
        return "skip"

    def parse(types: dict[str, pa.DataType]) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(raw),
            read_options=csv.ReadOptions(column_names=names, skip_rows=1, block_size=8 << 20),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=b'"' in raw[:HEAD_BYTES], invalid_row_handler=skip
            ),
            convert_options=csv.ConvertOptions(
                column_types=types,
                strings_can_be_null=True,
                null_values=["", "NULL", "null", "\\N", "None"],
                decimal_point=decimal,
            ),
        )

    try:
        table = parse(dict.fromkeys((name for name in as_text if name in names), pa.string()))
    except pa.ArrowInvalid as error:
        if "onversion" not in str(error):
            raise
        # The types were guessed from the first block; a later value disagrees.
        bad = 0
        table = parse(dict.fromkeys(names, pa.string()))
    return table, bad


# ---- what file readers share ------------------------------------------------------------------------------


class FileReader:
    """A layout of single files. A folder fits when every data file in it fits; the files are then merged."""

    def recognise_file(self, path: Path) -> Match | None:
        """How well one file fits; reads no more than its head or footer."""
        del path
        return None

    def read_file(self, path: Path, *, full: bool) -> Telemetry:
        """All telemetry of one file."""
        raise IngestError(f"{path} cannot be read by {type(self).__name__}.")

    def recognise(self, path: Path) -> Match | None:
        if not path.exists():
            return None
        if not path.is_dir():
            return self.recognise_file(path)
        files = data_files(path)
        matches = [self.recognise_file(file) for file in files]
        fits = [match for match in matches if match is not None]
        if not fits or len(fits) < len(matches):
            return None
        return Match(
            confidence=min(match.confidence for match in fits),
            found=tuple(item for match in fits for item in match.found),
            missing=tuple(dict.fromkeys(item for match in fits for item in match.missing)),
        )

    def cases(self, path: Path) -> list[Case]:
        require(path)
        return [Case(id=plain_stem(path), source=str(path))]

    def load(self, path: Path, case_id: str | None = None, *, full: bool = False) -> Loaded:
        case = pick_case(self.cases(path), case_id, path)
        files = data_files(path) if path.is_dir() else [path]
        if not files:
            raise IngestError(f"{path} holds no data files; point at the folder or file with the telemetry.")
        parts: list[Telemetry] = []
        left_out: list[Dropped] = []
        problem: CorruptSource | None = None
        for file in files:
            try:
                parts.append(self.read_file(file, full=full))
            except CorruptSource as error:
                problem = problem or error
                left_out.append(Dropped(table="files", rows=1, reason=str(error), source=str(file)))
        if problem is not None and not parts:
            raise problem
        return Loaded(case=case, telemetry=merge(parts).with_dropped(*left_out))


def plain_stem(path: Path) -> str:
    """The name of a file without any of its endings (`a.csv.gz` → `a`), or of a folder."""
    name = path.resolve().name
    return name if path.is_dir() else name.split(".", 1)[0] or name


def pick_case(cases: Sequence[Case], case_id: str | None, path: Path) -> Case:
    """The case of that id, or the only one. Raises IngestError that lists the ids."""
    ids = ", ".join(case.id for case in cases[:8]) + (", …" if len(cases) > 8 else "")
    if not cases:
        raise IngestError(f"{path} holds no cases; point at a case or a folder of cases.")
    if case_id is None:
        if len(cases) > 1:
            raise IngestError(f"{path} holds {len(cases)} cases; choose one as {path}:CASE ({ids}).")
        return cases[0]
    for case in cases:
        if case.id == case_id:
            return case
    raise IngestError(f"{path} has no case '{case_id}'; it has {ids}.")


def merge(parts: Sequence[Telemetry]) -> Telemetry:
    """Several telemetries as one; records of dropped rows are kept, `sampled` is the smallest share."""
    if len(parts) == 1:
        return parts[0]
    tables = {name: concat(name, [part.table(name) for part in parts]) for name in SCHEMAS}
    return Telemetry(
        **tables,
        dropped=tuple(record for part in parts for record in part.dropped),
        sampled=min((part.sampled for part in parts), default=1.0),
    )


def lost_lines(table: str, csv: CsvTable, path: Path) -> list[Dropped]:
    """The records of CSV lines with the wrong number of fields, and of a file that breaks off."""
    records: list[Dropped] = []
    if csv.bad_lines:
        reason = "lines with the wrong number of fields"
        records.append(Dropped(table=table, rows=csv.bad_lines, reason=reason, source=str(path)))
    return records + broken_off(path, csv.damage)


def broken_off(path: Path, damage: str) -> list[Dropped]:
    """The record of a file of which only a part can be read."""
    if not damage:
        return []
    reason = f"{path}: {damage}, so only what comes before was used; copy or export it again"
    return [Dropped(table="files", rows=1, reason=reason, source=str(path))]


def category_columns(table: str, present: Iterable[str]) -> list[str]:
    """The columns of a table to read as dictionaries."""
    return [name for name in present if name in CATEGORIES[table]]
