"""Which attributes there are, and which values they have."""

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


class AttributeValuesParams(WindowParams, frozen=True, kw_only=True):
    key: Annotated[str, Meta(min_length=1, max_length=1024, description="key of an attribute, or a column of texts")]
    signal: Annotated[Literal["spans", "logs"], Meta(description="of spans or of log lines")] = "spans"
    limit: Annotated[int, Meta(ge=1, le=1000, description="most values")] = 100


class AttributeValuesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Values among the newest rows that have one, most frequent first; older rows may have others."""

    window: Window
    key: str
    values: tuple[str, ...]
    truncated: bool


@operation(path="/attributes/values", scope="read", summary="Values of an attribute", example={"key": "http.route"})
def attribute_values(state: ServeState, params: AttributeValuesParams) -> AttributeValuesAnswer:
    """What to offer where a filter is written."""
    window = window_of(state, params)
    found = state.backend.attribute_values(window, params.key, params.signal, params.limit + 1)
    more = len(found) > params.limit
    return AttributeValuesAnswer(window=window, key=params.key, values=found[: params.limit], truncated=more)
