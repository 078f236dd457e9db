"""`aetia bench`: list suites, run localizers over them, report on runs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from cyclopts import App, Parameter

from aetia.cli.progress import StageProgress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from aetia.bench.result import BenchResult
    from aetia.bench.runner import Progress
    from aetia.model.journal import Price


class Given(TypedDict):
    """What the runner is told of a model."""

    model: tuple[str, str] | None
    price: Price | None


app = App(name="bench", help="Measure localizers on suites of cases.")

Policies = Annotated[
    str | None, Parameter(help="Policies joined by commas, or all: each goes on from what each localizer said.")
]
Seeds = Annotated[int, Parameter(help="Investigations of each case by each policy, with seeds counted up from --seed.")]
Journals = Annotated[
    Path | None, Parameter(help="Keep the journal of every investigation in this folder, for aetia replay.")
]
MarkdownFile = Annotated[Path | None, Parameter(help="Write the leaderboard as Markdown here.")]
HtmlFile = Annotated[Path | None, Parameter(help="Write the leaderboard as one HTML page here.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The language model that policies may ask.

    Parameters
    ----------
    model:
        Name of the model there. Default: AETIA_MODEL.
    model_url:
        Base URL of the model that policies may ask. Default: AETIA_MODEL_URL.
    price_in:
        What a million tokens that the model reads cost. Default: AETIA_MODEL_PRICE_IN.
    price_out:
        The same for tokens that it writes. Default: AETIA_MODEL_PRICE_OUT.
    """

    model: str | None = None
    model_url: str | None = None
    price_in: float | None = None
    price_out: float | None = None

    def given(self, policy: str | None) -> Given:
        """URL, name and price of the model that is configured, for policies; the workers make their own from it."""
        if not policy:
            return {"model": None, "price": None}
        from aetia.reason.models.configured import NAME, URL, configured, price

        there = configured(self.model_url, self.model) is not None
        place = (self.model_url or os.environ[URL], self.model or os.environ[NAME]) if there else None
        return {"model": place, "price": price(self.price_in, self.price_out)}


@app.command(name="list")
def list_(*, json_output: Annotated[bool, Parameter(name="--json", negative=())] = False) -> int:
    """List the named suites and whether their data is present. Any folder of cases is a suite, too.

    Parameters
    ----------
    json_output:
        Print the list as JSON.
    """
    from aetia.bench.suites import listing

    lines = listing()
    if json_output:
        import msgspec

        rows = [dict(zip(line._fields, line, strict=True)) for line in lines]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return 0
    for line in lines:
        print(f"{line.name:10} {line.state:10} {line.summary}; licence {line.license}")
        print(f"{'':10} {'':10} {line.place}")
    return 0


@app.command
def run(
    *suites: str,
    localizer: str = "all",
    policy: Policies = None,
    seeds: Seeds = 1,
    asking: Asking | None = None,
    journals: Journals = None,
    onset: Literal["given", "detected", "both"] = "given",
    jobs: int | None = None,
    json: Path | None = None,
    perturb: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    limit: int | None = None,
    timeout: float = 60.0,
    seed: int = 0,
    markdown: MarkdownFile = None,
    html: HtmlFile = None,
    fresh: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Ask localizers about every case of one or more suites and score the answers.

    Parameters
    ----------
    suites:
        Named suites (`aetia bench list`) or paths to cases.
    localizer:
        Names joined by commas, or all.
    onset:
        given takes the windows of each case; detected hides them; both does one after the other.
    jobs:
        Worker processes (default: one per core).
    json:
        Write the result here; finished rows are kept beside it and an interrupted run resumes.
    perturb:
        NAME=VALUE, several joined by commas; each use is one more variant, none is the case as it is.
    limit:
        Only the first cases of each suite.
    timeout:
        Seconds of wall time for one localizer on one case.
    seed:
        Seed for localizers and perturbations.
    fresh:
        Forget finished rows of an earlier run.
    quiet:
        No progress on stderr, no table on stdout.
    """
    from aetia.bench.runner import run as run_bench
    from aetia.model.errors import UsageError

    if not suites:
        raise UsageError("no suite was named; name one (`aetia bench list`) or a folder of cases.")
    with RunProgress(quiet=quiet) as progress:
        result = run_bench(
            suites, localizer, policies=policy or (), seeds=seeds,
            **(asking or Asking()).given(policy), journals=journals if policy else None,
            onset=("given", "detected") if onset == "both" else onset, jobs=jobs, json_path=json, resume=not fresh,
            timeout_s=timeout, seed=seed, perturb=perturb, limit=limit, progress=progress,
        )  # fmt: skip
    _publish(result, markdown, html, quiet=quiet)
    return 0


def _publish(result: BenchResult, markdown: Path | None, html: Path | None, *, quiet: bool) -> None:
    """The leaderboard to the files that were named, and to stdout."""
    from aetia.bench.leaderboard import report as make_report
    from aetia.report.writing import write_atomic

    if markdown is not None:
        write_atomic(markdown, make_report(result, format="markdown"))
    if html is not None:
        write_atomic(html, make_report(result, format="html"))
    if not quiet:
        print(make_report(result, format="text", width=_width()), end="")


@app.command
def report(
    *files: Path,
    form: Annotated[Literal["markdown", "html", "text"] | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
) -> int:
    """Make the leaderboard of runs that were written with `--json`; several files are joined.

    Parameters
    ----------
    files:
        Files written by `aetia bench run --json`.
    form:
        markdown, html or text; by default what the output's suffix says, else text.
    output:
        Write here instead of stdout.
    """
    from aetia.bench.leaderboard import report as make_report
    from aetia.model.errors import UsageError
    from aetia.report.writing import write_atomic

    if not files:
        raise UsageError("no file was named; name files written by `aetia bench run --json`.")
    suffix = output.suffix.lower() if output is not None else ""
    chosen = form or (
        "html" if suffix in (".html", ".htm") else "markdown" if suffix in (".md", ".markdown") else "text"
    )
    text = make_report(*files, format=chosen, width=_width())
    if output is None:
        print(text, end="")
    else:
        write_atomic(output, text)
    return 0


def _width() -> int:
    """Columns of the terminal; wide when the table goes to a file or a pipe."""
    import shutil

    return shutil.get_terminal_size((160, 40)).columns if sys.stdout.isatty() else 200


class RunProgress:
    """Progress of a run on stderr: a stage while suites are made ready, then a bar (plain lines when stderr is no
    terminal)."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = StageProgress(quiet=quiet)
        self._bar: Bar | None = None
        self._said = -1

    def __enter__(self) -> RunProgress:
        self._stage.__enter__()
        self._stage("making the suites ready")
        return self

    def __exit__(self, *error: object) -> None:
        self._stage.__exit__(None, None, None)
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, state: Progress) -> None:
        if self._quiet:
            return
        if state.row is None:
            self._stage.__exit__(None, None, None)
        if not sys.stderr.isatty():
            self._line(state)
            return
        if self._bar is None:
            self._bar = _bar()
            self._bar.add_task("localizing", total=state.total)
            self._bar.start()
        shown = f"{state.row.case} {state.row.localizer}" if state.row is not None else "starting"
        self._bar.update(self._bar.task_ids[0], completed=state.done, description=shown[:48])

    def _line(self, state: Progress) -> None:
        tenth = state.done * 10 // max(1, state.total)
        if tenth != self._said:
            self._said = tenth
            print(f"aetia: {state.done} of {state.total} answers", file=sys.stderr)


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:48}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
