"""Perturbations: harder versions of a case, made from the case and its telemetry, each under a name.

A specification is `NAME=VALUE`, or several joined by commas and applied from left to right
(`late=120,without=logs`). The same seed and case always give the same perturbed case. Perturbations change
windows and telemetry, never the truth. Where one cannot be applied to a case, `Unapplied` says why, and the
case counts for no localizer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from aetia.bench._edges import edge_metrics_only
from aetia.model.case import Case
from aetia.model.errors import BenchError
from aetia.model.tables import SCHEMAS, Telemetry
from aetia.model.window import NS_PER_SECOND, Window, union_mask

# The stubs know few overloads of the kernels; what leaves a function here is annotated.
pc: Any = pyarrow.compute
NONE = "none"
MODALITIES = ("spans", "logs", "metrics", "changes", "topology")
SKEWED_SHARE = 1 / 3


class Unapplied(BenchError):
    """The perturbation makes no sense for this case."""


Change = Callable[[Case, Telemetry, Any, np.random.Generator], tuple[Case, Telemetry]]


class Perturbation(NamedTuple):
    """One named perturbation: `parse` reads its value (None: it takes none), `change` applies it."""

    name: str
    value: str
    summary: str
    parse: Callable[[str], Any] | None
    change: Change


class Step(NamedTuple):
    perturbation: Perturbation
    value: Any


def parse(specification: str) -> list[Step]:
    """The steps of a specification; empty for `none`.

    Raises BenchError for an unknown name or a value that does not fit."""
    steps: list[Step] = []
    if specification.strip() in ("", NONE):
        return steps
    for part in specification.split(","):
        name, _, text = part.strip().partition("=")
        known = PERTURBATIONS.get(name)
        if known is None:
            raise BenchError(f"there is no perturbation called '{name}'; known: {', '.join(PERTURBATIONS)}.")
        if known.parse is None:
            if text:
                raise BenchError(f"perturbation '{name}' takes no value; write just '{name}'.")
            steps.append(Step(known, None))
            continue
        try:
            steps.append(Step(known, known.parse(text)))
        except ValueError as error:
            raise BenchError(f"perturbation '{part.strip()}': {error}; write {name}={known.value}.") from error
    return steps


def apply(specification: str, case: Case, telemetry: Telemetry, *, seed: int = 0) -> tuple[Case, Telemetry]:
    """The perturbed case and telemetry; the originals are not changed.

    Raises Unapplied when the case does not allow it."""
    for position, step in enumerate(parse(specification)):
        stream = [seed, zlib.crc32(case.id.encode()), zlib.crc32(step.perturbation.name.encode()), position]
        case, telemetry = step.perturbation.change(case, telemetry, step.value, np.random.default_rng(stream))
    return case, telemetry


# ------------------------------------------------------------------------------------------- values


def _seconds(text: str) -> float:
    value = float(text)
    if not (np.isfinite(value) and value > 0):
        raise ValueError("seconds must be a positive number")
    return value


def _signed_seconds(text: str) -> float:
    value = float(text)
    if not (np.isfinite(value) and value != 0):
        raise ValueError("seconds must be a number other than zero")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError("a share lies between 0 and 1")
    return value


def _tables(text: str) -> tuple[str, ...]:
    names = tuple(text.split("+"))
    wrong = [name for name in names if name not in MODALITIES]
    if wrong:
        raise ValueError(f"there is no table '{wrong[0]}' (known: {', '.join(MODALITIES)})")
    return names


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("the number of edges cannot be negative")
    return value


# ------------------------------------------------------------------------------------------ windows


def _incident(case: Case) -> Window:
    if case.incident is None:
        raise Unapplied(f"case '{case.id}' has no incident window; only cases with one can be perturbed this way.")
    return case.incident


def late(case: Case, telemetry: Telemetry, seconds: float, _rng: np.random.Generator) -> tuple[Case, Telemetry]:
    """The incident is noticed late: its window starts `seconds` later, the baseline stays as it is."""
    window = _incident(case)
    start = window.start_ns + round(seconds * NS_PER_SECOND)
    if start >= window.end_ns:
        raise Unapplied(
            f"case '{case.id}' lasts {window.seconds:g} s; nothing is left when it starts {seconds:g} s late."
        )
    return msgspec.structs.replace(case, incident=Window(start, window.end_ns)), telemetry


def contaminated(case: Case, telemetry: Telemetry, seconds: float, _rng: np.random.Generator) -> tuple[Case, Telemetry]:
    """What is taken for normal is not: the `seconds` right before the incident join the baselines of spans
    and logs. Where a baseline already reaches the incident, the incident starts `seconds` later instead and
    that baseline reaches up to it, so that the first faulty seconds count as normal."""
    window = _incident(case)
    baselines = {table: case.baseline_windows(table) for table in ("spans", "logs", "metrics")}
    if not any(baselines.values()):
        raise Unapplied(f"case '{case.id}' has no baseline to contaminate.")
    shift = round(seconds * NS_PER_SECOND)
    if not any(_reaches(w, window) for t in ("spans", "logs") for w in baselines[t]):
        extra = Window(window.start_ns - shift, window.start_ns)
        mixed = {t: _merged((*baselines[t], extra)) for t in ("spans", "logs")}
        return msgspec.structs.replace(case, baselines={**case.baselines, **mixed}), telemetry
    start = window.start_ns + shift
    if start >= window.end_ns:
        raise Unapplied(f"case '{case.id}' lasts {window.seconds:g} s; its first {seconds:g} s are all of it.")

    def extended(windows: tuple[Window, ...]) -> tuple[Window, ...]:
        return tuple(Window(w.start_ns, start) if _reaches(w, window) else w for w in windows)

    changed = msgspec.structs.replace(
        case, incident=Window(start, window.end_ns),
        baseline=extended((case.baseline,))[0] if case.baseline is not None else None,
        baselines={table: extended(windows) for table, windows in case.baselines.items()},
    )  # fmt: skip
    return changed, telemetry


def _reaches(baseline: Window, incident: Window) -> bool:
    """Whether a baseline begins before the incident and ends at its start or later; a fault-free recording from
    another day, before or after, does not."""
    return baseline.start_ns < incident.start_ns <= baseline.end_ns


def _merged(windows: tuple[Window, ...]) -> tuple[Window, ...]:
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start_ns <= merged[-1].end_ns:
            merged[-1] = Window(merged[-1].start_ns, max(merged[-1].end_ns, window.end_ns))
        else:
            merged.append(window)
    return tuple(merged)


def short_baseline(
    case: Case, telemetry: Telemetry, seconds: float, _rng: np.random.Generator
) -> tuple[Case, Telemetry]:
    """Only the last `seconds` of every baseline exist; the telemetry of the rest is removed too."""
    if case.baseline is None and not case.baselines:
        raise Unapplied(f"case '{case.id}' has no baseline to shorten.")
    kept: dict[str, tuple[Window, ...]] = {}
    tables: dict[str, pa.Table] = {}
    for name in ("spans", "logs", "metrics"):
        before = case.baseline_windows(name)
        kept[name] = _last(before, round(seconds * NS_PER_SECOND))
        tables[name] = _without_windows(telemetry.table(name), before, kept[name])
    baseline = _last((case.baseline,), round(seconds * NS_PER_SECOND))[0] if case.baseline is not None else None
    baselines = {name: kept.get(name, windows) for name, windows in case.baselines.items()}
    return msgspec.structs.replace(case, baseline=baseline, baselines=baselines), replace(telemetry, **tables)


def _last(windows: tuple[Window, ...], budget_ns: int) -> tuple[Window, ...]:
    """The latest parts of some windows that sum to at most `budget_ns`."""
    kept: list[Window] = []
    for window in sorted(windows, reverse=True):
        if budget_ns <= 0:
            break
        start = max(window.start_ns, window.end_ns - budget_ns)
        budget_ns -= window.end_ns - start
        kept.append(Window(start, window.end_ns))
    return tuple(sorted(kept))


def _without_windows(table: pa.Table, before: tuple[Window, ...], kept: tuple[Window, ...]) -> pa.Table:
    times = times_ns(table)
    return table.filter(pa.array(~union_mask(before, times) | union_mask(kept, times)))


# ---------------------------------------------------------------------------------------- telemetry


def times_ns(table: pa.Table) -> NDArray[np.int64]:
    """The `time` column as int64 nanoseconds, shape (n,); a missing time becomes 0."""
    return pc.fill_null(pc.cast(table["time"], pa.int64()), 0).to_numpy()


def drop_spans(case: Case, telemetry: Telemetry, share: float, rng: np.random.Generator) -> tuple[Case, Telemetry]:
    """Head sampling: this share of whole traces is missing."""
    spans = telemetry.spans
    if spans.num_rows == 0:
        return case, telemetry
    names, which = np.unique(_texts(spans["trace_id"]), return_inverse=True)
    keep = (rng.random(len(names)) >= share)[which]
    return case, replace(telemetry, spans=spans.filter(pa.array(keep)))


def drop_span_rows(case: Case, telemetry: Telemetry, share: float, rng: np.random.Generator) -> tuple[Case, Telemetry]:
    """Lossy collection: this share of single spans is missing, their children become orphans."""
    keep = rng.random(telemetry.spans.num_rows) >= share
    return case, replace(telemetry, spans=telemetry.spans.filter(pa.array(keep)))


def without(
    case: Case, telemetry: Telemetry, names: tuple[str, ...], _rng: np.random.Generator
) -> tuple[Case, Telemetry]:
    """Whole tables are missing."""
    return case, replace(telemetry, **{name: SCHEMAS[name].empty_table() for name in names})


def metrics_only(case: Case, telemetry: Telemetry, _value: None, rng: np.random.Generator) -> tuple[Case, Telemetry]:
    """No spans, no logs; of the call graph only what the case itself declares."""
    return without(case, telemetry, ("spans", "logs"), rng)


def hide_root_spans(
    case: Case, telemetry: Telemetry, _value: None, _rng: np.random.Generator
) -> tuple[Case, Telemetry]:
    """A blind spot: the faulty services are not instrumented, all of their spans are missing."""
    hidden = {root.service for root in case.truth or () if root.service is not None}
    if not hidden:
        raise Unapplied(f"case '{case.id}' names no faulty service whose spans could be hidden.")
    keep = ~np.isin(_texts(telemetry.spans["service"]), sorted(hidden))
    return case, replace(telemetry, spans=telemetry.spans.filter(pa.array(keep)))


def skew(case: Case, telemetry: Telemetry, seconds: float, rng: np.random.Generator) -> tuple[Case, Telemetry]:
    """A third of the services (at least one) have clocks that are wrong by `seconds`: their spans and log
    lines move, metrics (stamped by a central scraper) do not."""
    services = np.unique(np.concatenate([_texts(telemetry.spans["service"]), _texts(telemetry.logs["service"])]))
    services = services[services != ""]
    if len(services) == 0:
        raise Unapplied(f"case '{case.id}' has neither spans nor logs whose clocks could be wrong.")
    wrong = rng.choice(services, size=max(1, round(len(services) * SKEWED_SHARE)), replace=False)
    return case, replace(
        telemetry,
        spans=_shifted(telemetry.spans, wrong, seconds),
        logs=_shifted(telemetry.logs, wrong, seconds),
    )


def _shifted(table: pa.Table, services: NDArray[np.str_], seconds: float) -> pa.Table:
    if table.num_rows == 0:
        return table
    moved = times_ns(table) + np.isin(_texts(table["service"]), services) * round(seconds * NS_PER_SECOND)
    column = pa.array(moved, pa.int64()).cast(table.schema.field("time").type)
    return table.set_column(table.schema.get_field_index("time"), "time", column)


def _texts(column: pa.ChunkedArray[Any]) -> NDArray[np.str_]:
    """A text column, plain or dictionary-encoded, as numpy text; null becomes the empty text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return np.asarray(pc.fill_null(column, "").to_numpy(), dtype=np.str_)


def _edges(case: Case, telemetry: Telemetry, count: int, _rng: np.random.Generator) -> tuple[Case, Telemetry]:
    """Only five-minute metrics of the busiest edges (0: of all), and the call graph; windows widen to whole
    bins."""
    changed = edge_metrics_only(case, telemetry, count)
    if changed is None:
        raise Unapplied(f"case '{case.id}' shows no calls between services, so there are no edges to measure.")
    return changed


_TABLE = (
    Perturbation("late", "SECONDS", "the incident window starts later", _seconds, late),
    Perturbation("contaminated", "SECONDS", "pre-fault or first faulty seconds are normal", _seconds, contaminated),
    Perturbation("short_baseline", "SECONDS", "only the last seconds of each baseline exist", _seconds, short_baseline),
    Perturbation("drop_spans", "SHARE", "a share of whole traces is missing", _share, drop_spans),
    Perturbation("drop_span_rows", "SHARE", "a share of single spans is missing", _share, drop_span_rows),
    Perturbation("without", "TABLE[+TABLE]", "whole tables are missing", _tables, without),
    Perturbation("metrics_only", "", "no spans, no logs, declared call graph only", None, metrics_only),
    Perturbation("edge_metrics_only", "EDGES", "five-minute metrics of the busiest edges", _count, _edges),
    Perturbation("skew", "SECONDS", "clocks of a third of the services are wrong", _signed_seconds, skew),
    Perturbation("hide_root_spans", "", "the faulty services have no spans", None, hide_root_spans),
)  # fmt: skip
PERTURBATIONS: dict[str, Perturbation] = {item.name: item for item in _TABLE}
