"""Intermediate results that several channels share, computed once per view or, where no window matters, per facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from aetia.signals.view import Facts, View

T = TypeVar("T")
_MEMO: WeakKeyDictionary[View, dict[str, Any]] = WeakKeyDictionary()
_FACTS: WeakKeyDictionary[Facts, dict[str, Any]] = WeakKeyDictionary()


def once(view: View, key: str, compute: Callable[[View], T]) -> T:
    """`compute(view)`, remembered for as long as the view lives."""
    store = _MEMO.setdefault(view, {})
    if key not in store:
        store[key] = compute(view)
    return cast(T, store[key])


def once_for_facts(view: View, key: str, compute: Callable[[Facts], T]) -> T:
    """`compute(view.facts)`, shared by all views of the same facts: for what does not depend on the windows."""
    store = _FACTS.setdefault(view.facts, {})
    if key not in store:
        store[key] = compute(view.facts)
    return cast(T, store[key])
