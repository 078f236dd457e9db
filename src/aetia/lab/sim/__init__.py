"""The telemetry simulator: any topology, faults as mechanisms, labelled cases. Same seed, same files."""

from aetia.lab.sim.large import large_incident
from aetia.lab.sim.run import simulate, simulate_to
from aetia.lab.sim.scenario import FAULTS, NON_FAULTS, Confounder, FaultSpec, Load, Scenario
from aetia.lab.sim.suites import generate, random_systems, simulate_suite, suite
from aetia.lab.sim.system import System, make_system

__all__ = [
    "FAULTS",
    "NON_FAULTS",
    "Confounder",
    "FaultSpec",
    "Load",
    "Scenario",
    "System",
    "generate",
    "large_incident",
    "make_system",
    "random_systems",
    "simulate",
    "simulate_suite",
    "simulate_to",
    "suite",
]
