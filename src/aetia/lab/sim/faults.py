"""Faults as mechanisms: each entry of `APPLY` changes the state of the system; nothing writes symptoms by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from aetia.lab.sim.scenario import FaultSpec
from aetia.lab.sim.state import (
    BAD_REQUEST,
    CONFIG_ERROR,
    DISK_ERROR,
    EXCEPTION,
    F64,
    OK,
    RELEASE_ERROR,
    SHORT_CUT,
    SKEW_ERROR,
    THROWN,
    UNAUTHORISED,
    WRONG_5XX,
    WRONG_ANSWER,
    ExternalRule,
    LinkRule,
    LockRule,
    OpRule,
    PoolRule,
    State,
    span_bins,
)  # fmt: skip
from aetia.model.errors import UsageError

AFTER_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault spec resolved against a system: indices instead of names, and what turned out to be hit."""

    spec: FaultSpec
    start: float
    end: float
    m: float
    service: int = -1
    instances: tuple[int, ...] = ()
    whole: bool = True
    node: int = -1
    external: int = -1
    edge: tuple[int, int] | None = None
    operation: int = -1


def resolve(spec: FaultSpec, state: State, rng: np.random.Generator) -> Strike:
    """Names to indices. Raises UsageError when the place does not exist in the system or is missing."""
    system = state.system
    services = {service.name: index for index, service in enumerate(system.services)}

    def find(name: str | None, among: dict[str, int], what: str) -> int:
        if name is None or name not in among:
            raise UsageError(f"fault {spec.fault}: {what} '{name}' is not in system {system.name}; name one that is.")
        return among[name]

    # Requests under way when the run ends still meet the fault.
    never = state.bins + AFTER_S
    end = never if spec.duration_s is None else min(spec.onset_s + spec.duration_s, never)
    strike = Strike(spec=spec, start=spec.onset_s, end=end, m=float(np.clip(spec.magnitude, 0.0, 1.0)))
    if spec.node is not None:
        node = find(spec.node, {name: i for i, name in enumerate(system.nodes)}, "node")
        hit = tuple(i for i, placed in enumerate(system.instance_node) if placed == node)
        return replace(strike, instances=hit, whole=False, node=node)
    if spec.external is not None:
        known = {e.name: i for i, e in enumerate(system.externals)}
        return replace(strike, external=find(spec.external, known, "external"))
    if spec.edge is not None:
        caller, callee = (find(name, services, "service") for name in spec.edge)
        return replace(strike, service=callee, instances=tuple(state.instances_of(callee)), edge=(caller, callee))
    service = find(spec.service, services, "service")
    instances = tuple(state.instances_of(service))
    if spec.instance is not None:
        mine = {system.instances[i]: i for i in instances}
        instances = (find(spec.instance, mine, f"instance of {spec.service}"),)
    return replace(
        strike, service=service, instances=instances, whole=spec.instance is None,
        operation=_operation(spec, service, state, rng),
    )  # fmt: skip


def _operation(spec: FaultSpec, service: int, state: State, rng: np.random.Generator) -> int:
    """The operation that a logical fault hits: the named one, or one drawn by its traffic."""
    system = state.system
    own = system.operations_of(service)
    if spec.operation is not None:
        for index in own:
            if system.operations[index].name == spec.operation:
                return index
        raise UsageError(f"fault {spec.fault}: {spec.service} has no operation '{spec.operation}'; name one it has.")
    traffic: F64 = system.visits().T @ np.asarray(system.weights)
    shares = traffic[own] + 1e-9
    if spec.fault == "early_return":
        shares = shares * np.array([1.0 if system.operations[i].calls else 1e-6 for i in own])
    return int(rng.choice(own, p=shares / shares.sum()))


def _only(strike: Strike) -> frozenset[int] | None:
    return None if strike.whole else frozenset(strike.instances)


def _crash(s: Strike, state: State, rng: np.random.Generator) -> None:
    # Clear: dead to the end, noticed late. Subtle: back soon, noticed fast.
    for instance in s.instances:
        back = s.end if s.m > 0.6 else min(s.end, s.start + 20 + 100 * s.m)
        state.kill(instance, s.start, back, noticed_after=float(rng.uniform(4, 10)) + 15 * s.m, cold_s=25)


def _restart_loop(s: Strike, state: State, rng: np.random.Generator) -> None:
    for instance in s.instances:
        at = s.start
        while at < s.end:
            dead = float(rng.uniform(3, 8)) + 10 * s.m
            state.kill(instance, at, min(at + dead, s.end), noticed_after=float(rng.uniform(1, 4)), cold_s=10)
            at += dead + float(rng.uniform(10, 20)) * (1.6 - s.m)


def _cpu(s: Strike, state: State, rng: np.random.Generator) -> None:
    state.stolen[list(s.instances), span_bins(s.start, s.end, state.bins)] += (
        0.5 + 0.38 * s.m + float(rng.uniform(-0.03, 0.03))
    )


def _node_pressure(s: Strike, state: State, rng: np.random.Generator) -> None:
    bins = span_bins(s.start, s.end, state.bins)
    state.node_stolen[s.node, bins] += 0.5 + 0.35 * s.m
    state.stolen[list(s.instances), bins] += 0.45 + 0.35 * s.m


def _memory_leak(s: Strike, state: State, rng: np.random.Generator) -> None:
    last = min(s.end, float(state.bins))
    ramp_s = (last - s.start) * (0.9 - 0.55 * s.m)
    for instance in s.instances:
        service = state.system.services[state.system.instance_service[instance]]
        room = service.memory_limit_bytes - service.memory_bytes
        at = s.start
        while at < last - 1:
            full = min(at + ramp_s * float(rng.uniform(0.9, 1.1)), float(state.bins))
            bins = span_bins(at, min(full, last), state.bins)
            share = (np.arange(bins.start, bins.stop) - at).clip(0) / (full - at + 1e-9)
            state.memory[instance, bins] += room * share
            pressure = np.clip((share - 0.6) / 0.4, 0, 1)
            state.gc_share[instance, bins] += 0.35 * pressure
            state.slow[instance, bins] *= 1 + 2.5 * pressure**2
            if full >= last - 3:
                break
            state.kill(instance, full, full + 8, noticed_after=3, cold_s=15)
            at = full + 8


def _pool_exhaustion(s: Strike, state: State, rng: np.random.Generator) -> None:
    rule = PoolRule(start=s.start, end=s.end, ramp_s=5 + 25 * (1 - s.m), wait_s=0.08 * 12**s.m, give_up_s=1.0)
    for instance in s.instances:
        state.pools[instance] = rule


def _disk(s: Strike, state: State, rng: np.random.Generator) -> None:
    bins = span_bins(s.start, s.end, state.bins)
    state.delay_s[list(s.instances), bins] += 0.03 * 15**s.m
    state.disk_busy[list(s.instances), bins] += 0.6 + 0.35 * s.m
    for instance in s.instances:
        state.node_disk[state.system.instance_node[instance], bins] += 0.4 + 0.3 * s.m
    if s.m > 0.7:
        for op in state.system.operations_of(s.service):
            rule = OpRule(
                start=s.start, end=s.end, probability=0.25 * s.m, code=EXCEPTION, cause=DISK_ERROR, instances=_only(s)
            )
            state.op_rules.setdefault(op, []).append(rule)


def _op_fault(code: int, cause: int, *, skip: bool = False) -> Apply:
    def apply(s: Strike, state: State, rng: np.random.Generator) -> None:
        rule = OpRule(
            start=s.start, end=s.end, probability=0.1 + 0.9 * s.m, code=code, cause=cause, skip=skip, instances=_only(s)
        )
        state.op_rules.setdefault(s.operation, []).append(rule)

    return apply


def _wrong_code(s: Strike, state: State, rng: np.random.Generator) -> None:
    _op_fault(BAD_REQUEST if rng.random() < 0.4 else WRONG_5XX, WRONG_ANSWER)(s, state, rng)


def _bad_release(s: Strike, state: State, rng: np.random.Generator) -> None:
    version = f"v{rng.integers(1, 9)}.{rng.integers(0, 40)}.{rng.integers(0, 10)}"
    state.changes.append(
        (s.start - float(rng.uniform(0.5, 4)), "deploy", state.system.services[s.service].name, f"rollout of {version}")
    )
    if rng.random() < 0.5:
        _op_fault(EXCEPTION, RELEASE_ERROR)(s, state, rng)
    else:
        state.slow[list(s.instances), span_bins(s.start, s.end, state.bins)] *= 3 + 20 * s.m


def _bad_config(s: Strike, state: State, rng: np.random.Generator) -> None:
    what = str(rng.choice(["connection string", "credentials", "feature flag", "endpoint address", "thread limit"]))
    name = state.system.services[s.service].name
    state.changes.append((s.start - float(rng.uniform(0.5, 4)), "config", name, f"{what} updated"))
    own = state.system.operations_of(s.service)
    using = [i for i in own if any(call.kind == "external" for call in state.system.operations[i].calls)] or [
        s.operation
    ]
    for op in using:
        rule = OpRule(
            start=s.start,
            end=s.end,
            probability=0.1 + 0.85 * s.m,
            code=EXCEPTION,
            cause=CONFIG_ERROR,
            instances=_only(s),
        )
        state.op_rules.setdefault(op, []).append(rule)


def _latency(s: Strike, state: State, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        state.delay_s[list(s.instances), span_bins(s.start, s.end, state.bins)] += 0.03 * 40**s.m
        return
    rule = OpRule(start=s.start, end=s.end, probability=1.0, delay_s=0.03 * 40**s.m, instances=_only(s))
    state.op_rules.setdefault(s.operation, []).append(rule)


def _pairs(s: Strike, state: State, *, outgoing: bool) -> list[tuple[int, int]]:
    """The links that a network fault hits: one edge, or all into (and out of) the service."""
    if s.edge is not None:
        return [s.edge]
    edges = [(a, b) for a, b, kind in state.system.edges() if kind != "external"]
    return [(a, b) for a, b in edges if b == s.service or (outgoing and a == s.service)]


def _network_delay(s: Strike, state: State, rng: np.random.Generator) -> None:
    rule = LinkRule(start=s.start, end=s.end, delay_s=0.015 * 25**s.m, jitter=0.25, instances=_only(s))
    state.add_links(_pairs(s, state, outgoing=True), rule)


def _network_loss(s: Strike, state: State, rng: np.random.Generator) -> None:
    rule = LinkRule(start=s.start, end=s.end, loss=0.06 + 0.34 * s.m, instances=_only(s))
    state.add_links(_pairs(s, state, outgoing=True), rule)


def _partition(s: Strike, state: State, rng: np.random.Generator) -> None:
    rule = LinkRule(start=s.start, end=s.end, cut=1.0 if s.m > 0.5 else 0.3 + s.m, instances=_only(s))
    state.add_links(_pairs(s, state, outgoing=True), rule)


def _dns(s: Strike, state: State, rng: np.random.Generator) -> None:
    state.add_links(
        _pairs(s, state, outgoing=False), LinkRule(start=s.start, end=s.end, dns=0.2 + 0.8 * s.m, instances=_only(s))
    )


def _gc(s: Strike, state: State, rng: np.random.Generator) -> None:
    for instance in s.instances:
        every, length = float(rng.uniform(2.5, 5)), 0.15 + 1.1 * s.m
        count = int((s.end - s.start) / every) + 1
        starts = s.start + np.cumsum(rng.exponential(0.6 * every, count) + 0.4 * every + length)
        starts = starts[starts < min(s.end, float(state.bins))]
        lengths = length * rng.uniform(0.6, 1.4, len(starts))
        state.pauses[instance] = np.stack([starts, starts + lengths])
        share = np.bincount(starts.astype(np.int64), weights=lengths, minlength=state.bins)[: state.bins]
        state.gc_share[instance] += share
        service = state.system.services[state.system.instance_service[instance]]
        bins = span_bins(s.start, s.end, state.bins)
        state.memory[instance, bins] += 0.5 * (service.memory_limit_bytes - service.memory_bytes)


def _lock(s: Strike, state: State, rng: np.random.Generator) -> None:
    for instance in s.instances:
        state.locks[instance] = LockRule(start=s.start, end=s.end, load=0.6 + 0.37 * s.m)


def _clock_skew(s: Strike, state: State, rng: np.random.Generator) -> None:
    for instance in s.instances:
        state.skew_s[instance] = (s.start, s.end, float(rng.choice([-1, 1])) * (1 + 20 * s.m))
    rule = OpRule(
        start=s.start, end=s.end, probability=0.3 * s.m, code=UNAUTHORISED, cause=SKEW_ERROR, instances=_only(s)
    )
    state.op_rules.setdefault(s.operation, []).append(rule)


def _slow_dependency(s: Strike, state: State, rng: np.random.Generator) -> None:
    rule = ExternalRule(start=s.start, end=s.end, factor=1.5 + 6 * s.m, delay_s=0.015 * 40**s.m)
    state.external_rules.setdefault(s.external, []).append(rule)


def _dependency_down(s: Strike, state: State, rng: np.random.Generator) -> None:
    rule = ExternalRule(start=s.start, end=s.end, refuse=0.15 + 0.85 * s.m)
    state.external_rules.setdefault(s.external, []).append(rule)


Apply = Callable[[Strike, State, np.random.Generator], None]
APPLY: dict[str, Apply] = {
    "crash": _crash, "restart_loop": _restart_loop, "cpu": _cpu, "memory_leak": _memory_leak,
    "pool_exhaustion": _pool_exhaustion, "disk": _disk, "exception": _op_fault(EXCEPTION, THROWN),
    "wrong_code": _wrong_code, "early_return": _op_fault(OK, SHORT_CUT, skip=True), "bad_release": _bad_release,
    "bad_config": _bad_config, "latency": _latency, "network_delay": _network_delay, "network_loss": _network_loss,
    "partition": _partition, "dns": _dns, "gc": _gc, "lock": _lock, "clock_skew": _clock_skew,
    "slow_dependency": _slow_dependency, "dependency_down": _dependency_down, "node_pressure": _node_pressure,
}  # fmt: skip
OPERATION_FAULTS = ("exception", "wrong_code", "early_return")
EXTERNAL_FAULTS = ("slow_dependency", "dependency_down")


def apply_fault(spec: FaultSpec, state: State, rng: np.random.Generator) -> Strike:
    """Let one fault act on the state and return what it hit.

    Raises UsageError for an unknown fault or a place that the fault cannot strike.
    """
    if spec.fault not in APPLY:
        raise UsageError(f"there is no fault '{spec.fault}'; known: {', '.join(sorted(APPLY))}.")
    strike = resolve(spec, state, rng)
    kind = "external" if strike.external >= 0 else "node" if strike.node >= 0 else "edge" if strike.edge else "service"
    allowed = (
        "external" if spec.fault in EXTERNAL_FAULTS else "node" if spec.fault == "node_pressure"
        else "service or edge" if spec.fault in ("network_delay", "network_loss", "partition", "dns") else "service"
    )  # fmt: skip
    if kind not in allowed.split(" or "):
        raise UsageError(f"fault {spec.fault} strikes a {allowed}, not a {kind}; name a {allowed} in the spec.")
    APPLY[spec.fault](strike, state, rng)
    return strike
