"""What every tool has in common: typed arguments, a bounded answer, errors that a program understands, evidence.

A tool is a class with `Args`, a frozen msgspec struct whose fields and docstring describe its arguments to people,
models and MCP clients alike, and `look`, which reads a view. It subclasses `Tool`, which makes its answers evidence
that `aetia recheck` can run again.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import msgspec

from aetia import plugins
from aetia.model.diagnosis import Claim, Evidence, Query, canonical, make_evidence
from aetia.model.entity import Entity
from aetia.model.errors import AetiaError, SignalError
from aetia.model.journal import ErrorCategory, ToolAnswer, ToolCall, ToolError
from aetia.reason.examined import TABLES, keep, question, remembered
from aetia.signals.view import View

A = TypeVar("A", bound=msgspec.Struct)
MOST_ROWS = 20
"""Rows of one answer, whatever is asked."""
MOST_TEXT = 200
"""Characters of any text in an answer."""
MOST_SAID = 600
"""Characters of a sentence: of a claim, or of an error, which does not send back what was sent."""


class NoAnswer(SignalError):
    """A tool that cannot answer: `code` says why to a program, `instruction` what to ask instead."""

    def __init__(
        self, code: str, message: str, instruction: str = "", *, category: ErrorCategory = "validation"
    ) -> None:
        super().__init__(message)
        self.code, self.instruction = code, instruction
        self.category: ErrorCategory = category


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
        return result_of(self.look(view, cast("A", msgspec.convert(args, self.Args))))


def result_of(found: Found) -> dict[str, Any]:
    """What the digest of the evidence is made of: the rows as they are answered, and how many there were."""
    return {"rows": [bounded(row) for row in found.rows[:MOST_ROWS]], "total": found.total}


def bounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with long texts cut, so that no log line fills an answer."""
    return {key: _cut(value) for key, value in row.items()}


def _cut(value: Any) -> Any:
    return cut(value) if isinstance(value, str) else value


def cut(text: str, most: int = MOST_TEXT) -> str:
    """A text of at most that many characters; `…` stands for what was cut off."""
    return text if len(text) <= most else text[: most - 1] + "…"


def said(text: str, most: int = 80) -> str:
    """A name or line of the telemetry within a sentence: one line, nothing that is not printable, cut."""
    return cut("".join(sign if sign.isprintable() else " " for sign in " ".join(text[: 4 * most].split())), most)


class ViewTools:
    """All registered tools over one view. Answers calls; never raises for what a caller asked. Where `shared`, answers
    are shared with all others over the same facts and windows; who measures time wants each question answered anew."""

    def __init__(self, view: View, *, shared: bool = False) -> None:
        self._view, self._shared = view, shared
        self._tools: dict[str, Tool[Any]] = {}

    def names(self) -> tuple[str, ...]:
        return plugins.names("tool")

    def answer(self, call: ToolCall) -> ToolAnswer:
        """Rows and evidence, or a typed error."""
        if call.tool not in self.names():
            known = ", ".join(self.names())
            return _refused("unknown_tool", f"there is no tool {said(call.tool)!r}.", f"use one of {known}")
        tool = self._tools.setdefault(call.tool, cast("Tool[Any]", plugins.create("tool", call.tool)))
        return ask(tool, call.tool, self._view, call.args, shared=self._shared)


def ask(tool: Tool[Any], name: str, view: View, given: Mapping[str, Any], *, shared: bool = False) -> ToolAnswer:
    """The answer of one tool to arguments as a caller gave them; wrong ones are an error in the answer."""
    began = time.monotonic()
    key = ""
    try:
        args = msgspec.convert(given, tool.Args)
        key = question(tool, name, view, args) if shared else ""
        if key and (before := remembered(view, key)) is not None:
            return before
        found = tool.look(view, args)
        answer = ToolAnswer(
            rows=tuple(canonical(result_of(found))["rows"]), limit=MOST_ROWS, truncated=found.total > MOST_ROWS,
            evidence=_evidence(view, name, args, found),
        )  # fmt: skip
    except msgspec.ValidationError as error:
        fields = "; ".join(
            f"{key}: {field.get('description', '')}" for key, field in schema(tool)["properties"].items()
        )
        answer = _refused("bad_arguments", f"{name}: {said(str(error), 300)}.", f"arguments are {fields}")
    except NoAnswer as error:
        answer = _refused(error.code, str(error), error.instruction, category=error.category)
    except AetiaError as error:
        answer = _refused(type(error).__name__, str(error))
    if key:
        keep(view, key, answer)
    return msgspec.structs.replace(answer, seconds=round(time.monotonic() - began, 4))


def _evidence(view: View, name: str, args: msgspec.Struct, found: Found) -> Evidence | None:
    """The fact with the question that shows it again, on the windows of this view."""
    if found.about is None or found.claim is None:
        return None
    windows = {table: view.baseline_of(table) for table in TABLES}
    plain = msgspec.to_builtins(args)
    return make_evidence(
        about=found.about, polarity=found.polarity, strength=found.strength, result=result_of(found),
        query=Query(kind="tool", channel=name, args=plain, incident=view.incident, baselines=windows),
        claim=msgspec.structs.replace(found.claim, text=said(found.claim.text, MOST_SAID)),
    )  # fmt: skip


def _refused(code: str, message: str, instruction: str = "", *, category: ErrorCategory = "validation") -> ToolAnswer:
    error = ToolError(
        category=category, code=code, message=cut(message, MOST_SAID), instruction=cut(instruction, MOST_SAID)
    )
    return ToolAnswer(error=error)


def schema(tool: Tool[Any]) -> dict[str, Any]:
    """JSON Schema of a tool's arguments, for models and MCP clients; the docstring of `Args` describes its fields."""
    described, components = msgspec.json.schema_components([tool.Args], ref_template="#/$defs/{name}")
    (only,) = described
    name = only["$ref"].rsplit("/", 1)[-1]
    words = _described_fields(tool.Args)
    properties = {
        field: {"description": words[field], **what} if field in words else what
        for field, what in components[name].get("properties", {}).items()
    }
    required = components[name].get("required", [])
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_FIELD = re.compile(r"^`(\w+)`: (.*?)(?=^`\w+`: |\Z)", re.MULTILINE | re.DOTALL)


def _described_fields(args: type[msgspec.Struct]) -> dict[str, str]:
    """The lines "`field`: words" of a docstring, by field."""
    return {name: " ".join(words.split()) for name, words in _FIELD.findall(inspect.getdoc(args) or "")}


def service_code(view: View, name: str) -> int:
    """Code of a service; raises NoAnswer with the nearest names when the telemetry has none of that name."""
    found = known_as(name, view.names.services)
    if found is not None:
        return view.names.service_code(found)
    raise unknown("service", name, view.names.services)


def known_as(name: str, known: Sequence[str]) -> str | None:
    """The known name that is meant: that name itself, or the only one that an answer cut down to it."""
    if name in known:
        return name
    if len(name) == MOST_TEXT and name.endswith("…"):
        meant = [item for item in known if item.startswith(name[:-1])]
        return meant[0] if len(meant) == 1 else None
    return None


def unknown(what: str, name: str, known: Sequence[str]) -> NoAnswer:
    """The error for a name that the telemetry does not have, with those that are nearest to it."""
    near = ", ".join(said(item) for item in nearest(name, known))
    return NoAnswer(
        f"unknown_{what}", f"there is no {what} {said(name)!r} in this telemetry; {len(known)} were searched.",
        f"did you mean {near}?" if near else "ask overview for the names",
    )  # fmt: skip


def nearest(name: str, known: Sequence[str], most: int = 3) -> list[str]:
    """Known names that look like a name: those it begins with or contains first, then those spelled alike."""
    import difflib

    short = name[:MOST_TEXT].lower()
    inside = [item for item in known if item and (item.lower() in short or short in item.lower())][:most]
    alike = difflib.get_close_matches(short, known[:2000], n=most, cutoff=0.6)
    return list(dict.fromkeys((*inside, *alike)))[:most]
