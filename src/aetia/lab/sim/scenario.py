"""What to simulate: load, faults, confounders and windows of one scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aetia.lab.sim.system import System

FAULTS: tuple[str, ...] = (
    "crash", "restart_loop", "cpu", "memory_leak", "pool_exhaustion", "disk", "exception", "wrong_code",
    "early_return", "bad_release", "bad_config", "latency", "network_delay", "network_loss", "partition", "dns",
    "gc", "lock", "slow_dependency", "dependency_down", "node_pressure",
)  # fmt: skip
"""Faults with a mechanism that random scenarios draw from; `clock_skew` exists too, but has to be asked for."""
NON_FAULTS: tuple[str, ...] = ("none", "load_surge", "deploy")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """One fault and where it strikes. Exactly one place is needed: `service` (all instances), `service` with
    `instance`, `edge` (caller, callee), `node` or `external`.

    `onset_s` counts from the start of the scenario; `duration_s` None means until the end. `magnitude` runs
    from 0 (barely there) to 1 (clear); each fault maps it to its own physical parameter. `operation` limits
    logical faults to one operation of the service (default: one is drawn).
    """

    fault: str
    service: str | None = None
    instance: str | None = None
    edge: tuple[str, str] | None = None
    node: str | None = None
    external: str | None = None
    operation: str | None = None
    onset_s: float = 0.0
    duration_s: float | None = None
    magnitude: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Open-loop traffic: Poisson arrivals at `rate` requests per second, slowly modulated by `swing` (share) with
    a period of `period_s` and by random noise; `surge` multiplies the rate from `surge_at_s` on."""

    rate: float = 50.0
    swing: float = 0.15
    period_s: float = 3600.0
    noise: float = 0.05
    surge: float = 1.0
    surge_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confounder:
    """Something that happens and is not the cause: `deploy` or `config` (recorded, harmless), `cpu_bump` on an
    instance, `backup` on a node, `log_noise` on a service, `memory_bump` on an instance."""

    kind: Literal["deploy", "config", "cpu_bump", "backup", "log_noise", "memory_bump"]
    target: int
    start_s: float
    duration_s: float
    size: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run of a system: `baseline_s` without fault, then `incident_s` in which `faults` strike.

    `label` names a non-fault (`none`, `load_surge`, `deploy`) when `faults` is empty. `windows_given` False
    leaves `incident` out of the case, so that detection has to find it. `metric_step_s` is the sampling
    interval, `log_rate` the mean number of log lines per server span, `everyday` scales the failures and hiccups
    that occur at all times (0: none).
    """

    id: str
    system: System
    seed: int
    load: Load = Load()
    faults: tuple[FaultSpec, ...] = ()
    label: str | None = None
    confounders: tuple[Confounder, ...] = ()
    baseline_s: float = 300.0
    incident_s: float = 180.0
    metric_step_s: float = 10.0
    log_rate: float = 0.5
    everyday: float = 1.0
    windows_given: bool = True
    start_ns: int = 1_740_000_000_000_000_000

    @property
    def total_s(self) -> float:
        return self.baseline_s + self.incident_s
