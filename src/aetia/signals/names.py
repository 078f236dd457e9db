"""Vocabularies of an incident (services, instances, nodes, operations), and Arrow columns as codes into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from aetia.model.tables import Telemetry
from aetia.signals.frames import I32, I64, Names

pc: Any = _compute  # the stubs know kernels only in part
# Keys of metric attributes that name the two ends of a call: our own, Istio, Envoy, service-graph connectors.
EDGE_KEYS: tuple[tuple[str, str], ...] = (
    ("caller", "callee"), ("source", "destination"), ("client", "server"),
    ("source_workload", "destination_workload"), ("source_service", "destination_service"),
    ("source_app", "destination_app"), ("source_canonical_service", "destination_canonical_service"),
)  # fmt: skip
MOST_OPERATIONS = 200
"""Operations per service; more of them are names that hold ids, which have no rate or usual time of their own."""
OTHER_OPERATIONS = "<others>"
ID_PATTERN = r"\b[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{2,})*\b|\d+"
_NOBODY = frozenset({"", "unknown", "none", "null", "-"})
_DENSE_PAIRS = 1 << 24


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray[Any]:
    """A column by name; all null (text) when the table lacks it."""
    index = table.schema.get_field_index(name)
    if index >= 0:
        return table.column(index)
    return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])


def encode(column: pa.ChunkedArray[Any]) -> tuple[I32, list[str | None]]:
    """Codes (n,) into the returned values, -1 for null; plain and dictionary-encoded text alike."""
    if len(column) == 0 or pa.types.is_null(column.type):
        return np.full(len(column), -1, np.int32), []
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    chunks = cast("list[pa.DictionaryArray[Any, Any]]", column.unify_dictionaries().chunks)
    codes = np.empty(len(column), np.int32)
    at = 0
    for chunk in chunks:
        indices = chunk.indices
        if indices.null_count:
            indices = indices.cast(pa.int32()).fill_null(-1)
        codes[at : at + len(chunk)] = indices.to_numpy(zero_copy_only=False)
        at += len(chunk)
    return codes, chunks[0].dictionary.to_pylist()


def remap(codes: I32, values: Sequence[str | None], vocabulary: Sequence[str]) -> I32:
    """Codes into `values` as codes into `vocabulary`; -1 stays, unknown and empty texts become -1."""
    index = {name: code for code, name in enumerate(vocabulary)}
    table = np.full(len(values) + 1, -1, np.int32)  # the last place serves code -1
    for code, value in enumerate(values):
        if value:
            table[code] = index.get(value, -1)
    return table[codes]


def code_column(column: pa.ChunkedArray[Any], vocabulary: Sequence[str]) -> I32:
    """A text column, plain or dictionary-encoded, as codes (n,) into `vocabulary`; -1 for null or unknown."""
    codes, values = encode(column)
    return remap(codes, values, vocabulary)


def distinct(column: pa.ChunkedArray[Any]) -> set[str]:
    """The non-null, non-empty texts of a column."""
    if len(column) == 0 or pa.types.is_null(column.type):
        return set()
    if pa.types.is_dictionary(column.type):
        codes, values = encode(column)
        seen = np.zeros(len(values) + 1, np.bool_)
        seen[codes] = True
        return {value for value, used in zip(values, seen.tolist(), strict=False) if used and value}
    return {value for value in column.unique().to_pylist() if value}


def metric_edges(metrics: pa.Table) -> tuple[tuple[str, str], ...]:
    """Sorted (caller, callee) pairs that metric attributes name; what is no JSON object is skipped."""
    column = column_of(metrics, "attributes")
    if pa.types.is_nested(column.type):
        return ()
    return tuple(sorted({edge for text in distinct(column) for edge in attribute_edges(text)}))


def attribute_edges(text: str) -> Iterator[tuple[str, str]]:
    """The (caller, callee) pairs that one attribute text (a JSON object) names."""
    try:
        attributes = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if not isinstance(attributes, dict):
        return
    values = cast("dict[str, object]", attributes)
    for caller_key, callee_key in EDGE_KEYS:
        caller, callee = values.get(caller_key), values.get(callee_key)
        if not (isinstance(caller, str) and isinstance(callee, str)):
            continue
        if not {caller.lower(), callee.lower()} & _NOBODY:
            yield caller, callee


def pair_codes(service: I32, name: I32, n_names: int) -> I64:
    """One int64 per row for its (service, span name) pair; service -1 counts as a service of its own."""
    return (service.astype(np.int64) + 1) * (n_names + 1) + (name + 1)


def build_operations(service: I32, name: I32, values: Sequence[str | None]) -> tuple[I32, tuple[tuple[int, str], ...]]:
    """Operation code per row (-1 without a service), and the sorted operations (service code, span name).

    Where a service has hundreds of names, its span names hold ids: numbers and hexadecimal ids in them become
    `<*>`, and beyond `MOST_OPERATIONS` the rarest are one operation, `OTHER_OPERATIONS`.
    """
    if len(service) == 0:
        return np.zeros(0, np.int32), ()
    width = len(values) + 1
    pairs = pair_codes(service, name, len(values))
    bound = (int(service.max()) + 2) * width
    if bound <= _DENSE_PAIRS:
        seen = np.zeros(bound, np.bool_)
        seen[pairs] = True
        present = np.flatnonzero(seen)
        where = np.zeros(bound, np.int32)
        where[present] = np.arange(len(present), dtype=np.int32)
        local = where[pairs]
    else:
        present, local = np.unique(pairs, return_inverse=True)
    texts = (*values, None)
    found = [(int(pair // width) - 1, texts[int(pair % width) - 1] or "") for pair in present]
    if len(found) > MOST_OPERATIONS:
        found = _without_ids(found, np.bincount(local, minlength=len(found)))
    operations = tuple(sorted({operation for operation in found if operation[0] >= 0}))
    index = {operation: code for code, operation in enumerate(operations)}
    final = np.fromiter((index.get(operation, -1) for operation in found), np.int32, len(found))
    return final[local], operations


def _without_ids(found: list[tuple[int, str]], rows: I64) -> list[tuple[int, str]]:
    """The operations, those of crowded services merged; `rows` is how often each occurs."""
    service = np.array([operation[0] for operation in found])
    merged = list(found)
    for crowded in (np.flatnonzero(np.bincount(service + 1) > MOST_OPERATIONS) - 1).tolist():
        at = np.flatnonzero(service == crowded).tolist()
        texts = pa.array([found[i][1] for i in at])
        names: list[str] = pc.replace_substring_regex(texts, ID_PATTERN, "<*>").to_pylist()
        often: Counter[str] = Counter()
        for i, name in zip(at, names, strict=True):
            often[name] += int(rows[i])
        kept = {name for name, _ in sorted(often.items(), key=lambda item: (-item[1], item[0]))[:MOST_OPERATIONS]}
        for i, name in zip(at, names, strict=True):
            merged[i] = (crowded, name if name in kept else OTHER_OPERATIONS)
    return merged


def build_names(telemetry: Telemetry) -> Names:
    """Services, instances and nodes of all tables, sorted. Operations and externals follow with the spans."""
    services: set[str] = set()
    instances: set[str] = set()
    for table in (telemetry.spans, telemetry.logs, telemetry.metrics, telemetry.changes):
        services |= distinct(column_of(table, "service"))
        instances |= distinct(column_of(table, "instance"))
    for name in ("caller", "callee"):
        services |= distinct(column_of(telemetry.topology, name))
    for edge in metric_edges(telemetry.metrics):
        services.update(edge)
    return Names(
        services=tuple(sorted(services)),
        instances=tuple(sorted(instances)),
        nodes=tuple(sorted(distinct(column_of(telemetry.metrics, "node")))),
    )


def with_externals(names: Names, externals: Iterable[str]) -> Names:
    """The same names with external dependencies appended after the services; codes of services stay."""
    known = set(names.services)
    return replace(names, services=names.services + tuple(sorted(set(externals) - known)))
