"""`aetia replay`: an investigation again, from its journal alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aetia.cli.output import Format, check_place, emit, format_for


def replay(
    journal: Path,
    /,
    *,
    format: Annotated[Format | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    show: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Repeat an investigation exactly: the same questions, the recorded answers, the same diagnosis.

    Exit code 0: the diagnosis is the recorded one, bit for bit. 1: it differs, or the journal was cut off.
    2: the file is no journal, or another version asks other questions.

    Parameters
    ----------
    journal:
        What `aetia diagnose --policy NAME --journal FILE` wrote.
    format:
        text, json, markdown or html. Default: by the suffix of the output file, else text.
    output:
        Write the report to this file instead of stdout.
    show:
        Play what happened on the terminal, as fast as it happened.
    quiet:
        No progress on stderr.
    """
    from aetia.reason import replay as again
    from aetia.reason.journals import closed, read_journal

    check_place(output)
    events = read_journal(journal)
    if show:
        from aetia.report.live import LiveTree, play

        with LiveTree() as tree:
            play(events, tree)
    diagnosis = again.replay(events)
    emit(diagnosis, None, format_for(format, output), output, quiet=quiet)
    end = closed(events)
    return 0 if end is not None and end.diagnosis == diagnosis else 1
