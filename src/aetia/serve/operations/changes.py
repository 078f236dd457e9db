"""Changes: what people and machines did to the system, told by deploy scripts, flag services and alert managers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.serve.operations._asking import LAST_NS, Cursor, Instant, Limit, Name, WindowParams, page, window_of
from aetia.serve.operations.registry import operation
from aetia.serve.problems import Refused
from aetia.store.backend import ChangeRow
from aetia.timespec import parse_instant

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

ChangeKind = Literal["deploy", "config", "scale", "restart", "flag", "alert"]
AHEAD_NS = 3600 * 10**9
"""A change may be told this far ahead of the server's clock."""


class ChangesParams(WindowParams, frozen=True, kw_only=True):
    service: Annotated[Name, Meta(description="of this service, and of none in particular")] = None
    limit: Limit = 1000
    cursor: Cursor = ""


class ChangesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Changes in order of time."""

    window: Window
    changes: tuple[ChangeRow, ...]
    truncated: bool
    cursor: str


class AddChangeParams(msgspec.Struct, frozen=True, kw_only=True):
    kind: Annotated[ChangeKind, Meta(description="what was done")]
    service: Annotated[Name, Meta(description="to which service; null: to all or none")] = None
    description: Annotated[str, Meta(max_length=2000, description="in words, such as `checkout 1.4.2 → 1.5.0`")] = ""
    time: Annotated[Instant | None, Meta(description="when: ISO 8601 with a zone or an epoch; default now")] = None
    attributes: Annotated[
        dict[Annotated[str, Meta(max_length=200)], Annotated[str, Meta(max_length=2000)]],
        Meta(max_length=50, description='more about it, such as `{"version": "1.5.0"}`'),
    ] = {}


class AddChangeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The change as it is stored; `duplicate` says that it was known already."""

    change: ChangeRow
    duplicate: bool


@operation(path="/changes", scope="read", summary="Deploys, flags, restarts and alerts", example={"start": "-1d"})
def changes(state: ServeState, params: ChangesParams) -> ChangesAnswer:
    """In order of time."""
    window = window_of(state, params)

    def ask(most: int) -> list[ChangeRow]:
        rows = state.backend.changes(window, most)
        return [row for row in rows if params.service is None or row.service in (params.service, None)]

    found = page(ask, params.limit, params.cursor)
    return ChangesAnswer(window=window, changes=found.rows, truncated=found.truncated, cursor=found.cursor)


@operation(path="/changes", scope="write", method="POST", summary="Tell of a deploy, a flag, a restart …",
           example={"kind": "deploy", "service": "checkout", "description": "1.4.2 → 1.5.0",
                    "attributes": {"version": "1.5.0"}})  # fmt: skip
def add_change(state: ServeState, params: AddChangeParams) -> AddChangeAnswer:
    """A recent change on a candidate is evidence, so tell of changes from the pipeline that makes them. Answered once
    the change is on the disk."""
    now = time.time_ns()
    at = now
    if params.time is not None:
        try:
            at = parse_instant(params.time, Window(0, now))
        except (UsageError, OverflowError) as error:
            raise Refused("bad_request", f"time: {error}") from None
        if not 0 < at <= min(now + AHEAD_NS, LAST_NS):
            raise Refused("bad_request", "time: a change is told when it has happened, at most an hour ahead.")
    attributes = msgspec.json.encode(params.attributes, order="sorted").decode() if params.attributes else None
    row = ChangeRow(
        time_ns=at, kind=params.kind, service=params.service or None, description=params.description or None,
        attributes=attributes,
    )  # fmt: skip
    receipt = state.owned_store().append_changes([row]).result(timeout=state.config.limits.durable_seconds)
    state.hub.tell("changes", "change", row, keep=True)
    return AddChangeAnswer(change=row, duplicate=bool(receipt.duplicate))
