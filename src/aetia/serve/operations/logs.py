"""Log lines, and what they say in general: templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta

from aetia.model.tables import SEVERITIES
from aetia.model.window import Window
from aetia.serve.operations._asking import Cursor, Filters, Limit, Name, WindowParams, filters_of, page, window_of
from aetia.serve.operations.registry import operation
from aetia.signals.drain import mine
from aetia.store.backend import BodyRow, LogRow

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

MOST_BODIES = 10_000
MOST_EXAMPLE = 400


class LogsParams(WindowParams, frozen=True, kw_only=True):
    filter: Filters = ()
    limit: Annotated[int, Meta(ge=1, le=5000, description="most rows of one answer")] = 100
    cursor: Cursor = ""


class LogsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Log lines, newest first."""

    window: Window
    logs: tuple[LogRow, ...]
    truncated: bool
    cursor: str


class TemplatesParams(WindowParams, frozen=True, kw_only=True):
    service: Annotated[Name, Meta(description="of this service alone")] = None
    change: Annotated[
        str, Meta(pattern="^(all|new|gone|more|less)$", description="`all`, or only `new`, `gone`, `more` or `less`")
    ] = "all"
    limit: Limit = 200
    cursor: Cursor = ""


class TemplateRow(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of one shape; `<*>` stands for values. `before` counts the window of the same length before this one."""

    template: str
    service: str | None
    severity: str | None
    exception: str | None
    call_site: str | None
    count: int
    before: int
    change: str
    first_ns: int | None
    last_ns: int | None
    example: str


class TemplatesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Templates, those that changed most first. `mined` says how many distinct bodies they were mined from and
    `complete` whether these were all."""

    window: Window
    before: Window
    templates: tuple[TemplateRow, ...]
    mined: int
    complete: bool
    truncated: bool
    cursor: str


@operation(path="/logs", scope="read", summary="Search log lines",
           example={"filter": ["service:=:checkout", "body:contains:timeout"], "limit": 50})  # fmt: skip
def logs(state: ServeState, params: LogsParams) -> LogsAnswer:
    """Newest first."""
    window = window_of(state, params)
    found = state.backend.logs(
        window, filters=filters_of(params.filter), limit=params.limit, cursor=params.cursor
    )  # fmt: skip
    return LogsAnswer(window=window, logs=found.rows, truncated=bool(found.cursor), cursor=found.cursor)


@operation(path="/logs/templates", scope="read", summary="What log lines say, and what is new",
           example={"service": "checkout", "change": "new"})  # fmt: skip
def log_templates(state: ServeState, params: TemplatesParams) -> TemplatesAnswer:
    """Bodies with their values masked, counted in the window and in the one of the same length before it."""
    window = window_of(state, params)
    before = Window(max(0, 2 * window.start_ns - window.end_ns), window.start_ns)
    bodies = state.backend.bodies(window, before, service=params.service, limit=MOST_BODIES)
    rows = [row for row in templates_of(bodies) if params.change in ("all", row.change)]
    found = page(lambda most: rows[:most], params.limit, params.cursor)
    return TemplatesAnswer(
        window=window, before=before, templates=found.rows, mined=len(bodies), complete=len(bodies) < MOST_BODIES,
        truncated=found.truncated, cursor=found.cursor,
    )  # fmt: skip


@dataclass(slots=True)
class _Sum:
    """Lines of one template and service."""

    code: int
    service: str | None
    severity: int = -1
    count: int = 0
    before: int = 0
    first_ns: int = 0
    last_ns: int = 0
    example: str = ""
    best: int = -1

    def add(self, row: BodyRow, severity: int) -> None:
        self.severity = max(self.severity, severity)
        self.count += row.count
        self.before += row.before
        if row.count:
            self.first_ns = min(self.first_ns, row.first_ns) if self.first_ns else row.first_ns
            self.last_ns = max(self.last_ns, row.last_ns)
        if row.count > self.best:
            self.best, self.example = row.count, row.body[:MOST_EXAMPLE]


def templates_of(bodies: Sequence[BodyRow]) -> list[TemplateRow]:
    """Templates of distinct bodies per service; the surprising first: new ones by count, then by change of rate."""
    if not bodies:
        return []
    known = {name: index for index, name in enumerate(SEVERITIES)}
    severity = np.array([known.get((row.severity or "").lower(), -1) for row in bodies], np.int8)
    code, templates = mine(pa.chunked_array([pa.array([row.body for row in bodies], pa.string())]), severity)
    sums: dict[tuple[int, str | None], _Sum] = {}
    for row, at, worst in zip(bodies, code.tolist(), severity.tolist(), strict=True):
        sums.setdefault((at, row.service), _Sum(at, row.service)).add(row, worst)
    rows = [
        TemplateRow(
            template=templates[item.code].text, service=item.service,
            severity=SEVERITIES[item.severity] if item.severity >= 0 else None,
            exception=templates[item.code].exception, call_site=templates[item.code].call_site, count=item.count,
            before=item.before, change=_change(item.count, item.before), first_ns=item.first_ns or None,
            last_ns=item.last_ns or None, example=item.example,
        )
        for item in sums.values()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-_surprise(row.count, row.before), -row.count, row.template, row.service or ""))
    return rows


def _change(count: int, before: int) -> str:
    """In a word; counts of a Poisson process differ by three standard deviations of their root, or they do not."""
    if not before:
        return "new"
    if not count:
        return "gone"
    far = 2 * abs(count**0.5 - before**0.5) >= 3
    return ("more" if count > before else "less") if far else "same"


def _surprise(count: int, before: int) -> float:
    """How far two counts lie apart, on the scale on which a Poisson count has the same spread everywhere."""
    return 2 * abs((count + 3 / 8) ** 0.5 - (before + 3 / 8) ** 0.5)
