"""Draws random scenarios: where a fault strikes, how hard, under which load and beside which confounders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.lab.sim.faults import EXTERNAL_FAULTS
from aetia.lab.sim.scenario import NON_FAULTS, Confounder, FaultSpec, Load, Scenario
from aetia.lab.sim.system import System

NETWORK_FAULTS = ("network_delay", "network_loss", "partition", "dns")
ONE_INSTANCE = ("crash", "restart_loop", "cpu", "memory_leak", "pool_exhaustion", "disk", "latency", "gc", "lock")
SPANS_PER_CASE = 220_000
MIN_TARGET_RATE = 0.4
"""Requests per second below which a service is no target: too little for users or telemetry to notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a suite has decided about one case before its details are drawn. `strength` scales magnitudes."""

    id: str
    system: System
    kind: str
    seed: int
    strength: float = 1.0
    second: str | None = None
    windows_given: bool = True


def spans_per_request(system: System) -> float:
    """Expected spans of one request over the mix of entries, without retries."""
    per_execution = np.array(
        [1 + (op.internal is not None) + sum(call.probability for call in op.calls) for op in system.operations]
    )
    return float(np.asarray(system.weights) @ system.visits() @ per_execution)


def service_rates(system: System, rate: float) -> np.ndarray:
    """Requests per second of each service at `rate` entry requests per second, shape (services,)."""
    per_op = rate * (np.asarray(system.weights) @ system.visits())
    out = np.zeros(len(system.services))
    np.add.at(out, [op.service for op in system.operations], per_op)
    return out


def external_rates(system: System, rate: float) -> np.ndarray:
    """Calls per second to each external, shape (externals,)."""
    per_op = rate * (np.asarray(system.weights) @ system.visits())
    out = np.zeros(len(system.externals))
    for index, op in enumerate(system.operations):
        for call in op.calls:
            if call.kind == "external":
                out[call.callee] += per_op[index] * call.probability
    return out


def _candidates(fault: str, system: System, rates: np.ndarray) -> list[int]:
    """Services that a fault can strike so that it means something."""
    busy = [i for i in range(len(system.services)) if rates[i] >= MIN_TARGET_RATE]
    edges = system.edges()
    called = {b for _, b, kind in edges if kind == "rpc"}
    if fault in NETWORK_FAULTS:
        busy = [i for i in busy if i in called]
    elif fault == "pool_exhaustion":
        using = {a for a, _, kind in edges if kind == "external"}
        busy = [i for i in busy if i in using]
    elif fault == "early_return":
        busy = [i for i in busy if any(op.calls for op in system.operations if op.service == i)]
    elif fault in ("crash", "restart_loop"):
        busy = [i for i in busy if system.services[i].layer > 0 and not system.services[i].queue]
    return busy or [int(np.argmax(rates))]


def _magnitude(rng: np.random.Generator, strength: float) -> float:
    """From subtle to clear, more often clear."""
    return round(float(np.clip(rng.beta(2.2, 1.4) * strength, 0.02, 1.0)), 3)


def draw_fault(
    fault: str, system: System, rng: np.random.Generator, *, rate: float, onset_s: float, strength: float = 1.0
) -> FaultSpec:
    """A fault at a random place where it can have an effect."""
    magnitude = _magnitude(rng, strength)
    if fault in EXTERNAL_FAULTS and system.externals:
        traffic = external_rates(system, rate)
        usual = [i for i, e in enumerate(system.externals) if traffic[i] >= MIN_TARGET_RATE and e.kind != "cache"] or [
            int(traffic.argmax())
        ]
        return FaultSpec(
            fault=fault, external=system.externals[int(rng.choice(usual))].name, onset_s=onset_s, magnitude=magnitude
        )
    rates = service_rates(system, rate)
    if fault == "node_pressure":
        load = np.zeros(len(system.nodes))
        for instance, service in enumerate(system.instance_service):
            load[system.instance_node[instance]] += rates[service]
        node = int(rng.choice(np.flatnonzero(load > MIN_TARGET_RATE)))
        return FaultSpec(fault=fault, node=system.nodes[node], onset_s=onset_s, magnitude=magnitude)
    fault = "latency" if fault in EXTERNAL_FAULTS else fault
    target = int(rng.choice(_candidates(fault, system, rates)))
    service = system.services[target]
    callers = sorted({a for a, b, kind in system.edges() if b == target and kind == "rpc"})
    if fault in ("network_delay", "network_loss") and len(callers) > 1 and rng.random() < 0.25:
        caller = system.services[int(rng.choice(callers))].name
        return FaultSpec(fault=fault, edge=(caller, service.name), onset_s=onset_s, magnitude=magnitude)
    single = fault in ONE_INSTANCE and len(service.instances) > 1 and rng.random() < 0.4
    instance = str(rng.choice(np.array(service.instances))) if single else None
    return FaultSpec(fault=fault, service=service.name, instance=instance, onset_s=onset_s, magnitude=magnitude)


def _confounders(system: System, total_s: float, rng: np.random.Generator, avoid: set[str]) -> list[Confounder]:
    """Up to four unrelated happenings, at any time, away from the services that are really hit."""
    out: list[Confounder] = []
    services = [i for i, s in enumerate(system.services) if s.name not in avoid]
    instances = [
        i
        for i, s in enumerate(system.instance_service)
        if system.services[s].name not in avoid and system.services[s].utilisation < 0.35
    ]
    for kind in rng.choice(
        np.array(["deploy", "config", "cpu_bump", "backup", "log_noise", "memory_bump"]), size=int(rng.integers(0, 5))
    ):
        start, length = float(rng.uniform(0, 0.95 * total_s)), float(rng.uniform(20, 120))
        if kind == "backup":
            out.append(
                Confounder(
                    kind="backup",
                    target=int(rng.integers(len(system.nodes))),
                    start_s=start,
                    duration_s=length,
                    size=float(rng.uniform(0.15, 0.4)),
                )
            )
        elif kind in ("cpu_bump", "memory_bump") and instances:
            size = float(rng.uniform(0.1, 0.25)) if kind == "cpu_bump" else float(rng.uniform(0.2, 0.5))
            out.append(
                Confounder(
                    kind="cpu_bump" if kind == "cpu_bump" else "memory_bump",
                    target=int(rng.choice(instances)),
                    start_s=start,
                    duration_s=length,
                    size=size,
                )
            )
        elif kind == "log_noise" and services:
            out.append(
                Confounder(
                    kind="log_noise",
                    target=int(rng.choice(services)),
                    start_s=start,
                    duration_s=length,
                    size=float(rng.uniform(0.05, 0.4)),
                )
            )
        elif kind in ("deploy", "config") and services:
            out.append(
                Confounder(
                    kind="deploy" if kind == "deploy" else "config",
                    target=int(rng.choice(services)),
                    start_s=start,
                    duration_s=1.0,
                )
            )
    return out


def draw_scenario(draw: Draw) -> Scenario:
    """The scenario of one case; the same draw gives the same scenario."""
    rng = np.random.default_rng([draw.seed, 7])
    system = draw.system
    baseline_s, incident_s = float(rng.integers(18, 49) * 10), float(rng.integers(12, 31) * 10)
    total = baseline_s + incident_s
    rate = float(np.exp(rng.uniform(np.log(20), np.log(200))))
    rate = max(4.0, min(rate, SPANS_PER_CASE / (spans_per_request(system) * total)))
    load = {
        "rate": rate,
        "swing": float(rng.uniform(0.05, 0.2)),
        "period_s": float(rng.uniform(1800, 7200)),
        "noise": float(rng.uniform(0.02, 0.1)),
    }
    onset = baseline_s + round(float(rng.uniform(0.0, 0.15)) * incident_s, 3)
    faults: list[FaultSpec] = []
    for kind in (draw.kind, draw.second):
        if kind is not None and kind not in NON_FAULTS:
            faults.append(draw_fault(kind, system, rng, rate=rate, onset_s=onset, strength=draw.strength))
    avoid = {name for f in faults for name in (f.service, *(f.edge or ())) if name}
    confounders = _confounders(system, total, rng, avoid)
    if draw.kind == "load_surge":
        room = 0.65 / (max(s.utilisation for s in system.services) * (1 + load["swing"]))
        load |= {"surge": float(min(rng.uniform(1.5, 2.0), max(room, 1.4))), "surge_at_s": onset}
    elif draw.kind == "deploy":
        confounders.append(
            Confounder(kind="deploy", target=int(rng.integers(len(system.services))), start_s=onset, duration_s=1.0)
        )
    start_ns = 1_735_689_600_000_000_000 + int(rng.integers(0, 365 * 86_400)) * 1_000_000_000
    return Scenario(
        id=draw.id,
        system=system,
        seed=draw.seed,
        load=Load(**load),
        faults=tuple(faults),
        label=draw.kind if not faults else None,
        confounders=tuple(confounders),
        baseline_s=baseline_s,
        incident_s=incident_s,
        metric_step_s=float(rng.choice([5, 10, 15])),
        log_rate=float(rng.uniform(0.2, 0.8)),
        windows_given=draw.windows_given,
        start_ns=start_ns,
    )
