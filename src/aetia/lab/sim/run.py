"""Runs a scenario: state, chunks of requests, logs, metrics, truth. `simulate` in memory, `simulate_to` streaming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from aetia.lab.sim.confounders import apply_confounder, everyday_trouble
from aetia.lab.sim.engine import Engine, Labels
from aetia.lab.sim.faults import Strike, apply_fault
from aetia.lab.sim.folder import case_folder
from aetia.lab.sim.load import arrival_rates, capacity, fill_queues
from aetia.lab.sim.logs import LogWriter
from aetia.lab.sim.metrics import MetricWriter
from aetia.lab.sim.scenario import Scenario
from aetia.lab.sim.spans import SpanChunk, build_spans
from aetia.lab.sim.state import F64, State
from aetia.lab.sim.thin import Cut, Totals, thin
from aetia.lab.sim.truth import SliCounter, make_case
from aetia.model.case import Case
from aetia.model.tables import CHANGES, TIME, TOPOLOGY, Telemetry

SPANS_PER_CHUNK = 250_000


@dataclass(slots=True)
class Plan:
    """A scenario with everything drawn that does not depend on single requests."""

    scenario: Scenario
    state: State
    labels: Labels
    strikes: list[Strike]
    power: F64
    utilisation: F64
    spans_per_s: float


def plan(scenario: Scenario) -> Plan:
    """Resolve faults and confounders and compute loads and queues; seconds at most for 500 services."""
    system = scenario.system
    rng = np.random.default_rng([scenario.seed, 1])
    rate = arrival_rates(scenario, rng)
    state = State(system, rate.shape[1], rate)
    # Drawn from the system, so that all cases of one system share their everyday trouble.
    everyday_trouble(state, scenario.everyday, np.random.default_rng([system.seed, 9]))
    strikes = [apply_fault(fault, state, rng) for fault in scenario.faults]
    for confounder in scenario.confounders:
        apply_confounder(confounder, state, rng)
    utilisation = fill_queues(state, scenario.load.rate)
    visits = system.visits()
    calls = np.array([1.0 + sum(call.probability for call in op.calls) for op in system.operations])
    spans_per_s = float(rate.mean(1) @ visits @ calls)
    return Plan(
        scenario, state, Labels(system), strikes, capacity(system, scenario.load.rate), utilisation, spans_per_s
    )


def _arrivals(rate: F64, first: int, last: int, rng: np.random.Generator) -> F64:
    """Poisson arrival times in bins [first, last) of one entry, sorted."""
    counts = rng.poisson(rate[first:last])
    times = np.repeat(np.arange(first, last, dtype=np.float64), counts)
    return np.sort(times + rng.random(len(times)))


def chunks(drawn: Plan, total: int | None = None) -> Iterator[SpanChunk]:
    """The spans of a plan in order of arrival, about `SPANS_PER_CHUNK` at a time.

    With `total`, requests are left out evenly so that exactly that many spans remain, if there are as many.
    """
    bins = drawn.state.bins
    step = max(5, min(bins, int(SPANS_PER_CHUNK / max(drawn.spans_per_s, 1e-9))))
    written = 0
    for number, first in enumerate(range(0, bins, step)):
        rng = np.random.default_rng([drawn.scenario.seed, 2, number])
        engine = Engine(drawn.scenario.system, drawn.state, drawn.labels, rng)
        for entry in range(len(drawn.scenario.system.entries)):
            engine.run(entry, _arrivals(drawn.state.rate[entry], first, min(first + step, bins), rng))
        rows = engine.rows()
        if total is not None:
            share = float(drawn.state.rate[:, : first + step].sum() / drawn.state.rate.sum())
            rows = thin(rows, (total if first + step >= bins else int(share * total)) - written, rng)
        written += len(rows)
        yield build_spans(drawn.state, drawn.labels, rows, drawn.scenario.start_ns, rng)


def _changes(drawn: Plan) -> pa.Table:
    rows = sorted(drawn.state.changes)
    times = [drawn.scenario.start_ns + round(at * 1e9) for at, *_ in rows]
    return (
        pa.table(
            {
                "time": pa.array(times, pa.int64()).cast(TIME),
                "kind": [r[1] for r in rows],
                "service": [r[2] for r in rows],
                "description": [r[3] for r in rows],
                "attributes": pa.nulls(len(rows), pa.string()),
            },
            schema=CHANGES,
        )
        if rows
        else CHANGES.empty_table()
    )


def _topology(drawn: Plan) -> pa.Table:
    system = drawn.scenario.system
    rows = [
        (system.services[a].name, system.externals[b].name if kind == "external" else system.services[b].name, kind)
        for a, b, kind in system.edges()
    ]
    return pa.table(
        {"caller": [r[0] for r in rows], "callee": [r[1] for r in rows], "kind": [r[2] for r in rows]}, schema=TOPOLOGY
    )


def simulate(scenario: Scenario) -> tuple[Case, Telemetry]:
    """Simulate one scenario in memory. The same scenario gives the same case and telemetry."""
    drawn = plan(scenario)
    logs, metrics, sli = _writers(drawn)
    spans: list[pa.Table] = []
    lines: list[pa.Table] = []
    for number, chunk in enumerate(chunks(drawn)):
        spans.append(chunk.table)
        lines.append(logs.of_chunk(chunk, number))
        metrics.add(chunk)
        sli.add(chunk)
    lines.append(logs.background())
    telemetry = Telemetry(
        spans=pa.concat_tables(spans).unify_dictionaries(), logs=pa.concat_tables(lines).sort_by("time"),
        metrics=metrics.table(), changes=_changes(drawn), topology=_topology(drawn),
    )  # fmt: skip
    return make_case(scenario, drawn.strikes, sli), telemetry


def simulate_to(folder: Path, scenario: Scenario, *, totals: Totals | None = None, overwrite: bool = False) -> Case:
    """Simulate into a case folder, holding one chunk of spans at a time; rows are sorted within a chunk.

    With `totals`, rows are left out evenly (spans by whole requests) until exactly those numbers
    remain. Raises IngestError when the folder exists (unless `overwrite`) or cannot be written.
    """
    drawn = plan(scenario)
    logs, metrics, sli = _writers(drawn)
    noise = logs.background()
    cut = Cut(totals, noise.num_rows, metrics.size, np.random.default_rng([scenario.seed, 8]))
    with case_folder(folder, overwrite=overwrite) as files:
        for number, chunk in enumerate(chunks(drawn, None if totals is None else totals.spans)):
            files.spans.append(chunk.table)
            files.logs.append(cut.logs(logs.of_chunk(chunk, number), chunk.table.num_rows))
            metrics.add(chunk)
            sli.add(chunk)
        files.logs.append(noise)
        case = make_case(scenario, drawn.strikes, sli)
        for table in metrics.tables():
            files.metrics.append(cut.metrics(table))
        files.finish(case, Telemetry(changes=_changes(drawn), topology=_topology(drawn)))
    return case


def _writers(drawn: Plan) -> tuple[LogWriter, MetricWriter, SliCounter]:
    scenario, state = drawn.scenario, drawn.state
    return LogWriter(scenario, state, drawn.labels), MetricWriter(scenario, state, drawn.power), SliCounter(scenario)
