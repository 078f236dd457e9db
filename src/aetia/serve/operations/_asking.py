"""What many questions share: a window, a page, filters."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar, cast, get_args

import msgspec
from msgspec import Meta

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.serve.problems import Refused
from aetia.store.backend import Filter, FilterOp
from aetia.timespec import parse_instant

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

T = TypeVar("T")
LONGEST_NS = 400 * 86_400 * 10**9
LAST_NS = (1 << 63) - 1 - LONGEST_NS
DEFAULT_NS = 30 * 60 * 10**9
MOST_ROWS = 10_000

Instant = Annotated[str, Meta(max_length=64)]
Start = Annotated[
    Instant | None,
    Meta(description="start: ISO 8601 with a zone, an epoch, or -30m; default 30 minutes before the end"),
]
End = Annotated[Instant | None, Meta(description="end, in the same forms; default now")]
Limit = Annotated[int, Meta(ge=1, le=5000, description="most rows of one answer")]
Cursor = Annotated[str, Meta(max_length=2000, description="`cursor` of the answer before; empty for the first page")]
Name = Annotated[str, Meta(max_length=500)] | None
Filters = Annotated[
    tuple[Annotated[str, Meta(max_length=2000)], ...],
    Meta(
        max_length=20,
        description="`field:op:value`, several are all met; op is one of `=`, `!=`, `contains`, `>`, `<`, `exists`;"
        " a field is a column (`service`, `name`, `status`, `duration_ms`, …) or the key of an attribute",
    ),
]


class WindowParams(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of a question to a window of time."""

    start: Start = None
    end: End = None


class NothingParams(msgspec.Struct, frozen=True, kw_only=True):
    """No arguments."""


def window_of(state: ServeState, params: WindowParams) -> Window:
    """The window that was asked for; raises Refused (400) for one that cannot be."""
    now = time.time_ns()
    first = state.oldest_ns() if "start" in f"{params.start} {params.end}".lower() else 0
    extent = Window(min(first, now), now)
    try:
        end = now if params.end is None else parse_instant(params.end, extent)
        start = end - DEFAULT_NS if params.start is None else parse_instant(params.start, extent)
    except (UsageError, OverflowError) as error:
        raise Refused("bad_request", f"start and end: {error}", try_="start=-30m&end=now") from None
    if not 0 <= start < end <= LAST_NS:
        raise Refused("bad_request", "the window does not end after it starts, or lies beyond any clock.",
                      try_="start=-30m&end=now")  # fmt: skip
    if end - start > LONGEST_NS:
        raise Refused("bad_request", "the window is longer than 400 days.", try_="a shorter window")
    return Window(start, end)


_FILTER = re.compile(r"(?P<field>.+?):(?P<op>=|!=|>|<|contains|exists)(?::(?P<value>.*))?", re.S)


def filters_of(texts: Sequence[str]) -> tuple[Filter, ...]:
    """Filters as the backend takes them. The field ends at the first operator between colons, so that a key may hold
    colons. Raises Refused (400)."""
    return tuple(_filter(text) for text in texts)


def _filter(text: str) -> Filter:
    found = _FILTER.fullmatch(text)
    if found is None or (found["value"] is None) != (found["op"] == "exists"):
        operators = ", ".join(get_args(FilterOp))
        raise Refused(
            "bad_request", f"'{text[:80]}' is no filter; write field:op:value with one of the operators {operators}.",
            try_="service:=:checkout, duration_ms:>:500, http.route:contains:cart, exception.type:exists",
        )  # fmt: skip
    return Filter(field=found["field"], op=cast("FilterOp", found["op"]), value=found["value"] or "")


class Page(Generic[T]):
    """Some rows of a longer answer."""

    def __init__(self, rows: Sequence[T], cursor: str) -> None:
        self.rows, self.cursor, self.truncated = tuple(rows), cursor, bool(cursor)


def page(ask: Callable[[int], Sequence[T]], limit: int, cursor: str) -> Page[T]:
    """A page of an answer that a backend gives from its beginning: `ask(most)` gives the first so many rows.

    The cursor holds how many rows came before. Raises Refused (400) for another cursor.
    """
    skip = _offset(cursor)
    rows = ask(min(skip + limit + 1, MOST_ROWS))
    more = len(rows) > skip + limit
    return Page(rows[skip : skip + limit], _cursor(skip + limit) if more else "")


def _cursor(skip: int) -> str:
    return base64.urlsafe_b64encode(f"o{skip}".encode()).decode().rstrip("=")


def _offset(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if not re.fullmatch(r"o[0-9]{1,5}", text) or int(text[1:]) >= MOST_ROWS:
        raise Refused("bad_request", "the cursor is not of this question; leave it empty for the first page.")
    return int(text[1:])


STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_BINS = 2000


def step_of(window: Window, seconds: float | None, bins: int = 120) -> int:
    """Nanoseconds of a bin: as asked, else the round length that gives about `bins` of them. Raises Refused (400)
    where there would be too many."""
    if seconds is None:
        wanted = window.seconds / bins
        seconds = next((step for step in STEPS_S if step >= wanted), STEPS_S[-1])
    if window.seconds / seconds > MOST_BINS:
        raise Refused("bad_request", f"a step of {seconds:g} s gives more than {MOST_BINS} bins.", try_="a larger step")
    return round(seconds * 1e9)


Step = Annotated[
    Annotated[float, Meta(ge=0.1, le=86_400 * 30)] | None,
    Meta(description="length of a bin in seconds; default about 120 bins"),
]
