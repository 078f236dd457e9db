"""Which attributes there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from aetia.model.window import Window
from aetia.serve.operations._asking import Cursor, Limit, WindowParams, page, window_of
from aetia.serve.operations.registry import operation

if TYPE_CHECKING:
    from aetia.serve.state import ServeState


class AttributeKeysParams(WindowParams, frozen=True, kw_only=True):
    signal: Annotated[Literal["spans", "logs"], Meta(description="of spans or of log lines")] = "spans"
    limit: Limit = 500
    cursor: Cursor = ""


class AttributeKeysAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Keys of attributes that occur in the window, by name."""

    window: Window
    keys: tuple[str, ...]
    truncated: bool
    cursor: str


@operation(path="/attributes", scope="read", summary="Keys of attributes", example={"signal": "logs"})
def attribute_keys(state: ServeState, params: AttributeKeysParams) -> AttributeKeysAnswer:
    """What can stand in a filter beside the columns."""
    window = window_of(state, params)
    found = page(lambda most: state.backend.attribute_keys(window, params.signal, most), params.limit, params.cursor)
    return AttributeKeysAnswer(window=window, keys=found.rows, truncated=found.truncated, cursor=found.cursor)
