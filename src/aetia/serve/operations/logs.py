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
from aetia.serve.operations._asking import (
    Cursor,
    Filters,
    Limit,
    Name,
    WindowParams,
    filters_of,
    page,
    step_of,
    window_of,
)
from aetia.serve.operations.registry import operation
from aetia.signals.drain import mine
from aetia.signals.frames import I64
from aetia.store.backend import LogRow, ShapeRow

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

MOST_SHAPES = 10_000
_NEVER = (1 << 63) - 1
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
    """Lines of one template; `<*>` stands for values. `before` counts the window of the same length before this one,
    `counts` both per bin. First and last are those of both windows."""

    template: str
    service: str | None
    severity: str | None
    exception: str | None
    call_site: str | None
    count: int
    before: int
    change: str
    counts: tuple[int, ...]
    first_ns: int
    last_ns: int
    example: str


class TemplatesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Templates, those that changed most first. Bin `i` of `counts` begins at `start_ns + i * step_ns`.

    `compared`: something is stored of the time before; without it every `change` is `unknown`. `one_in`: of the lines
    less severe than a warning, and of the others, one in so many was read. `complete`: no rare shape was left out."""

    window: Window
    before: Window
    start_ns: int
    step_ns: int
    templates: tuple[TemplateRow, ...]
    compared: bool
    one_in: tuple[int, int]
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
    """Lines with their values masked, counted over time in the window and in the one of the same length before it."""
    window = window_of(state, params)
    before = Window(max(0, 2 * window.start_ns - window.end_ns), window.start_ns)
    step_ns = step_of(Window(before.start_ns, window.end_ns), None, 60)
    then, now = (
        state.backend.shapes(span, step_ns, service=params.service, limit=MOST_SHAPES) for span in (before, window)
    )
    start_ns = before.start_ns // step_ns * step_ns
    held = templates_of(then.rows, now.rows, (window.start_ns // step_ns * step_ns - start_ns) // step_ns)
    rows = [row for row in held if params.change in ("all", row.change)]
    found = page(lambda most: rows[:most], params.limit, params.cursor)
    return TemplatesAnswer(
        window=window, before=before, start_ns=start_ns, step_ns=step_ns, templates=found.rows,
        compared=bool(then.rows), one_in=(max(then.one_in[0], now.one_in[0]), max(then.one_in[1], now.one_in[1])),
        complete=max(len(then.rows), len(now.rows)) < MOST_SHAPES, truncated=found.truncated, cursor=found.cursor,
    )  # fmt: skip


@dataclass(slots=True)
class _Sum:
    """Lines of one template and service, per bin of both windows."""

    code: int
    service: str | None
    counts: I64
    severity: int = -1
    count: int = 0
    before: int = 0
    first_ns: int = _NEVER
    last_ns: int = 0
    example: str = ""
    best: int = -1

    def add(self, row: ShapeRow, severity: int, first_bin: int, *, now: bool) -> None:
        lines = sum(row.counts)
        self.severity = max(self.severity, severity)
        self.count += lines if now else 0
        self.before += 0 if now else lines
        self.counts[first_bin : first_bin + len(row.counts)] += np.array(row.counts, np.int64)
        self.first_ns, self.last_ns = min(self.first_ns, row.first_ns), max(self.last_ns, row.last_ns)
        if lines > self.best:
            self.best, self.example = lines, row.body[:MOST_EXAMPLE]


def templates_of(before: Sequence[ShapeRow], now: Sequence[ShapeRow], first_bin: int) -> list[TemplateRow]:
    """Templates of the shapes of two windows, per service; the surprising first: by change of rate, then by count.
    `first_bin` is that bin of the time before in which the window begins."""
    shapes = [*before, *now]
    if not shapes:
        return []
    known = {name: index for index, name in enumerate(SEVERITIES)}
    severity = np.array([known.get((row.severity or "").lower(), -1) for row in shapes], np.int8)
    code, templates = mine(pa.chunked_array([pa.array([row.body for row in shapes], pa.string())]), severity)
    bins = max([len(row.counts) for row in before] + [first_bin + len(row.counts) for row in now])
    sums: dict[tuple[int, str | None], _Sum] = {}
    for number, (row, at, worst) in enumerate(zip(shapes, code.tolist(), severity.tolist(), strict=True)):
        held = sums.get((at, row.service))
        if held is None:
            held = sums[at, row.service] = _Sum(at, row.service, np.zeros(bins, np.int64))
        is_now = number >= len(before)
        held.add(row, worst, first_bin if is_now else 0, now=is_now)
    rows = [
        TemplateRow(
            template=templates[item.code].text, service=item.service,
            severity=SEVERITIES[item.severity] if item.severity >= 0 else None,
            exception=templates[item.code].exception, call_site=templates[item.code].call_site, count=item.count,
            before=item.before, change=_change(item.count, item.before) if before else "unknown",
            counts=tuple(item.counts.tolist()), first_ns=item.first_ns, last_ns=item.last_ns, example=item.example,
        )
        for item in sums.values()
    ]  # fmt: skip
    worst = {name: index for index, name in enumerate(SEVERITIES)}
    if not before:  # nothing to be surprised by: what is severe first
        rows.sort(key=lambda row: (-worst.get(row.severity or "", -1), -row.count, row.template, row.service or ""))
    else:
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
