"""Log lines as numpy columns: services, severities, templates and the span each line belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from aetia.model.tables import SEVERITIES, Telemetry
from aetia.signals.drain import describe, mine
from aetia.signals.frames import F64, I8, I32, I64, Bool, LogFrame, Names, SpanFrame, Template
from aetia.signals.ids import U64, hash_ids, mix
from aetia.signals.keys import run_starts
from aetia.signals.names import code_column, column_of, encode
from aetia.signals.rows_by_key import KeyIndex
from aetia.signals.stats import poisson_rate_p

pc: Any = _compute  # the stubs know kernels only in part
_SYNONYMS = {
    "warning": "warn", "err": "error", "critical": "fatal", "crit": "fatal", "emerg": "fatal", "alert": "fatal",
    "panic": "fatal",
    "severe": "error", "information": "info", "notice": "info", "verbose": "trace", "fine": "debug",
}  # fmt: skip


class Mined(NamedTuple):
    """What lines say by themselves: severity and template code per line (n,), and the templates."""

    severity: I8
    codes: I32
    templates: tuple[Template, ...]
    wanted: U64
    """Hash of the trace and span id that each line names."""
    asks: Bool
    """Which lines name both."""


def mine_logs(telemetry: Telemetry) -> Mined:
    """What the log table says without any other table; can run beside the spans."""
    severity = severity_codes(column_of(telemetry.logs, "severity"))
    return Mined(severity, *_templates(telemetry.logs, severity), *_pair_keys(telemetry.logs))


def build_logs(telemetry: Telemetry, names: Names, spans: SpanFrame, mined: Mined | None = None) -> LogFrame:
    """The log table of some telemetry, sorted by time (stable); lines without a time are left out.

    A line belongs to the span with its trace and span id; a line that names no service or instance takes those of
    its span. Where the table's `template` is filled it is used as it is, elsewhere templates are mined from `body`.
    """
    table = telemetry.logs
    if table.num_rows == 0:
        return _empty()
    time = cast("pa.ChunkedArray[Any]", column_of(table, "time").cast(pa.int64()))
    missing = time.null_count > 0
    time_ns = np.asarray(pc.fill_null(time, 0).to_numpy() if missing else time.to_numpy(), np.int64)
    severity, codes, templates, wanted, asks = mined or mine_logs(telemetry)
    span = _span_rows(wanted, asks, spans)
    service = _from_span(code_column(column_of(table, "service"), names.services), span, spans.service)
    instance = _from_span(code_column(column_of(table, "instance"), names.instances), span, spans.instance)
    rows = np.arange(len(time_ns), dtype=np.int64)
    if missing:
        rows = np.flatnonzero(time.is_valid().to_numpy())
    kept = time_ns[rows]
    if np.any(kept[1:] < kept[:-1]):
        rows = rows[np.argsort(kept, kind="stable")]
    if len(rows) < len(time_ns) or np.any(rows[1:] < rows[:-1]):
        time_ns, service, instance = time_ns[rows], service[rows], instance[rows]
        severity, codes, span = severity[rows], codes[rows], span[rows]
    return LogFrame(
        time_ns=time_ns, service=service, instance=instance, severity=severity, template=codes, span=span,
        templates=templates, source_row=rows,
    )  # fmt: skip


def severity_codes(column: pa.ChunkedArray[Any]) -> I8:
    """Severity per line (SEVERITY_*), shape (n,); common synonyms in any case are understood, others are unset."""
    codes, values = encode(column)
    table = np.zeros(len(values) + 1, np.int8)  # the last place serves null
    for code, value in enumerate(values):
        word = (value or "").strip().lower()
        word = _SYNONYMS.get(word, word)
        if word in SEVERITIES:
            table[code] = SEVERITIES.index(word) + 1
    return table[codes]


def _templates(table: pa.Table, severity: I8) -> tuple[I32, tuple[Template, ...]]:
    """Template code per line; given templates are kept, the other lines are mined."""
    given, texts = encode(column_of(table, "template"))
    absent = np.array([not text for text in texts] + [True])[given]
    if absent.all():
        return mine(column_of(table, "body"), severity)
    ready = _given_templates(given, texts, severity)
    if not absent.any():
        return ready
    codes, mined = mine(column_of(table, "body").filter(pa.array(absent)), severity[absent])
    every = sorted(
        {*ready[1], *mined}, key=lambda item: (item.text, item.severity, item.exception or "", item.call_site or "")
    )
    place = {item: index for index, item in enumerate(every)}
    out = np.append(np.array([place[item] for item in ready[1]], np.int32), np.int32(-1))[ready[0]]
    out[absent] = np.array([place[item] for item in mined], np.int32)[codes]
    return out, tuple(every)


def _given_templates(given: I32, texts: Sequence[str | None], severity: I8) -> tuple[I32, tuple[Template, ...]]:
    present = sorted({text for text in texts if text})
    place = {text: index for index, text in enumerate(present)}
    remap = np.array([place[text] if text else -1 for text in texts] + [-1], np.int32)
    codes = remap[given]
    worst = np.zeros(len(present) + 1, np.int64)
    np.maximum.at(worst, codes, severity)
    return codes, tuple(describe(text, int(worst[index])) for index, text in enumerate(present))


def _span_rows(wanted: U64, asks: Bool, spans: SpanFrame) -> I32:
    """Row in the span frame for each line of the log table, -1 where it names none that is known."""
    out = np.full(len(wanted), -1, np.int32)
    asking = np.flatnonzero(asks)
    if len(asking) == 0 or len(spans) == 0:
        return out
    wanted = wanted[asking]
    first = run_starts(wanted)  # lines of one span mostly come in a row
    found = KeyIndex(spans.key).find(wanted[first])
    out[asking] = found[np.cumsum(first) - 1]
    return out


def _pair_keys(table: pa.Table) -> tuple[U64, Bool]:
    """One hash per (trace id, span id), and which rows have both."""
    trace, in_trace = hash_ids(column_of(table, "trace_id"))
    span, in_span = hash_ids(column_of(table, "span_id"))
    return mix(trace ^ mix(span)), in_trace & in_span


def _from_span(codes: I32, span: I32, of_span: I32) -> I32:
    lacking = np.flatnonzero((codes < 0) & (span >= 0))
    if len(lacking):
        codes = codes.copy()
        codes[lacking] = of_span[span[lacking]]
    return codes


def _empty() -> LogFrame:
    none = np.zeros(0, np.int32)
    return LogFrame(
        time_ns=np.zeros(0, np.int64), service=none, instance=none, severity=np.zeros(0, np.int8), template=none,
        span=none
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateCounts:
    """k pairs of an entity and a template with the lines counted in both windows; sorted by (entity, template)."""

    entity: I32
    template: I32
    baseline: I64
    incident: I64

    def __len__(self) -> int:
        return len(self.entity)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateChanges:
    """How each pair of `TemplateCounts` changed, shape (k,).

    Rates are per second; `log_ratio` is the natural logarithm of incident over baseline rate with half a line added
    to each side; `novel` pairs never occurred in the baseline, `vanished` ones never in the incident; `p_up` and
    `p_down` are one-sided Poisson p-values.
    """

    baseline_rate: F64
    incident_rate: F64
    log_ratio: F64
    p_up: F64
    p_down: F64
    novel: Bool
    vanished: Bool


def template_counts(
    logs: LogFrame, baseline_mask: Bool, incident_mask: Bool, by: Literal["service", "instance"] = "service"
) -> TemplateCounts:
    """Lines per (entity, template) in the two windows; lines without the entity are left out. Masks are (n,)."""
    entity = logs.service if by == "service" else logs.instance
    width = max(len(logs.templates), 1)
    usable = (entity >= 0) & (logs.template >= 0)
    key = entity.astype(np.int64) * width + logs.template
    before, during = key[usable & baseline_mask], key[usable & incident_mask]
    size = (int(entity.max(initial=-1)) + 1) * width
    if size <= 1 << 24:
        first, second = np.bincount(before, minlength=size), np.bincount(during, minlength=size)
        pairs = np.flatnonzero((first > 0) | (second > 0))
        first, second = first[pairs], second[pairs]
    else:
        pairs, inverse = np.unique(np.concatenate([before, during]), return_inverse=True)
        first = np.bincount(inverse[: len(before)], minlength=len(pairs))
        second = np.bincount(inverse[len(before) :], minlength=len(pairs))
    return TemplateCounts(
        entity=(pairs // width).astype(np.int32), template=(pairs % width).astype(np.int32),
        baseline=first.astype(np.int64), incident=second.astype(np.int64),
    )  # fmt: skip


def template_changes(counts: TemplateCounts, baseline_seconds: float, incident_seconds: float) -> TemplateChanges:
    """Rates and their change; the seconds are the lengths of the two windows (positive)."""
    before, during = counts.baseline.astype(np.float64), counts.incident.astype(np.float64)
    first, second = max(baseline_seconds, 1e-9), max(incident_seconds, 1e-9)
    return TemplateChanges(
        baseline_rate=before / first, incident_rate=during / second,
        log_ratio=np.log((during + 0.5) / second) - np.log((before + 0.5) / first),
        p_up=poisson_rate_p(before, first, during, second), p_down=poisson_rate_p(during, second, before, first),
        novel=(counts.baseline == 0) & (counts.incident > 0), vanished=(counts.incident == 0) & (counts.baseline > 0),
    )  # fmt: skip
