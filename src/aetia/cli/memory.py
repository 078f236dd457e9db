"""`aetia memory`: incidents that are remembered, what fixed them, and forgetting."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from aetia.cli.output import columns

if TYPE_CHECKING:
    from aetia.reason.precedents import Memory

app = App(name="memory", help="Incidents that are remembered, and what fixed them.")
Folder = Annotated[Path | None, Parameter(name="--folder")]
Json = Annotated[bool, Parameter(name="--json", negative=())]
_VOUCHED = {"person": "confirmed by", "checks": "verified", "nobody": "not verified"}


@app.command(name="list")
def list_(*, folder: Folder = None, json_output: Json = False) -> int:
    """List the incidents that are remembered, newest first.

    Parameters
    ----------
    folder:
        Where the memory is. Default: aetia in $XDG_DATA_HOME, or in ~/.local/share.
    json_output:
        Print them as JSON.
    """
    from aetia.reason.memory import IncidentMemory

    memory = IncidentMemory(folder)
    held = memory.all()
    if json_output:
        print(_json(held))
    elif held:
        _table(held)
    else:
        print(f"nothing is remembered in {memory.path}")
    return 0


@app.command
def show(id: str, /, *, folder: Folder = None, json_output: Json = False) -> int:
    """Show one memory: the cause, what the telemetry said, who vouches for it, what was done and whether it helped.

    Parameters
    ----------
    id:
        The id of the memory, or how it begins.
    folder:
        Where the memory is.
    json_output:
        Print it as JSON.
    """
    from aetia.reason.memory import IncidentMemory
    from aetia.reason.precedents import contradicts

    memory = IncidentMemory(folder)
    found = memory.get(id)
    if json_output:
        print(_json([found])[1:-1].strip())
        return 0
    others = [other for other in memory.all() if other.id != found.id and contradicts(found, other)]
    for label, value in _facts(found):
        print(f"{label:<13}{value}")
    for other in others:
        print(f"{'contradicts':<13}{other.id}: {other.component}, class {other.fault_class or '?'}")
    return 0


@app.command
def forget(id: str, /, *, folder: Folder = None) -> int:
    """Remove one memory for good.

    Parameters
    ----------
    id:
        The id of the memory, or how it begins.
    folder:
        Where the memory is.
    """
    from aetia.reason.memory import IncidentMemory

    gone = IncidentMemory(folder).forget(id)
    print(f"forgot {gone.id}: {gone.summary}")
    return 0


@app.command
def fix(
    id: str,
    action: str,
    /,
    *,
    in_vain: Annotated[bool, Parameter(negative=())] = False,
    by: str = "",
    folder: Folder = None,
) -> int:
    """Write down what was done about an incident; investigations of incidents like it show it.

    Parameters
    ----------
    id:
        The id of the memory, or how it begins.
    action:
        What was done, such as "rolled back to 1.4.2".
    in_vain:
        It did not help.
    by:
        Who did it.
    folder:
        Where the memory is.
    """
    from aetia.reason.memory import IncidentMemory

    kept = IncidentMemory(folder).record_fix(id, action, not in_vain, by=by)
    print(f"{kept.id}  {kept.fixes[-1].action}: {'did not help' if in_vain else 'helped'}")
    return 0


@app.command
def remember(journal: Path, /, *, system: str = "", confirmed_by: str = "", folder: Folder = None) -> int:
    """Keep what the journal of a finished investigation teaches.

    Parameters
    ----------
    journal:
        A journal that an investigation wrote.
    system:
        Name of the system, by which its incidents belong together.
    confirmed_by:
        Who says that the diagnosis was right. Without it only a verified diagnosis counts as a precedent.
    folder:
        Where the memory is.
    """
    from aetia.reason.fingerprints import LONGEST_NAME, quoted
    from aetia.reason.journals import read_journal
    from aetia.reason.memory import IncidentMemory
    from aetia.reason.precedents import Situation

    made = IncidentMemory(folder).remember(
        read_journal(journal), situation=Situation(system=quoted(system, LONGEST_NAME)),
        confirmed_by=quoted(confirmed_by, LONGEST_NAME),
    )  # fmt: skip
    for memory in made:
        print(f"{memory.id}  {_vouched(memory)}  {memory.summary}")
    return 0


def _json(held: list[Memory]) -> str:
    import msgspec

    return json.dumps(msgspec.to_builtins(held), indent=2, ensure_ascii=False)


def _table(held: list[Memory]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aetia.reason.precedents import expired
    from aetia.report import wording

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("id", "when", "component", "fault", "trust", "fixes"):
        table.add_column(title, no_wrap=title == "id", overflow="fold")
    for item in held:
        worked = sum(fix.worked for fix in item.fixes)
        old = expired(item, time.time_ns())
        trust = _vouched(item) + (f"; for an incident of today: {old}" if old else "")
        fault = f"{item.fault_class or '?'} {item.fault or ''}"
        cells = (item.id, wording.moment(item.happened_ns)[:16], item.component, fault, trust,
                 f"{worked} of {len(item.fixes)} helped" if item.fixes else "–")  # fmt: skip
        table.add_row(*(Text(wording.plain(cell, 160)) for cell in cells))
    Console(width=columns(), highlight=False).print(table)


def _vouched(memory: Memory) -> str:
    origin = memory.provenance
    return f"{_VOUCHED[origin.vouched]} {origin.by}".strip() if origin.vouched == "person" else _VOUCHED[origin.vouched]


def _facts(found: Memory) -> list[tuple[str, str]]:
    """Label and value; what the telemetry said is in quotation marks."""
    from aetia.reason.precedents import expired
    from aetia.report import wording

    origin, situation = found.provenance, found.situation
    facts = [
        ("id", found.id), ("cause", found.summary), ("happened", wording.moment(found.happened_ns)),
        ("remembered", wording.moment(found.remembered_ns)), ("trust", _vouched(found)),
        ("from", f"journal {origin.journal}, {origin.source}"), ("system", situation.system or "not named"),
    ]  # fmt: skip
    facts += [("version", f"{name} {version}") for name, version in situation.versions.items()]
    facts += [("said", f"“{quote.text}” ({quote.evidence})") for quote in found.quotes]
    facts += [("done", f"{fix.action}: {'helped' if fix.worked else 'did not help'}") for fix in found.fixes]
    if old := expired(found, time.time_ns()):
        facts.append(("expired", f"for an incident of today: {old}"))
    return [(label, wording.plain(value, 400)) for label, value in facts]
