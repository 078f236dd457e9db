"""The state of a simulated system over time: what faults and confounders do to instances, links and externals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aetia.lab.sim.system import System

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Interval = tuple[float, float]

# Outcome codes of a call, independent of the protocol. HOLLOW is a success whose answer lacks its content;
# those from CLIENT_ONLY on have no server span.
OK, EXCEPTION, UNAVAILABLE, GATEWAY_TIMEOUT, DEPENDENCY, CANCELLED, BAD_REQUEST, WRONG_5XX, OVERLOADED, UNAUTHORISED = (
    range(10)
)
HOLLOW = 10
CLIENT_ONLY = 11
REFUSED, CLIENT_TIMEOUT, NAME_RESOLUTION, CONNECT_TIMEOUT = 11, 12, 13, 14
HTTP_CODES = ("200", "500", "503", "504", "502", "499", "400", "500", "503", "401", "200", None, None, None, None)
GRPC_CODES = ("0", "2", "14", "4", "13", "1", "3", "13", "8", "16", "0", "14", "4", "14", "14")

# Why a span went wrong; decides which log line is written.
(
    NO_CAUSE,
    THROWN,
    CHILD_FAILED,
    POOL_TIMEOUT,
    DISK_ERROR,
    CONFIG_ERROR,
    RELEASE_ERROR,
    WRONG_ANSWER,
    SHORT_CUT,
    LATE,
    QUEUE_FULL,
    ABSORBED,
    SKEW_ERROR,
    LINK_REFUSED,
    LINK_TIMEOUT,
    LINK_NAME,
    LINK_CONNECT,
    SERVER_SAID,
    HOLLOW_ANSWER,
) = range(19)


@dataclass(slots=True, kw_only=True)
class OpRule:
    """From `start` to `end`, executions of an operation go wrong with `probability`.

    `code` OK with `skip` returns early without calling anybody. `delay_s` is the mean of an extra delay, in which
    case the execution does not fail. `instances` None means all instances.
    """

    start: float
    end: float
    probability: float
    code: int = OK
    cause: int = NO_CAUSE
    skip: bool = False
    delay_s: float = 0.0
    instances: frozenset[int] | None = None


@dataclass(slots=True, kw_only=True)
class LinkRule:
    """From `start` to `end`, messages from `caller` to `callee` suffer. `delay_s` is added each way with relative
    `jitter`, `loss` is the share of lost packets; `cut` and `dns` are the shares of calls that cannot connect or
    resolve the name. `instances` limits the rule to these instances of the callee (or the caller)."""

    start: float
    end: float
    delay_s: float = 0.0
    jitter: float = 0.2
    loss: float = 0.0
    cut: float = 0.0
    dns: float = 0.0
    instances: frozenset[int] | None = None


@dataclass(slots=True, kw_only=True)
class ExternalRule:
    """From `start` to `end` an external is `factor` times slower plus `delay_s`, and refuses the share `refuse`."""

    start: float
    end: float
    factor: float = 1.0
    delay_s: float = 0.0
    refuse: float = 0.0


@dataclass(slots=True, kw_only=True)
class PoolRule:
    """Connections leak away from `start` on: after `ramp_s` the pool is full, `wait_s` is the mean wait then and
    `give_up_s` the time after which a request fails."""

    start: float
    end: float
    ramp_s: float
    wait_s: float
    give_up_s: float


@dataclass(slots=True, kw_only=True)
class LockRule:
    """A serialised section of `hold_s` per request; the wait follows from the instance's arrival rate."""

    start: float
    end: float
    load: float


@dataclass(slots=True)
class State:
    """Everything that varies over time, on bins of one second: arrays of shape (instances, bins).

    `stolen` is the share of cpu taken by others, `slow` multiplies service time beyond that, `wait_s` is the mean
    queueing delay, `delay_s` an extra in-service delay that costs no cpu, `reject` the share of requests
    turned away by a full queue. `down` lists when an instance is dead, `unrouted` when the balancer avoids it,
    `pauses` when the whole instance stands still.
    """

    system: System
    bins: int
    rate: F64
    """Requests per second of each entry, shape (entries, bins)."""
    stolen: F64 = field(init=False)
    slow: F64 = field(init=False)
    wait_s: F64 = field(init=False)
    delay_s: F64 = field(init=False)
    reject: F64 = field(init=False)
    memory: F64 = field(init=False)
    gc_share: F64 = field(init=False)
    blocked: F64 = field(init=False)
    pool_used: F64 = field(init=False)
    disk_busy: F64 = field(init=False)
    node_stolen: F64 = field(init=False)
    node_disk: F64 = field(init=False)
    down: dict[int, list[Interval]] = field(default_factory=dict[int, list[Interval]])
    unrouted: dict[int, list[Interval]] = field(default_factory=dict[int, list[Interval]])
    pauses: dict[int, F64] = field(default_factory=dict[int, F64])
    op_rules: dict[int, list[OpRule]] = field(default_factory=dict[int, list[OpRule]])
    link_rules: dict[tuple[int, int], list[LinkRule]] = field(default_factory=dict[tuple[int, int], list[LinkRule]])
    external_rules: dict[int, list[ExternalRule]] = field(default_factory=dict[int, list[ExternalRule]])
    pools: dict[int, PoolRule] = field(default_factory=dict[int, PoolRule])
    locks: dict[int, LockRule] = field(default_factory=dict[int, LockRule])
    skew_s: dict[int, tuple[float, float, float]] = field(default_factory=dict[int, tuple[float, float, float]])
    changes: list[tuple[float, str, str, str]] = field(default_factory=list[tuple[float, str, str, str]])
    restarts: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    noisy_logs: list[tuple[int, float, float, float]] = field(default_factory=list[tuple[int, float, float, float]])

    def __post_init__(self) -> None:
        shape = (len(self.system.instances), self.bins)
        for name in (
            "stolen",
            "wait_s",
            "delay_s",
            "reject",
            "memory",
            "gc_share",
            "blocked",
            "pool_used",
            "disk_busy",
        ):
            setattr(self, name, np.zeros(shape))
        self.slow = np.ones(shape)
        self.node_stolen = np.zeros((len(self.system.nodes), self.bins))
        self.node_disk = np.zeros((len(self.system.nodes), self.bins))

    def instances_of(self, service: int) -> list[int]:
        first = self.system.services[service].first
        return list(range(first, first + len(self.system.services[service].instances)))

    def kill(
        self, instance: int, at: float, back: float, *, noticed_after: float, cold_s: float, restart: bool = True
    ) -> None:
        """The instance is dead from `at` to `back`; the balancer notices later, and a restart begins cold."""
        self.down.setdefault(instance, []).append((at, back))
        if at + noticed_after < back:
            self.unrouted.setdefault(instance, []).append((at + noticed_after, back))
        if restart and back < self.bins:
            self.restarts.setdefault(instance, []).append(back)
            begin, end = int(back), min(self.bins, int(back + cold_s) + 1)
            self.slow[instance, begin:end] *= np.linspace(4.0, 1.0, end - begin)

    def add_links(self, pairs: Iterable[tuple[int, int]], rule: LinkRule) -> None:
        for pair in pairs:
            self.link_rules.setdefault(pair, []).append(rule)


ChangeKind = Literal["deploy", "config"]


def inside(intervals: list[Interval], times: F64) -> Bool:
    """Mask, shape (n,), of the times in any of the half-open intervals."""
    mask = np.zeros(len(times), dtype=np.bool_)
    for start, end in intervals:
        mask |= (times >= start) & (times < end)
    return mask


def span_bins(start: float, end: float, bins: int) -> slice:
    """The one-second bins from `start` to `end`, at least one of them when `start` lies inside."""
    first = min(max(int(start), 0), bins)
    return slice(first, min(bins, max(first + 1, int(np.ceil(end)))))
