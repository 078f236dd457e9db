"""`aetia demo`: a simulated incident, diagnosed without being told where it is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.output import Format, check_place, emit, format_for
from aetia.cli.progress import StageProgress

if TYPE_CHECKING:
    from aetia.ingest.reader import Loaded
    from aetia.model.case import Truth

SERVICES = 14


def demo(
    *,
    fault: str = "exception",
    seed: int = 7,
    localizer: str = "explain",
    format: Annotated[Format | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    keep: Path | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Diagnose a simulated incident: no network, no set-up, a few seconds.

    A system of 14 services runs for some minutes; then one fault strikes one service. Only the telemetry is
    handed to the diagnosis, neither the fault nor its time. The truth is printed last.

    Parameters
    ----------
    fault:
        The fault to inject: exception, cpu, latency, crash, memory_leak, …
    seed:
        Another seed, another system and another victim.
    localizer:
        Method that names the root cause.
    format:
        text, json, markdown or html. Default: by the suffix of the output file, else text.
    output:
        Write the report to this file instead of stdout.
    keep:
        Also write the telemetry to this folder, as a case for `aetia diagnose`.
    quiet:
        Only the report.
    """
    from aetia.api import NO_POLICY, investigate, pursue, usual_policy

    check_place(output)
    chosen = format_for(format, output)
    with StageProgress(quiet=quiet) as progress:
        progress("simulating")
        loaded = _incident(fault, seed)
        if keep is not None:
            _keep(keep, loaded)
        found = investigate(_unlabelled(loaded), localizer=localizer, progress=progress)
        if (policy := usual_policy(localizer)) != NO_POLICY:
            found = pursue(found, policy, progress=progress)
    talk = not quiet and chosen == "text" and output is None
    if talk:
        rows = loaded.telemetry.rows
        amount = ", ".join(f"{rows[name]:,} {name}".replace(",", " ") for name in ("spans", "logs", "metrics"))
        print(f"A simulated system of {SERVICES} services: {amount}. One fault was injected.\n")
    emit(found.diagnosis, found.view, chosen, output, quiet=quiet)
    if talk:
        print(f"\nInjected: {'; '.join(_words(item) for item in loaded.case.truth or ())}.")
        program = "aetia" if shutil.which("aetia") or Path(sys.argv[0]).name != "aetia" else sys.argv[0]
        tried = f"{program} diagnose {keep}" if keep is not None else f"{program} demo --keep incident"
        print(f"Next: {program} demo -o report.html, {tried}.")
    return 1 if found.diagnosis.abstained is not None else 0


def _incident(fault: str, seed: int) -> Loaded:
    """A case in which users are hurt: seeds are tried in order until one is."""
    from aetia.ingest.reader import Loaded
    from aetia.lab.sim.suites import generate
    from aetia.lab.sim.system import make_system

    system = make_system(SERVICES, seed)
    case, telemetry = next(generate(1, [system], seed, faults=[fault], windows_given=False, two_roots=0.0))
    return Loaded(case=case, telemetry=telemetry)


def _unlabelled(loaded: Loaded) -> Loaded:
    """The telemetry under a name, without windows or truth."""
    from aetia.ingest.reader import Loaded
    from aetia.model.case import Case

    return Loaded(case=Case(id="demo", system=loaded.case.system), telemetry=loaded.telemetry)


def _keep(folder: Path, loaded: Loaded) -> None:
    from aetia.ingest.case import write_case

    write_case(folder, _unlabelled(loaded).case, loaded.telemetry)


def _words(truth: Truth) -> str:
    place = truth.instance or truth.service or truth.node or " → ".join(truth.edge or ("?",))
    return f"{(truth.fault or 'a fault').replace('_', ' ')} at {place}"
