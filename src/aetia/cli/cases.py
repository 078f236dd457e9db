"""`aetia cases`: list cases, and convert public datasets to cases."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from aetia.cli.progress import StageProgress

if TYPE_CHECKING:
    from aetia.model.tables import Dropped

app = App(name="cases", help="List cases; convert public datasets to cases.")


@app.command(name="import")
def import_(dataset: str, path: Path, out: Path, /, *, quiet: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Convert a public dataset's own layout to a suite of cases.

    Parameters
    ----------
    dataset:
        Name of the reader (`aetia plugins --kind reader`), or auto to recognise it.
    path:
        The dataset, as it was unpacked.
    out:
        Folder for the suite; one folder per case.
    quiet:
        No progress on stderr.
    """
    from aetia.ingest.source import import_cases

    with StageProgress(quiet=quiet) as progress:
        progress(f"importing {path}")
        dropped: list[Dropped] = []
        made = import_cases(None if dataset == "auto" else dataset, path, out, dropped=dropped)
    print(f"{len(made)} case{'' if len(made) == 1 else 's'} in {out}")
    for line in _left_out(dropped):
        print(f"aetia: left out: {line}", file=sys.stderr)
    return 0


def _left_out(dropped: list[Dropped], most: int = 12) -> list[str]:
    """One line per table and reason, those with most rows first."""
    from aetia.model.diagnosis import DroppedRows
    from aetia.report import wording

    rows: Counter[tuple[str, str]] = Counter()
    for record in dropped:
        rows[record.table, record.reason] += record.rows
    lines = [wording.dropped(DroppedRows(table=t, rows=n, reason=why)) for (t, why), n in rows.most_common(most)]
    return lines + ([f"and {len(rows) - most} more kinds"] if len(rows) > most else [])


@app.command(name="list")
def list_(path: str, /, *, json_output: Annotated[bool, Parameter(name="--json", negative=())] = False) -> int:
    """List the cases at a path with their windows and known causes.

    Parameters
    ----------
    path:
        A case, a suite or its name (`aetia bench list`), or a dataset in its own layout.
    json_output:
        Print the cases as JSON.
    """
    import msgspec

    from aetia.bench.suites import source_of
    from aetia.ingest.source import list_cases

    _, _, found = list_cases(source_of(path))
    if json_output:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        for case in found:
            causes = ", ".join(str(item.service or item.node or item.edge or "?") for item in case.truth or ())
            known = causes or (case.label or "no fault" if case.truth is not None else "unknown cause")
            print(f"{case.id}\t{case.system}\t{known}")
    return 0
