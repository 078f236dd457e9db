"""OTLP in JSON form: the same attribute names as the protobuf classes, and what deviates from them.

Nulls and numbers in other forms are read as protobuf's JSON mapping allows; an item with values of the wrong type is
left out and counted, so that it spoils no other.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import msgspec


class AnyValue(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: dict[str, Any] | None = None
    kvlist_value: dict[str, Any] | None = None
    bytes_value: str | None = None


class _KeyValue(msgspec.Struct):
    key: str = ""
    value: AnyValue | None = None


class _Resource(msgspec.Struct):
    attributes: list[_KeyValue] = []


class _Status(msgspec.Struct):
    code: int | str = 0
    message: str | None = None


class _Event(msgspec.Struct, rename="camel"):
    time_unix_nano: int | float | str = 0
    name: str = ""
    attributes: list[_KeyValue] = []


class _Link(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    attributes: list[_KeyValue] = []


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int | str = 0
    start_time_unix_nano: int | float | str = 0
    end_time_unix_nano: int | float | str = 0
    attributes: list[_KeyValue] = []
    events: list[_Event] = []
    links: list[_Link] = []
    status: _Status | None = None


class _LogRecord(msgspec.Struct, rename="camel"):
    time_unix_nano: int | float | str = 0
    observed_time_unix_nano: int | float | str = 0
    severity_number: int | str = 0
    severity_text: str = ""
    body: AnyValue | None = None
    attributes: list[_KeyValue] = []
    trace_id: str = ""
    span_id: str = ""


class _Buckets(msgspec.Struct, rename="camel"):
    offset: int = 0
    bucket_counts: list[int | str] = []


class _Quantile(msgspec.Struct):
    quantile: float = 0.0
    value: float | str = 0.0


class DataPoint(msgspec.Struct, rename="camel"):
    attributes: list[_KeyValue] = []
    time_unix_nano: int | float | str = 0
    as_double: float | str | None = None
    as_int: int | str | None = None
    count: int | str = 0
    sum: float | str | None = None
    bucket_counts: list[int | str] = []
    explicit_bounds: list[float | str] = []
    scale: int = 0
    zero_count: int | str = 0
    zero_threshold: float = 0.0
    positive: _Buckets = msgspec.field(default_factory=_Buckets)
    negative: _Buckets = msgspec.field(default_factory=_Buckets)
    quantile_values: list[_Quantile] = []
    flags: int = 0


class _Data(msgspec.Struct, rename="camel"):
    data_points: list[DataPoint] = []
    aggregation_temporality: int | str = 0
    is_monotonic: bool = False


class Metric(msgspec.Struct, rename="camel"):
    name: str = ""
    unit: str = ""
    gauge: _Data | None = None
    sum: _Data | None = None
    histogram: _Data | None = None
    exponential_histogram: _Data | None = None
    summary: _Data | None = None


class _InstrumentationScope(msgspec.Struct):
    name: str = ""
    version: str = ""
    attributes: list[_KeyValue] = []


class _Scope(msgspec.Struct, rename="camel"):
    scope: _InstrumentationScope | None = None
    spans: list[_Span] = []
    log_records: list[_LogRecord] = []
    metrics: list[Metric] = []


class _ResourceGroup(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_Scope] = []
    scope_metrics: list[_Scope] = []
    scope_logs: list[_Scope] = []
    instrumentation_library_spans: list[_Scope] = []
    instrumentation_library_metrics: list[_Scope] = []
    instrumentation_library_logs: list[_Scope] = []


class _Document(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceGroup] = []
    resource_metrics: list[_ResourceGroup] = []
    resource_logs: list[_ResourceGroup] = []


_decode_json = msgspec.json.Decoder(_Document).decode
_ITEMS = (
    ("spans", "resourceSpans", "scopeSpans", "spans", _Span),
    ("logs", "resourceLogs", "scopeLogs", "logRecords", _LogRecord),
    ("metrics", "resourceMetrics", "scopeMetrics", "metrics", Metric),
)


def camel(name: str) -> str:
    front, *rest = name.split("_")
    return front + "".join(word[:1].upper() + word[1:] for word in rest)


def _camelised(value: Any) -> Any:
    """The value with its keys in camel case and without nulls, which mean the default in protobuf's JSON."""
    if isinstance(value, dict):
        items = cast(dict[Any, Any], value).items()
        return {camel(str(key)): _camelised(item) for key, item in items if item is not None}
    return [_camelised(item) for item in cast(list[Any], value)] if isinstance(value, list) else value


def json_documents(message: bytes, lost: Counter[str]) -> list[_Document]:
    """The documents of a message; items with values of the wrong type are counted in `lost`."""
    stripped = message.strip()
    snake = b'"resource_' in stripped[:4096] or b'"trace_id"' in stripped[:4096]
    if not snake and stripped[:1] == b"{":
        try:
            return [_decode_json(stripped)]
        except msgspec.ValidationError:
            # Rare, and slower: nulls and numbers in other forms are allowed, and one bad item spoils no other.
            pass
    value = _camelised(msgspec.json.decode(stripped))
    documents = value if isinstance(value, list) else [value]
    for document in documents:
        _prune(document, lost)
    return [msgspec.convert(document, _Document, strict=False) for document in documents]


def _prune(document: Any, lost: Counter[str]) -> None:
    for table, outer, middle, inner, kind in _ITEMS:
        for group in _objects(document, outer):
            for scope in _objects(group, middle):
                items = _objects(scope, inner)
                kept = [item for item in items if _converts(item, kind)]
                if len(kept) < len(items):
                    lost[table] += len(items) - len(kept)
                    scope[inner] = kept


def _objects(holder: Any, key: str) -> list[Any]:
    found = cast(dict[str, Any], holder).get(key) if isinstance(holder, dict) else None
    return cast(list[Any], found) if isinstance(found, list) else []


def _converts(item: Any, kind: Any) -> bool:
    try:
        msgspec.convert(item, kind, strict=False)
    except msgspec.ValidationError:
        return False
    return True
