"""Intermediate results that several channels share, computed once per view or, where no window matters, per facts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from aetia.signals.view import Facts, View

T = TypeVar("T")
_MISSING = object()


class _Cell:
    """One result; whoever asks for it while it is computed waits."""

    __slots__ = ("lock", "value")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.value: Any = _MISSING


_MEMO: WeakKeyDictionary[View, dict[str, _Cell]] = WeakKeyDictionary()
_FACTS: WeakKeyDictionary[Facts, dict[str, _Cell]] = WeakKeyDictionary()


def once(view: View, key: str, compute: Callable[[View], T]) -> T:
    """`compute(view)`, remembered for as long as the view lives. What is computed never asks for itself."""
    return _filled(_MEMO.setdefault(view, {}), key, lambda: compute(view))


def once_for_facts(view: View, key: str, compute: Callable[[Facts], T]) -> T:
    """`compute(view.facts)`, shared by all views of the same facts: for what does not depend on the windows."""
    return _filled(_FACTS.setdefault(view.facts, {}), key, lambda: compute(view.facts))


def _filled(store: dict[str, _Cell], key: str, compute: Callable[[], T]) -> T:
    cell = store.get(key)
    if cell is None:
        cell = store.setdefault(key, _Cell())
    if cell.value is _MISSING:
        with cell.lock:
            if cell.value is _MISSING:
                cell.value = compute()
    return cast(T, cell.value)
