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


# first row, label, request, parent, instance, own cpu, start, end, code, cause; scalars stand for all rows of a block.
_Block = tuple[int, int, I32, object, object, object, F64, F64, object, object]


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


class Engine:
    """Runs requests against one state. Not thread-safe; one engine per chunk."""

    def __init__(self, system: System, state: State, labels: Labels, rng: np.random.Generator) -> None:
        self.system, self.state, self.labels, self.rng = system, state, labels, rng
        self.count = 0
        self.requests = 0
        self._blocks: list[_Block] = []
        self._firsts = [service.first for service in system.services]
        self._sizes = [len(service.instances) for service in system.services]
        self._last_bin = state.bins - 1
        touched = (state.delay_s > 0).any(1) if state.delay_s.size else np.zeros(0, np.bool_)
        rejected = (state.reject > 0).any(1)
        owner = np.array(system.instance_service)
        self._delayed = {int(i) for i in owner[touched]}
        self._rejecting = {int(i) for i in owner[rejected]}
        self._outages = {int(owner[i]) for i in state.down}
        self._paused = {int(owner[i]) for i in state.pauses}
        self._pooled = {int(owner[i]) for i in state.pools}

    # rows -------------------------------------------------------------------------------------------------

    def _open(self, n: int) -> int:
        first = self.count
        self.count += n
        return first

    def _close(
        self, first: int, request: I32, parent: object, label: int, instance: object, start: F64, end: F64,
        code: object = OK, cause: object = NO_CAUSE, own: object = 0.0,
    ) -> None:  # fmt: skip
        self._blocks.append((first, label, request, parent, instance, own, start, end, code, cause))

    def rows(self) -> Rows:
        """All spans recorded so far."""
        n = self.count
        out = Rows(
            request=np.empty(n, np.int32), parent=np.empty(n, np.int32), label=np.empty(n, np.int32),
            instance=np.empty(n, np.int32), start_s=np.empty(n), end_s=np.empty(n), own_s=np.empty(n),
            code=np.empty(n, np.int8), cause=np.empty(n, np.int8),
        )  # fmt: skip
        for first, label, request, parent, instance, own, start, end, code, cause in self._blocks:
            at = slice(first, first + len(request))
            out.request[at], out.label[at] = request, label
            out.parent[at], out.instance[at], out.own_s[at] = parent, instance, own
            out.start_s[at], out.end_s[at], out.code[at], out.cause[at] = start, end, code, cause
        return out

    # requests ---------------------------------------------------------------------------------------------

    def run(self, entry: int, times: F64) -> None:
        """Let requests of one entry (position in `System.entries`) arrive at `times`, seconds, shape (n,)."""
        operation = self.system.entries[entry]
        service = self.system.operations[operation].service
        instance, refused = self._route(service, times)
        if refused.any():
            times, instance = times[~refused], instance[~refused]
        n = len(times)
        if n == 0:
            return
        request = np.arange(self.requests, self.requests + n, dtype=np.int32)
        self.requests += n
        parent = np.full(n, -1, np.int32)
        self._serve(operation, request, instance, times, times + ENTRY_DEADLINE_S, parent)

    def _bin(self, times: F64) -> I64:
        return np.minimum(times.astype(np.int64), self._last_bin)

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

    def _pause(self, service: int, instance: I32, start: F64, length: F64) -> F64:
        """Seconds that stop-the-world pauses add to work that begins at `start` and takes `length`."""
        extra = np.zeros(len(start))
        for k in self.state.instances_of(service):
            pauses = self.state.pauses.get(k)
            if pauses is None or pauses.shape[1] == 0:
                continue
            mine = np.flatnonzero(instance == k)
            at = start[mine]
            before = np.searchsorted(pauses[0], at, side="right") - 1
            stuck = np.where(before >= 0, pauses[1][np.maximum(before, 0)] - at, 0.0).clip(0.0)
            after = np.minimum(before + 1, pauses.shape[1] - 1)
            caught = (pauses[0][after] > at) & (pauses[0][after] < at + length[mine])
            extra[mine] = stuck + np.where(caught, pauses[1][after] - pauses[0][after], 0.0)
        return extra

    def _before_work(self, op: Operation, instance: I32, t: F64, b: I64) -> tuple[F64, I8, I8]:
        """Waiting before the work starts, with the failures it brings: queue, injected delay, pool."""
        state, rng, n = self.state, self.rng, len(t)
        wait = state.wait_s[instance, b] * rng.standard_exponential(n)
        code, cause = np.zeros(n, np.int8), np.zeros(n, np.int8)
        if op.service in self._delayed:
            delay = state.delay_s[instance, b]
            wait += delay * rng.uniform(0.6, 1.4, n)
        if op.service in self._rejecting:
            away = rng.random(n) < state.reject[instance, b]
            code[away], cause[away] = OVERLOADED, QUEUE_FULL
            wait[away] = 0.001
        if op.service in self._pooled and any(call.kind == "external" for call in op.calls):
            for k in self.state.instances_of(op.service):
                rule = state.pools.get(k)
                if rule is None:
                    continue
                full = (instance == k) & (t >= rule.start + rule.ramp_s) & (t < rule.end)
                asked = rule.wait_s * rng.standard_exponential(n)
                wait += np.where(full, np.minimum(asked, rule.give_up_s), 0.0)
                failed = full & (asked > rule.give_up_s)
                code[failed], cause[failed] = EXCEPTION, POOL_TIMEOUT
        return wait, code, cause

    def _misbehave(self, operation: int, instance: I32, t: F64, own: F64, code: I8, cause: I8) -> Bool:
        """Apply the operation's rules in place; returns which executions skip their calls, shape (n,)."""
        skip = np.zeros(len(t), np.bool_)
        for rule in self.state.op_rules.get(operation, ()):
            hit = (t >= rule.start) & (t < rule.end) & (code == OK)
            if rule.instances is not None:
                hit &= np.isin(instance, list(rule.instances))
            hit &= self.rng.random(len(t)) < rule.probability
            if rule.delay_s > 0:
                own += np.where(hit, rule.delay_s * self.rng.uniform(0.6, 1.4, len(t)), 0.0)
                continue
            code[hit], cause[hit] = rule.code, rule.cause
            skip |= hit & rule.skip
        return skip

    def _serve(self, operation: int, request: I32, instance: I32, t: F64, deadline: F64, parent: I32) -> tuple[F64, I8]:
        """Execute an operation for n requests; returns when each ends and with which code, both shape (n,)."""
        op, rng, n = self.system.operations[operation], self.rng, len(t)
        first = self._open(n)
        me = np.arange(first, first + n, dtype=np.int32)
        b = self._bin(t)
        work = op.work_s * np.exp(op.sigma * rng.standard_normal(n) - 0.5 * op.sigma**2) * self.state.slow[instance, b]
        wait, code, cause = self._before_work(op, instance, t, b)
        late = np.zeros(n)
        skip = (
            self._misbehave(operation, instance, t + wait, late, code, cause)
            if operation in self.state.op_rules
            else None
        )
        if op.service in self._paused:
            late += self._pause(op.service, instance, t + wait, work)
        now = t + wait + late + work * op.pre_share
        live = code == OK
        if skip is not None:
            live &= ~skip
        if op.internal:
            self._internal(operation, request, instance, t + wait, np.minimum(now, deadline), me)
        for step in op.steps:
            now = self._step(operation, step, request, instance, now, deadline, me, live, code, cause)
        end = now + work * (1.0 - op.pre_share) * np.where(code == OK, 1.0, 0.1)
        if skip is not None:
            code[skip & (code == OK)] = HOLLOW
        over = end > deadline
        if over.any():
            end = np.minimum(end, deadline)
            cut = over & ((code == OK) | (code == HOLLOW))
            code[cut], cause[cut] = CANCELLED, LATE
        self._close(
            first,
            request,
            parent,
            self.labels.server[operation],
            instance,
            t,
            end,
            code,
            cause,
            np.minimum(work, end - t),
        )
        return end, code

    def _internal(self, operation: int, request: I32, instance: I32, start: F64, end: F64, parent: I32) -> None:
        first = self._open(len(request))
        begin = np.minimum(start, end)
        self._close(first, request, parent, self.labels.internal[operation], instance, begin, end)

    def _step(
        self, operation: int, step: Sequence[Call], request: I32, instance: I32, now: F64, deadline: F64, me: I32,
        live: Bool, code: I8, cause: I8,
    ) -> F64:  # fmt: skip
        """Run the calls of one step for the requests that are still alive; updates `live`, `code`, `cause`."""
        live &= now < deadline
        done = now.copy()
        n = len(now)
        failed_at: list[tuple[I64, I8, Call]] = []
        for call in step:
            go = live if call.probability >= 1.0 else live & (self.rng.random(n) < call.probability)
            at = np.flatnonzero(go)
            if len(at) == 0:
                continue
            if len(at) == n:
                end, result = self._call(operation, call, request, instance, now, deadline, me)
            else:
                end, result = self._call(operation, call, request[at], instance[at], now[at], deadline[at], me[at])
            done[at] = np.maximum(done[at], end)
            if call.kind != "async" and result.any():
                bad = np.flatnonzero(result)
                failed_at.append((at[bad], result[bad], call))
        for at, result, call in failed_at:
            hollow = result == HOLLOW
            if call.strict:
                code[at[hollow]], cause[at[hollow]] = EXCEPTION, HOLLOW_ANSWER
                live[at[hollow]] = False
            at, result = at[~hollow], result[~hollow]
            if call.fallback:
                cause[at] = np.where(cause[at] == NO_CAUSE, ABSORBED, cause[at])
                continue
            late = np.isin(result, (CLIENT_TIMEOUT, GATEWAY_TIMEOUT))
            code[at] = np.where(result == BAD_REQUEST, BAD_REQUEST, np.where(late, GATEWAY_TIMEOUT, DEPENDENCY))
            cause[at] = CHILD_FAILED
            live[at] = False
        return done

    # calls ------------------------------------------------------------------------------------------------

    def _call(
        self, operation: int, call: Call, request: I32, instance: I32, t: F64, deadline: F64, parent: I32
    ) -> tuple[F64, I8]:
        """One call with its retries; returns when the caller goes on and the final code, both shape (n,)."""
        label = self.labels.client[operation, call.kind, call.callee]
        if call.kind == "async":
            return self._publish(label, call, request, instance, t, parent)
        attempt = self._query if call.kind == "external" else self._attempt
        end, code = attempt(operation, label, call, request, instance, t, deadline, parent)
        for retry in range(call.retries):
            again = np.flatnonzero(np.isin(code, RETRYABLE))
            start = end[again] + 0.03 * 2**retry * self.rng.uniform(0.5, 1.5, len(again))
            in_time = start < deadline[again]
            again, start = again[in_time], start[in_time]
            if len(again) == 0:
                break
            end[again], code[again] = attempt(
                operation, label, call, request[again], instance[again], start, deadline[again], parent[again]
            )
        return end, code

    def _publish(self, label: int, call: Call, request: I32, instance: I32, t: F64, parent: I32) -> tuple[F64, I8]:
        """Write to a queue and go on; the consumer starts later, as a child of the producer span."""
        n = len(t)
        first = self._open(n)
        end = t + 0.0006 * self.rng.uniform(0.5, 2.0, n)
        self._close(first, request, parent, label, instance, t, end)
        service = self.system.operations[call.callee].service
        start = end + 0.002 + 0.01 * self.rng.standard_exponential(n)
        chosen, refused = self._route(service, start)
        ok = ~refused
        rows = np.arange(first, first + n, dtype=np.int32)
        if ok.any():
            far = np.full(int(ok.sum()), np.inf)
            self._serve(call.callee, request[ok], chosen[ok], start[ok], far, rows[ok])
        return end, np.zeros(n, np.int8)

    def _query(
        self, operation: int, label: int, call: Call, request: I32, instance: I32, t: F64, deadline: F64, parent: I32
    ) -> tuple[F64, I8]:
        """A call to an external dependency: a client span without a server span."""
        target, n = self.system.externals[call.callee], len(t)
        took = target.latency_s * np.exp(target.sigma * self.rng.standard_normal(n))
        code, cause = np.zeros(n, np.int8), np.zeros(n, np.int8)
        for rule in self.state.external_rules.get(call.callee, ()):
            hit = (t >= rule.start) & (t < rule.end)
            took = np.where(hit, took * rule.factor + rule.delay_s * self.rng.uniform(0.5, 1.5, n), took)
            away = hit & (self.rng.random(n) < rule.refuse)
            code[away], cause[away] = REFUSED, LINK_REFUSED
            took[away] = 0.001
        return self._finish(label, call, request, instance, t, t + NETWORK_S + took, deadline, parent, code, cause)

    def _finish(
        self, label: int, call: Call, request: I32, instance: I32, t: F64, end: F64, deadline: F64, parent: I32,
        code: I8, cause: I8, first: int | None = None,
    ) -> tuple[F64, I8]:  # fmt: skip
        """Close a client span, with the caller's patience applied."""
        limit = np.minimum(t + call.timeout_s, deadline)
        late = end > limit
        if late.any():
            end = np.minimum(end, limit)
            code[late], cause[late] = CLIENT_TIMEOUT, LINK_TIMEOUT
        if first is None:
            first = self._open(len(t))
        self._close(first, request, parent, label, instance, t, end, code, cause)
        return end, code

    def _attempt(
        self, operation: int, label: int, call: Call, request: I32, instance: I32, t: F64, deadline: F64, parent: I32
    ) -> tuple[F64, I8]:
        """One attempt to call another service: link, balancer, server, link."""
        callee = self.system.operations[call.callee].service
        caller = self.system.operations[operation].service
        n = len(t)
        first = self._open(n)
        limit = np.minimum(t + call.timeout_s, deadline)
        out = NETWORK_S * self.rng.uniform(0.6, 2.0, n)
        back = out * 0.9
        chosen, refused = self._route(callee, t)
        code, cause = np.zeros(n, np.int8), np.zeros(n, np.int8)
        end = t + out
        code[refused], cause[refused] = REFUSED, LINK_REFUSED
        for rule in self.state.link_rules.get((caller, callee), ()):
            self._link(rule, t, instance, chosen, out, back, code, cause, end)
        arrive = t + out
        go = np.flatnonzero((code == OK) & (arrive < limit))
        lost = (code == OK) & (arrive >= limit)
        end[lost] = np.inf
        if len(go):
            rows = np.arange(first, first + n, dtype=np.int32)
            dies = self._next_death(callee, chosen, t)
            until = limit if dies is None else np.minimum(limit, dies)
            if len(go) == n:
                served, said = self._serve(call.callee, request, chosen, arrive, until, rows)
            else:
                served, said = self._serve(call.callee, request[go], chosen[go], arrive[go], until[go], rows[go])
            end[go] = served + back[go]
            code[go] = said
            cause[go] = np.where((said == OK) | (said == HOLLOW), NO_CAUSE, SERVER_SAID)
            if dies is not None:
                reset = go[served >= dies[go]]
                code[reset], cause[reset] = REFUSED, LINK_REFUSED
        return self._finish(label, call, request, instance, t, end, deadline, parent, code, cause, first)

    def _next_death(self, service: int, instance: I32, t: F64) -> F64 | None:
        """When the chosen instance dies next, shape (n,); None when no instance of the service ever does."""
        if service not in self._outages:
            return None
        dies = np.full(len(t), np.inf)
        for k in self.state.instances_of(service):
            mine = instance == k
            for start, _ in self.state.down.get(k, ()):
                later = mine & (t < start)
                dies[later] = np.minimum(dies[later], start)
        return dies

    def _link(
        self, rule: LinkRule, t: F64, source: I32, target: I32, out: F64, back: F64, code: I8, cause: I8, end: F64
    ) -> None:
        """Apply one link rule in place."""
        rng, n = self.rng, len(t)
        hit = (t >= rule.start) & (t < rule.end)
        if rule.instances is not None:
            members = list(rule.instances)
            hit &= np.isin(target, members) | np.isin(source, members)
        if not hit.any():
            return
        if rule.delay_s > 0:
            out += np.where(hit, rule.delay_s * rng.uniform(1 - rule.jitter, 1 + rule.jitter, n), 0.0)
            back += np.where(hit, rule.delay_s * rng.uniform(1 - rule.jitter, 1 + rule.jitter, n), 0.0)
        if rule.loss > 0:
            # Each lost packet costs a retransmission timeout that doubles: 0.2, 0.4, 0.8 s …
            for leg in (out, back):
                lost = rng.geometric(1.0 - rule.loss, n) - 1
                leg += np.where(hit, 0.2 * (2.0 ** np.minimum(lost, 6) - 1.0), 0.0)
        for share, outcome, why, patience in (
            (rule.cut, CONNECT_TIMEOUT, LINK_CONNECT, 1.0), (rule.dns, NAME_RESOLUTION, LINK_NAME, 0.012),
        ):  # fmt: skip
            if share > 0:
                gone = hit & (code == OK) & (rng.random(n) < share)
                code[gone], cause[gone] = outcome, why
                end[gone] = t[gone] + patience * rng.uniform(0.8, 1.3, int(gone.sum()))


def failed_server(code: I8) -> Bool:
    """Which server-side codes carry the status error."""
    return np.isin(code, (EXCEPTION, UNAVAILABLE, GATEWAY_TIMEOUT, DEPENDENCY, CANCELLED, WRONG_5XX, OVERLOADED)) | (
        code >= CLIENT_ONLY
    )
