"""The keys of the configuration with type, default, bounds and meaning, read from the structs that hold them."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec

from aetia.serve.config import HIDDEN, SECTIONS, Field, fields_of, has_fields


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a section. `default` is None where the key is required."""

    name: str
    type: str
    default: str | None
    bounds: str
    meaning: str


MEANINGS: dict[str, dict[str, str]] = {
    "store": {
        "segment_bytes": "A segment of the journal is closed at this size, and then compacted.",
        "row_group_rows": "Rows of one group inside a Parquet file.",
        "part_rows": "Parts of one hour are merged up to this many rows.",
        "max_age_by_signal": "`max_age_seconds` of single signals, such as `{metrics = 2592000}`.",
        "max_bytes_by_signal": "`max_bytes` of single signals.",
    },
    "detection": {
        "step_s": "How often the SLIs are judged, and the length of their bins.",
        "grace_s": "A span waits so long for the top of its trace before it counts as a request of its own.",
        "short_grace_s": "The same for operations nearly always entered so, and for traces whose top has come.",
        "most_requests": "Requests that are kept in memory at most.",
        "looks_to_open": "Looks in a row that must see harm before an incident opens.",
        "save_s": "How often the baselines are written to the disk.",
        "refresh_s": "How often the reference is made anew.",
    },
    "incidents": {
        "most": "Incidents that are kept at most.",
        "keep_days": "Closed incidents are kept so long.",
    },
    "slo": {
        "service": "Service at which requests enter.",
        "operation": "Its operation (span name); empty: all of them.",
        "availability": "Share of requests that succeed.",
        "latency_ms": "Time within which requests are answered.",
        "latency_share": "Share of requests that are answered within it.",
    },
}
"""Of keys that have no docstring of their own where they are declared."""
OVER: dict[str, dict[str, str]] = {
    "store": {
        "queue_bytes": "Bodies that wait to be written; beyond it senders are told to wait (429).",
        "hot_bytes": "Journal that waits for compaction, and with it the memory of the store and the time of a start;"
        " beyond it senders are told to wait (429).",
        "segment_seconds": "A segment of the journal is closed at this age, and then compacted.",
        "part_bytes": "Parts of one hour are merged up to this size.",
        "max_age_seconds": "Telemetry is kept so long after its receipt; 0: for ever.",
        "max_bytes": "Size of all Parquet files; the oldest go first. 0: no limit.",
        "min_free_bytes": "Space that stays free on the disk; with less, nothing is taken (503).",
        "limits.items": "Spans, log records or points of one request; what is beyond is refused and said.",
        "limits.groups": "Resources and scopes of one request.",
        "limits.attributes": "Attributes of a span, log record, point, event or resource; the rest is left out.",
        "limits.events": "Events, and links, of one span.",
        "limits.key_bytes": "Length of an attribute's key.",
        "limits.value_bytes": "Length of a name, of a value, of a log body; what is longer is cut.",
        "limits.depth": "Arrays and maps within each other in one value.",
        "limits.buckets": "Buckets of one point of a histogram.",
    },
}
"""Of keys whose docstring speaks to programmers."""


def keys(section: str) -> tuple[Key, ...]:
    """The keys of a section in the order of their declaration, those of the section itself first; keys of a table in it
    with the name of the table before them."""
    return tuple(_keys(section, "", SECTIONS[section]))


def _keys(section: str, table: str, kind: type) -> Iterator[Key]:
    said = MEANINGS.get(section, {}) | {f"{table}{name}": text for name, text in _docstrings(kind).items()}
    said |= OVER.get(section, {})
    schema = _properties(kind)
    own = list(inspect.get_annotations(kind))
    for item in sorted(fields_of(kind), key=lambda item: item.name not in own):
        if (section, item.name) in HIDDEN:
            continue
        if has_fields(item.type):
            yield from _keys(section, f"{table}{item.name}.", item.type)
            continue
        held = schema[item.name]
        yield Key(
            name=f"{table}{item.name}", type=_type(held), default=_default(item), bounds=_bounds(held),
            meaning=_sentence(held.get("description") or said.get(f"{table}{item.name}", "")),
        )  # fmt: skip


def _properties(kind: type) -> dict[str, Any]:
    described = msgspec.json.schema(kind)
    return described["$defs"][described["$ref"].rpartition("/")[2]]["properties"]


@functools.cache
def _docstrings(kind: type) -> dict[str, str]:
    """The string below each field of a struct and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not has_fields(base) or base is msgspec.Struct:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = cast("ast.ClassDef", tree).body
        for field, after in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
                text = ast.literal_eval(after.value) if isinstance(after.value, ast.Constant) else ""
                found[field.target.id] = " ".join(str(text).split())
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") if text else ""


def _default(item: Field) -> str | None:
    none = (msgspec.NODEFAULT, dataclasses.MISSING)
    if item.default_factory not in none:
        return toml(cast("Callable[[], Any]", item.default_factory)())
    return None if item.default in none else toml(item.default)


def toml(value: Any) -> str:
    """A plain value as TOML; nothing for none, which is a key that is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{key} = {toml(held)}" for key, held in items) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml(held) for held in cast("list[Any]", value)) + "]"
    return msgspec.json.encode(value).decode()


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(item) for item in schema["anyOf"] if item.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{toml(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}s"
    if schema.get("type") == "object":
        return "table"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}.get(
        str(schema.get("type")), "value"
    )


_SIGNS = {
    "minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}  # fmt: skip


def _bounds(schema: dict[str, Any]) -> str:
    parts = [schema, *schema.get("anyOf", ())]
    return ", ".join(words.format(part[key]) for part in parts for key, words in _SIGNS.items() if key in part)
