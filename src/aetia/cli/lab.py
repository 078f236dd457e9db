"""`aetia lab`: labelled telemetry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from aetia.cli.progress import StageProgress

app = App(name="lab", help="Make labelled telemetry.")


@app.command
def sim(
    out: Path,
    /,
    *,
    cases: int = 20,
    systems: int = 5,
    services: str = "5..60",
    fault: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    two_roots: float = 0.03,
    detect: Annotated[bool, Parameter(negative=())] = False,
    seed: int = 0,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Simulate a suite of incidents with known causes: spans, logs, metrics and changes.

    Parameters
    ----------
    out:
        Folder for the suite; one folder per case.
    cases:
        Number of cases. About 12 % of them have no fault.
    systems:
        Number of different systems the cases are spread over.
    services:
        Size of the systems: a number, or SMALLEST..LARGEST (5 to 500).
    fault:
        Only this fault; may be given several times. Default: all of them.
    two_roots:
        Share of cases with a second fault elsewhere.
    detect:
        Leave the incident's window out of the cases, so that it has to be found.
    seed:
        The same seed and options give identical files.
    overwrite:
        Replace cases that are there already.
    quiet:
        No progress on stderr.
    """
    from aetia.lab.sim.scenario import FAULTS
    from aetia.lab.sim.suites import suite

    sizes = _sizes(services)
    _check(cases=cases, systems=systems, two_roots=two_roots)
    with StageProgress(quiet=quiet) as progress:
        progress("simulating")
        made = suite(
            out,
            cases,
            min(systems, cases),
            seed,
            faults=fault or FAULTS,
            services=sizes,
            windows_given=not detect,
            two_roots=two_roots,
            overwrite=overwrite,
            progress=lambda done, of: progress(f"simulating: {done} of {of} cases"),
        )
    print(f"{len(made)} case{'' if len(made) == 1 else 's'} in {out}")
    return 0


@app.command
def stream(
    source: str,
    /,
    *,
    to: str = "http://127.0.0.1:4318",
    speed: float = 1.0,
    start: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Send telemetry to an OTLP receiver as if it happened now, in real time.

    A rehearsal of a live system: `aetia serve` in one terminal, this in another. The environment variable AETIA_TOKEN
    holds a token of the receiver, where it asks for one.

    Parameters
    ----------
    source:
        A case, file, folder or dataset:case, as for `aetia diagnose`.
    to:
        Address of the receiver.
    speed:
        Times faster than real time. Times in the telemetry stay as far apart as they were.
    start:
        When the recording begins: ISO 8601 or an offset such as -30m. Default: now.
    quiet:
        No progress on stderr.
    """
    import os
    import time

    from aetia import timespec
    from aetia.bench.suites import case_of
    from aetia.ingest.source import open_sources
    from aetia.lab.stream import Batch, Sent
    from aetia.lab.stream import stream as send
    from aetia.model.window import Window

    with StageProgress(quiet=quiet) as progress:
        progress(f"reading {source}")
        telemetry = open_sources([case_of(source)], full=True).telemetry

        def tell(batch: Batch, sent: Sent) -> None:
            progress(f"{batch.at_ns / 1e9:.0f} s: {sent.rows:,} rows in {sent.requests:,} requests")

        begin = timespec.parse_instant(start, Window(0, time.time_ns())) if start is not None else None
        sent = send(telemetry, to, speed=speed, start_ns=begin, token=os.environ.get("AETIA_TOKEN", ""), tell=tell)
    if not quiet:
        print(f"sent {sent.rows:,} rows in {sent.requests:,} requests; {sent.refused} refused")
    return 1 if sent.refused else 0


def _sizes(text: str) -> tuple[int, int]:
    """`40` or `5..60` as (smallest, largest)."""
    from aetia.model.errors import UsageError

    low, separator, high = text.partition("..")
    try:
        sizes = int(low), int(high if separator else low)
    except ValueError:
        raise UsageError(f"--services '{text}' is not a size; write 40 or 5..60.") from None
    if not 2 <= sizes[0] <= sizes[1] <= 500:
        raise UsageError(f"--services '{text}' is out of range; sizes run from 2 to 500, smallest first.")
    return sizes


def _check(*, cases: int, systems: int, two_roots: float) -> None:
    from aetia.model.errors import UsageError

    for name, value in (("--cases", cases), ("--systems", systems)):
        if value < 1:
            raise UsageError(f"{name} {value} is too few; give 1 or more.")
    if not 0 <= two_roots <= 1:
        raise UsageError(f"--two-roots {two_roots} is not a share; give a number from 0 to 1.")
