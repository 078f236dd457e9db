"""Where the secrets of OTLP requests are: many items probed at once, the few suspects cleaned one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

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
from aetia.ingest.redaction import LOOSE_KEYS, Redactor, lowered
from aetia.ingest.wire import PADDING, Bytes, Flags, Offsets, Pieces, Slot, slices

UNREADABLE = "it may hold a secret and cannot be read"


def span_suspects(items: Items, spans: Spans, redactor: Redactor) -> Flags:
    """Spans that may hold a secret."""
    fields = [_field(items, slot) for slot in (spans.name, spans.status)]
    deep = [_nested(items.buffer, _values(spans.attributes)), spans.events, spans.links]
    flags = _suspects(items, [_texts(_values(spans.attributes)), *fields], deep, redactor)
    _flag_keys(spans.attributes, redactor, flags)
    flags[spans.long] = True
    return flags


def log_suspects(items: Items, logs: Logs, redactor: Redactor) -> Flags:
    """Log records that may hold a secret."""
    values, body = _values(logs.attributes), _field(items, logs.body)
    deep = [_nested(items.buffer, values), _nested(items.buffer, body)]
    plain = [_texts(values), _texts(body)]
    flags = _suspects(items, plain, deep, redactor)
    _flag_keys(logs.attributes, redactor, flags)
    flags[logs.long] = True
    return flags


def metric_suspects(items: Items, redactor: Redactor) -> Flags:
    """Metrics that may hold a secret."""
    return _suspects(items, [], [Pieces(np.arange(len(items)), items.start, items.end)], redactor)


def _values(given: Attributes) -> Pieces:
    return Pieces(given.owner, given.start, given.end)


def _texts(values: Pieces) -> Pieces:
    """The texts in some AnyValue messages, without their tags and lengths."""
    start = values.start + 2
    start[(values.end - values.start > 129).nonzero()[0]] += 1
    return Pieces(values.owner, start, np.maximum(values.end, start))


def _field(items: Items, slot: Slot) -> Pieces:
    return Pieces(np.arange(len(items)), slot.start, slot.end)


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
    texts = _Texts.of(items.buffer, values, redactor.least_bytes)
    if texts is not None:
        for holds, places in redactor.places(_lower(texts.data)):
            texts.flag(flags, places, holds)
    texts = _Texts.of(items.buffer, deep, 1)
    if texts is not None:
        lower = _lower(texts.data)
        for _, places in redactor.places(lower):
            texts.flag(flags, places)
        if redactor.names_keys:
            texts.flag(flags, None if redactor.own_keys else LOOSE_KEYS(lower))
    return flags


def _lower(data: Bytes) -> Bytes:
    """Lower case, with a tail so that what is looked for may begin anywhere."""
    out = np.zeros(len(data) + PADDING, np.uint8)
    out[: len(data)] = lowered(data)
    return out


class _Texts(NamedTuple):
    """Byte strings, joined."""

    owner: Offsets
    ends: Offsets
    data: Bytes

    @staticmethod
    def of(buffer: Bytes, some: list[Pieces], least: int) -> _Texts | None:
        """Those of at least `least` bytes; None without any."""
        owners: list[Offsets] = []
        parts: list[Any] = []
        for owner, start, end in some:
            here = (end - start >= least).nonzero()[0]
            if len(here):
                owners.append(owner[here])
                parts.append(slices(buffer, start[here], end[here]))
        if not parts:
            return None
        joined: Any = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        offsets, data = joined.buffers()[1:3]
        ends = np.frombuffer(offsets, np.int32, len(joined) + 1)[1:].astype(np.int64)
        return _Texts(np.concatenate(owners), ends, np.frombuffer(data, np.uint8, int(ends[-1])))

    def flag(self, flags: Flags, places: Offsets | None, holds: Callable[[str], bool] | None = None) -> None:
        """Flag the owners of those texts that some places are in, if it `holds` for them."""
        if places is None:
            which = np.arange(len(self.ends))
        elif len(places):
            which = np.unique(np.searchsorted(self.ends, places, side="right"))
        else:
            return
        if holds is None:
            flags[self.owner[which]] = True
            return
        for one in which.tolist():
            start = int(self.ends[one - 1]) if one else 0
            if holds(self.data[start : int(self.ends[one])].tobytes().decode("utf-8", "replace")):
                flags[self.owner[one]] = True


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
