"""The diagnosis as JSON with a published schema, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from aetia.model.diagnosis import Diagnosis
from aetia.model.errors import ReportError

SCHEMA_ID = "https://aetia.dev/schema/diagnosis-1.json"
SCHEMA_NAME = "aetia.diagnosis/1"


def to_json(diagnosis: Diagnosis, *, indent: int = 2) -> str:
    """The diagnosis as JSON text that ends with a newline; `indent=0` gives one line."""
    encoded = msgspec.json.encode(diagnosis, order="deterministic", enc_hook=_plain)
    return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode() + "\n"


def _plain(value: Any) -> Any:
    """numpy scalars, which algorithms leave in scores and magnitudes, as Python numbers."""
    item = getattr(value, "item", None)
    if item is None:
        raise ReportError(f"a diagnosis holds a {type(value).__name__}, which JSON cannot; report the plugin's defect.")
    return item()


def from_json(data: bytes | str, source: str = "the JSON text") -> Diagnosis:
    """The diagnosis in some JSON; raises ReportError that names the place when it is not one."""
    try:
        found = msgspec.json.decode(data, type=Diagnosis)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ReportError(
            f"{source} is not a diagnosis: {error}; write one with `aetia diagnose SOURCE --format json`."
        ) from error
    if found.schema != SCHEMA_NAME:
        raise ReportError(f"{source} follows the schema '{found.schema}', this version reads '{SCHEMA_NAME}'.")
    return found


def load_diagnosis(path: str | Path) -> Diagnosis:
    """The diagnosis in a JSON file, also one that a shell wrote as UTF-16; raises ReportError when it cannot be
    read or is not one."""
    from aetia.ingest.files import as_utf8

    place = Path(path)
    try:
        data = place.read_bytes()
    except OSError as error:
        raise ReportError(
            f"{place} cannot be read: {error.strerror or error}; check the path and its permissions."
        ) from error
    return from_json(as_utf8(data), str(place))


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a diagnosis, as published in `docs/diagnosis.schema.json`."""
    found = msgspec.json.schema(Diagnosis)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Aetia diagnosis",
        **found,
    }


def schema_text() -> str:
    """The published schema as it is written to its file."""
    return msgspec.json.format(msgspec.json.encode(json_schema(), order="deterministic"), indent=2).decode() + "\n"
