"""One large incident with exact numbers of rows, for measuring time and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aetia.lab.sim.draw import draw_fault, spans_per_request
from aetia.lab.sim.run import simulate_to
from aetia.lab.sim.scenario import Load, Scenario
from aetia.lab.sim.system import System, make_system
from aetia.lab.sim.thin import Totals
from aetia.model.case import Case
from aetia.model.errors import UsageError

WINDOW_S = 600.0
SERIES_PER_SECOND = 4200 / 5.0
"""Samples per second of the usual large system: about 4,200 series, one sample in 5 s."""


def _series(system: System) -> int:
    return 17 * len(system.instances) + 3 * len(system.services) + 4 * len(system.nodes)


def large_incident(
    out: Path, spans: int = 1_000_000, logs: int = 1_000_000, metrics: int = 1_000_000, seed: int = 0, *,
    fault: str = "latency", overwrite: bool = False,
) -> Case:  # fmt: skip
    """Write a case of 10 minutes of incident after 10 minutes of baseline with exactly these numbers of rows.

    Memory stays bounded by one chunk of spans. Raises UsageError when so many samples cannot be had from 500
    services at one sample per second, IngestError when the folder cannot be written.
    """
    total_s = 2 * WINDOW_S
    wanted = metrics / total_s / SERIES_PER_SECOND
    system = make_system(int(np.clip(124 * wanted, 20, 500)), seed, "layered")
    # 2 % more than asked for, because processes that are down sample nothing.
    step = int(total_s * _series(system) / (1.02 * metrics))
    if step < 1:
        limit = int(total_s * _series(system) / 1.02)
        raise UsageError(
            f"{metrics} samples in {total_s:.0f} s need more series than there are; ask for {limit} or less."
        )
    rate = 1.06 * spans / total_s / spans_per_request(system)
    rng = np.random.default_rng([seed, 31])
    onset = WINDOW_S + float(rng.uniform(5, 60))
    struck = draw_fault(fault, system, rng, rate=rate, onset_s=onset, strength=1.3)
    servers = float(np.asarray(system.weights) @ system.visits().sum(1)) * rate * total_s
    scenario = Scenario(
        id=f"large-{spans}", system=system, seed=seed, load=Load(rate=rate, swing=0.05, noise=0.03), faults=(struck,),
        baseline_s=WINDOW_S, incident_s=WINDOW_S, metric_step_s=float(min(step, 15)), log_rate=1.15 * logs / servers,
    )  # fmt: skip
    return simulate_to(out, scenario, totals=Totals(spans=spans, logs=logs, metrics=metrics), overwrite=overwrite)
