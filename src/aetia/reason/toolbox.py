"""What every tool has in common: typed arguments, a bounded answer, errors that a program understands, evidence.

A tool is a class with `Args`, a frozen msgspec struct whose fields and docstring describe its arguments to people,
models and MCP clients alike, and `look`, which reads a view. It subclasses `Tool`, which makes its answers evidence
that `aetia recheck` can run again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import msgspec

from aetia import plugins
from aetia.model.diagnosis import Claim, Evidence, Query, canonical, make_evidence
from aetia.model.entity import Entity
from aetia.model.errors import AetiaError, SignalError
from aetia.model.journal import ToolAnswer, ToolCall, ToolError
from aetia.signals.view import View

A = TypeVar("A", bound=msgspec.Struct)
MOST_ROWS = 20
"""Rows of one answer, whatever is asked."""
MOST_TEXT = 200
"""Characters of any text in an answer."""
TABLES = ("spans", "logs", "metrics", "changes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a tool saw: rows of plain values (most telling first), how many there were, and the fact in a sentence.

    `about` and `claim` are None where nothing was found that says anything; then there is no evidence.
    """

    rows: tuple[dict[str, Any], ...]
    total: int
    about: Entity | None = None
    claim: Claim | None = None
    polarity: Literal["for", "against"] = "for"
    strength: float = 0.0


class Tool(Generic[A]):
    """Base of all tools."""

    Args: ClassVar[type[msgspec.Struct]]

    def look(self, view: View, args: A) -> Found:
        """Read the view; raises SignalError when an argument names nothing in it."""
        raise NotImplementedError

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        """The same question again, for `aetia recheck`."""
        found = self.look(view, cast("A", msgspec.convert(args, self.Args)))
        return {"rows": [bounded(row) for row in found.rows[:MOST_ROWS]], "total": found.total}


def bounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with long texts cut, so that no log line fills an answer."""
    return {key: _cut(value) for key, value in row.items()}


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MOST_TEXT:
        return value[: MOST_TEXT - 1] + "…"
    return value


class ViewTools:
    """All registered tools over one view. Answers calls; never raises for what a caller asked."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._tools: dict[str, Tool[Any]] = {}

    def names(self) -> tuple[str, ...]:
        return plugins.names("tool")

    def answer(self, call: ToolCall) -> ToolAnswer:
        """Rows and evidence, or a typed error."""
        began = time.monotonic()
        try:
            answer = self._answer(call)
        except AetiaError as error:
            answer = ToolAnswer(error=ToolError(category="validation", code=type(error).__name__, message=str(error)))
        return msgspec.structs.replace(answer, seconds=round(time.monotonic() - began, 4))

    def _answer(self, call: ToolCall) -> ToolAnswer:
        if call.tool not in self.names():
            known = ", ".join(self.names())
            error = ToolError(
                category="validation", code="unknown_tool", message=f"there is no tool {call.tool!r}.",
                instruction=f"use one of {known}",
            )  # fmt: skip
            return ToolAnswer(error=error)
        tool = self._tools.setdefault(call.tool, cast("Tool[Any]", plugins.create("tool", call.tool)))
        try:
            args = msgspec.convert(call.args, tool.Args)
        except msgspec.ValidationError as error:
            return ToolAnswer(
                error=ToolError(
                    category="validation",
                    code="bad_arguments",
                    message=f"{call.tool}: {error}.",
                    instruction=f"arguments are {schema(tool)['properties']}",
                )
            )
        found = tool.look(self._view, args)
        rows = tuple(canonical(bounded(row)) for row in found.rows[:MOST_ROWS])
        return ToolAnswer(
            rows=rows,
            limit=MOST_ROWS,
            truncated=found.total > len(rows),
            evidence=self._evidence(call, tool, args, found),
        )

    def _evidence(self, call: ToolCall, tool: Tool[Any], args: msgspec.Struct, found: Found) -> Evidence | None:
        if found.about is None or found.claim is None:
            return None
        plain = msgspec.to_builtins(args)
        windows = {table: self._view.baseline_of(table) for table in TABLES}
        query = Query(channel=call.tool, args=plain, incident=self._view.incident, baselines=windows)
        return make_evidence(
            about=found.about, claim=found.claim, polarity=found.polarity, strength=found.strength, query=query,
            result=tool.measure(self._view, **plain),
        )  # fmt: skip


def schema(tool: Tool[Any]) -> dict[str, Any]:
    """JSON Schema of a tool's arguments, for models and MCP clients."""
    described, components = msgspec.json.schema_components([tool.Args], ref_template="#/$defs/{name}")
    (only,) = described
    name = only["$ref"].rsplit("/", 1)[-1]
    return {key: value for key, value in components[name].items() if key in ("type", "properties", "required")} | {
        "additionalProperties": False
    }


def service_code(view: View, name: str) -> int:
    """Code of a service; raises SignalError with the nearest names when the telemetry has none of that name."""
    if name in view.names.services:
        return view.names.service_code(name)
    import difflib

    near = difflib.get_close_matches(name, view.names.services, n=3, cutoff=0.4)
    hint = f"; did you mean {', '.join(near)}?" if near else "."
    raise SignalError(f"there is no service {name!r} in this telemetry{hint}")
