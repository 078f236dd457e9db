"""What was examined already: answers that investigations of the same telemetry share.

The same question about the same windows has the same answer, whoever asks it and for whichever symptom, so a second
investigation in one process is answered from here and its journal holds the answer all the same. Questions are compared
as the tool understands them: an argument that is left out is its default. Source: memory shared by alerts of one time
window, AMER-RCL (arXiv 2601.02732).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from aetia.model.diagnosis import digest
from aetia.model.journal import ToolAnswer
from aetia.signals.view import Facts, View

MOST_KEPT = 2_000
"""Answers for one telemetry; the one that was not asked for the longest time goes first."""
TABLES = ("spans", "logs", "metrics", "changes")

_ANSWERS: WeakKeyDictionary[Facts, OrderedDict[str, ToolAnswer]] = WeakKeyDictionary()
_LOCK = threading.Lock()


def question(tool: object, name: str, view: View, args: msgspec.Struct) -> str:
    """What makes two questions to the same telemetry one: the tool, what it is asked, and the windows."""
    windows = [msgspec.to_builtins((view.incident, view.baseline_of(table))) for table in TABLES]
    kind = type(tool)
    plain: Any = msgspec.to_builtins(args)
    return digest([name, f"{kind.__module__}.{kind.__qualname__}", plain, windows])


def remembered(view: View, key: str) -> ToolAnswer | None:
    """The answer that somebody got before."""
    with _LOCK:
        kept = _ANSWERS.get(view.facts)
        if kept is None or key not in kept:
            return None
        kept.move_to_end(key)
        return kept[key]


def keep(view: View, key: str, answer: ToolAnswer) -> None:
    """Remember an answer for as long as the facts live; failures are asked again."""
    if answer.error is not None:
        return
    with _LOCK:
        kept = _ANSWERS.setdefault(view.facts, OrderedDict())
        kept[key] = answer
        while len(kept) > MOST_KEPT:
            kept.popitem(last=False)
