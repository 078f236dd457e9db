"""Offered load over time and the queueing delay that follows from it, on bins of one second."""

from __future__ import annotations

import numpy as np

from aetia.lab.sim.scenario import Scenario
from aetia.lab.sim.state import F64, State
from aetia.lab.sim.system import System

MAX_WAIT_S = 4.0
"""A queue longer than this turns requests away."""


def arrival_rates(scenario: Scenario, rng: np.random.Generator) -> F64:
    """Requests per second of each entry, shape (entries, bins): slow modulation, noise of some seconds, surge."""
    load, bins = scenario.load, int(np.ceil(scenario.total_s))
    seconds = np.arange(bins)
    phase = rng.uniform(0, 2 * np.pi)
    slow = 1 + load.swing * np.sin(2 * np.pi * seconds / load.period_s + phase)
    rates: list[F64] = []
    for weight in scenario.system.weights:
        steps = rng.normal(0, load.noise, bins // 10 + 2)
        noise = np.interp(seconds / 10, np.arange(len(steps)), steps)
        rates.append(load.rate * weight * slow * np.clip(1 + noise, 0.3, None))
    rate = np.stack(rates)
    if load.surge != 1.0:
        ramp = np.clip((seconds - load.surge_at_s) / 15.0, 0.0, 1.0)
        rate *= 1 + (load.surge - 1) * ramp
    return rate


def _visits(system: System) -> tuple[F64, F64]:
    """Requests and busy seconds per entry request and service, each of shape (entries, services)."""
    per_op = system.visits()
    owner = np.array([op.service for op in system.operations])
    work = np.array([op.work_s for op in system.operations])
    count = np.zeros((len(system.entries), len(system.services)))
    busy = np.zeros_like(count)
    np.add.at(count.T, owner, per_op.T)
    np.add.at(busy.T, owner, (per_op * work).T)
    return count, busy


def capacity(system: System, rate: float) -> F64:
    """Busy seconds per second that one instance of each service can deliver, shape (services,).

    Sized so that the service runs at its `utilisation` when the system gets `rate` requests per second.
    """
    _, busy = _visits(system)
    demand = rate * (np.asarray(system.weights) @ busy)
    sizes = np.array([len(service.instances) for service in system.services])
    used = np.array([service.utilisation for service in system.services])
    return np.maximum(demand / (sizes * used), 1e-4)


def fill_queues(state: State, nominal: float) -> F64:
    """Fill `wait_s` and `reject` from the load, the stolen cpu and the missing instances; returns utilisation.

    Below saturation the wait follows Kingman's formula with the mean service time; above it work piles up as in
    a fluid queue. A queue whose wait exceeds a caller's patience is offered the retries as well.
    """
    system = state.system
    count, busy = _visits(system)
    owner = np.array(system.instance_service)
    offered, requests = busy.T @ state.rate, count.T @ state.rate
    mean_s = (offered.sum(1) / np.maximum(requests.sum(1), 1e-9))[owner]
    alive = np.ones_like(state.stolen)
    for instance, intervals in {**state.down, **state.unrouted}.items():
        for start, end in intervals:
            alive[instance, int(np.ceil(start)) : int(np.ceil(end))] = 0.0
    routed = np.zeros((len(system.services), state.bins))
    np.add.at(routed, owner, alive)
    share = alive / np.maximum(routed[owner], 1.0)
    demand = offered[owner] * share * state.slow
    power = np.maximum(capacity(system, nominal)[owner, None] * (1.0 - np.clip(state.stolen, 0.0, 0.95)), 1e-6)
    rho = demand / power
    backlog = np.zeros(len(owner))
    for second in range(state.bins):
        patience = 1.0 + 0.4 * (state.wait_s[:, max(second - 1, 0)] > 1.0)
        backlog = np.clip(backlog + demand[:, second] * patience - power[:, second], 0.0, MAX_WAIT_S * power[:, second])
        kingman = mean_s * np.minimum(rho[:, second], 0.95) ** 2 / (1.0 - np.minimum(rho[:, second], 0.95))
        state.wait_s[:, second] = kingman * 0.6 + backlog / power[:, second]
    full = state.wait_s > 0.95 * MAX_WAIT_S
    state.reject = np.where(full, np.clip(1.0 - 1.0 / np.maximum(rho, 1e-9), 0.0, 0.95), 0.0)
    state.slow = state.slow / (1.0 - np.clip(state.stolen, 0.0, 0.95))
    _contend(state, requests[owner] * share)
    return rho


def _contend(state: State, arrivals: F64) -> None:
    """Waits in front of locks: the section's utilisation follows the instance's own arrival rate."""
    for instance, rule in state.locks.items():
        active = slice(int(rule.start), int(np.ceil(rule.end)))
        usual = max(float(arrivals[instance].mean()), 0.2)
        hold = min(rule.load / usual, 0.25)
        used = np.clip(hold * arrivals[instance, active], 0.0, 0.985)
        wait = np.minimum(hold * (0.5 + used / (1.0 - used)), 3.0)
        state.delay_s[instance, active] += wait
        state.blocked[instance, active] += wait * arrivals[instance, active]
