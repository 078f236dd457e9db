"""Where the secrets of OTLP requests are: many items probed at once, the few suspects cleaned one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from aetia.ingest.otlp_attributes import ARRAY, KVLIST, Attributes
from aetia.ingest.otlp_items import Items
from aetia.ingest.otlp_logs import Logs
from aetia.ingest.otlp_spans import Spans
from aetia.ingest.redaction import Redactor
from aetia.ingest.values import pc
from aetia.ingest.wire import Bytes, Flags, Offsets, Pieces, Slot, slices

UNREADABLE = "it may hold a secret and cannot be read"
_arrow: Any = pa
_BLOCK = 32


def span_suspects(items: Items, spans: Spans, redactor: Redactor) -> Flags:
    """Spans that may hold a secret."""
    values = _values(spans.attributes)
    fields = [_field(items, slot) for slot in (spans.name, spans.status)]
    deep = [_nested(items.buffer, values), spans.events, spans.links]
    flags = _suspects(items, [values, *fields], deep, redactor)
    _flag_keys(spans.attributes, redactor, flags)
    flags[spans.long] = True
    return flags


def log_suspects(items: Items, logs: Logs, redactor: Redactor) -> Flags:
    """Log records that may hold a secret."""
    values, body = _values(logs.attributes), _field(items, logs.body)
    deep = [_nested(items.buffer, values), _nested(items.buffer, Pieces(body.owner, logs.body.start, logs.body.end))]
    flags = _suspects(items, [values, body], deep, redactor)
    _flag_keys(logs.attributes, redactor, flags)
    flags[logs.long] = True
    return flags


def metric_suspects(items: Items, redactor: Redactor) -> Flags:
    """Metrics that may hold a secret."""
    return _suspects(items, [], [Pieces(np.arange(len(items)), items.start, items.end)], redactor)


def _values(given: Attributes) -> Pieces:
    return Pieces(given.owner, given.start, given.end)


def _field(items: Items, slot: Slot) -> Pieces:
    """The values of a field with the two bytes that precede each, its tag and length, which part it from others."""
    start = np.where(slot.end > slot.start, np.maximum(slot.start - 2, 0), slot.end)
    return Pieces(np.arange(len(items)), start, slot.end)


def _nested(buffer: Bytes, values: Pieces) -> Pieces:
    """Those of some AnyValue messages that begin as an array or a map does."""
    lead = buffer.take(values.start)
    here = (((lead == ARRAY) | (lead == KVLIST)) & (values.end > values.start)).nonzero()[0]
    return Pieces(values.owner[here], values.start[here], values.end[here])


def _flag_keys(given: Attributes, redactor: Redactor, flags: Flags) -> None:
    secret = np.array([redactor.is_secret(key) for key in given.keys], np.bool_)
    if secret.any():
        flags[given.owner[secret[given.code]]] = True


def _suspects(items: Items, values: list[Pieces], deep: list[Pieces], redactor: Redactor) -> Flags:
    """Owners of byte strings that may hold a secret: `values` by what they are, `deep` by keys within them too."""
    flags = np.zeros(len(items), np.bool_)
    _flag(items.buffer, values, redactor.value_probe, redactor.least_bytes, flags)
    either = "|".join(one for one in (redactor.value_probe, redactor.key_probe) if one)
    _flag(items.buffer, deep, either, 1, flags)
    return flags


def _flag(buffer: Bytes, some: list[Pieces], probe: str, least: int, flags: Flags) -> None:
    if not probe:
        return
    owners: list[Offsets] = []
    parts: list[Any] = []
    for owner, start, end in some:
        here = (end - start >= least).nonzero()[0]
        if len(here):
            owners.append(owner[here])
            parts.append(slices(buffer, start[here], end[here]))
    if not parts:
        return
    texts = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    hit = _blocks_with(texts, probe)
    if len(hit):
        among = (hit[:, None] * _BLOCK + np.arange(_BLOCK)).reshape(-1)
        among = among[among < len(texts)]
        found = np.asarray(pc.match_substring_regex(texts.take(_arrow.array(among)), probe))
        flags[np.concatenate(owners)[among[found]]] = True


def _blocks_with(texts: Any, probe: str) -> Offsets:
    """Which blocks of values match: searching a block takes hardly longer than searching one value."""
    buffers: Any = texts.buffers()
    ends = np.frombuffer(buffers[1], np.int32, len(texts) + 1, 4 * texts.offset)
    ends = np.append(ends[:-1:_BLOCK], ends[-1])
    blocks = _arrow.Array.from_buffers(pa.binary(), len(ends) - 1, [None, _arrow.py_buffer(ends), buffers[2]])
    return np.asarray(pc.match_substring_regex(blocks, probe)).nonzero()[0]


# ---- cleaning ---------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[Any, Callable[[Redactor, Any], bool]]] = {
    "spans": (Span, Redactor.span), "logs": (LogRecord, Redactor.log), "metrics": (Metric, Redactor.metric),
}  # fmt: skip


def cleaned(signal: str, raw: Mapping[int, bytes], redactor: Redactor) -> tuple[dict[int, bytes], list[int]]:
    """Of some serialised items those that held secrets, without them, and which cannot be read."""
    kind, clean = _KINDS[signal]
    out: dict[int, bytes] = {}
    unreadable: list[int] = []
    for index, item in raw.items():
        try:
            message = kind.FromString(item)
        except DecodeError:
            unreadable.append(index)
            continue
        message.DiscardUnknownFields()
        if clean(redactor, message):
            out[index] = message.SerializeToString()
    return out, unreadable


def clean_heads(items: Items, redactor: Redactor) -> dict[bytes, bytes]:
    """New resources and scopes for those that held secrets."""
    return _clean_heads(items.heads, Resource, redactor) | _clean_heads(
        items.scope_heads, InstrumentationScope, redactor
    )


def _clean_heads(heads: Iterable[bytes], kind: Any, redactor: Redactor) -> dict[bytes, bytes]:
    out: dict[bytes, bytes] = {}
    for head in heads:
        if head in redactor.clean_heads:
            continue
        try:
            message = kind.FromString(head)
        except DecodeError:
            out[head] = b""
            continue
        if redactor.pairs(message.attributes):
            out[head] = message.SerializeToString()
        else:
            redactor.remember_clean(head)
    return out
