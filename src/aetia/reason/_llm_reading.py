"""Reading what a language model wrote: JSON with words around it, half of it missing, or of the wrong form."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

import msgspec

MOST_READ, MOST_STARTS = 20_000, 20
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.S | re.I)
_DECODER = json.JSONDecoder()


def read_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text that can be read and is not empty; None when there is none."""
    text = _THOUGHT.sub("", text[:MOST_READ])
    start, tries = text.find("{"), 0
    while start >= 0 and tries < MOST_STARTS:
        try:
            found, _ = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and found and _plain(found):
            return cast("dict[str, Any]", found)
        start, tries = text.find("{", start + 1), tries + 1
    return None


def read_arguments(text: str) -> dict[str, Any] | None:
    """The arguments of a call: one JSON object and nothing else; nothing stands for no arguments."""
    if not text.strip():
        return {}
    try:
        found = json.loads(text[:MOST_READ])
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) and _plain(found) else None


def strings(value: Any, most: int = 20) -> tuple[str, ...]:
    """The texts in a list, or one text alone; whatever else there is does not count."""
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(item for item in items if isinstance(item, str) and item))[:most]


def objects(value: Any, most: int = 10) -> list[dict[str, Any]]:
    """The objects in a list."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)][:most]


def word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _plain(value: Any) -> bool:
    """Whether a journal can hold the value: no lone surrogates, no numbers that JSON does not know."""
    try:
        msgspec.json.decode(msgspec.json.encode(value))
    except (msgspec.MsgspecError, UnicodeError, OverflowError, RecursionError):
        return False
    return not _has_odd_float(value)


def _has_odd_float(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_has_odd_float(item) for item in cast("dict[str, Any]", value).values())
    return isinstance(value, list) and any(_has_odd_float(item) for item in cast("list[Any]", value))
