"""Named suites: where they are, how they get there, and paths to any other cases. Nothing is ever
downloaded."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aetia.ingest.source import list_cases, locate
from aetia.model.errors import BenchError, IngestError, UsageError

DATA_VARIABLE = "AETIA_DATA"
SIM_CASES = 100
SIM_SYSTEMS = 5
SIM_SEED = 20_250


class Suite(NamedTuple):
    """A suite that can be read: its name in results, and the source (path or `PATH:CASE`) that readers
    get."""

    name: str
    source: str


class NamedSuite(NamedTuple):
    """One entry of the registry. `locate` finds what is there already (None: nothing); `make` brings it into
    the given cache folder and returns the path; `hint` says what to do when that is not possible."""

    name: str
    summary: str
    license: str
    locate: Callable[[], Path | None]
    make: Callable[[Path], Path | None]
    hint: str
    unmade: str = "absent"
    """The state while `locate` finds nothing."""


class Listed(NamedTuple):
    """A line of `aetia bench list`. `state` is `ready`, `archive` (unpacked on first use), `generated` (made
    on first use) or `absent`."""

    name: str
    summary: str
    license: str
    state: str
    place: str


def cache_folder() -> Path:
    """Where suites are unpacked and generated: `$XDG_CACHE_HOME/aetia/suites`, by default below
    `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aetia" / "suites"


def data_folders() -> list[Path]:
    """Folders in which archives are looked for, best first: `$AETIA_DATA`, then `shared/data` beside the
    working directory and beside a source checkout."""
    given = os.environ.get(DATA_VARIABLE)
    found = [Path(given).expanduser()] if given else []
    checkout = Path(__file__).resolve().parents[3]
    return [*found, Path.cwd().parent / "shared" / "data", checkout.parent / "shared" / "data"]


def _find(names: tuple[str, ...]) -> Path | None:
    for folder in data_folders():
        for name in names:
            if (folder / name).exists():
                return folder / name
    return None


def _archived(name: str, folder: str, summary: str, license: str) -> NamedSuite:
    """A suite that is an archive `FOLDER.tar.xz` (or that folder, unpacked) in one of the data folders."""
    archive = f"{folder}.tar.xz"

    def locate() -> Path | None:
        place = _find((folder, archive))
        if place is None or place.is_dir():
            return place
        unpacked = cache_folder() / _cache_name(place) / folder
        return unpacked if unpacked.is_dir() else place

    def make(cache: Path) -> Path | None:
        place = locate()
        return place if place is None or place.is_dir() else unpack(place, cache / _cache_name(place)) / folder

    hint = f"put {archive} (or the unpacked folder {folder}) into a folder and name that folder in {DATA_VARIABLE}"
    return NamedSuite(name, summary, license, locate, make, hint)


def _cache_name(archive: Path) -> str:
    """A folder name that changes with the archive."""
    status = archive.stat()
    return f"{archive.name.split('.')[0]}-{status.st_size:x}-{int(status.st_mtime):x}"


def unpack(archive: Path, target: Path) -> Path:
    """Unpack an archive once; `target` appears whole or not at all. Raises BenchError with the mend."""
    if target.is_dir():
        return target
    return _build(target, lambda folder: _extract(archive, folder))


def _extract(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise BenchError(f"{archive}: cannot be unpacked ({error}); fetch the archive again.") from error


def _build(target: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a scratch folder beside the target, then rename it."""
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        # The scratch folder is closed to everyone else; a folder made inside has the mode of any other.
        folder = scratch / "new"
        folder.mkdir()
        fill(folder)
        if not target.is_dir():  # somebody else may have been faster
            folder.rename(target)
    except OSError as error:
        place = error.filename or target
        raise BenchError(
            f"{place}: cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder with room."
        ) from error
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _simulate(folder: Path) -> None:
    from aetia.lab.sim import suite

    suite(folder, SIM_CASES, SIM_SYSTEMS, SIM_SEED)


def _simulated() -> NamedSuite:
    place = f"sim-{SIM_SEED}-{SIM_CASES}"

    def locate() -> Path | None:
        path = cache_folder() / place
        return path if path.is_dir() else None

    def make(cache: Path) -> Path | None:
        target = cache / place
        return target if target.is_dir() else _build(target, _simulate)

    return NamedSuite(
        "sim", f"{SIM_CASES} simulated incidents on five topologies, no-fault and absorbed cases among them",
        "Apache-2.0", locate, make, "made by the simulator on first use", "generated",
    )  # fmt: skip


_TABLE = (
    _archived("nezha-tt", "nezha_tt", "TrainTicket: 45 faults; spans, logs, one-minute metrics (Nezha)", "MIT"),
    _archived("nezha-ob", "nezha_ob", "Online Boutique: 56 faults; metrics for all, spans for most (Nezha)", "MIT"),
    _simulated(),
)  # fmt: skip
SUITES: dict[str, NamedSuite] = {item.name: item for item in _TABLE}


def resolve(name: str) -> Suite:
    """A named suite, made ready if need be, or any path that a reader recognises; a path that exists comes first.

    Raises BenchError when it is neither, or when the data of a named suite is absent."""
    known = SUITES.get(name)
    if known is None or Path(name).exists():
        try:
            path, case = locate(name)
        except IngestError as error:
            known_names = ", ".join(SUITES)
            raise BenchError(
                f"'{name}' is neither a suite ({known_names}) nor a path; see `aetia bench list`."
            ) from error
        path = path.resolve()
        return Suite(path.name, str(path) if case is None else f"{path}:{case}")
    path = known.make(cache_folder())
    if path is None:
        raise BenchError(f"the data of suite '{name}' is absent; {known.hint}.")
    return Suite(name, str(path))


def source_of(text: str) -> str:
    """A source as readers take it: `NAME` or `NAME:CASE` of a named suite becomes its path, and all else stays. A path
    that exists comes before a name.

    Raises BenchError when the suite's data is absent, and for one that is yet to be simulated, which takes a while."""
    name, colon, case = text.partition(":")
    known = SUITES.get(name)
    if known is None:
        return text
    try:
        locate(text)
    except IngestError:
        if known.locate() is None and known.unmade != "absent":
            raise BenchError(f"suite '{name}' is not there yet; `aetia bench run {name}` makes it.") from None
        return resolve(name).source + colon + case
    return text


def case_of(text: str) -> str:
    """The source of one incident: as `source_of`, and a suite of several cases needs the name of one of them.

    Raises UsageError, with the cases, where it is missing."""
    source = source_of(text)
    if source != text and text in SUITES and len(cases := list_cases(source)[2]) > 1:
        named = ", ".join(f"{text}:{case.id}" for case in cases[:2])
        raise UsageError(
            f"{text} is a suite of {len(cases)} cases; name one of them, such as {named} (`aetia cases list {text}`"
            " shows all)."
        )
    return source


def listing() -> list[Listed]:
    """Every named suite with its state."""
    lines: list[Listed] = []
    for suite in SUITES.values():
        place = suite.locate()
        state = "ready" if place is not None and place.is_dir() else "archive" if place is not None else suite.unmade
        lines.append(Listed(suite.name, suite.summary, suite.license, state, str(place or suite.hint)))
    return lines
