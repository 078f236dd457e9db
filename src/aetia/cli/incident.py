"""`aetia incident`: what the journal of an investigation tells, as a diagnosis or as a postmortem."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.output import Format, check_place, columns, emit, emit_text, format_for
from aetia.model.errors import UsageError

if TYPE_CHECKING:
    from aetia.report.postmortem import Postmortem


def incident(
    journal: Path,
    /,
    *,
    postmortem: Annotated[bool, Parameter(negative=())] = False,
    format: Annotated[Format | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Show the diagnosis in a journal, or write the postmortem from it; exit code 1 when no root cause is named.

    Parameters
    ----------
    journal:
        A journal that an investigation wrote.
    postmortem:
        Timeline, impact, cause, path, what was ruled out, what was done and what is open, each sentence with the
        evidence that it stands on or marked as unproven.
    format:
        text, markdown or html, and json for a diagnosis. Default: by the suffix of the output file, else text.
    output:
        Write to this file instead of stdout.
    quiet:
        Do not say which file was written, nor that the journal was cut off.
    """
    from aetia.reason.journals import closed, opened, read_journal

    check_place(output)
    form = format_for(format, output)
    if postmortem and form == "json":
        raise UsageError("a postmortem is text, markdown or html; for programs there is the journal itself.")
    events = read_journal(journal)
    end = closed(events)
    diagnosis = end.diagnosis if end is not None else opened(events).prior
    if end is None and not quiet:
        print(f"aetia: {journal} ends before the investigation does; this is what was known as it began.",
              file=sys.stderr)  # fmt: skip
    if postmortem:
        from aetia.report.postmortem import postmortem as tell

        emit_text(_render(tell(events), form), output, quiet=quiet)
    else:
        emit(diagnosis, None, form, output, quiet=quiet)
    return 1 if diagnosis.abstained is not None else 0


def _render(found: Postmortem, form: Format) -> str:
    from aetia.report import postmortems

    if form == "markdown":
        return postmortems.to_markdown(found)
    return postmortems.to_html(found) if form == "html" else postmortems.to_text(found, width=columns())
