"""`aetia incident`: what a journal, or a running server, tells of an incident, as a diagnosis or as a postmortem."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli._remote import Token, server
from aetia.cli.output import Format, check_place, columns, emit, emit_text, format_for
from aetia.model.errors import UsageError

if TYPE_CHECKING:
    from aetia.report.postmortem import Postmortem
    from aetia.serve.client import Remote

_ID = re.compile(r"i-[0-9]{8}-[0-9]{6}-[0-9a-f]+")
"""How a server calls its incidents."""


def incident(
    journal: Path,
    /,
    *,
    postmortem: Annotated[bool, Parameter(negative=())] = False,
    url: str | None = None,
    data: Path | None = None,
    token: Token = "",
    format: Annotated[Format | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Show the diagnosis of an incident, or write its postmortem; exit code 1 when no root cause is named.

    Parameters
    ----------
    journal:
        A journal that an investigation wrote, or the id of an incident of a running server.
    postmortem:
        Timeline, impact, cause, path, what was ruled out, what was done and what is open, each sentence with the
        evidence that it stands on or marked as unproven.
    url:
        Address of the server; default that of the folder's owner, else http://127.0.0.1:4318.
    data:
        Folder of the server (default aetia-data).
    token:
        Of a server that asks for one; default AETIA_TOKEN of the environment.
    format:
        text, markdown or html, and json for a diagnosis. Default: by the suffix of the output file, else text.
    output:
        Write to this file instead of stdout.
    quiet:
        Do not say which file was written, nor that the journal was cut off.
    """
    check_place(output)
    form = format_for(format, output)
    if postmortem and form == "json":
        raise UsageError("a postmortem is text, markdown or html; for programs there is the journal itself.")
    if url is not None or data is not None or (_ID.fullmatch(str(journal)) and not journal.exists()):
        return _served(server(url, data, token), str(journal), form, output, postmortem=postmortem, quiet=quiet)
    return _told(journal, form, output, postmortem=postmortem, quiet=quiet)


def _served(remote: Remote, incident: str, form: Format, output: Path | None, *, postmortem: bool, quiet: bool) -> int:
    """The same of an incident of a running server."""
    from urllib.parse import quote

    from aetia.report.interchange import from_json

    path = f"/api/v1/incidents/{quote(incident, safe='')}"
    diagnosis = from_json(remote.get(f"{path}/diagnosis", {"format": "json"}))
    if postmortem:
        emit_text(remote.get(f"{path}/postmortem", {"format": form}).decode(), output, quiet=quiet)
    else:
        emit(diagnosis, None, form, output, quiet=quiet)
    return 1 if diagnosis.abstained is not None else 0


def _told(journal: Path, form: Format, output: Path | None, *, postmortem: bool, quiet: bool) -> int:
    """The same of a journal."""
    from aetia.reason.journals import closed, opened, read_journal

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
