"""What detection reads from the telemetry, kept for as long as that lives: the proof of an incident reads it again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

T = TypeVar("T")
_KEPT: WeakKeyDictionary[Any, dict[Hashable, Any]] = WeakKeyDictionary()


def once(of: object, key: Hashable, compute: Callable[[], T]) -> T:
    """`compute()`, remembered with `of` under the key. Two threads may both compute it; what comes out is the same."""
    kept = _KEPT.setdefault(of, {})
    if key not in kept:
        kept[key] = compute()
    return cast(T, kept[key])
