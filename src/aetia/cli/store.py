"""`aetia store`: looks after the telemetry in a folder, through the process that owns it where there is one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from aetia.cli._remote import Token, owner
from aetia.cli.serve import DATA
from aetia.model.errors import StoreError

if TYPE_CHECKING:
    from aetia.model.window import Window
    from aetia.store.store import Store

app = App(name="store", help="Look after stored telemetry.")
STATS = "/api/v1/store"
TIME = Parameter(allow_leading_hyphen=True)
Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def stats(data: Path = DATA, *, json: Json = False, token: Token = "") -> None:
    """Rows and bytes of each signal, the journal, and what is wrong with the folder.

    Parameters
    ----------
    data:
        Folder of the store.
    json:
        For programs.
    token:
        Of a running server that asks for one; default AETIA_TOKEN of the environment.
    """
    import msgspec

    remote = owner(data, token)
    found: Any
    if remote is not None:
        found = remote.read(dict[str, Any], STATS)
    else:
        with _opened(data, writable=False) as store:
            held = store.stats()
            found = {**held.rows, "stats": msgspec.to_builtins(held, str_keys=True)}
    if json:
        print(msgspec.json.encode(found).decode())
        return
    print(_table(found["stats"]))


@app.command
def check(data: Path = DATA, *, deep: Annotated[bool, Parameter(negative=())] = False, json: Json = False,
          token: Token = "") -> int:  # fmt: skip
    """Look at every file of the store and say what is damaged and how to mend it; exit code 1 when something is.

    Parameters
    ----------
    data:
        Folder of the store.
    deep:
        Read every row, not only what each file says of itself.
    json:
        For programs.
    token:
        Of a running server that asks for one; default AETIA_TOKEN of the environment.
    """
    import msgspec

    remote = owner(data, token)
    found: Any
    if remote is not None:
        found = remote.work("/api/v1/store/check", {"deep": deep})
    else:
        with _opened(data, writable=False) as store:
            report = store.check(deep=deep)
            found = {"sound": report.sound, "report": msgspec.to_builtins(report)}
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        held = found["report"]
        print(f"{held['parts']} files with {held['rows']:,} rows, {held['segments']} segments of the journal with "
              f"{held['requests']:,} requests")  # fmt: skip
        for item in held["findings"]:
            print(f"{item['level']}: {item['path']}: {item['problem']}; {item['mend']}")
    return 0 if found["sound"] else 1


@app.command
def compact(data: Path = DATA, *, token: Token = "") -> None:
    """Move what is still in the journal to Parquet now; it happens by itself while the server runs.

    Parameters
    ----------
    data:
        Folder of the store.
    token:
        Of a running server that asks for one; default AETIA_TOKEN of the environment.
    """
    remote = owner(data, token)
    if remote is not None:
        remote.work("/api/v1/store/compact")
    else:
        with _opened(data, writable=True) as store:
            store.compact()
    print("aetia: compacted", file=sys.stderr)


@app.command
def export(
    out: Path,
    /,
    *,
    data: Path = DATA,
    window: Annotated[str, TIME] = "-30m..now",
    token: Token = "",
) -> None:
    """Write the telemetry of a window as a case that `aetia diagnose` reads.

    Parameters
    ----------
    out:
        Folder to write; it must not exist.
    data:
        Folder of the store.
    window:
        Which time, as A..B; now is the newest telemetry.
    token:
        Of a running server that asks for one; default AETIA_TOKEN of the environment.
    """
    if out.exists():
        raise StoreError(f"{out} exists and is never overwritten; choose another folder.")
    remote = owner(data, token)
    if remote is not None:
        remote.export(_window(window, remote.read(dict[str, Any], STATS)["stats"]), out)
    else:
        import msgspec

        with _opened(data, writable=False) as store:
            done = store.export(_window(window, msgspec.to_builtins(store.stats(), str_keys=True)), out)
            for problem in done.problems:
                print(f"aetia: {problem}", file=sys.stderr)
    print(f"aetia: wrote {out}", file=sys.stderr)


def _window(text: str, stats: Mapping[str, Any]) -> Window:
    """The window that was typed; its anchors are the oldest and the newest telemetry."""
    from aetia.model.window import Window
    from aetia.timespec import parse_window

    held = [item for item in stats["signals"].values() if item["oldest_ns"] is not None]
    if not held:
        raise StoreError("the store is empty; there is nothing to export.")
    oldest, newest = min(item["oldest_ns"] for item in held), max(item["newest_ns"] for item in held)
    return parse_window(text, Window(oldest, newest + 1))


def _opened(data: Path, *, writable: bool) -> Store:
    from aetia.store.store import Store

    if not data.is_dir():
        raise StoreError(f"there is no folder {data}; give the one of `aetia serve --data`.")
    return Store.open(data, read_only=not writable)


def _table(stats: Mapping[str, Any]) -> str:
    """The numbers of the store for people."""
    lines = [f"{'':10}{'rows':>14}{'not yet in Parquet':>20}{'files':>8}{'bytes':>16}"]
    for signal, held in stats["signals"].items():
        lines.append(f"{signal:10}{held['rows']:>14,}{held['hot_rows']:>20,}{held['parts']:>8,}{held['bytes']:>16,}")
    lines.append(f"journal: {stats['segments']} segments, {stats['journal_bytes']:,} bytes")
    if stats["refusing"]:
        lines.append(f"takes nothing: {stats['refusing']}")
    return "\n".join([*lines, *stats["problems"]])
