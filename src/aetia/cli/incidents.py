"""`aetia incidents`: what a running server has noticed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from aetia.cli._remote import Token, server

if TYPE_CHECKING:
    from aetia.serve.incidents.records import IncidentRecord

PATH = "/api/v1/incidents"
STATES = Literal["open", "closed", "merged"]


def incidents(
    *,
    url: str | None = None,
    data: Path | None = None,
    state: Annotated[tuple[STATES, ...], Parameter(negative=())] = (),
    service: str | None = None,
    limit: int = 50,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    token: Token = "",
) -> None:
    """List the incidents of a running server, the latest first.

    Parameters
    ----------
    url:
        Address of the server; default that of the folder's owner, else http://127.0.0.1:4318.
    data:
        Folder of the server (default aetia-data).
    state:
        open, closed or merged; several times. Default all.
    service:
        Those that hurt this service, or entry points that use it.
    limit:
        Most incidents.
    json:
        For programs.
    token:
        Of a server that asks for one; default AETIA_TOKEN of the environment.
    """
    import msgspec

    from aetia.serve.operations.incidents import IncidentsAnswer

    params = [("limit", str(limit)), *(("state", item) for item in state), *([("service", service)] if service else [])]
    found = server(url, data, token).read(IncidentsAnswer, PATH, params)
    if json:
        print(msgspec.json.encode(found).decode())
        return
    print("\n".join(_lines(found.incidents)) if found.incidents else "no incidents")
    if found.truncated:
        print(f"… and {found.total - len(found.incidents)} more (--limit)")


def _lines(records: Sequence[IncidentRecord]) -> list[str]:
    """A table: id, state, severity, since when, how long, what is broken, and why."""
    rows = [("INCIDENT", "STATE", "SEVERITY", "SINCE (UTC)", "LASTED", "WHAT", "CAUSE")]
    rows += [
        (one.id, one.state, one.severity, f"{datetime.fromtimestamp(one.onset_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}",
         _length(one.window.seconds), _plain(one.title), _cause(one))
        for one in records
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]


def _cause(record: IncidentRecord) -> str:
    found = record.diagnosis
    if found is None:
        return "not diagnosed yet"
    if found.root is None:
        return _plain(found.abstained or "no cause named")
    what = f" ({found.fault_class})" if found.fault_class else ""
    return _plain(found.root) + what


def _plain(text: str) -> str:
    """A recorded text on one line of a terminal."""
    line = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
    return line if len(line) <= 70 else line[:69] + "…"


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
