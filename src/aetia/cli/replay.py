"""`aetia replay`: an investigation again, from its journal alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.output import Format, check_place, emit, format_for

if TYPE_CHECKING:
    from aetia.model.journal import Event


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

    Exit code 0: the diagnosis, and what `aetia ask` answered, are the recorded ones bit for bit. 1: they differ, or the
    journal lacks its end. 2: the file is no journal, lacks an answer, or another version asks other questions.

    Parameters
    ----------
    journal:
        What `aetia diagnose --policy NAME --journal FILE` or `aetia ask --journal FILE` wrote.
    format:
        text, json, markdown or html. Default: by the suffix of the output file, else text; of a question its answer.
    output:
        Write the report to this file instead of stdout.
    show:
        Play what happened on the terminal, as fast as it happened.
    quiet:
        No progress on stderr.
    """
    from aetia.cli.ask import tell as answer
    from aetia.reason import replay as again
    from aetia.reason.journals import closed, opened, read_journal

    check_place(output)
    events = read_journal(journal)
    if show:
        from aetia.report.live import LiveTree, play

        with LiveTree() as tree:
            play(events, tree)
    told: list[Event] = []
    diagnosis = again.replay(events, tell=told.append)
    if opened(events).question and format is None and output is None:
        answer(told, diagnosis)
    else:
        emit(diagnosis, None, format_for(format, output), output, quiet=quiet)
    end, now = closed(events), closed(told)
    if end is not None and now is not None and (end.diagnosis, end.answer) == (now.diagnosis, now.answer):
        return 0
    why = "was cut off before its end" if end is None else "has another diagnosis or answer than this replay"
    print(f"aetia: {journal} {why}; there is nothing that proves this one.", file=sys.stderr)
    return 1
