"""What a tool is: views of the operations with the arguments that a model may give, their schema and their check."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from msgspec import Meta

from aetia.serve.mcp.paging import MOST_CURSOR
from aetia.serve.mcp.values import MOST_TEXT, Json
from aetia.serve.openapi import schema_of
from aetia.serve.operations import all_operations
from aetia.serve.operations.registry import Operation, readable
from aetia.serve.problems import Refused

if TYPE_CHECKING:
    from aetia.model.window import Window
    from aetia.serve.state import ServeState

MOST_ROWS = 200


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of every call, beside those of its view."""

    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS, description="most rows")] | None = None
    cursor: Annotated[
        str, Meta(max_length=MOST_CURSOR, description="`cursor` of the answer before, all else unchanged")
    ] = ""
    session: Annotated[
        str, Meta(max_length=200, description="any name; calls that give the same share one deadline")
    ] = ""
    deadline_s: (
        Annotated[float, Meta(gt=0, le=3600, description="seconds the session has from now on; 120 when not said")]
        | None
    ) = None


class NoOwn(msgspec.Struct, frozen=True, kw_only=True):
    """A view without arguments of its own."""


@dataclass(frozen=True, slots=True)
class Shaped:
    """An operation's answer as rows, what is said beside them, and how many rows there are in all where that is known.
    `nothing`: the rows hold nothing that was found."""

    rows: Sequence[Json]
    facts: Json = field(default_factory=dict[str, Any])
    total: int | None = None
    nothing: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a summary is written from. `rows` are those of the operation's page, before they are cut to size."""

    answer: Any
    rows: Sequence[Json]
    own: Any
    args: Mapping[str, Any]
    total: int | None
    more: bool


Names = Callable[["ServeState", "Window", str], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to look: an operation, the arguments of it that may be given, and how its answer is told.

    `own` are arguments that the operation does not have: `prepare` makes arguments of the operation from them (the
    second is those that were given for the operation), `shape` may filter by them. `fixed` are always given. `page`:
    rows of an answer when no limit is given. `whole`: all rows are fetched in one go under the argument `most` (none
    where it is empty) and paged here; otherwise the operation pages by `limit` and the argument named by `after`.
    `known` gives for an argument the names that exist, for the case that nothing was found.
    """

    name: str
    operation: str
    words: str
    shape: Callable[[Any, Any], Shaped]
    says: Callable[[Told], str]
    args: tuple[str, ...] = ()
    own: type[msgspec.Struct] = NoOwn
    prepare: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    page: int = 20
    whole: int = 0
    most: str = ""
    after: str = "cursor"
    text: int = MOST_TEXT
    known: Mapping[str, Names] = field(default_factory=dict[str, Names])

    @property
    def asks(self) -> Operation:
        return operations()[self.operation]

    @property
    def windowed(self) -> bool:
        return "start" in self.args

    @property
    def properties(self) -> dict[str, Json]:
        """JSON Schema of each argument."""
        held = _schema(self.asks.params).get("properties", {})
        found = {name: held[name] for name in self.args} | _schema(self.own).get("properties", {})
        return {name: _without_null(value) for name, value in found.items()}

    @property
    def required(self) -> frozenset[str]:
        needed = (*_schema(self.asks.params).get("required", ()), *_schema(self.own).get("required", ()))
        return frozenset(needed) & frozenset(self.properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool: its views, the first of which is meant when none is named."""

    name: str
    title: str
    words: str
    views: tuple[View, ...]

    @property
    def description(self) -> str:
        if len(self.views) == 1:
            return self.words
        return " ".join([self.words, "Views:", *(f"`{view.name}` {view.words};" for view in self.views)]).rstrip(";")

    def view(self, name: Any) -> View:
        """The view of a name; raises Refused (400) with the nearest."""
        if name is None:
            return self.views[0]
        names = [view.name for view in self.views]
        if name in names:
            return self.views[names.index(name)]
        raise Refused(
            "bad_request", f"{self.name} has no view '{str(name)[:80]}'; it has {', '.join(names)}.",
            try_=_nearest(str(name), names) or names[0],
        )  # fmt: skip

    def schema(self) -> Json:
        """JSON Schema of the arguments of all views together; which view takes what is said where not all do."""
        properties: dict[str, Json] = {}
        if len(self.views) > 1:
            properties["view"] = {"enum": [view.name for view in self.views], "default": self.views[0].name}
        takers: dict[str, list[str]] = {}
        for view in self.views:
            for name, value in view.properties.items():
                takers.setdefault(name, []).append(view.name)
                properties.setdefault(name, dict(value))
        for name, views in takers.items():
            if len(views) < len(self.views):
                said = properties[name].get("description", "")
                properties[name]["description"] = f"{said} (views {', '.join(views)})".strip()
        for name, value in _schema(Common)["properties"].items():
            properties[name] = _without_null(value)
        needed = frozenset[str].intersection(*(view.required for view in self.views))
        return {"type": "object", "properties": properties, "required": sorted(needed), "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that is understood: which view, arguments of the operation, of the view, and of every call."""

    tool: Tool
    view: View
    args: Mapping[str, Any]
    own: Any
    common: Common


def understood(tool: Tool, given: Mapping[str, Any]) -> Asked:
    """The arguments of a call, checked but for those that the operation checks itself. Raises Refused (400) that names
    the argument and the mend."""
    view = tool.view(given.get("view"))
    rest = {name: _lenient(name, value) for name, value in given.items() if name != "view" and value is not None}
    for name in sorted(view.required - rest.keys()):
        raise Refused("bad_request", f"{tool.name} (view {view.name}) needs the argument '{name}'.")
    common = _taken(Common, rest)
    own = _taken(view.own, rest)
    for name in rest:
        if name not in view.args:
            raise _unknown(tool, view, name)
    args = {**rest, **view.fixed}
    if view.prepare is not None:
        args = {**args, **view.prepare(own, rest)}
    return Asked(tool, view, args, own, common)


def _lenient(name: str, value: Any) -> Any:
    """What models write where a list or a text is asked for: one filter for a list of one, an epoch as a number."""
    if name == "filter" and isinstance(value, str):
        return [value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if name in ("start", "end") and number else value


def _taken(kind: type[msgspec.Struct], rest: dict[str, Any]) -> Any:
    """A struct of those of the arguments that are its own, which are taken out of `rest`."""
    names = {item.encode_name for item in msgspec.structs.fields(kind)}
    mine = {name: rest.pop(name) for name in list(rest) if name in names}
    try:
        return msgspec.convert(mine, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused("bad_request", readable(str(error))) from None


def _unknown(tool: Tool, view: View, name: str) -> Refused:
    """The error for an argument that a view does not take."""
    others = [other.name for other in tool.views if name in other.properties]
    if others:
        return Refused(
            "bad_request", f"view {view.name} of {tool.name} takes no '{name[:80]}'.", try_=f"view {others[0]}"
        )
    known = sorted({*view.properties, *Common.__struct_fields__, *(("view",) if len(tool.views) > 1 else ())})
    return Refused(
        "bad_request", f"'{name[:80]}' is no argument of {tool.name} (view {view.name}); known are"
        f" {', '.join(known)}.", try_=_nearest(name, known),
    )  # fmt: skip


def _nearest(name: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, known, 1, 0.5)
    return f"'{found[0]}'" if found else ""


def _without_null(schema: Mapping[str, Any]) -> Json:
    """An argument that may be absent is left out, so its schema need not say null."""
    kinds = [cast("Json", item) for item in schema.get("anyOf", ()) if item.get("type") != "null"]
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    if len(kinds) == 1:
        return {**_without_null(kinds[0]), **kept}
    default = schema.get("default", False)
    return {key: value for key, value in schema.items() if key != "default" or default or isinstance(default, bool)}


@functools.cache
def _schema(kind: type[msgspec.Struct]) -> Json:
    return schema_of(kind)


@functools.cache
def operations() -> Mapping[str, Operation]:
    """The registry by name."""
    return {item.name: item for item in all_operations()}
