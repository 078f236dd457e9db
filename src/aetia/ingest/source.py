"""The door of the room: a path as people type it, recognised by what is in it, read and merged.

Every registered reader is asked how well it fits (`Match.confidence`, 0..1). From 0.5 on a reader says that
it can read the path; below, that it nearly could, and `Match.missing` says what it would still need. The most
confident reader wins; two within 0.1 of each other are an error that lists both.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from aetia import plugins
from aetia.ingest.case import folder_name, new_folder, write_case
from aetia.ingest.files import data_files, head, list_folder, merge, pick_case, plain_stem, printable, require
from aetia.ingest.reader import Loaded, Match, Reader
from aetia.ingest.strays import set_strays_aside
from aetia.model.case import Case
from aetia.model.errors import AmbiguousSource, CorruptSource, IngestError, UnrecognisedSource
from aetia.model.tables import Dropped, Telemetry

READABLE = 0.5
AMBIGUOUS_WITHIN = 0.1
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, how many there are)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A path and the reader that fits it."""

    name: str
    reader: Reader
    path: Path
    match: Match


def open_sources(sources: Sequence[str], *, full: bool = False, quiet: bool = True) -> Loaded:
    """Telemetry of one or more sources, merged into one.

    A source is a file, a folder, a case, or `PATH:CASE` for one case of a suite or dataset. `full` also reads
    attributes, events and links. Unless `quiet`, a status line on a terminal says what is being read. The case
    is that of the labelled source, if there is one. Raises IngestError (also UnrecognisedSource,
    AmbiguousSource, CorruptSource) with file, place and mend.
    """
    if not sources:
        raise IngestError("no source was given; name a file or a folder with telemetry.")
    parts: list[Loaded] = []
    for source in sources:
        with _status(f"reading {source}", quiet):
            path, case_id = locate(source)
            parts.append(_open(path, case_id, full))
    merged = _merged(parts)
    return Loaded(case=merged.case, telemetry=set_strays_aside(merged.telemetry))


def list_cases(source: str) -> tuple[str, Path, list[Case]]:
    """The reader's name, the path and the cases of a source (of a `PATH:CASE` only that case)."""
    path, case_id = locate(source)
    found = recognise(path)
    cases = found.reader.cases(path)
    return found.name, path, cases if case_id is None else [pick_case(cases, case_id, path)]


def import_cases(
    reader: str | None, path: str | Path, out: str | Path, progress: Progress | None = None,
    dropped: list[Dropped] | None = None,
) -> list[Path]:  # fmt: skip
    """Convert a source into a suite of Aetia cases on disk; `reader` None lets the content decide.

    The suite appears in one step when all is written, and not at all when anything fails. Returns the case
    folders, and adds what could not be used to `dropped`. Raises IngestError, also when `out` exists and is not
    empty, when the device is full or when no case has telemetry.
    """
    source, case_id = locate(str(path))
    chosen = recognise(source).reader if reader is None else _create(plugins.find("reader", reader))
    cases = chosen.cases(source)
    if case_id is not None:
        cases = [pick_case(cases, case_id, source)]
    if not cases:
        raise IngestError(f"{source} holds no cases; point at the folder that the dataset's own layout starts in.")
    target = Path(out)
    written: list[Path] = []
    rows = 0
    with new_folder(target) as scratch:
        for index, case in enumerate(cases):
            if progress is not None:
                progress(case.id, index, len(cases))
            loaded = chosen.load(source, case.id, full=True)
            name = _unused(folder_name(loaded.case.id), scratch)
            write_case(scratch / name, loaded.case, loaded.telemetry)
            written.append(target / name)
            rows += sum(loaded.telemetry.rows.values())
            if dropped is not None:
                dropped += loaded.telemetry.dropped
        if not rows:
            raise IngestError(f"{source} holds no telemetry that can be used; check it with aetia diagnose.")
    if progress is not None:
        progress("done", len(cases), len(cases))
    return written


def _unused(name: str, folder: Path) -> str:
    """The name, numbered when two case ids differ only in signs that a folder name cannot hold."""
    numbered, number = name, 1
    while (folder / numbered).exists():
        number += 1
        numbered = f"{name}-{number}"
    return numbered


# ---- paths ------------------------------------------------------------------------------------------------


def locate(source: str) -> tuple[Path, str | None]:
    """A source as a path and a case id; a path that exists wins over the reading as `PATH:CASE`."""
    if not source.strip():
        raise IngestError("a source is empty text, perhaps an unset variable; name a file or a folder with telemetry.")
    if printable(source) != source:
        raise IngestError(f"{printable(source)} has a name that is not UTF-8; rename it.")
    path = _expanded(source)
    if _exists(path):
        return path, None
    for position in range(len(source) - 1, 0, -1):
        if source[position] == ":":
            front = _expanded(source[:position])
            if _exists(front):
                return front, source[position + 1 :]
    parent = path.parent
    while not _exists(parent) and parent != parent.parent:
        parent = parent.parent
    shown = source if len(source) <= 200 else f"{source[:199]}…"
    if _is_link(path):
        raise IngestError(f"{shown} is a link that leads nowhere; name the file or folder itself.")
    if parent == Path():
        raise IngestError(f"{shown} does not exist in {Path.cwd()}.")
    raise IngestError(f"{shown} does not exist; the path holds as far as {parent}.")


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        # Names that are too long or hold a NUL are no links.
        return False


def _expanded(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:
        # There is no such user; `~x` may still be the name of a file.
        return Path(source)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError as error:
        raise IngestError(f"{path}: permission denied; make its folder readable (chmod u+rx).") from error
    except (OSError, ValueError):
        # Names that are too long or hold a NUL cannot exist.
        return False


# ---- recognising ------------------------------------------------------------------------------------------


def _create(info: plugins.Plugin) -> Reader:
    return cast(Reader, cast(Callable[[], Any], info.factory)())


def matches(path: Path) -> tuple[list[Recognised], list[IngestError]]:
    """What every registered reader says of the path, most confident first, and what went wrong in asking."""
    found: list[Recognised] = []
    problems: list[IngestError] = []
    for info in plugins.all_plugins("reader"):
        if info.kind != "reader" or info.factory is None:
            continue
        reader = _create(info)
        try:
            match = reader.recognise(path)
        except IngestError as problem:
            problems.append(problem)
            continue
        if match is not None:
            found.append(Recognised(name=info.name, reader=reader, path=path, match=match))
    return sorted(found, key=lambda item: (-item.match.confidence, item.name)), problems


def recognise(path: Path) -> Recognised:
    """The one reader that fits. Raises UnrecognisedSource or AmbiguousSource, or what damages the file."""
    require(path)
    found, problems = matches(path)
    able = [item for item in found if item.match.confidence >= READABLE]
    if not able:
        raise _unrecognised(path, found, problems)
    rivals = [item for item in able if able[0].match.confidence - item.match.confidence < AMBIGUOUS_WITHIN - 1e-9]
    if len(rivals) > 1:
        raise AmbiguousSource(
            f"{path} fits several layouts: {'; '.join(_describe(item) for item in rivals)}. "
            "Import it with the reader's name (aetia cases import READER PATH OUT) or separate the files."
        )
    return able[0]


def _describe(item: Recognised) -> str:
    text = f"{item.name} (found {_some(item.match.found)}"
    return text + (f"; missing {_some(item.match.missing)})" if item.match.missing else ")")


def _some(items: Sequence[str], most: int = 6) -> str:
    return (", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")) or "nothing"


def _if_empty(entry: Path) -> str:
    try:
        return " (empty)" if entry.is_file() and not entry.stat().st_size else ""
    except OSError:
        return ""


def _unrecognised(path: Path, found: list[Recognised], problems: list[IngestError]) -> IngestError:
    if not found and problems:
        return problems[0]
    near = "; ".join(f"{item.name} still needs {_some(item.match.missing)}" for item in found if item.match.missing)
    known = ", ".join(plugins.names("reader"))
    hint = f" Nearest: {near}." if near else f" Known layouts: {known}."
    if path.is_dir():
        here = f"it holds {_some([f'{entry.name}{_if_empty(entry)}' for entry in list_folder(path)])}."
    else:
        archive = next((name for magic, name in _ARCHIVES if head(path).startswith(magic)), None)
        if archive is not None:
            return UnrecognisedSource(f"{path} is {archive}; unpack it first.")
        here = f"it begins with {_beginning(path)}."
    return UnrecognisedSource(f"{path} is not telemetry in a layout that can be read; {here}{hint}")


_ARCHIVES = (
    (b"PK\x03\x04", "a zip archive"), (b"BZh", "a bzip2 file"), (b"\xfd7zXZ\0", "an xz file"),
    (b"7z\xbc\xaf", "a 7z archive"), (b"\x04\x22\x4d\x18", "an lz4 file"), (b"\x1f\x8b", "compressed twice"),
)  # fmt: skip


def _beginning(path: Path) -> str:
    """The first characters of a file in quotes, or that it is not text."""
    start = head(path, 60)
    words = " ".join(start.decode("utf-8", "replace").split())
    plain = bool(words) and "\0" not in words and words.replace("\ufffd", "").isprintable()
    return f"'{words[:40]}'" if plain else "bytes that are no text" if words else "nothing but blanks"


# ---- opening ----------------------------------------------------------------------------------------------


def _open(path: Path, case_id: str | None, full: bool) -> Loaded:
    try:
        found = recognise(path)
    except UnrecognisedSource:
        files = data_files(path) if path.is_dir() and case_id is None else []
        mixed = _recognised_files(files)
        if not mixed:
            raise
        return _open_mixed(path, mixed, full)
    return found.reader.load(path, case_id, full=full)


def _recognised_files(files: Sequence[Path]) -> list[Recognised | Dropped]:
    """Each file with its reader, or the record of why it is left out; empty when no file can be read."""
    out: list[Recognised | Dropped] = []
    for file in files:
        try:
            out.append(recognise(file))
        except IngestError as problem:
            out.append(Dropped(table="files", rows=1, reason=str(problem), source=str(file)))
    return out if any(isinstance(item, Recognised) for item in out) else []


def _open_mixed(folder: Path, files: Sequence[Recognised | Dropped], full: bool) -> Loaded:
    """A folder that mixes layouts, read file by file; files that cannot be read are counted as dropped."""
    parts: list[Telemetry] = []
    dropped: list[Dropped] = []
    failure: IngestError | None = None
    for item in files:
        if isinstance(item, Dropped):
            dropped.append(item)
            continue
        try:
            parts.append(item.reader.load(item.path, full=full).telemetry)
        except CorruptSource as problem:
            failure = failure or problem
            dropped.append(Dropped(table="files", rows=1, reason=str(problem), source=str(item.path)))
    if not parts and failure is not None:
        raise failure
    case = Case(id=plain_stem(folder), source=str(folder))
    return Loaded(case=case, telemetry=merge(parts).with_dropped(*dropped))


def _is_labelled(case: Case) -> bool:
    return case.truth is not None or case.incident is not None or case.baseline is not None


def _merged(parts: Sequence[Loaded]) -> Loaded:
    if len(parts) == 1:
        return parts[0]
    labelled = [part.case for part in parts if _is_labelled(part.case)]
    for other in labelled[1:]:
        if (other.baseline, other.incident) != (labelled[0].baseline, labelled[0].incident):
            raise IngestError(
                f"cases '{labelled[0].id}' and '{other.id}' have different windows; diagnose one at a time."
            )
    case = labelled[0] if labelled else parts[0].case
    case = msgspec.structs.replace(case, source=" + ".join(part.case.source or part.case.id for part in parts))
    return Loaded(case=case, telemetry=merge([part.telemetry for part in parts]))


@contextmanager
def _status(what: str, quiet: bool) -> Generator[None]:
    if quiet:
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield
