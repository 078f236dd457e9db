"""Objectives (SLOs) of entry points, and how fast their error budgets burn.

Burn rates and windows are those of the SRE workbook, chapter 5 ("Alerting on SLOs"): 14.4 over an hour and five
minutes spends 2 % of a month's budget in an hour, 6 over six hours and thirty minutes 5 % in six.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from aetia.detect._live_entries import Rows
from aetia.detect._live_memory import Operations
from aetia.detect._requests import Sli
from aetia.model import entity
from aetia.model.diagnosis import SliBreach
from aetia.model.entity import Entity
from aetia.model.errors import UsageError
from aetia.signals.frames import F64

MINUTE_NS = 60_000_000_000
MINUTES = 360
BURNS = ((14.4, 60, 5), (6.0, 360, 30))
"""(burn rate, minutes of the long window, of the short one); both must burn so fast."""
MIN_BAD = 5


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A promise to users of a service, or of one of its operations: share of requests that succeed, and share that is
    answered within a time."""

    service: Annotated[str, msgspec.Meta(min_length=1)]
    operation: str = ""
    availability: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    latency_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    latency_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.95

    @property
    def entity(self) -> Entity:
        return entity.operation(self.service, self.operation) if self.operation else entity.service(self.service)

    def covers(self, one: Entity) -> bool:
        """Whether it promises something of an entry point."""
        return one.service == self.service and self.operation in ("", one.operation)

    def promises(self) -> tuple[Sli, ...]:
        """Which SLIs it speaks of."""
        found: tuple[Sli, ...] = ("success",) if self.availability is not None else ()
        return (*found, "latency") if self.latency_ms is not None else found

    def budget(self, sli: Sli) -> float:
        """Share of requests that may be bad."""
        return 1.0 - (self.availability or 0.0) if sli == "success" else 1.0 - self.latency_share


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slo: tuple[Objective, ...] = ()


def read_objectives(path: Path) -> tuple[Objective, ...]:
    """The objectives of a TOML file, one `[[slo]]` each. Raises UsageError that names the place and the mend."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).slo
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}; an objective is [[slo]] with service, availability, latency_ms") from error
    for item in found:
        if not item.promises():
            raise UsageError(f"{path}: nothing is promised for {item.service}; give availability or latency_ms")
    return found


class Burning(msgspec.Struct, frozen=True, kw_only=True):
    """One promise that is broken: its budget burns `rate` times as fast as it may."""

    objective: Objective
    breach: SliBreach
    rate: float
    last_ns: int
    """End of the last minute in which it burnt so fast."""


class Budgets:
    """Requests, and bad ones, per objective and minute of the last six hours."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = tuple(objectives)
        self._promises: list[tuple[int, Sli]] = [
            (at, sli) for at, item in enumerate(self.objectives) for sli in item.promises()
        ]
        self._all, self._bad = (np.zeros((len(self._promises), MINUTES)) for _ in range(2))
        self._minute = -1
        self._first = -1

    def add(self, rows: Rows, operations: Operations, now_ns: int) -> None:
        """Count new entry requests, by when they ended."""
        if not self._promises:
            return
        self._advance(now_ns // MINUTE_NS)
        minute = np.minimum((rows.start_ns + rows.duration_ns) // MINUTE_NS, self._minute)
        recent = minute > self._minute - MINUTES
        for at, (which, sli) in enumerate(self._promises):
            objective = self.objectives[which]
            covered = np.array([objective.covers(one) for one in operations.entities] or [False])
            mine = recent & covered[rows.operation] if len(rows) else recent
            place = (minute % MINUTES)[mine]
            limit_ns = (objective.latency_ms or np.inf) * 1e6
            bad = rows.failed[mine] if sli == "success" else rows.duration_ns[mine] > limit_ns
            self._all[at] += np.bincount(place, minlength=MINUTES)
            self._bad[at] += np.bincount(place[bad], minlength=MINUTES)
            if self._first < 0 and mine.any():
                self._first = int(minute[mine].min())

    def _advance(self, minute: int) -> None:
        if minute > self._minute:
            gone = np.arange(max(self._minute + 1, minute - MINUTES + 1), minute + 1) % MINUTES
            self._all[:, gone] = self._bad[:, gone] = 0.0
            self._minute = minute

    def burning(self) -> list[Burning]:
        """The promises that are broken now."""
        found: list[Burning] = []
        for at, (which, sli) in enumerate(self._promises):
            objective = self.objectives[which]
            for rate, long, short in BURNS:
                slow, fast = (self._rate(at, minutes, objective.budget(sli)) for minutes in (long, short))
                if slow >= rate and fast >= rate and self._last(self._bad, at, short) >= MIN_BAD:
                    found.append(self._told(at, objective, sli, (rate, long), fast))
                    break
        return found

    def within(self, one: Entity, sli: Sli, since_ns: int) -> bool | None:
        """Whether the requests of an entry point have met its objectives since a time (of the last five minutes at the
        least); None where nothing was promised."""
        minutes = int(np.clip(self._minute - since_ns // MINUTE_NS + 1, 5, MINUTES))
        told = [
            self._share(at, minutes) <= self.objectives[which].budget(of)
            for at, (which, of) in enumerate(self._promises)
            if of == sli and self.objectives[which].covers(one)
        ]
        return all(told) if told else None

    def _last(self, table: F64, at: int, minutes: int) -> float:
        return float(table[at, np.arange(self._minute - minutes + 1, self._minute + 1) % MINUTES].sum())

    def _share(self, at: int, minutes: int) -> float:
        return self._last(self._bad, at, minutes) / max(self._last(self._all, at, minutes), 1.0)

    def _rate(self, at: int, minutes: int, budget: float) -> float:
        """How many times too fast the budget burns. What was before the first request counts as good, at today's rate:
        a minute of errors after a start is no hour of errors."""
        known = min(max(self._minute - self._first + 1, 1), minutes)
        requests = self._last(self._all, at, minutes) * minutes / known
        return self._last(self._bad, at, minutes) / max(requests, 1.0) / budget

    def _told(self, at: int, objective: Objective, sli: Sli, burn: tuple[float, int], fast: float) -> Burning:
        minutes = np.arange(self._minute - burn[1] + 1, self._minute + 1)
        bad, every = self._bad[at, minutes % MINUTES], self._all[at, minutes % MINUTES]
        hot = np.flatnonzero(bad > objective.budget(sli) * burn[0] * np.maximum(every, 1.0))
        first, last = (int(minutes[hot[0]]), int(minutes[hot[-1]])) if len(hot) else (self._minute, self._minute)
        since = minutes >= first
        n, k = int(every[since].sum()), int(bad[since].sum())
        what = "share" if sli == "success" else f"share within {objective.latency_ms:g} ms"
        breach = SliBreach(
            entry=objective.entity, sli=sli, statistic=what, baseline=1.0 - objective.budget(sli),
            incident=1.0 - k / max(n, 1), onset_ns=first * MINUTE_NS, p_value=0.0, requests=n, affected=k, unit="share",
        )  # fmt: skip
        return Burning(objective=objective, breach=breach, rate=fast, last_ns=(last + 1) * MINUTE_NS)
