"""`aetia recheck`: does the evidence of a diagnosis still hold?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.progress import StageProgress

if TYPE_CHECKING:
    from aetia.report.recheck import Recheck


def recheck(
    diagnosis: Path,
    source: Annotated[tuple[str, ...], Parameter(negative=())],
    /,
    *,
    json_output: Annotated[bool, Parameter(name="--json", negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run every evidence query of a diagnosis again; exit code 1 when one no longer holds.

    Parameters
    ----------
    diagnosis:
        A report that `aetia diagnose --format json` wrote.
    source:
        The telemetry, as for `aetia diagnose`.
    json_output:
        Print the result as JSON.
    quiet:
        Print only evidence that no longer holds, and no progress.
    """
    from aetia.api import recheck_sources

    with StageProgress(quiet=quiet) as progress:
        results = recheck_sources(diagnosis, source, progress=progress)
    failed = [item for item in results if not item.holds]
    if json_output:
        print(json.dumps([_row(item) for item in results], indent=2, ensure_ascii=False))
    else:
        _print(results, quiet=quiet)
    return 1 if failed else 0


def _row(item: Recheck) -> dict[str, object]:
    return {
        "evidence": item.evidence.id, "about": item.evidence.about.name, "holds": item.holds, "why": item.why,
        "old": item.old, "new": item.new,
    }  # fmt: skip


def _print(results: list[Recheck], *, quiet: bool) -> None:
    from aetia.report import wording

    for item in results:
        if item.holds and quiet:
            continue
        print(f"{'holds' if item.holds else 'FAILS'}  {item.evidence.id}  {wording.claim(item.evidence)}")
        if not item.holds:
            print(f"       {wording.plain(item.why, 400)}")
    held = sum(item.holds for item in results)
    if not quiet:
        print(f"{held} of {len(results)} pieces of evidence hold.")
