"""Telemetry that algorithms have to live with: whole, partial, broken, strange and large. Built once, never changed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from aetia.contracts.shop import (
    BASELINE,
    INCIDENT,
    ONSET_NS,
    OTHER_ALPHABETS,
    PLAIN,
    REVERSED,
    SPANS_PER_REQUEST,
    START_NS,
    numbers,
    only,
    replaced,
    rows_permuted,
    shop,
)
from aetia.model.diagnosis import Incident
from aetia.model.tables import SCHEMAS, Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.signals.view import Facts, View

MANY_SPANS = 100_000
DEPTH = 3_000
MODALITIES = ("spans", "logs", "metrics", "changes")


class Situation:
    """Telemetry with its windows. The arrays behind `view` cannot be written to: whoever tries raises ValueError."""

    def __init__(
        self,
        name: str,
        telemetry: Telemetry,
        *,
        baseline: tuple[Window, ...] = (BASELINE,),
        incident: Window = INCIDENT,
    ) -> None:
        self.name = name
        self.telemetry = telemetry
        self.baseline = baseline
        self.window = incident

    @functools.cached_property
    def facts(self) -> Facts:
        facts = Facts(self.telemetry)
        for frame in (facts.spans, facts.logs, facts.metrics, facts.topology):
            freeze(frame)
        return facts

    @functools.cached_property
    def shared_view(self) -> View:
        """One view for all who look: what channels compute for one another is kept."""
        return self.view()

    def view(self) -> View:
        """A new view on the same facts."""
        view = View(self.facts, self.baseline, self.window)
        for masks in (view.span_masks, view.log_masks, view.bin_masks):
            for mask in masks:
                mask.setflags(write=False)
        return view

    @property
    def incident(self) -> Incident:
        first = self.baseline[0] if self.baseline else Window(self.window.start_ns, self.window.start_ns)
        return Incident(baseline=first, window=self.window, onset_ns=self.window.start_ns, given=True)

    @functools.cached_property
    def content(self) -> str:
        """Digest of all tables as they were when it was first asked for."""
        return content(self.telemetry)

    def __str__(self) -> str:
        return self.name


def freeze(frame: object) -> None:
    """Make every numpy array of a dataclass read-only."""
    if dataclasses.is_dataclass(frame):
        for field in dataclasses.fields(frame):
            value = getattr(frame, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)


def content(telemetry: Telemetry) -> str:
    """Digest of the bytes of all tables; equal before and after whoever only reads."""
    import hashlib

    whole = hashlib.sha256()
    for name in SCHEMAS:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, telemetry.table(name).schema) as writer:
            writer.write_table(telemetry.table(name))
        whole.update(sink.getvalue().to_pybytes())
    return whole.hexdigest()


@functools.cache
def ordinary() -> Situation:
    """A small incident in which every kind of evidence can be found."""
    return Situation("an ordinary incident", shop())


@functools.cache
def host_trouble() -> Situation:
    """A small incident of one host."""
    return Situation("a slow host", shop(trouble="host", requests=300))


@functools.cache
def mesh_trouble() -> Situation:
    """A small incident of which a service mesh tells, without spans."""
    return Situation("a mesh without spans", shop(trouble="mesh"))


@functools.cache
def early_answer() -> Situation:
    """A small incident of a service that answers too soon, and of another one that fails over it."""
    return Situation("an early answer", shop(trouble="early", requests=300))


@functools.cache
def quiet() -> Situation:
    """Nothing happens."""
    return Situation("a quiet time", shop(trouble="none"))


@functools.cache
def permuted() -> Situation:
    """The ordinary incident with the rows of each table shuffled."""
    return Situation("rows in another order", rows_permuted(ordinary().telemetry))


@functools.cache
def renamed() -> tuple[tuple[dict[str, str], Situation], ...]:
    """(names, situation): the ordinary incident under names that sort in the opposite order, and in other alphabets."""
    return tuple(
        (names, Situation(title, shop(names=names)))
        for title, names in (("names in opposite order", REVERSED), ("names in other alphabets", OTHER_ALPHABETS))
    )


@functools.cache
def many() -> Situation:
    """The ordinary incident with 100 000 spans."""
    return Situation("100 000 spans", shop(requests=round(MANY_SPANS / 0.93 / SPANS_PER_REQUEST), names=PLAIN))


@functools.cache
def awkward() -> tuple[Situation, ...]:
    """Everything between nothing and too much of the wrong thing; an algorithm has to answer on each."""
    return (*_partial(), *_broken_spans(), *_broken_values(), *_odd_windows())


def _partial() -> list[Situation]:
    whole = ordinary().telemetry
    found = [Situation("empty tables", Telemetry()), Situation("topology alone", only(whole, "topology"))]
    for size in (1, 2, 3, 4):
        found += [
            Situation(f"{' and '.join(some)} alone", only(whole, *some)) for some in combinations(MODALITIES, size)
        ]
    single = whole.spans.filter(pa.array(numbers(whole.spans, "duration_ns") > 0)).slice(0, 1)
    found.append(Situation("one span in the baseline", Telemetry(spans=single)))
    late = replaced(single, time=[ONSET_NS + 1])
    found.append(Situation("one span in the incident", Telemetry(spans=late)))
    found.append(Situation("metrics with a call graph", only(whole, "metrics", "topology")))
    return found


def _spans_with(name: str, change: Callable[[dict[str, list[Any]]], None]) -> Situation:
    """The ordinary incident with its span columns changed in place by `change`."""
    whole = ordinary().telemetry
    columns = {
        key: whole.spans[key].to_pylist() for key in ("trace_id", "span_id", "parent_span_id", "service", "duration_ns")
    }
    columns["time"] = whole.spans["time"].cast(pa.int64()).to_pylist()
    change(columns)
    return Situation(name, dataclasses.replace(whole, spans=replaced(whole.spans, **columns)))


def _cycles(columns: dict[str, list[Any]]) -> None:
    last: dict[str, str] = dict(zip(columns["trace_id"], columns["span_id"], strict=True))
    for row, parent in enumerate(columns["parent_span_id"]):
        if parent is None:
            columns["parent_span_id"][row] = last[columns["trace_id"][row]]
        elif row % 7 == 0:
            columns["parent_span_id"][row] = columns["span_id"][row]


def _orphans(columns: dict[str, list[Any]]) -> None:
    for row, parent in enumerate(columns["parent_span_id"]):
        if parent is not None and row % 3 == 0:
            columns["parent_span_id"][row] = "f" * 16


def _duplicates(columns: dict[str, list[Any]]) -> None:
    for row in range(1, len(columns["time"]), 4):
        for values in columns.values():
            values[row] = values[row - 1]


def _skew(columns: dict[str, list[Any]]) -> None:
    shift = {"prices": -300, "stock": 45, "orders": 86_400}
    for row, service in enumerate(columns["service"]):
        columns["time"][row] += shift.get(service, 0) * NS_PER_SECOND


def _negative(columns: dict[str, list[Any]]) -> None:
    for row in range(0, len(columns["time"]), 3):
        columns["duration_ns"][row] = (-5, 0, 2**62)[row // 3 % 3]


def _unknown(columns: dict[str, list[Any]]) -> None:
    for number, values in enumerate(columns.values()):
        for row in range(number, len(values), 6):
            values[row] = None


def _chain(columns: dict[str, list[Any]]) -> None:
    """One request of many nested spans in each window."""
    count = len(columns["time"])
    for row in range(count):
        late = row >= count // 2
        first = count // 2 if late else 0
        columns["trace_id"][row] = "late" if late else "early"
        columns["span_id"][row] = str(row)
        columns["parent_span_id"][row] = str(row - 1) if row > first else None
        columns["time"][row] = (ONSET_NS if late else START_NS) + (row - first) * 1000
        columns["duration_ns"][row] = 10**9 - (row - first) * 2000


def _broken_spans() -> list[Situation]:
    found = [
        _spans_with(name, change)
        for name, change in (
            ("cyclic parents", _cycles), ("orphans", _orphans), ("duplicates", _duplicates), ("clock skew", _skew),
            ("negative and endless durations", _negative), ("values missing everywhere", _unknown),
            ("a chain of spans", _chain),
        )
    ]  # fmt: skip
    rows = np.resize(np.arange(ordinary().telemetry.spans.num_rows), 2 * DEPTH)
    columns = {name: [None] * len(rows) for name in ("trace_id", "span_id", "parent_span_id", "time", "duration_ns")}
    _chain(columns)
    deep = replaced(ordinary().telemetry.spans.take(rows), **columns)
    return [*found, Situation(f"{DEPTH} spans deep", Telemetry(spans=deep))]


def _broken_values() -> list[Situation]:
    whole = ordinary().telemetry
    value = numbers(whole.metrics, "value")
    count = np.arange(len(value))
    odd = np.select([count % 5 == 0, count % 7 == 0, count % 11 == 0], [np.nan, np.inf, -np.inf], value)
    nothing = np.full(len(value), np.nan)
    constant = np.full(len(value), 7.0)
    found = [
        Situation(name, dataclasses.replace(whole, metrics=replaced(whole.metrics, value=numbers)))
        for name, numbers in (("metrics not finite now and then", odd), ("metrics never finite", nothing),
                              ("metrics constant", constant), ("metrics all zero", 0.0 * constant))
    ]  # fmt: skip
    blank = {n: [None] * len(whole.logs) for n in ("service", "severity", "body", "instance")}
    found.append(Situation("logs that say nothing", dataclasses.replace(whole, logs=replaced(whole.logs, **blank))))
    endless = ["x " * 20_000] * 3 + whole.logs["body"].to_pylist()[3:]
    found.append(Situation("endless log lines", dataclasses.replace(whole, logs=replaced(whole.logs, body=endless))))
    return found


def _odd_windows() -> list[Situation]:
    whole = ordinary().telemetry
    hour = 3600 * NS_PER_SECOND
    return [
        Situation("no baseline at all", whole, baseline=()),
        Situation("a baseline of no length", whole, baseline=(Window(START_NS, START_NS),)),
        Situation("a baseline of two seconds", whole, baseline=(Window(ONSET_NS - 2 * NS_PER_SECOND, ONSET_NS),)),
        Situation("a baseline outside the data", whole, baseline=(BASELINE.shifted(-7200),)),
        Situation("an incident outside the data", whole, incident=INCIDENT.shifted(7200)),
        Situation("an incident of no length", whole, incident=Window(ONSET_NS, ONSET_NS)),
        Situation("a baseline after the incident", whole, baseline=(INCIDENT,), incident=BASELINE),
        Situation("windows that overlap", whole, baseline=(Window(START_NS, INCIDENT.end_ns),)),
        Situation("a baseline in pieces", whole, baseline=(Window(START_NS - hour, START_NS + 50 * NS_PER_SECOND),
                                                          Window(START_NS + 90 * NS_PER_SECOND, ONSET_NS))),
        quiet(),
    ]  # fmt: skip
