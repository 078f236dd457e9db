"""Runs requests through the call trees: all requests of one entry at once, one call of the tree after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aetia.lab.sim.state import (
    ABSORBED,
    BAD_REQUEST,
    CANCELLED,
    CHILD_FAILED,
    CLIENT_ONLY,
    CLIENT_TIMEOUT,
    CONNECT_TIMEOUT,
    DEPENDENCY,
    EXCEPTION,
    F64,
    GATEWAY_TIMEOUT,
    HOLLOW,
    HOLLOW_ANSWER,
    I64,
    LATE,
    LINK_CONNECT,
    LINK_NAME,
    LINK_REFUSED,
    LINK_TIMEOUT,
    NAME_RESOLUTION,
    NO_CAUSE,
    OK,
    OVERLOADED,
    POOL_TIMEOUT,
    QUEUE_FULL,
    REFUSED,
    SERVER_SAID,
    UNAVAILABLE,
    WRONG_5XX,
    Bool,
    LinkRule,
    State,
    inside,
)  # fmt: skip
from aetia.lab.sim.system import Call, Operation, System

I32 = NDArray[np.int32]
I16 = NDArray[np.int16]
I8 = NDArray[np.int8]

NETWORK_S = 0.0004
RETRYABLE = (
    UNAVAILABLE,
    GATEWAY_TIMEOUT,
    DEPENDENCY,
    OVERLOADED,
    REFUSED,
    CLIENT_TIMEOUT,
    NAME_RESOLUTION,
    CONNECT_TIMEOUT,
)
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(5)
ENTRY_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Label:
    """What all spans from one place in the code share."""

    service: int
    name: str
    kind: int
    peer: str | None
    operation: int


class Labels:
    """The labels of a system, in a fixed order: one per operation as server, one per call as client, internals."""

    def __init__(self, system: System) -> None:
        self.items: list[Label] = []
        self.server: list[int] = []
        self.internal: list[int] = []
        self.client: dict[tuple[int, str, int], int] = {}
        for index, op in enumerate(system.operations):
            kind = CONSUMER if system.services[op.service].queue else SERVER
            self.server.append(self._add(Label(op.service, op.name, kind, None, index)))
            self.internal.append(
                self._add(Label(op.service, op.internal, INTERNAL, None, index)) if op.internal else -1
            )
            for call in op.calls:
                self.client[index, call.kind, call.callee] = self._add(self._of_call(system, op, index, call))

    def _add(self, label: Label) -> int:
        self.items.append(label)
        return len(self.items) - 1

    @staticmethod
    def _of_call(system: System, op: Operation, index: int, call: Call) -> Label:
        if call.kind == "external":
            target = system.externals[call.callee]
            verb = {"db": "SELECT", "cache": "GET", "api": "POST"}[target.kind]
            return Label(op.service, f"{verb} {target.name}", CLIENT, target.name, index)
        callee = system.operations[call.callee]
        peer = system.services[callee.service].name
        if call.kind == "async":
            return Label(op.service, f"{peer} publish", PRODUCER, peer, index)
        name = callee.name if system.protocol == "grpc" else callee.name.split(" ", 1)[0]
        return Label(op.service, name, CLIENT, peer, index)


@dataclass(slots=True, kw_only=True)
class Rows:
    """Spans of one chunk as columns. Times are seconds since the start of the scenario; `parent` is a row, -1 for
    the first span of a request; `own_s` is the cpu time spent by server spans."""

    request: I32
    parent: I32
    label: I32
    instance: I32
    start_s: F64
    end_s: F64
    own_s: F64
    code: I8
    cause: I8

    def __len__(self) -> int:
        return len(self.request)


@dataclass(slots=True)
class Batch:
    """n executions that begin together: where they run, when each begins, when it has to be done, its parent row."""

    request: I32
    instance: I32
    t: F64
    deadline: F64
    parent: I32

    def __len__(self) -> int:
        return len(self.t)

    def take(self, at: I64) -> Batch:
        """The executions at some positions; all of them when there are as many as positions."""
        if len(at) == len(self.t):
            return self
        return Batch(self.request[at], self.instance[at], self.t[at], self.deadline[at], self.parent[at])


@dataclass(slots=True)
class Outcome:
    """How n executions end: when, with which code and why."""

    end: F64
    code: I8
    cause: I8

    def fail(self, at: I64 | Bool, code: int, cause: int) -> None:
        self.code[at], self.cause[at] = code, cause


@dataclass(slots=True)
class Trip:
    """The way of n messages over a link: the instance they go to, seconds there and seconds back."""

    target: I32
    out: F64
    back: F64


@dataclass(slots=True)
class _Block:
    """Spans of one label whose rows follow each other from `first` on; scalars stand for all rows."""

    first: int
    label: int
    batch: Batch
    outcome: Outcome
    own_s: F64 | float = 0.0


class Engine:
    """Runs requests against one state. Not thread-safe; one engine per chunk."""

    def __init__(self, system: System, state: State, labels: Labels, rng: np.random.Generator) -> None:
        self.system, self.state, self.labels, self.rng = system, state, labels, rng
        self.count = 0
        self.requests = 0
        self._blocks: list[_Block] = []
        self._firsts = [service.first for service in system.services]
        self._sizes = [len(service.instances) for service in system.services]
        owner = np.array(system.instance_service)
        self._delayed = {int(i) for i in owner[(state.delay_s > 0).any(1)]}
        self._rejecting = {int(i) for i in owner[(state.reject > 0).any(1)]}
        self._outages = {int(owner[i]) for i in state.down}
        self._paused = {int(owner[i]) for i in state.pauses}
        self._pooled = {int(owner[i]) for i in state.pools}

    # rows -------------------------------------------------------------------------------------------------

    def _open(self, n: int) -> int:
        first = self.count
        self.count += n
        return first

    def rows(self) -> Rows:
        """All spans recorded so far."""
        n = self.count
        out = Rows(
            request=np.empty(n, np.int32), parent=np.empty(n, np.int32), label=np.empty(n, np.int32),
            instance=np.empty(n, np.int32), start_s=np.empty(n), end_s=np.empty(n), own_s=np.empty(n),
            code=np.empty(n, np.int8), cause=np.empty(n, np.int8),
        )  # fmt: skip
        for block in self._blocks:
            batch, outcome = block.batch, block.outcome
            at = slice(block.first, block.first + len(batch))
            out.request[at], out.label[at], out.parent[at] = batch.request, block.label, batch.parent
            out.instance[at], out.own_s[at] = batch.instance, block.own_s
            out.start_s[at], out.end_s[at] = batch.t, outcome.end
            out.code[at], out.cause[at] = outcome.code, outcome.cause
        return out

    # requests ---------------------------------------------------------------------------------------------

    def run(self, entry: int, times: F64) -> None:
        """Let requests of one entry (position in `System.entries`) arrive at `times`, seconds, shape (n,)."""
        operation = self.system.entries[entry]
        service = self.system.operations[operation].service
        instance, refused = self._route(service, times)
        times, instance = times[~refused], instance[~refused]
        n = len(times)
        if n == 0:
            return
        request = np.arange(self.requests, self.requests + n, dtype=np.int32)
        self.requests += n
        until = self._until(service, instance, times, times + ENTRY_DEADLINE_S)
        self._serve(operation, Batch(request, instance, times, until, np.full(n, -1, np.int32)))

    def _route(self, service: int, times: F64) -> tuple[I32, Bool]:
        """An instance for each request and whether it refuses the connection, both shape (n,)."""
        first, size = self._firsts[service], self._sizes[service]
        n = len(times)
        if service not in self._outages:
            chosen = first + (self.rng.random(n) * size).astype(np.int32) if size > 1 else np.full(n, first, np.int32)
            return chosen, np.zeros(n, np.bool_)
        keys = self.rng.random((n, size))
        dead = np.zeros((n, size), np.bool_)
        for k in range(size):
            keys[inside(self.state.unrouted.get(first + k, []), times), k] -= 2.0
            dead[:, k] = inside(self.state.down.get(first + k, []), times)
        best = keys.argmax(1)
        return (first + best).astype(np.int32), dead[np.arange(n), best]

    def _until(self, service: int, instance: I32, t: F64, limit: F64) -> F64:
        """The deadline, or when the chosen instance dies after `t` if that is sooner, shape (n,)."""
        if service not in self._outages:
            return limit
        until = limit.copy()
        for k in self.state.instances_of(service):
            for start, _ in self.state.down.get(k, ()):
                later = (instance == k) & (t < start)
                until[later] = np.minimum(until[later], start)
        return until

    def _pause(self, service: int, batch: Batch, wait: F64, length: F64) -> F64:
        """Seconds that stop-the-world pauses add to work that begins after `wait` and takes `length`."""
        extra = np.zeros(len(batch))
        for k in self.state.instances_of(service):
            pauses = self.state.pauses.get(k)
            if pauses is None or pauses.shape[1] == 0:
                continue
            mine = np.flatnonzero(batch.instance == k)
            at = batch.t[mine] + wait[mine]
            before = np.searchsorted(pauses[0], at, side="right") - 1
            stuck = np.where(before >= 0, pauses[1][np.maximum(before, 0)] - at, 0.0).clip(0.0)
            after = np.minimum(before + 1, pauses.shape[1] - 1)
            caught = (pauses[0][after] > at) & (pauses[0][after] < at + length[mine])
            extra[mine] = stuck + np.where(caught, pauses[1][after] - pauses[0][after], 0.0)
        return extra

    def _before_work(self, op: Operation, batch: Batch, b: I64) -> tuple[F64, Outcome]:
        """Waiting before the work starts, with the failures it brings: queue, injected delay, pool."""
        state, rng, n = self.state, self.rng, len(batch)
        wait = state.wait_s[batch.instance, b] * rng.standard_exponential(n)
        outcome = Outcome(batch.t, np.zeros(n, np.int8), np.zeros(n, np.int8))
        if op.service in self._delayed:
            wait += state.delay_s[batch.instance, b] * rng.uniform(0.6, 1.4, n)
        if op.service in self._rejecting:
            away = rng.random(n) < state.reject[batch.instance, b]
            outcome.fail(away, OVERLOADED, QUEUE_FULL)
            wait[away] = 0.001
        if op.service in self._pooled and any(call.kind == "external" for call in op.calls):
            for k in state.instances_of(op.service):
                rule = state.pools.get(k)
                if rule is None:
                    continue
                full = (batch.instance == k) & (batch.t >= rule.start + rule.ramp_s) & (batch.t < rule.end)
                asked = rule.wait_s * rng.standard_exponential(n)
                wait += np.where(full, np.minimum(asked, rule.give_up_s), 0.0)
                outcome.fail(full & (asked > rule.give_up_s), EXCEPTION, POOL_TIMEOUT)
        return wait, outcome

    def _misbehave(self, operation: int, batch: Batch, wait: F64, outcome: Outcome) -> Bool:
        """Apply the operation's rules in place, delays to `wait`; returns who skips the calls, shape (n,)."""
        n = len(batch)
        skip = np.zeros(n, np.bool_)
        t = batch.t + wait
        for rule in self.state.op_rules.get(operation, ()):
            hit = (t >= rule.start) & (t < rule.end) & (outcome.code == OK)
            if rule.instances is not None:
                hit &= np.isin(batch.instance, list(rule.instances))
            hit &= self.rng.random(n) < rule.probability
            if rule.delay_s > 0:
                wait += np.where(hit, rule.delay_s * self.rng.uniform(0.6, 1.4, n), 0.0)
                continue
            outcome.fail(hit, rule.code, rule.cause)
            skip |= hit & rule.skip
        return skip

    def _serve(self, operation: int, batch: Batch) -> Outcome:
        """Execute an operation: wait, work, calls step by step, work."""
        op, rng, n, t = self.system.operations[operation], self.rng, len(batch), batch.t
        first = self._open(n)
        b = np.minimum(t.astype(np.int64), self.state.bins - 1)
        work = op.work_s * np.exp(op.sigma * rng.standard_normal(n) - 0.5 * op.sigma**2)
        work *= self.state.slow[batch.instance, b]
        wait, outcome = self._before_work(op, batch, b)
        live = outcome.code == OK
        # Turned away before the work began.
        work[~live] *= 0.05
        skip: Bool | None = None
        if operation in self.state.op_rules:
            skip = self._misbehave(operation, batch, wait, outcome)
            live = (outcome.code == OK) & ~skip
        begin = t + wait
        if op.service in self._paused:
            wait += self._pause(op.service, batch, wait, work)
        me = np.arange(first, first + n, dtype=np.int32)
        inner = Batch(batch.request, batch.instance, t + wait + work * op.pre_share, batch.deadline, me)
        if op.internal:
            self._internal(operation, begin, inner)
        for step in op.steps:
            inner.t = self._step(operation, step, inner, live, outcome)
        end = inner.t + work * (1.0 - op.pre_share) * np.where(outcome.code == OK, 1.0, 0.1)
        if skip is not None:
            outcome.code[skip & (outcome.code == OK)] = HOLLOW
        over = end > batch.deadline
        if over.any():
            end = np.minimum(end, batch.deadline)
            outcome.fail(over & ((outcome.code == OK) | (outcome.code == HOLLOW)), CANCELLED, LATE)
        outcome.end = end
        spent = op.pre_share + (1.0 - op.pre_share) * np.where(outcome.code == OK, 1.0, 0.1)
        own = np.minimum(work * spent, end - t)
        self._blocks.append(_Block(first, self.labels.server[operation], batch, outcome, own))
        return outcome

    def _internal(self, operation: int, begin: F64, inner: Batch) -> None:
        """The internal span around the work before the first call."""
        n = len(inner)
        end = np.minimum(inner.t, inner.deadline)
        batch = Batch(inner.request, inner.instance, np.minimum(begin, end), inner.deadline, inner.parent)
        outcome = Outcome(end, np.zeros(n, np.int8), np.zeros(n, np.int8))
        self._blocks.append(_Block(self._open(n), self.labels.internal[operation], batch, outcome))

    def _step(self, operation: int, step: Sequence[Call], inner: Batch, live: Bool, outcome: Outcome) -> F64:
        """Run the calls of one step for those still alive; updates `live` and `outcome`, returns when each goes on."""
        live &= inner.t < inner.deadline
        done = inner.t.copy()
        failed: list[tuple[I64, I8, Call]] = []
        for call in step:
            go = live if call.probability >= 1.0 else live & (self.rng.random(len(inner)) < call.probability)
            at = np.flatnonzero(go)
            if len(at) == 0:
                continue
            part = inner.take(at)
            if part is inner:
                part = Batch(inner.request, inner.instance, inner.t, inner.deadline, inner.parent)
            end, code = self._call(operation, call, part)
            done[at] = np.maximum(done[at], end)
            if call.kind != "async" and code.any():
                bad = np.flatnonzero(code)
                failed.append((at[bad], code[bad], call))
        for at, code, call in failed:
            hollow = code == HOLLOW
            if call.strict:
                outcome.fail(at[hollow], EXCEPTION, HOLLOW_ANSWER)
                live[at[hollow]] = False
            self._blame(call, at[~hollow], code[~hollow], live, outcome)
        return done

    @staticmethod
    def _blame(call: Call, at: I64, code: I8, live: Bool, outcome: Outcome) -> None:
        """What failed calls do to the caller: nothing but a warning with a fallback, otherwise it fails too."""
        if call.fallback:
            outcome.cause[at] = np.where(outcome.cause[at] == NO_CAUSE, ABSORBED, outcome.cause[at])
            return
        late = np.isin(code, (CLIENT_TIMEOUT, GATEWAY_TIMEOUT))
        outcome.code[at] = np.where(code == BAD_REQUEST, BAD_REQUEST, np.where(late, GATEWAY_TIMEOUT, DEPENDENCY))
        outcome.cause[at] = CHILD_FAILED
        live[at] = False

    # calls ------------------------------------------------------------------------------------------------

    def _call(self, operation: int, call: Call, batch: Batch) -> tuple[F64, I8]:
        """One call with its retries; returns when the caller goes on and the final code, both shape (n,)."""
        if call.kind == "async":
            return self._publish(operation, call, batch)
        attempt = self._query if call.kind == "external" else self._attempt
        outcome = attempt(operation, call, batch)
        # The arrays of an outcome belong to its spans; what the caller sees over several attempts is a copy.
        end, code = outcome.end.copy(), outcome.code.copy()
        for retry in range(call.retries):
            again = np.flatnonzero(np.isin(code, RETRYABLE))
            start = end[again] + 0.03 * 2**retry * self.rng.uniform(0.5, 1.5, len(again))
            in_time = start < batch.deadline[again]
            again, start = again[in_time], start[in_time]
            if len(again) == 0:
                break
            part = Batch(batch.request[again], batch.instance[again], start, batch.deadline[again], batch.parent[again])
            outcome = attempt(operation, call, part)
            end[again], code[again] = outcome.end, outcome.code
        return end, code

    def _publish(self, operation: int, call: Call, batch: Batch) -> tuple[F64, I8]:
        """Write to a queue and go on; the consumer starts later, as a child of the producer span."""
        n = len(batch)
        first = self._open(n)
        end = np.minimum(batch.t + 0.0006 * self.rng.uniform(0.5, 2.0, n), batch.deadline)
        outcome = Outcome(end, np.zeros(n, np.int8), np.zeros(n, np.int8))
        label = self.labels.client[operation, call.kind, call.callee]
        self._blocks.append(_Block(first, label, batch, outcome))
        service = self.system.operations[call.callee].service
        start = end + 0.002 + 0.01 * self.rng.standard_exponential(n)
        chosen, refused = self._route(service, start)
        ok = np.flatnonzero(~refused)
        if len(ok):
            rows = np.arange(first, first + n, dtype=np.int32)[ok]
            until = self._until(service, chosen[ok], start[ok], np.full(len(ok), np.inf))
            self._serve(call.callee, Batch(batch.request[ok], chosen[ok], start[ok], until, rows))
        return end, outcome.code

    def _query(self, operation: int, call: Call, batch: Batch) -> Outcome:
        """A call to an external dependency: a client span without a server span."""
        target, n, t = self.system.externals[call.callee], len(batch), batch.t
        took = target.latency_s * np.exp(target.sigma * self.rng.standard_normal(n))
        outcome = Outcome(t, np.zeros(n, np.int8), np.zeros(n, np.int8))
        for rule in self.state.external_rules.get(call.callee, ()):
            hit = (t >= rule.start) & (t < rule.end)
            took = np.where(hit, took * rule.factor + rule.delay_s * self.rng.uniform(0.5, 1.5, n), took)
            away = hit & (self.rng.random(n) < rule.refuse)
            outcome.fail(away, REFUSED, LINK_REFUSED)
            took[away] = 0.001
        outcome.end = t + NETWORK_S + took
        return self._finish(operation, call, batch, outcome, self._open(n))

    def _finish(self, operation: int, call: Call, batch: Batch, outcome: Outcome, first: int) -> Outcome:
        """Close a client span, with the caller's patience applied."""
        limit = np.minimum(batch.t + call.timeout_s, batch.deadline)
        late = outcome.end > limit
        if late.any():
            outcome.end = np.minimum(outcome.end, limit)
            outcome.fail(late, CLIENT_TIMEOUT, LINK_TIMEOUT)
        label = self.labels.client[operation, call.kind, call.callee]
        self._blocks.append(_Block(first, label, batch, outcome))
        return outcome

    def _attempt(self, operation: int, call: Call, batch: Batch) -> Outcome:
        """One attempt to call another service: link, balancer, server, link."""
        callee = self.system.operations[call.callee].service
        caller = self.system.operations[operation].service
        n, t = len(batch), batch.t
        first = self._open(n)
        out = NETWORK_S * self.rng.uniform(0.6, 2.0, n)
        chosen, refused = self._route(callee, t)
        trip = Trip(chosen, out, out * 0.9)
        outcome = Outcome(t + out, np.zeros(n, np.int8), np.zeros(n, np.int8))
        outcome.fail(refused, REFUSED, LINK_REFUSED)
        for rule in self.state.link_rules.get((caller, callee), ()):
            self._link(rule, batch, trip, outcome)
        limit = np.minimum(t + call.timeout_s, batch.deadline)
        until = self._until(callee, chosen, t, limit)
        arrive = t + trip.out
        under_way = outcome.code == OK
        go = np.flatnonzero(under_way & (arrive < until))
        outcome.end[under_way & (arrive >= limit)] = np.inf
        outcome.fail(under_way & (arrive >= until) & (arrive < limit), REFUSED, LINK_REFUSED)
        if len(go):
            rows = np.arange(first, first + n, dtype=np.int32)
            served = self._serve(call.callee, Batch(batch.request, chosen, arrive, until, rows).take(go))
            outcome.end[go] = served.end + trip.back[go]
            outcome.code[go] = served.code
            outcome.cause[go] = np.where((served.code == OK) | (served.code == HOLLOW), NO_CAUSE, SERVER_SAID)
            reset = go[(served.end >= until[go]) & (until[go] < limit[go])]
            outcome.fail(reset, REFUSED, LINK_REFUSED)
        return self._finish(operation, call, batch, outcome, first)

    def _link(self, rule: LinkRule, batch: Batch, trip: Trip, outcome: Outcome) -> None:
        """Apply one link rule to the messages in place."""
        rng, n, t = self.rng, len(batch), batch.t
        hit = (t >= rule.start) & (t < rule.end)
        if rule.instances is not None:
            members = list(rule.instances)
            hit &= np.isin(trip.target, members) | np.isin(batch.instance, members)
        if not hit.any():
            return
        for leg in (trip.out, trip.back):
            if rule.delay_s > 0:
                leg += np.where(hit, rule.delay_s * rng.uniform(1 - rule.jitter, 1 + rule.jitter, n), 0.0)
            if rule.loss > 0:
                # Each lost packet costs a retransmission timeout that doubles: 0.2, 0.4, 0.8 s …
                lost = rng.geometric(1.0 - rule.loss, n) - 1
                leg += np.where(hit, 0.2 * (2.0 ** np.minimum(lost, 6) - 1.0), 0.0)
        for share, code, cause, patience in (
            (rule.cut, CONNECT_TIMEOUT, LINK_CONNECT, 1.0), (rule.dns, NAME_RESOLUTION, LINK_NAME, 0.012),
        ):  # fmt: skip
            if share > 0:
                gone = hit & (outcome.code == OK) & (rng.random(n) < share)
                outcome.fail(gone, code, cause)
                outcome.end[gone] = t[gone] + patience * rng.uniform(0.8, 1.3, int(gone.sum()))


def failed_server(code: I8) -> Bool:
    """Which server-side codes carry the status error."""
    return np.isin(code, (EXCEPTION, UNAVAILABLE, GATEWAY_TIMEOUT, DEPENDENCY, CANCELLED, WRONG_5XX, OVERLOADED)) | (
        code >= CLIENT_ONLY
    )
