"""The six observable fault classes, and the faults that belong to them.

The classes follow the observation classes of the propagation-path verifier of RCABench (PAVE): two faults
of one class look alike from outside, so a confusion within a class is accepted, across classes it is not.
"""

from __future__ import annotations

from typing import Literal, get_args

FaultClass = Literal["A", "B", "C", "D", "E", "F"]
FAULT_CLASSES: tuple[FaultClass, ...] = get_args(FaultClass)

CLASS_TITLES: dict[FaultClass, str] = {
    "A": "death (crash, kill, restart loop)",
    "B": "resource pressure (cpu, memory, disk, pool)",
    "C": "logical error (exception, wrong code, wrong value, bad release, bad config)",
    "D": "latency",
    "E": "silence (traffic fell to nothing)",
    "F": "runtime internals (GC, heap, lock, clock)",
}

FAULT_TO_CLASS: dict[str, FaultClass] = {
    "crash": "A",
    "restart_loop": "A",
    "pod_failure": "A",
    "pod_kill": "A",
    "container_kill": "A",
    "oom_kill": "A",
    "dependency_down": "A",
    "cpu": "B",
    "memory": "B",
    "memory_leak": "B",
    "disk": "B",
    "pool_exhaustion": "B",
    "socket": "B",
    "node_pressure": "B",
    "exception": "C",
    "wrong_code": "C",
    "wrong_value": "C",
    "early_return": "C",
    "bad_release": "C",
    "bad_config": "C",
    "code_defect": "C",
    "request_abort": "C",
    "latency": "D",
    "network_delay": "D",
    "network_loss": "D",
    "bandwidth": "D",
    "slow_dependency": "D",
    "network_corrupt": "D",
    "partition": "E",
    "dns": "E",
    "starvation": "E",
    "silence": "E",
    "gc": "F",
    "heap": "F",
    "lock": "F",
    "clock_skew": "F",
    "runtime": "F",
}


def class_of(fault: str | None) -> FaultClass | None:
    """The class of a fault in our vocabulary; None when the fault is unknown."""
    return FAULT_TO_CLASS.get(fault) if fault else None
