"""OTLP export requests as tables of the stored schema, many requests at once.

Everything that is decoded here is decoded again when a journal is compacted, so the same bodies give the same rows in
the same order, whether `full` or not. What a request may hold is bounded by `Limits`; one bad item spoils no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from aetia.ingest.otlp_attributes import Limits
from aetia.ingest.otlp_from_json import to_protobuf
from aetia.ingest.otlp_items import (
    NOWHERE,
    UNKNOWN_SERVICE,
    Items,
    Rejects,
    coded,
    nothing,
    open_bodies,
    place,
    rewritten,
    table,
)
from aetia.ingest.otlp_logs import Logs, check_logs, log_columns, scan_logs, trimmed_log
from aetia.ingest.otlp_metrics import metric_table
from aetia.ingest.otlp_points import scan_metrics
from aetia.ingest.otlp_redaction import (
    UNREADABLE,
    Secrets,
    clean_heads,
    cleaned,
    log_secrets,
    metric_suspects,
    span_secrets,
    without_secrets,
)
from aetia.ingest.otlp_spans import (
    Spans,
    check_spans,
    exception_rows,
    nested_columns,
    scan_spans,
    span_columns,
    trimmed_span,
)
from aetia.ingest.redaction import Redactor
from aetia.ingest.wire import Offsets, hex_ids

__all__ = ["Batch", "Limits", "OtlpSignal", "decode", "to_protobuf"]
OtlpSignal = Literal["spans", "logs", "metrics"]
_JOINED_BYTES = 256 << 20
"""Bodies beyond this are decoded in several buffers: offsets in Arrow have 32 bits."""
_WORDS = {"spans": "spans", "logs": "log records", "metrics": "points"}


@dataclass(frozen=True, slots=True)
class Batch:
    """What some export requests of one signal hold.

    `rows` and `rejected` (how many items and why; 0 with a text is a warning) are per body. A body in `failed` cannot
    be parsed; it has no rows. `bodies` may be written to disk: as given, or with what was redacted.
    """

    table: pa.Table
    exceptions: pa.Table | None
    bodies: tuple[bytes, ...]
    rows: tuple[int, ...]
    rejected: tuple[tuple[int, str], ...]
    failed: Mapping[int, str] = field(default_factory=dict[int, str])


def decode(
    signal: OtlpSignal, bodies: Sequence[bytes], *, full: bool = False, limits: Limits = Limits(),  # noqa: B008
    redactor: Redactor | None = None,
) -> Batch:  # fmt: skip
    """Decode export requests: `bodies` are decompressed ExportTrace-, ExportLogs- or ExportMetricsServiceRequests.

    `full` adds the columns beyond `PROMOTED`. Raises nothing for what a body holds.
    """
    batches = [_decode(signal, some, full, limits, redactor) for some in _buffers(bodies)]
    return batches[0] if len(batches) == 1 else _joined(batches)


def _buffers(bodies: Sequence[bytes]) -> list[Sequence[bytes]]:
    out: list[list[bytes]] = [[]]
    size = 0
    for body in bodies:
        size += len(body)
        if size > _JOINED_BYTES and out[-1]:
            out.append([])
            size = len(body)
        out[-1].append(body)
    return [*out]


def _joined(batches: Sequence[Batch]) -> Batch:
    exceptions = [one.exceptions for one in batches if one.exceptions is not None]
    failed: dict[int, str] = {}
    before = 0
    for one in batches:
        failed |= {before + index: reason for index, reason in one.failed.items()}
        before += len(one.bodies)
    return Batch(
        table=pa.concat_tables([one.table for one in batches]).unify_dictionaries(),
        exceptions=pa.concat_tables(exceptions).unify_dictionaries() if exceptions else None,
        bodies=tuple(body for one in batches for body in one.bodies),
        rows=tuple(rows for one in batches for rows in one.rows),
        rejected=tuple(pair for one in batches for pair in one.rejected),
        failed=failed,
    )


def _decode(
    signal: OtlpSignal, bodies: Sequence[bytes], full: bool, limits: Limits, redactor: Redactor | None
) -> Batch:
    items = open_bodies(bodies, limits)
    if signal == "metrics":
        return _metrics(items, bodies, limits, redactor)
    kind = _KINDS[signal]
    heads = _clean_heads(items, redactor)
    found = kind.scan(items, limits)
    trimmed = items.body[np.unique(np.concatenate((found.trimmed, found.long)))]
    changed = {index: kind.trimmed(items.raw[index], limits) for index in found.long.tolist()}
    unreadable: list[int] = []
    if redactor is not None:
        # What is left out here must not be written either.
        for index in set(found.trimmed.tolist()) - set(changed):
            changed[index] = kind.trimmed(items.raw[index], limits)
        secrets = kind.secrets(items, found, limits, redactor)
        changed, unreadable = _cleaned(signal, items, secrets, changed, redactor)
    if changed:
        items = items.replaced(changed)
        found = kind.scan(items, limits)
    rejects = Rejects(len(items))
    rejects.mark(unreadable, UNREADABLE)
    rejects.add(found.bad, "malformed")
    rejects.add(found.over, "more fields than any span or log record has")
    columns, kept, exceptions = kind.columns(items, found, limits, rejects, full)
    rejects.count(items.body, items.refused)
    if redactor is not None:
        bodies = _bodies(bodies, items, kept, changed, heads, limits)
    counts = Counter[int](trimmed.tolist())
    return Batch(
        table=table(columns, signal, full),
        exceptions=exceptions,
        bodies=tuple(bodies),
        rows=tuple(np.bincount(items.body[kept], minlength=len(bodies)).tolist()),
        rejected=tuple(_partial(signal, items, index, counts[index]) for index in range(len(bodies))),
        failed=items.failed,
    )


def _cleaned(
    signal: OtlpSignal, items: Items, secrets: Secrets, changed: dict[int, bytes], redactor: Redactor
) -> tuple[dict[int, bytes], list[int]]:
    """New bytes of some items, `changed` among them, and which items cannot be read."""
    # In what was trimmed the attributes are no longer where they were found.
    secrets.items[list(changed)] = True
    if len(secrets.named) or secrets.holding:
        changed = changed | without_secrets(items, secrets, redactor)
    suspects = secrets.items.nonzero()[0].tolist()
    clean, unreadable = cleaned(signal, {at: changed.get(at, items.raw[at]) for at in suspects}, redactor)
    return changed | clean, unreadable


def _metrics(items: Items, bodies: Sequence[bytes], limits: Limits, redactor: Redactor | None) -> Batch:
    if redactor is None:
        found = scan_metrics(items, limits)
    else:
        heads = _clean_heads(items, redactor)
        found = scan_metrics(items, limits)
        suspects = metric_suspects(items, found, redactor).nonzero()[0].tolist()
        changed, unreadable = cleaned("metrics", {at: items.raw[at] for at in suspects}, redactor)
        if changed or unreadable:
            items = items.replaced(changed | dict.fromkeys(unreadable, b""))
            found = scan_metrics(items, limits)
        readable = np.ones(len(items), np.bool_)
        readable[unreadable] = False
        bodies = _bodies(bodies, items, readable.nonzero()[0], changed, heads, limits)
    made, rows = metric_table(items, found, len(bodies), limits)
    said = tuple(_partial("metrics", items, index, 0) for index in range(len(bodies)))
    return Batch(made, None, tuple(bodies), tuple(rows), said, items.failed)


def _clean_heads(items: Items, redactor: Redactor | None) -> dict[bytes, bytes]:
    """Take the secrets out of resources and scopes."""
    heads = clean_heads(items, redactor) if redactor is not None else {}
    if heads:
        items.heads = [heads.get(head, head) for head in items.heads]
        items.places = [place(head) or NOWHERE for head in items.heads]
    return heads


def _bodies(
    bodies: Sequence[bytes], items: Items, kept: Offsets, changed: Mapping[int, bytes], heads: Mapping[bytes, bytes],
    limits: Limits,
) -> list[bytes]:  # fmt: skip
    """The bodies without what was redacted, rejected or beyond the limits; most are as they were."""
    keep = np.zeros(len(items), np.bool_)
    keep[kept] = True
    anew = np.zeros(len(bodies), np.bool_)
    anew[items.body[~keep]] = True
    anew[items.body[list(changed)]] = True
    anew[list(items.refused)] = True
    if heads:
        # Few bodies, and few of them without the heads that changed.
        anew[:] = True
    anew[list(items.failed)] = False
    out = list(bodies)
    for index in anew.nonzero()[0].tolist():
        mine = (items.body == index).nonzero()[0].tolist()
        some = (items.raw[at] if keep[at] else None for at in mine)
        out[index] = rewritten(bodies[index], limits, some, heads)
    return out


def _partial(signal: OtlpSignal, items: Items, index: int, trimmed: int) -> tuple[int, str]:
    """What a partial-success answer says of a body: how many items were rejected, and one short sentence."""
    word, refused = _WORDS[signal], items.refused.get(index, Counter[str]())
    parts = [f"{count} {word}: {reason}" for reason, count in refused.most_common(3) if count]
    if trimmed:
        parts.append(f"{trimmed} {word} lost attributes beyond the limits")
    return refused.total(), "; ".join(parts)


# ---- spans and logs ---------------------------------------------------------------------------------------

_Made = tuple[dict[str, Any], Offsets, pa.Table | None]


class _Kind(NamedTuple):
    """What differs between the two."""

    scan: Callable[[Items, Limits], Any]
    trimmed: Callable[[bytes, Limits], bytes]
    secrets: Callable[[Items, Any, Limits, Redactor], Secrets]
    columns: Callable[[Items, Any, Limits, Rejects, bool], _Made]


def _spans(items: Items, spans: Spans, limits: Limits, rejects: Rejects, full: bool) -> _Made:
    timed = check_spans(items, spans, rejects)
    kept = rejects.kept()
    columns = span_columns(items, spans, timed, kept, limits)
    if full:
        columns |= nested_columns(items, spans, kept, limits)
    return columns, kept, _exceptions(items, spans, kept, limits, full)


def _logs(items: Items, logs: Logs, limits: Limits, rejects: Rejects, full: bool) -> _Made:
    times_ns = check_logs(items, logs, rejects)
    kept = rejects.kept()
    columns = log_columns(items, logs, times_ns, kept, limits)
    if full:
        columns["attributes"] = logs.attributes.chosen(kept).maps()
    return columns, kept, None


_KINDS = {
    "spans": _Kind(scan_spans, trimmed_span, span_secrets, _spans),
    "logs": _Kind(scan_logs, trimmed_log, log_secrets, _logs),
}


def _exceptions(items: Items, spans: Spans, kept: Offsets, limits: Limits, full: bool) -> pa.Table | None:
    """The exceptions that spans recorded as events, as log lines."""
    found = exception_rows(items, spans, kept, limits)
    if found is None:
        return None
    whose, columns, given = found
    count = len(whose)
    columns |= items.said(whose, UNKNOWN_SERVICE)
    columns |= {
        "trace_id": hex_ids(items.buffer, spans.trace.start[whose], 16),
        "span_id": hex_ids(items.buffer, spans.span.start[whose], 8),
        "severity": coded(np.zeros(count, np.int64), ("error",)),
        "template": nothing(count),
    }
    if full:
        columns["attributes"] = given.maps()
    return table(columns, "logs", full)
