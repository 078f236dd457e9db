"""Where a report goes: stdout, or a file that appears whole."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aetia.model.errors import ReportError
from aetia.report.writing import write_atomic

if TYPE_CHECKING:
    from aetia.model.diagnosis import Diagnosis
    from aetia.signals.view import View

Format = Literal["text", "json", "markdown", "html"]
SUFFIXES: dict[str, Format] = {
    ".json": "json", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html",
    ".txt": "text",
}  # fmt: skip


def format_for(chosen: Format | None, output: Path | None) -> Format:
    """The format that was asked for, else the one that the file's suffix names, else text."""
    if chosen is not None:
        return chosen
    return SUFFIXES.get(output.suffix.lower(), "text") if output is not None else "text"


def render(diagnosis: Diagnosis, view: View | None, form: Format, *, width: int = 100) -> str:
    """The report as text of the given format."""
    if form == "json":
        from aetia.report.interchange import to_json

        return to_json(diagnosis)
    if form == "markdown":
        from aetia.report.markdown import to_markdown

        return to_markdown(diagnosis)
    if form == "html":
        from aetia.report.html import to_html

        return to_html(diagnosis, view)
    from aetia.report.text import to_text

    return to_text(diagnosis, width=width)


def emit(diagnosis: Diagnosis, view: View | None, form: Format, output: Path | None, *, quiet: bool) -> None:
    """Print the report, in colour on a terminal, or write it to the file."""
    if output is None and form == "text" and sys.stdout.isatty():
        from rich.console import Console

        from aetia.report.text import page

        Console(width=columns(), highlight=False).print(page(diagnosis))
        return
    emit_text(render(diagnosis, view, form, width=columns()), output, quiet=quiet)


def emit_text(text: str, output: Path | None, *, quiet: bool) -> None:
    """Print a page, or write it to the file and say so."""
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    write_atomic(output, text)
    if not quiet:
        print(f"aetia: wrote {output}", file=sys.stderr)


def check_place(output: Path | None) -> None:
    """Raise ReportError at once when there is no folder to write the file to."""
    if output is not None and not output.parent.is_dir():
        raise ReportError(f"{output} cannot be written: its folder does not exist; create the folder first.")


def check_new(path: Path | None) -> None:
    """Raise ReportError at once for a file that is there already, or that has no folder."""
    check_place(path)
    if path is not None and path.exists():
        raise ReportError(f"{path} exists and is never overwritten; choose another file.")


def columns() -> int:
    """Width of the page: that of the terminal, between 60 and 120; 80 when there is none."""
    return max(60, min(120, shutil.get_terminal_size((80, 24)).columns))
