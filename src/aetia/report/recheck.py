"""Re-run every piece of evidence of a diagnosis against telemetry, and say which still holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

from aetia import plugins
from aetia.model.diagnosis import Diagnosis, Evidence, Query, canonical, digest
from aetia.model.errors import AetiaError
from aetia.model.tables import SCHEMAS
from aetia.signals.view import View


class Recheck(NamedTuple):
    """One piece of evidence, run again. `new` is None when it could not be run; `why` then says so."""

    evidence: Evidence
    holds: bool
    old: dict[str, Any]
    new: dict[str, Any] | None
    why: str


def recheck(diagnosis: Diagnosis, view: View) -> list[Recheck]:
    """Every evidence query of the diagnosis, run on the view; in the order of the diagnosis.

    Evidence holds when the digest of the query's new result equals that of the old one (numbers agree to six
    digits). A channel that is unknown here, or an entity that the view does not have, means that it does not.
    """
    made: dict[tuple[str, str], Measures] = {}
    views: list[tuple[Query, View]] = []
    return [_again(item, _windowed(view, item.query, views), made) for item in diagnosis.evidence]


class Measures(Protocol):
    """A channel of evidence, a tool of the investigation or a detector: what a query names."""

    def measure(self, view: View, **args: Any) -> dict[str, Any]: ...


def _again(item: Evidence, view: View, made: dict[tuple[str, str], Measures]) -> Recheck:
    kind, name = item.query.kind, item.query.channel
    if digest(item.result) != item.digest:
        return Recheck(item, False, item.result, None, "the recorded result does not match its own digest")
    try:
        if (kind, name) not in made:
            made[kind, name] = cast("Measures", plugins.create(kind, name))
        new: dict[str, Any] = canonical(made[kind, name].measure(view, **item.query.args))
    except AetiaError as error:
        return Recheck(item, False, item.result, None, str(error))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
        # Arguments come from a file: wrong ones say something about the evidence, not about the channel.
        why = f"the query cannot be run: {type(error).__name__}: {error}"
        return Recheck(item, False, item.result, None, why)
    holds = digest(new) == item.digest
    why = "" if holds else ", ".join(differences(item.result, new)) or "the result changed"
    return Recheck(item, holds, item.result, new, why)


def _windowed(view: View, query: Query, views: list[tuple[Query, View]]) -> View:
    """The view with the windows of the query, where it names its own; queries of the same windows share it, and with
    it what is computed for it."""
    if query.incident is None and not query.baselines:
        return view
    for other, made in views:
        if (other.incident, other.baselines) == (query.incident, query.baselines):
            return made
    baselines = {table: view.baseline_of(table) for table in SCHEMAS} | query.baselines
    views.append((query, View(view.facts, view.baseline, query.incident or view.incident, baselines)))
    return views[-1][1]


def differences(old: Any, new: Any, limit: int = 4) -> list[str]:
    """What changed between two results, as `incident.p99: 340 → 120`; at most `limit` entries."""
    found: list[str] = []
    for place, before, after in _walk(canonical(old), canonical(new), ""):
        if len(found) == limit:
            found.append("…")
            break
        found.append(f"{place or 'result'}: {_short(before)} → {_short(after)}")
    return found


def _walk(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _walk(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _walk(before, after, f"{place}[{index}]")
    elif old != new:
        yield place, old, new


def _short(value: Any) -> str:
    words = "none" if value is None else str(value)
    return words if len(words) <= 60 else words[:59] + "…"
