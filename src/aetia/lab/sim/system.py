"""Generated systems: services in layers, operations with call trees, instances on nodes, externals."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from aetia.lab.sim.names import ACTIONS, service_names, suffix

Shape = Literal["layered", "deep", "wide", "mesh"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
CallKind = Literal["rpc", "external", "async"]
MAX_CALLS_PER_TREE = 45
"""An operation whose expanded call tree is larger takes no further calls, so traces stay below ~120 spans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that an operation makes. `callee` indexes operations, or externals when `kind` is `external`.

    `fallback` means that a failure of the callee is absorbed by the caller, `strict` that the caller breaks when
    the callee succeeds with an answer that lacks its content.
    """

    kind: CallKind
    callee: int
    probability: float = 1.0
    timeout_s: float = 2.0
    retries: int = 0
    fallback: bool = False
    strict: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: log-normal own work (mean `work_s`, shape `sigma`), then `steps` in sequence, the calls
    of one step in parallel. `internal` adds an internal span around the work before the first call."""

    service: int
    name: str
    work_s: float
    sigma: float
    pre_share: float
    steps: tuple[tuple[Call, ...], ...] = ()
    internal: str | None = None

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(call for step in self.steps for call in step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service. `instances` are names, `first` the index of its first instance in `System.instances`."""

    name: str
    layer: int
    first: int
    instances: tuple[str, ...]
    utilisation: float
    """Share of its capacity that the service uses at the system's nominal load."""
    memory_bytes: float
    memory_limit_bytes: float
    pool_size: int
    runtime: str
    queue: bool = False
    """True when the service is reached through a queue only (its operations are consumers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A dependency without telemetry of its own: a database, cache or third party."""

    name: str
    kind: Literal["db", "cache", "api"]
    latency_s: float
    sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A complete topology. `entries` are operation indices with the share of the traffic in `weights`."""

    name: str
    seed: int
    protocol: Literal["http", "grpc"]
    services: tuple[Service, ...]
    operations: tuple[Operation, ...]
    externals: tuple[External, ...]
    nodes: tuple[str, ...]
    instance_node: tuple[int, ...]
    entries: tuple[int, ...]
    weights: tuple[float, ...]
    ok_status: Literal["unset", "ok"] = "unset"
    metric_style: Literal["otel", "prometheus"] = "otel"
    log_styles: dict[str, int] = field(default_factory=dict)

    @property
    def instances(self) -> tuple[str, ...]:
        return tuple(name for service in self.services for name in service.instances)

    @property
    def instance_service(self) -> tuple[int, ...]:
        return tuple(index for index, service in enumerate(self.services) for _ in service.instances)

    def operations_of(self, service: int) -> list[int]:
        """Indices of the operations of a service."""
        return [index for index, op in enumerate(self.operations) if op.service == service]

    def edges(self) -> list[tuple[int, int, CallKind]]:
        """Distinct (caller service, callee service or external, kind), sorted."""
        found: set[tuple[int, int, CallKind]] = set()
        for op in self.operations:
            for call in op.calls:
                callee = call.callee if call.kind == "external" else self.operations[call.callee].service
                found.add((op.service, callee, call.kind))
        return sorted(found)

    def visits(self) -> np.ndarray:
        """Expected executions of each operation per request of each entry, shape (entries, operations)."""
        out = np.zeros((len(self.entries), len(self.operations)))
        order = sorted(range(len(self.operations)), key=lambda i: self.services[self.operations[i].service].layer)
        for row, entry in enumerate(self.entries):
            out[row, entry] = 1.0
            for index in order:
                if out[row, index] == 0.0:
                    continue
                for call in self.operations[index].calls:
                    if call.kind != "external":
                        out[row, call.callee] += out[row, index] * call.probability
        return out


@dataclass(slots=True)
class _Draft:
    """An operation while calls are still being added to it; `size` counts the calls of its whole tree."""

    service: int
    layer: int
    name: str
    calls: list[Call] = field(default_factory=list[Call])
    size: int = 1


def _layers(n: int, shape: Shape, rng: np.random.Generator) -> list[int]:
    """The layer of each service; gateways are in layer 0 and every layer up to the last is used."""
    gateways = 1 if n < 12 else int(rng.integers(1, 2 + n // 40 + 1))
    rest = n - gateways
    depth = {
        "layered": 3 + int(np.log2(n) / 2),
        "deep": 5 + int(np.log2(n)),
        "wide": 2 + int(n > 20),
        "mesh": 4 + int(np.log2(n) / 2),
    }[shape]
    depth = max(1, min(depth, rest))
    weights = rng.uniform(0.6, 1.4, depth)
    spread = list(range(1, depth + 1)) + [
        int(x) for x in rng.choice(depth, size=rest - depth, p=weights / weights.sum()) + 1
    ]
    return [0] * gateways + sorted(spread)


def _call(rng: np.random.Generator, kind: CallKind, callee: int, timeout_s: float) -> Call:
    optional = rng.random() < 0.3
    return Call(
        kind=kind, callee=callee, probability=round(float(rng.uniform(0.15, 0.9)), 2) if optional else 1.0,
        timeout_s=timeout_s, retries=int(rng.choice([0, 1, 2], p=[0.6, 0.3, 0.1])) if kind != "async" else 0,
        fallback=bool(rng.random() < 0.18),
        strict=bool(rng.random() < 0.7),
    )  # fmt: skip


def _operation_names(service: str, count: int, protocol: str, entry: bool, rng: np.random.Generator) -> list[str]:
    actions = [str(a) for a in rng.permutation(np.array(ACTIONS))[: min(count, len(ACTIONS))]]
    actions += [f"{ACTIONS[i % len(ACTIONS)]}{i}" for i in range(len(actions), count)]
    stem = service.removesuffix("-service").removesuffix("-svc").removeprefix("svc-").removeprefix("ts-")
    if protocol == "http" or entry:
        verbs = {"create": "POST", "update": "PUT", "cancel": "DELETE", "store": "POST", "reserve": "POST"}
        return [f"{verbs.get(a, 'GET')} /api/{stem}/{a}" for a in actions]
    title = "".join(part.title() for part in stem.split("-"))
    return [f"{stem}.{title}/{a.title()}" for a in actions]


def _drafts(names: list[str], layers: list[int], protocol: str, rng: np.random.Generator) -> list[_Draft]:
    drafts: list[_Draft] = []
    gateways = layers.count(0)
    entries = max(2, round(len(layers) / 8)) + int(rng.integers(0, 3))
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        count = -(-entries // gateways) if layer == 0 else int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
        titles = _operation_names(name, count, protocol, layer == 0, rng)
        drafts += [_Draft(index, layer, title) for title in titles]
    return drafts


def _timeout(layer: int, depth: int) -> float:
    return round(float(min(10.0, 0.8 * 1.5 ** (depth - layer))), 2)


def _wire(drafts: list[_Draft], shape: Shape, queued: set[int], rng: np.random.Generator) -> None:
    """Give each operation below the gateways a caller (so all are reachable), then add shared calls."""
    depth = max(d.layer for d in drafts)
    by_layer: dict[int, list[int]] = {}
    for index, draft in enumerate(drafts):
        by_layer.setdefault(draft.layer, []).append(index)
    for index in sorted(range(len(drafts)), key=lambda i: -drafts[i].layer):
        draft = drafts[index]
        if draft.layer == 0:
            continue
        level = draft.layer - 1 if rng.random() < 0.8 else int(rng.integers(0, draft.layer))
        callers = [i for i in by_layer[level] if drafts[i].service not in queued] or by_layer[0]
        tried = [int(i) for i in rng.choice(callers, size=min(3, len(callers)), replace=False)]
        _connect(
            drafts, min(tried, key=lambda i: drafts[i].size), index, rng, queue=draft.service in queued, depth=depth
        )
    extra = {"layered": 0.35, "deep": 0.2, "wide": 0.25, "mesh": 0.9}[shape]
    # Extra calls go from deep to shallow, so that the size of a callee is final when it is added.
    for index in sorted(range(len(drafts)), key=lambda i: -drafts[i].layer):
        draft = drafts[index]
        deeper = [i for i in range(len(drafts)) if drafts[i].layer > draft.layer and drafts[i].service not in queued]
        for _ in range(int(rng.poisson(extra)) if deeper else 0):
            callee = int(rng.choice(deeper))
            taken = {call.callee for call in draft.calls}
            if callee not in taken and draft.size + drafts[callee].size <= MAX_CALLS_PER_TREE // (1 + draft.layer // 2):
                _connect(drafts, index, callee, rng, queue=False, depth=depth)


def _connect(
    drafts: list[_Draft], caller: int, callee: int, rng: np.random.Generator, *, queue: bool, depth: int
) -> None:
    source = drafts[caller]
    source.calls.append(_call(rng, "async" if queue else "rpc", callee, _timeout(source.layer, depth)))
    source.size += drafts[callee].size


def _steps(calls: list[Call], rng: np.random.Generator) -> tuple[tuple[Call, ...], ...]:
    """Calls in random order; about a third of the neighbours run in parallel; queues are written last."""
    ordered = [calls[int(i)] for i in rng.permutation(len(calls))]
    ordered.sort(key=lambda call: call.kind == "async")
    steps: list[list[Call]] = []
    for call in ordered:
        if steps and call.kind == "rpc" and steps[-1][0].kind == "rpc" and rng.random() < 0.35:
            steps[-1].append(call)
        else:
            steps.append([call])
    return tuple(tuple(step) for step in steps)


def _externals(
    names: list[str], layers: list[int], rng: np.random.Generator
) -> tuple[list[External], dict[int, list[int]]]:
    """Databases, caches and third parties, and which services use which; some are shared by two services."""
    externals: list[External] = []
    uses: dict[int, list[int]] = {}
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        if layer == 0 or rng.random() < 0.35:
            continue
        stem = name.removesuffix("-service").removesuffix("-svc").removeprefix("svc-").removeprefix("ts-")
        databases = [i for i, e in enumerate(externals) if e.kind == "db"]
        if databases and rng.random() < 0.3:
            uses.setdefault(index, []).append(int(rng.choice(databases)))
        else:
            externals.append(
                External(name=f"{stem}-db", kind="db", latency_s=float(rng.uniform(0.001, 0.006)), sigma=0.5)
            )
            uses.setdefault(index, []).append(len(externals) - 1)
        if rng.random() < 0.25:
            externals.append(
                External(name=f"{stem}-cache", kind="cache", latency_s=float(rng.uniform(0.0003, 0.001)), sigma=0.35)
            )
            uses[index].append(len(externals) - 1)
    if len(names) >= 8:
        externals.append(
            External(
                name=f"{names[-1].split('-')[-1]}-provider-api",
                kind="api",
                latency_s=float(rng.uniform(0.02, 0.06)),
                sigma=0.4,
            )
        )
        uses.setdefault(len(names) - 1, []).append(len(externals) - 1)
    return externals, uses


def _external_calls(
    service: int, uses: dict[int, list[int]], externals: list[External], rng: np.random.Generator
) -> list[Call]:
    """Cache first; the database behind a cache is asked on a miss only."""
    calls: list[Call] = []
    cached = any(externals[i].kind == "cache" for i in uses.get(service, ()))
    for target in sorted(uses.get(service, ()), key=lambda i: externals[i].kind != "cache"):
        kind = externals[target].kind
        miss = round(float(rng.uniform(0.1, 0.4)), 2) if cached and kind == "db" else 1.0
        share = miss if kind != "api" else round(float(rng.uniform(0.3, 1.0)), 2)
        calls.append(
            Call(kind="external", callee=target, probability=share, timeout_s=1.5, retries=0, fallback=kind == "cache")
        )
    return calls


def _place(
    names: list[str], layers: list[int], rng: np.random.Generator
) -> tuple[list[tuple[str, ...]], list[int], tuple[str, ...]]:
    """Instance names per service, the node of each instance and the node names."""
    n_nodes = max(2, round(len(names) / 5))
    style = "node-{:02d}" if rng.random() < 0.5 else "worker-{}"
    nodes = tuple(style.format(i + 1) for i in range(n_nodes))
    instances: list[tuple[str, ...]] = []
    placed: list[int] = []
    for name, layer in zip(names, layers, strict=True):
        count = int(rng.integers(2, 4)) if layer == 0 else int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
        group = suffix(rng, 8)
        instances.append(tuple(f"{name}-{group}-{suffix(rng, 5)}" for _ in range(count)))
        start = int(rng.integers(n_nodes))
        placed += [(start + k) % n_nodes for k in range(count)]
    return instances, placed, nodes


def _operation(draft: _Draft, calls: list[Call], rng: np.random.Generator) -> Operation:
    return Operation(
        service=draft.service,
        name=draft.name,
        work_s=float(np.exp(rng.uniform(np.log(0.0015), np.log(0.012)))),
        sigma=float(rng.uniform(0.3, 0.6)),
        pre_share=float(rng.uniform(0.3, 0.7)),
        steps=_steps(calls, rng),
        internal=f"{ACTIONS[int(rng.integers(len(ACTIONS)))]}_internal" if rng.random() < 0.15 else None,
    )


def _services(
    names: list[str], layers: list[int], instances: list[tuple[str, ...]], queued: set[int], rng: np.random.Generator
) -> list[Service]:
    services: list[Service] = []
    first = 0
    for index, name in enumerate(names):
        memory = float(rng.uniform(0.12, 0.7)) * 2**30
        services.append(
            Service(
                name=name,
                layer=layers[index],
                first=first,
                instances=instances[index],
                utilisation=float(rng.uniform(0.08, 0.36)),
                memory_bytes=memory,
                memory_limit_bytes=memory * float(rng.uniform(1.5, 2.6)),
                pool_size=int(rng.choice([10, 16, 20, 32, 50])),
                runtime=str(rng.choice(["jvm", "jvm", "go", "python", "node"])),
                queue=index in queued,
            )
        )
        first += len(instances[index])
    return services


def make_system(n_services: int, seed: int, shape: Shape | None = None) -> System:
    """A random system of exactly `n_services` services (5 to 500), all of them reachable from an entry.

    The call graph is acyclic: calls go to deeper layers only. `shape` defaults to a random one. The same
    arguments give the same system. Raises ValueError outside 5..500 services.
    """
    if not 5 <= n_services <= 500:
        raise ValueError(f"n_services must be between 5 and 500, not {n_services}")
    rng = np.random.default_rng([seed, n_services, 11])
    kind: Shape = shape or SHAPES[int(rng.integers(len(SHAPES)))]
    protocol: Literal["http", "grpc"] = "http" if rng.random() < 0.6 else "grpc"
    layers = _layers(n_services, kind, rng)
    names = service_names(n_services, rng)
    last = max(layers)
    queued = {
        i
        for i, layer in enumerate(layers)
        if layer == last and n_services >= 8 and layers.count(last) > 2 and rng.random() < 0.15
    }
    drafts = _drafts(names, layers, protocol, rng)
    _wire(drafts, kind, queued, rng)
    externals, uses = _externals(names, layers, rng)
    operations = [_operation(d, d.calls + _external_calls(d.service, uses, externals, rng), rng) for d in drafts]
    instances, placed, nodes = _place(names, layers, rng)
    entries = tuple(i for i, draft in enumerate(drafts) if draft.layer == 0)
    weights = 1.0 / np.arange(1, len(entries) + 1) ** 0.7
    services = _services(names, layers, instances, queued, rng)
    return replace(
        System(
            name=f"sim-{kind}-{n_services}-{seed}",
            seed=seed,
            protocol=protocol,
            services=tuple(services),
            operations=tuple(operations),
            externals=tuple(externals),
            nodes=nodes,
            instance_node=tuple(placed),
            entries=entries,
            weights=tuple(float(w) for w in rng.permutation(weights / weights.sum())),
        ),
        ok_status="unset" if rng.random() < 0.6 else "ok",
        metric_style="otel" if rng.random() < 0.5 else "prometheus",
    )
