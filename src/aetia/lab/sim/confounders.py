"""Things that happen beside the fault and cause nothing: deploys, backups, resource bumps, noisy logs."""

from __future__ import annotations

import numpy as np

from aetia.lab.sim.scenario import Confounder
from aetia.lab.sim.state import BAD_REQUEST, EXCEPTION, THROWN, WRONG_ANSWER, OpRule, State, span_bins


def everyday_trouble(state: State, scale: float, rng: np.random.Generator) -> None:
    """What goes wrong at all times: a third of the operations fails for up to 4 requests in 1,000 (half of them
    by a bad request), and a third hangs for up to 1 in 100 for some tens of milliseconds."""
    forever = float(state.bins) + 1e6
    for operation in range(len(state.system.operations)):
        share, hang, slow = rng.uniform(0.0002, 0.004), rng.uniform(0.001, 0.01), rng.uniform(0.01, 0.12)
        which, bad = rng.random(2)
        rules = state.op_rules.setdefault(operation, []) if which < 2 / 3 and scale > 0 else []
        if which < 1 / 3:
            code, cause = (BAD_REQUEST, WRONG_ANSWER) if bad < 0.5 else (EXCEPTION, THROWN)
            rules.append(OpRule(start=0.0, end=forever, probability=scale * share, code=code, cause=cause))
        elif which < 2 / 3:
            rules.append(OpRule(start=0.0, end=forever, probability=scale * hang, delay_s=slow))


def apply_confounder(item: Confounder, state: State, rng: np.random.Generator) -> None:
    """Let one confounder act on the state; `target` is a service, an instance or a node index by kind."""
    bins = span_bins(item.start_s, item.start_s + item.duration_s, state.bins)
    system = state.system
    if item.kind == "deploy":
        version = f"v{rng.integers(1, 9)}.{rng.integers(0, 40)}.{rng.integers(0, 10)}"
        state.changes.append((item.start_s, "deploy", system.services[item.target].name, f"rollout of {version}"))
    elif item.kind == "config":
        what = str(rng.choice(["log level", "feature flag", "rate limit", "cache lifetime", "banner text"]))
        state.changes.append((item.start_s, "config", system.services[item.target].name, f"{what} updated"))
    elif item.kind == "cpu_bump":
        state.stolen[item.target, bins] += item.size
    elif item.kind == "memory_bump":
        service = system.services[system.instance_service[item.target]]
        state.memory[item.target, bins] += item.size * (service.memory_limit_bytes - service.memory_bytes)
    elif item.kind == "backup":
        state.node_stolen[item.target, bins] += item.size
        state.node_disk[item.target, bins] += min(0.9, 2 * item.size)
    else:
        state.noisy_logs.append((item.target, item.start_s, item.start_s + item.duration_s, item.size))
