"""The hard cases: incidents where a statistical prior has reason to err, drawn from the simulator.

Every kind is drawn from the same scenarios, so that what makes it hard is the only difference between kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from aetia.bench import perturb
from aetia.lab.sim.draw import Draw, draw_scenario
from aetia.lab.sim.run import simulate
from aetia.lab.sim.scenario import FAULTS, Confounder, Scenario
from aetia.lab.sim.suites import random_systems
from aetia.model.case import Case
from aetia.model.tables import Telemetry

# The stubs know few overloads of the kernels.
pc: Any = pyarrow.compute
TRIES = 4
SYSTEMS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Hard:
    """One case of one kind; `whole` is the telemetry before anything was hidden, for judging paths."""

    kind: str
    case: Case
    telemetry: Telemetry
    whole: Telemetry


def decoy(scenario: Scenario, rng: np.random.Generator) -> Scenario:
    """A harmless deploy elsewhere, recorded five seconds before the fault strikes."""
    struck = {name for fault in scenario.faults for name in (fault.service, *(fault.edge or ())) if name}
    others = [at for at, service in enumerate(scenario.system.services) if service.name not in struck]
    onset = min(fault.onset_s for fault in scenario.faults)
    deploy = Confounder(kind="deploy", target=int(rng.choice(others)), start_s=max(onset - 5.0, 0.0), duration_s=1.0)
    return replace(scenario, confounders=(*scenario.confounders, deploy))


KINDS: dict[str, tuple[str, Callable[[Scenario, np.random.Generator], Scenario] | None]] = {
    "two_faults": (perturb.NONE, None),
    "silent_callee": ("hide_root_spans", None),
    "uninstrumented": (perturb.NONE, None),
    "contaminated": ("contaminated=60", None),
    "late": ("late=90", None),
    "no_spans": ("without=spans", None),
    "no_metrics": ("without=metrics", None),
    "no_logs": ("without=logs", None),
    "metrics_only": ("metrics_only", None),
    "logs_only": ("without=spans+metrics", None),
    "decoy_deploy": (perturb.NONE, decoy),
}
"""What happens to the telemetry, and to the scenario before it is simulated."""


def hard_cases(n: int, seed: int) -> Iterator[Hard]:
    """`n` cases of each kind that users feel; the same seed gives the same cases. What a perturbation cannot be
    applied to is left out, and counts for nobody."""
    systems = random_systems(SYSTEMS, seed, (6, 40))
    for at, (kind, (specification, change)) in enumerate(KINDS.items()):
        rng = np.random.default_rng([seed, 91, at])
        faults = [str(name) for name in rng.permutation(np.array(FAULTS))]
        for number in range(n):
            second = str(rng.choice(np.array(FAULTS))) if kind == "two_faults" else None
            draw = Draw(
                id=f"{kind}-{seed}-{number:03d}", system=systems[number % SYSTEMS], seed=0, second=second,
                kind=faults[number % len(faults)],
            )  # fmt: skip
            found = _felt(draw, change, rng)
            if found is None:
                continue
            case, telemetry = found
            try:
                hard = perturb.apply(specification, case, telemetry, seed=seed)
                if kind == "uninstrumented":
                    hard = (case, uninstrumented(case, telemetry))
            except perturb.Unapplied:
                continue
            yield Hard(kind=kind, case=hard[0], telemetry=hard[1], whole=telemetry)


def uninstrumented(case: Case, telemetry: Telemetry) -> Telemetry:
    """The faulty services tell nothing of themselves: no spans, no log lines, no metrics; their callers do."""
    struck = sorted({root.service for root in case.truth or () if root.service is not None})
    if not struck:
        raise perturb.Unapplied(f"case '{case.id}' names no faulty service that could be silent.")
    kept: dict[str, pa.Table] = {}
    for name in ("spans", "logs", "metrics"):
        table = telemetry.table(name)
        silent = pc.is_in(pc.cast(table["service"], pa.string()), value_set=pa.array(struck))
        kept[name] = table.filter(pc.invert(silent))
    return replace(telemetry, **kept)


def _felt(
    draw: Draw, change: Callable[[Scenario, np.random.Generator], Scenario] | None, rng: np.random.Generator
) -> tuple[Case, Telemetry] | None:
    """The first of some tries in which users are hurt."""
    for attempt, seed in enumerate(int(s) for s in rng.integers(2**31, size=TRIES)):
        scenario = draw_scenario(replace(draw, seed=seed, strength=1.0 + 0.15 * attempt))
        case, telemetry = simulate(change(scenario, rng) if change is not None else scenario)
        if case.sli["affected"]:
            return case, telemetry
    return None
