"""Log lines: what requests write, what fails loudly, what processes write by themselves, and noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _pc
from numpy.typing import NDArray

from aetia.lab.sim.engine import CLIENT, CONSUMER, SERVER, Label, Labels
from aetia.lab.sim.phrases import BACKGROUND, BASIC, CAUSES, LIFE, exception_text
from aetia.lab.sim.scenario import Scenario
from aetia.lab.sim.spans import SpanChunk, coded, text_of
from aetia.lab.sim.state import F64, I64, NO_CAUSE, State, inside
from aetia.lab.sim.system import System
from aetia.model.tables import LOGS, SEVERITIES, TEXT, TIME

pc: Any = _pc
I32 = NDArray[np.int32]


@dataclass(slots=True)
class Bank:
    """All templates of a system as columns: text before, between and after two numbers, severity and service.

    `spread` is the range of the first number (0: none), `second` what the second one is: 0 none, 1 a duration in
    ms, 2 a random number below `spread`.
    """

    parts: tuple[list[str], list[str], list[str]] = field(default_factory=lambda: ([], [], []))
    severity: list[int] = field(default_factory=list[int])
    spread: list[int] = field(default_factory=list[int])
    second: list[int] = field(default_factory=list[int])
    service: list[int] = field(default_factory=list[int])

    def add(self, service: int, severity: str, text: str, spread: int = 1_000_000) -> int:
        """Add a template; `{}` in the text is the first number, `{ms}` or `{n}` the second. Returns its index."""
        second = 1 if "{ms}" in text else 2 if "{n}" in text else 0
        head, _, tail = text.replace("{ms}", "\x00").replace("{n}", "\x00").partition("\x00")
        before, found, between = head.partition("{}")
        for column, part in zip(self.parts, (before, between, tail), strict=True):
            column.append(part)
        self.severity.append(SEVERITIES.index(severity))
        self.spread.append(spread if found else 0)
        self.second.append(second)
        self.service.append(service)
        return len(self.severity) - 1


@dataclass(slots=True, kw_only=True)
class Lines:
    """Log lines before they are text: seconds, template, instance, the duration they may name, row of the span."""

    time_s: F64
    template: NDArray[np.integer]
    instance: I32
    ms: F64
    span: I64 | None = None


class LogWriter:
    """Writes the log lines of one scenario, chunk by chunk."""

    def __init__(self, scenario: Scenario, state: State, labels: Labels) -> None:
        self.scenario, self.state, self.labels = scenario, state, labels
        self.system: System = scenario.system
        self.bank = Bank()
        rng = np.random.default_rng([self.system.seed, 3])
        n = len(labels.items)
        self.basic = np.zeros((n, 2), np.int32)
        self.on_cause = np.full((n, len(CAUSES)), -1, np.int32)
        self.share = np.array([share for share, *_ in CAUSES])
        self.talk = np.zeros(n)
        for index, label in enumerate(labels.items):
            self._label(index, label, rng)
        self.life = [self._life(index) for index in range(len(self.system.services))]
        self.noise = [self._background(index, rng) for index in range(len(self.system.services))]
        self._freeze()

    def _label(self, index: int, label: Label, rng: np.random.Generator) -> None:
        """The templates of one place in the code: what it says when all is well, and per cause of failure."""
        kind, service, peer = label.kind, label.service, label.peer
        action = label.name.rsplit("/", 1)[-1].lower()
        if kind in (SERVER, CONSUMER):
            count = int(rng.integers(1, 4))
            first = len(self.bank.severity)
            for text in rng.choice(np.array(BASIC), size=count, replace=False):
                self.bank.add(service, "info", str(text).replace("{action}", action))
            self.basic[index] = first, count
            self.talk[index] = rng.uniform(0.5, 1.5)
        runtime = self.system.services[service].runtime
        for cause, (_, severity, text, where) in enumerate(CAUSES):
            if text and where == ("client" if kind == CLIENT else "server"):
                body = text.replace("{action}", action).replace("{peer}", peer or "")
                body = body.replace("{trace}", exception_text(runtime, service, action))
                self.on_cause[index, cause] = self.bank.add(service, severity, body)

    def _life(self, service: int) -> dict[str, int]:
        return {key: self.bank.add(service, severity, text) for key, (severity, text) in LIFE.items()}

    def _background(self, service: int, rng: np.random.Generator) -> list[tuple[int, float]]:
        """Templates that a process writes by itself, with lines per second and instance."""
        chosen = rng.choice(len(BACKGROUND), size=int(rng.integers(2, 6)), replace=False)
        return [
            (
                self.bank.add(service, BACKGROUND[i][0], BACKGROUND[i][1]),
                BACKGROUND[i][2] * float(rng.uniform(0.4, 1.6)),
            )
            for i in sorted(int(i) for i in chosen)
        ]

    def _freeze(self) -> None:
        self._parts = tuple(pa.array(column, TEXT) for column in self.bank.parts)
        self._spread = np.array(self.bank.spread)
        self._second = np.array(self.bank.second)
        self._severity = np.array(self.bank.severity)
        self._service = np.array(self.bank.service)

    def of_chunk(self, chunk: SpanChunk, number: int) -> pa.Table:
        """The lines that the requests of one chunk write, sorted by time."""
        rng = np.random.default_rng([self.scenario.seed, 4, number])
        rows = chunk.rows
        want = self.scenario.log_rate * self.talk[rows.label]
        lines = np.floor(want + rng.random(len(rows))).astype(np.int64)
        said = np.repeat(np.arange(len(rows)), lines)
        first, count = self.basic[rows.label[said]].T
        template = first + (rng.random(len(said)) * count).astype(np.int32)
        when = rng.random(len(said))
        loud = np.flatnonzero(rows.cause != NO_CAUSE)
        cause = rows.cause[loud]
        of_cause = self.on_cause[rows.label[loud], cause]
        keep = (of_cause >= 0) & (rng.random(len(loud)) < self.share[cause])
        span = np.concatenate([said, loud[keep]])
        template = np.concatenate([template, of_cause[keep]])
        when = np.concatenate([when, np.ones(int(keep.sum()))])
        took = (rows.end_s - rows.start_s)[span]
        time_s = rows.start_s[span] + when * took
        written = Lines(time_s=time_s, template=template, instance=rows.instance[span], ms=took * 1e3, span=span)
        return self._table(rng, written, chunk)

    def background(self) -> pa.Table:
        """Lines without a trace: periodic chatter, occasional unrelated errors, starts and stops of processes."""
        rng = np.random.default_rng([self.scenario.seed, 5])
        times: list[F64] = []
        templates: list[I64] = []
        owners: list[I64] = []

        def put(at: F64, template: int, instance: int) -> None:
            times.append(at)
            templates.append(np.full(len(at), template))
            owners.append(np.full(len(at), instance))

        total = self.scenario.total_s
        for instance, service in enumerate(self.system.instance_service):
            dead = self.state.down.get(instance, [])
            for template, rate in self.noise[service]:
                at = rng.random(rng.poisson(rate * total)) * total
                put(at[~inside(dead, at)], template, instance)
            self._lifecycle(instance, self.life[service], put)
        for service, start, end, size in self.state.noisy_logs:
            for instance in self.state.instances_of(service):
                at = start + rng.random(rng.poisson((end - start) * size)) * (end - start)
                put(at, self.life[service]["noise"], instance)
        at = np.concatenate(times)
        inside_run = at < total
        lines = Lines(
            time_s=at[inside_run], template=np.concatenate(templates)[inside_run],
            instance=np.concatenate(owners)[inside_run].astype(np.int32), ms=rng.uniform(1, 900, int(inside_run.sum())),
        )  # fmt: skip
        return self._table(rng, lines, None)

    def _lifecycle(self, instance: int, life: dict[str, int], put: Any) -> None:
        for back in self.state.restarts.get(instance, ()):
            put(np.array([back, back + 1.2]), life["starting"], instance)
            put(np.array([back + 2.5]), life["started"], instance)
        if instance in self.state.pauses and self.state.pauses[instance].size:
            ends = self.state.pauses[instance][1]
            put(ends[::2], life["pause"], instance)
        pressed = np.flatnonzero(self.state.gc_share[instance] > 0.25)
        if len(pressed) and instance not in self.state.pauses:
            put(pressed[::5].astype(np.float64), life["memory"], instance)

    def _table(self, rng: np.random.Generator, lines: Lines, chunk: SpanChunk | None) -> pa.Table:
        order = np.argsort(lines.time_s, kind="stable")
        template, instance = lines.template[order], lines.instance[order]
        n = len(order)
        number = (rng.random(n) * np.maximum(self._spread[template], 1)).astype(np.int64)
        second = np.where(
            self._second[template] == 1,
            np.rint(lines.ms[order]).astype(np.int64),
            (rng.random(n) * 5000).astype(np.int64),
        )
        pick: Any = pa.array(template)
        text = [part.take(pick) for part in self._parts]
        one = pc.if_else(pa.array(self._spread[template] > 0), pa.array(number).cast(TEXT), "")
        two = pc.if_else(pa.array(self._second[template] > 0), pa.array(second).cast(TEXT), "")
        body = pc.binary_join_element_wise(text[0], one, text[1], two, text[2], "")
        time_ns = self.scenario.start_ns + np.rint(lines.time_s[order] * 1e9).astype(np.int64)
        if chunk is not None and lines.span is not None:
            mine = lines.span[order]
            trace_id, span_id = text_of(chunk.trace[chunk.rows.request[mine]]), text_of(chunk.span[mine])
        else:
            trace_id, span_id = pa.nulls(n, TEXT), pa.nulls(n, TEXT)
        empty = pa.DictionaryArray.from_arrays(pa.nulls(n, pa.int32()), pa.array([], TEXT))
        columns: dict[str, Any] = {
            "time": pa.array(time_ns).cast(TIME),
            "trace_id": trace_id,
            "span_id": span_id,
            "service": coded(self._service[template], [s.name for s in self.system.services]),
            "instance": coded(instance, list(self.system.instances)),
            "severity": coded(self._severity[template], list(SEVERITIES)),
            "body": body,
            "template": empty,
            "attributes": empty,
        }
        return pa.Table.from_arrays([columns[name] for name in LOGS.names], names=LOGS.names)
