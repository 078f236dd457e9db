"""Draws and simulates the incidents of `shapes.py`: windows, load and faults as a family of data sets has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from aetia.lab.sim.draw import Draw, draw_scenario, spans_per_request
from aetia.lab.sim.run import simulate
from aetia.lab.sim.scenario import FAULTS, FaultSpec, Scenario
from aetia.lab.sim.suites import random_systems
from aetia.lab.sim.system import System, make_system
from aetia.model.case import Case
from aetia.model.tables import Telemetry
from aetia.model.window import NS_PER_SECOND

TRIES = 6
BIN_S = 300
MIN_RATE = 3.0
# Those that have a counterpart in the benchmark.
RCABENCH = (
    "crash", "restart_loop", "cpu", "memory_leak", "exception", "wrong_code", "early_return", "latency",
    "network_delay", "network_loss", "partition", "dns", "gc",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the data sets of one family have in common.

    `sizes` are services per system (None: five systems from 5 to 60). `spans` bounds the spans of a case, and with
    them the load. `baseline_s` and `incident_s` None keep what the simulator draws. `whole` lets faults strike whole
    services only, never one instance or one link. `aligned` puts the start on a whole bin of five minutes.
    """

    name: str
    number: int
    faults: tuple[str, ...]
    sizes: tuple[int, ...] | None = None
    spans: int = 60_000
    baseline_s: float | None = None
    incident_s: float | None = None
    step_s: float | None = None
    log_rate: float | None = None
    style: str | None = None
    whole: bool = False
    aligned: bool = False


RCAEVAL = ("cpu", "memory_leak", "disk", "network_delay", "network_loss")
PETSHOP = (
    "latency", "cpu", "memory_leak", "exception", "bad_config", "wrong_code", "slow_dependency", "dependency_down",
)  # fmt: skip
FAMILIES = {
    family.name: family
    for family in (
        # Online Boutique, Sock Shop and TrainTicket have about so many services; ten minutes before and after.
        Family(name="re1", number=1, faults=RCAEVAL, sizes=(12, 14, 45), baseline_s=600, incident_s=600, step_s=1,
               log_rate=0.0, style="otel", whole=True, spans=150_000),
        Family(name="re2", number=2, faults=(*RCAEVAL, "pool_exhaustion"), sizes=(12, 14, 45), baseline_s=600,
               incident_s=600, step_s=1, style="otel", whole=True),
        # Hours of five-minute bins, and an incident of a few.
        Family(name="petshop", number=3, faults=PETSHOP, sizes=(10, 16, 24), spans=900_000, baseline_s=27 * BIN_S,
               incident_s=4 * BIN_S, step_s=BIN_S, log_rate=0.0, whole=True, aligned=True),
        Family(name="pods", number=4, faults=FAULTS, sizes=(10, 20, 40), baseline_s=1800, incident_s=600, step_s=60,
               log_rate=0.0, style="prometheus"),
        Family(name="rcabench", number=5, faults=RCABENCH, sizes=(20, 35, 50), baseline_s=240, incident_s=240,
               style="otel"),
        Family(name="plain", number=6, faults=FAULTS),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """One simulated incident."""

    number: int
    scenario: Scenario
    case: Case
    telemetry: Telemetry

    @property
    def fault(self) -> str:
        return self.scenario.faults[0].fault


def made(family: Family, n_cases: int, seed: int) -> Iterator[Made]:
    """`n_cases` incidents that users feel, faults in whole shuffled rounds over the systems in turn.

    A draw that nobody feels is drawn again, stronger; after `TRIES` of them the incident is left out.
    """
    rng = np.random.default_rng([seed, family.number, 41])
    systems = _systems(family, seed)
    kinds: list[str] = []
    while len(kinds) < n_cases:
        kinds += [str(fault) for fault in rng.permutation(np.array(family.faults))]
    for number, kind in enumerate(kinds[:n_cases]):
        for attempt in range(TRIES):
            draw = Draw(
                id=f"case-{number:04d}", system=systems[number % len(systems)], kind=kind,
                seed=int(np.random.default_rng([seed, family.number, number, attempt]).integers(2**31)),
                strength=1.0 + 0.15 * attempt,
            )  # fmt: skip
            scenario = _fitted(draw_scenario(draw), family)
            case, telemetry = simulate(scenario)
            if case.sli["affected"]:
                yield Made(number, scenario, case, telemetry)
                break


def _systems(family: Family, seed: int) -> list[System]:
    if family.sizes is None:
        return random_systems(5, seed)
    rng = np.random.default_rng([seed, family.number, 42])
    return [make_system(size, int(rng.integers(2**31))) for size in family.sizes]


def _fitted(drawn: Scenario, family: Family) -> Scenario:
    """The scenario in the family's windows, sampling and load; what happens beside the fault is spread alike."""
    system = drawn.system if family.style is None else replace(drawn.system, metric_style=family.style)
    baseline = family.baseline_s or drawn.baseline_s
    incident = family.incident_s or drawn.incident_s
    stretch = (baseline + incident) / drawn.total_s
    rate = min(drawn.load.rate, max(MIN_RATE, family.spans / (spans_per_request(system) * (baseline + incident))))
    late = (drawn.faults[0].onset_s - drawn.baseline_s) / drawn.incident_s
    # With known injection times the fault begins with the window; in wide bins somewhere in the first of them.
    onset = baseline + (late * incident if family.baseline_s is None else 3 * late * BIN_S if family.aligned else 0.0)
    start = drawn.start_ns // (BIN_S * NS_PER_SECOND) * BIN_S * NS_PER_SECOND if family.aligned else drawn.start_ns
    return replace(
        drawn, system=system, load=replace(drawn.load, rate=rate), baseline_s=baseline, incident_s=incident,
        faults=tuple(_placed(fault, onset, whole=family.whole) for fault in drawn.faults),
        confounders=tuple(replace(item, start_s=item.start_s * stretch) for item in drawn.confounders),
        metric_step_s=family.step_s or drawn.metric_step_s, start_ns=start,
        log_rate=drawn.log_rate if family.log_rate is None else family.log_rate,
    )  # fmt: skip


def _placed(fault: FaultSpec, onset: float, *, whole: bool) -> FaultSpec:
    if not whole:
        return replace(fault, onset_s=onset)
    service = fault.edge[1] if fault.edge is not None else fault.service
    return replace(fault, onset_s=onset, service=service, edge=None, instance=None)
