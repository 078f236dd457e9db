"""Intermediate results that several channels share on one view, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from aetia.signals.view import View

T = TypeVar("T")
_MEMO: WeakKeyDictionary[View, dict[str, Any]] = WeakKeyDictionary()


def once(view: View, key: str, compute: Callable[[View], T]) -> T:
    """`compute(view)`, remembered for as long as the view lives."""
    store = _MEMO.setdefault(view, {})
    if key not in store:
        store[key] = compute(view)
    return cast(T, store[key])
