"""Small simulated runs for the tests, and columns of their tables as numpy arrays."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aetia.lab.sim import FaultSpec, Load, Scenario, System, make_system, simulate
from aetia.lab.sim.draw import service_rates
from aetia.model.case import Case
from aetia.model.tables import Telemetry

ONSET_S = 65.0


@dataclass(frozen=True)
class Spans:
    """Span columns; times in seconds since the start of the run."""

    service: np.ndarray
    instance: np.ndarray
    name: np.ndarray
    kind: np.ndarray
    peer: np.ndarray
    status: np.ndarray
    code: np.ndarray
    start: np.ndarray
    took: np.ndarray
    id: np.ndarray
    parent: np.ndarray

    def of(self, service: str) -> np.ndarray:
        return (self.service == service) & (self.kind == "server")

    def calls_to(self, peer: str) -> np.ndarray:
        return (self.peer == peer) & (self.kind == "client")


def texts(column: pa.ChunkedArray) -> np.ndarray:
    """A text column as objects, None where it is null."""
    if not pa.types.is_dictionary(column.type):
        return column.to_numpy()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    words = np.array([*whole.dictionary.to_pylist(), None], dtype=object)
    return words[whole.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)]


def spans_of(telemetry: Telemetry, start_ns: int) -> Spans:
    table = telemetry.spans

    def text(name: str) -> np.ndarray:
        return texts(table[name])

    return Spans(
        service=text("service"), instance=text("instance"), name=text("name"), kind=text("kind"), peer=text("peer"),
        status=text("status"), code=text("status_code"), start=(table["time"].cast("int64").to_numpy() - start_ns) / 1e9,
        took=table["duration_ns"].to_numpy() / 1e9, id=text("span_id"), parent=text("parent_span_id"),
    )  # fmt: skip


@functools.cache
def small_system(seed: int = 4) -> System:
    return make_system(10, seed, "layered")


def busiest(system: System, *, of: tuple[int, ...] | None = None) -> int:
    """The service below the gateways with the most requests, among `of` when given."""
    rates = service_rates(system, 1.0)
    among = [i for i, s in enumerate(system.services) if s.layer > 0 and not s.queue and (of is None or i in of)]
    return max(among, key=lambda i: rates[i])


def scenario(
    *faults: FaultSpec, system: System | None = None, label: str | None = None, seed: int = 1, **more: object
) -> Scenario:
    base = {
        "load": Load(rate=10),
        "baseline_s": 60.0,
        "incident_s": 60.0,
        "metric_step_s": 5.0,
        "everyday": 0.0,
        "start_ns": 1_700_000_000_000_000_000,
    }
    return Scenario(id="case", system=system or small_system(), seed=seed, faults=faults, label=label, **(base | more))


@functools.cache
def struck(fault: str, magnitude: float = 1.0, place: str = "service") -> tuple[Case, Telemetry, Spans, str]:
    """A run with one fault at the busiest service (or its first external, or node); returns what was struck too."""
    system = small_system()
    using = tuple(sorted({a for a, _, kind in system.edges() if kind == "external"}))
    target = busiest(system, of=using if fault in ("pool_exhaustion", "bad_config") else None)
    name = system.services[target].name
    if place == "external":
        name = next(
            system.externals[b].name
            for a, b, kind in system.edges()
            if kind == "external" and system.externals[b].kind == "db"
        )
    if place == "node":
        name = system.nodes[system.instance_node[system.services[target].first]]
    spec = FaultSpec(fault=fault, onset_s=ONSET_S, magnitude=magnitude, **{place: name})
    case, telemetry = simulate(scenario(spec))
    return case, telemetry, spans_of(telemetry, 1_700_000_000_000_000_000), name


def metric(
    telemetry: Telemetry, word: str, *, service: str | None = None, node: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, values) of all metrics whose name contains a word, of one service or node."""
    table = telemetry.metrics
    names, services, nodes = (texts(table[c]) for c in ("name", "service", "node"))
    mask = np.array([word in name for name in names])
    if service is not None:
        mask &= services == service
    if node is not None:
        mask &= nodes == node
    times = (table["time"].cast("int64").to_numpy() - 1_700_000_000_000_000_000) / 1e9
    return times[mask], table["value"].to_numpy()[mask]


def increase(telemetry: Telemetry, word: str, service: str) -> tuple[float, float]:
    """How much the counters of a service grew per second before the onset and after it, summed over instances."""
    table = telemetry.metrics
    mine = (texts(table["service"]) == service) & np.array([word in name for name in texts(table["name"])])
    instance, values = texts(table["instance"])[mine], table["value"].to_numpy()[mine]
    times = (table["time"].cast("int64").to_numpy()[mine] - 1_700_000_000_000_000_000) / 1e9
    out = [0.0, 0.0]
    for name in set(instance):
        for part, late in enumerate((False, True)):
            seen = values[(instance == name) & ((times > ONSET_S) == late)]
            out[part] += (seen[-1] - seen[0]) / (55.0 if late else ONSET_S)
    return out[0], out[1]
