"""Broken expectations: units in which a usual event is missing or a severe one is new.

Kinds: `missing` an event of (nearly) every unit of the context; `broken_pair` event A without the event B that
always came with it; `severe` a severe log line that was (nearly) never there; `novel` any other new event. All are
rate tests against the baseline, so that a contaminated baseline weakens them instead of switching them off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.evidence._memo import once
from aetia.evidence._units import Units, lacking, members, units_of
from aetia.signals.frames import F64, I8, I64, Bool
from aetia.signals.keys import dense_groups, run_starts, stable_order
from aetia.signals.stats import fisher_p
from aetia.signals.view import View

MISSING, BROKEN_PAIR, SEVERE, NOVEL = range(4)
KIND_NAMES = ("missing", "broken_pair", "severe", "novel")
MIN_UNITS = 4
REQUIRED = 0.9
ALWAYS_WITH = 0.95
MAX_P = 0.05
MIN_EXCESS = 0.02
RARE = 0.2
MAX_MIXED = 60
"""Events per unit that take part in pairs; pairs are quadratic in them."""
NOVEL_WEIGHT = 0.3
MAX_VIOLATIONS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Violations:
    """v violated expectations. `column` is the event that is missing or new, `given` the column of A in a pair (-1
    otherwise); `base_hits`/`base_units` and `incident_hits`/`incident_units` count violating units, `p` is one-sided.
    """

    kind: I8
    column: I64
    given: I64
    base_hits: I64
    base_units: I64
    incident_hits: I64
    incident_units: I64
    p: F64

    def __len__(self) -> int:
        return len(self.column)

    @property
    def excess(self) -> F64:
        base = self.base_hits / np.maximum(self.base_units, 1)
        return np.maximum(self.incident_hits / np.maximum(self.incident_units, 1) - base, 0.0)


def find_violations(units: Units) -> Violations:
    """All significant violations of the incident, by p value."""
    context = units.column_context
    n_base, n_incident = units.base_units[context], units.incident_units[context]
    enough = (n_base >= MIN_UNITS) & (n_incident > 0)
    severe, rate = units.is_severe(), units.base_rate
    columns = np.arange(len(context))
    missing = enough & ~severe & (rate >= REQUIRED)
    fresh = (rate <= RARE) & (units.incident_rate > 2 * rate) & (n_incident > 0) & (enough | severe)
    parts = [
        _test(
            MISSING,
            columns[missing],
            n_base - units.base_hits,
            n_base,
            n_incident - units.incident_hits,
            n_incident,
            missing,
        ),
        _test(
            SEVERE, columns[fresh & severe], units.base_hits, n_base, units.incident_hits, n_incident, fresh & severe
        ),
        _test(
            NOVEL, columns[fresh & ~severe], units.base_hits, n_base, units.incident_hits, n_incident, fresh & ~severe
        ),
        _pairs(units),
    ]
    return _join(parts)


def _test(kind: int, column: I64, base_hits: I64, base_units: I64, hits: I64, n: I64, chosen: Bool) -> Violations:
    return _significant(
        Violations(
            kind=np.full(len(column), kind, np.int8),
            column=column,
            given=np.full(len(column), -1, np.int64),
            base_hits=base_hits[chosen],
            base_units=base_units[chosen],
            incident_hits=hits[chosen],
            incident_units=n[chosen],
            p=np.ones(len(column)),
        )
    )


def _significant(found: Violations) -> Violations:
    p = fisher_p(found.base_hits, found.base_units, found.incident_hits, found.incident_units)
    keep = (p < MAX_P) & (found.excess > MIN_EXCESS)
    return _take(found, keep, p)


def _take(found: Violations, keep: Bool | I64, p: F64 | None = None) -> Violations:
    return Violations(
        kind=found.kind[keep],
        column=found.column[keep],
        given=found.given[keep],
        base_hits=found.base_hits[keep],
        base_units=found.base_units[keep],
        incident_hits=found.incident_hits[keep],
        incident_units=found.incident_units[keep],
        p=(found.p if p is None else p)[keep],
    )


def _join(parts: list[Violations]) -> Violations:
    def all_of(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    joined = Violations(
        kind=all_of("kind"),
        column=all_of("column"),
        given=all_of("given"),
        base_hits=all_of("base_hits"),
        base_units=all_of("base_units"),
        incident_hits=all_of("incident_hits"),
        incident_units=all_of("incident_units"),
        p=all_of("p"),
    )
    return _take(joined, np.lexsort((joined.column, joined.p)))


def _pairs(units: Units) -> Violations:
    """Pairs A → B of events that are not in every unit, where B always came with A and now does not."""
    rate = units.base_rate
    mixed = (units.base_hits >= MIN_UNITS) & (rate < REQUIRED) & ~units.is_severe()
    # A column matters only where its context changed at all: most contexts of an incident are as before.
    shift = np.abs(units.incident_rate - rate) > MIN_EXCESS
    touched = np.zeros(len(units.base_units), np.bool_)
    touched[units.column_context[mixed & shift]] = True
    mixed &= touched[units.column_context]
    before = _co_occurrence(units, mixed, incident=False)
    after = _co_occurrence(units, mixed, incident=True)
    first, second, together = before
    hits = units.base_hits[first]
    always = (together >= ALWAYS_WITH * hits) & (first != second)
    first, second, together = first[always], second[always], together[always]
    now = _lookup(after, first, second, len(units.column_event))
    return _significant(
        Violations(
            kind=np.full(len(first), BROKEN_PAIR, np.int8),
            column=second,
            given=first,
            base_hits=units.base_hits[first] - together,
            base_units=units.base_hits[first],
            incident_hits=units.incident_hits[first] - now,
            incident_units=units.incident_hits[first],
            p=np.ones(len(first)),
        )
    )


def _co_occurrence(units: Units, mixed: Bool, *, incident: bool) -> tuple[I64, I64, I64]:
    """(A, B, units with both) for the mixed columns, by a self-join of the pairs within each unit."""
    chosen = np.flatnonzero(mixed[units.pair_column] & (units.incident[units.pair_unit] == incident))
    chosen = chosen[stable_order(units.pair_unit[chosen])]  # the columns are in order
    unit, column = units.pair_unit[chosen], units.pair_column[chosen]
    all_columns = column
    first = run_starts(unit)
    starts = np.flatnonzero(first)
    run = np.cumsum(first) - 1
    start, size = starts[run], np.diff(starts, append=len(unit))[run]
    small = size <= MAX_MIXED
    unit, column, start, size = unit[small], column[small], start[small], size[small]
    if len(unit) == 0:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    left = np.repeat(column, size)
    offset = np.arange(len(left)) - np.repeat(np.cumsum(size) - size, size)
    right = all_columns[np.repeat(start, size) + offset]
    key, pair = dense_groups(left * np.int64(len(mixed)) + right)
    count = np.bincount(pair, minlength=len(key))
    return key // len(mixed), key % len(mixed), count


def _lookup(table: tuple[I64, I64, I64], first: I64, second: I64, width: int) -> I64:
    key = table[0] * np.int64(max(width, 1)) + table[1]
    wanted = first * np.int64(max(width, 1)) + second
    if len(key) == 0:
        return np.zeros(len(wanted), np.int64)
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[at] == wanted, table[2][at], 0)


def violating_units(units: Units, found: Violations, index: int) -> I64:
    """Incident units that break one expectation, ascending."""
    column, given, kind = int(found.column[index]), int(found.given[index]), int(found.kind[index])
    if kind == MISSING:
        return lacking(units, column)
    have = members(units, column)
    if kind == BROKEN_PAIR:
        return np.setdiff1d(_in_incident(units, members(units, given)), have, assume_unique=True)
    return _in_incident(units, have)


def _in_incident(units: Units, unit: I64) -> I64:
    return unit[units.incident[unit]]


def violations_of(view: View) -> Violations:
    """The violations of a view, computed once."""
    return once(view, "violations", lambda v: find_violations(units_of(v)))


def broken_units(view: View) -> list[I64]:
    """Violating units of each of the first MAX_VIOLATIONS violations."""

    def find(v: View) -> list[I64]:
        units, found = units_of(v), violations_of(v)
        return [violating_units(units, found, index) for index in range(min(len(found), MAX_VIOLATIONS))]

    return once(view, "broken units", find)


def violating_rows(view: View) -> Bool:
    """Mask (n,) of spans that miss something they always did, or do something severe that they never did."""

    def mark(v: View) -> Bool:
        mask = np.zeros(len(v.spans), np.bool_)
        units, found = units_of(v), violations_of(v)
        for index, unit in enumerate(broken_units(v)):
            if found.kind[index] != NOVEL:
                mask[units.row[unit]] = True
        return mask

    return once(view, "violating rows", mark)
