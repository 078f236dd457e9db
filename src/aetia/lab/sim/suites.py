"""Suites of cases over random systems: every fault, some non-faults, a few absorbed; and one large incident."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aetia.ingest.case import write_case
from aetia.lab.sim.draw import Draw, draw_scenario
from aetia.lab.sim.folder import no_empty_folders
from aetia.lab.sim.run import simulate
from aetia.lab.sim.scenario import FAULTS, NON_FAULTS, Scenario
from aetia.lab.sim.system import System, make_system
from aetia.model.case import Case
from aetia.model.errors import UsageError
from aetia.model.tables import Telemetry

NON_FAULT_SHARE = 0.12
ABSORBED_SHARE = 0.05
TRIES = 8
Progress = Callable[[int, int], None]


def random_systems(count: int, seed: int, services: tuple[int, int] = (5, 60)) -> list[System]:
    """`count` different systems whose sizes are spread evenly over `services` (smallest, largest)."""
    rng = np.random.default_rng([seed, 21])
    low, high = services
    edges = np.geomspace(low, high + 1, count + 1)
    sizes = [
        int(np.clip(rng.integers(int(edges[i]), max(int(edges[i]) + 1, int(edges[i + 1]))), low, high))
        for i in range(count)
    ]
    return [make_system(size, int(rng.integers(2**31)) + i) for i, size in enumerate(sizes)]


def planned_kinds(n: int, faults: Sequence[str] = FAULTS, seed: int = 0) -> list[str]:
    """The kind of each case of a suite: 12 % non-faults in turn, the rest in whole rounds of all faults, shuffled."""
    rng = np.random.default_rng([seed, 23])
    calm = round(NON_FAULT_SHARE * n) if n >= 4 else 0
    kinds = [NON_FAULTS[i % len(NON_FAULTS)] for i in range(calm)]
    while len(kinds) < n:
        kinds += [str(f) for f in rng.permutation(np.array(faults))][: n - len(kinds)]
    return [kinds[int(i)] for i in rng.permutation(n)]


def generate(
    n_cases: int, systems: int | Sequence[System] = 5, seed: int = 0, *, faults: Sequence[str] = FAULTS,
    services: tuple[int, int] = (5, 60), windows_given: bool = True, two_roots: float = 0.03,
) -> Iterator[tuple[Case, Telemetry]]:  # fmt: skip
    """Cases one after another. About 12 % are no faults; at most 5 % are `absorbed`, and with 20 cases or more
    at least one is tried for. `two_roots` is the share of cases with a second fault elsewhere.

    A case whose fault nobody feels is drawn again, stronger; a non-fault that hurts users is drawn again too.
    Raises UsageError for an unknown fault.
    """
    unknown = sorted(set(faults) - set(FAULTS) - {"clock_skew"})
    if unknown or not faults:
        raise UsageError(f"no such faults: {', '.join(unknown) or '(none given)'}; known: {', '.join(FAULTS)}.")
    drawn = random_systems(systems, seed, services) if isinstance(systems, int) else list(systems)
    rng = np.random.default_rng([seed, 22])
    kinds = planned_kinds(n_cases, faults, seed)
    quota = round(ABSORBED_SHARE * n_cases)
    wanted = {int(i) for i in rng.permutation([i for i, k in enumerate(kinds) if k not in NON_FAULTS])[:quota]}
    for number, kind in enumerate(kinds):
        second = str(rng.choice(np.array(faults))) if kind not in NON_FAULTS and rng.random() < two_roots else None
        system = drawn[number % len(drawn)]
        seeds = [int(s) for s in rng.integers(2**31, size=TRIES)]
        draw = Draw(
            id=f"case-{number:04d}", system=system, kind=kind, seed=0, second=second, windows_given=windows_given
        )
        yield _one(draw, seeds, absorbed=number in wanted)


def _one(draw: Draw, seeds: Sequence[int], *, absorbed: bool) -> tuple[Case, Telemetry]:
    """Draw and simulate until the case is what was wanted; the last try is kept as it is, truthfully labelled."""
    wish = draw.kind not in NON_FAULTS and not absorbed
    for attempt, seed in enumerate(seeds[:-1]):
        case, telemetry = simulate(draw_scenario(_stronger(draw, attempt, seed, absorbed=absorbed)))
        if bool(case.sli["affected"]) == wish:
            return case, telemetry
    return simulate(draw_scenario(_stronger(draw, len(seeds) - 1, seeds[-1], absorbed=absorbed)))


def _stronger(draw: Draw, attempt: int, seed: int, *, absorbed: bool) -> Draw:
    """The next try: clearer faults when users should feel them, fainter ones when they should not."""
    return replace(draw, seed=seed, strength=0.25 / (1 + attempt) if absorbed else 1.0 + 0.15 * attempt)


def suite(
    out: Path,
    n_cases: int = 100,
    systems: int | Sequence[System] = 5,
    seed: int = 0,
    *,
    faults: Sequence[str] = FAULTS,
    services: tuple[int, int] = (5, 60),
    windows_given: bool = True,
    two_roots: float = 0.03,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Case]:
    """Write a suite: one case folder each under `out`. The same arguments give identical files.

    `progress` is called with (cases done, cases in all). Raises IngestError when a folder cannot be written; the
    cases that were finished before stay.
    """
    drawn = generate(
        n_cases, systems, seed, faults=faults, services=services, windows_given=windows_given, two_roots=two_roots
    )
    return _write(out, drawn, n_cases, overwrite=overwrite, progress=progress)


def simulate_suite(
    out: Path, scenarios: Sequence[Scenario], *, overwrite: bool = False, progress: Progress | None = None
) -> list[Case]:
    """Write given scenarios as a suite of case folders named by their ids."""
    drawn = (simulate(scenario) for scenario in scenarios)
    return _write(out, drawn, len(scenarios), overwrite=overwrite, progress=progress)


def _write(
    out: Path, drawn: Iterable[tuple[Case, Telemetry]], count: int, *, overwrite: bool, progress: Progress | None
) -> list[Case]:
    cases: list[Case] = []
    with no_empty_folders(out):
        for case, telemetry in drawn:
            write_case(out / case.id, case, telemetry, overwrite=overwrite)
            cases.append(case)
            if progress is not None:
                progress(len(cases), count)
    return cases
