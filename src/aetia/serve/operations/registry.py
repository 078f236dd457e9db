"""The registry: an operation is a function of the server's state and a struct of arguments that returns a struct."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import msgspec

from aetia.serve.problems import Refused
from aetia.serve.security.identity import Scope

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

Method = Literal["GET", "POST", "DELETE"]
PREFIX = "/api/v1"
Answer = Callable[["ServeState", Any], Any]
_PLACE = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is no JSON."""

    content: str
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is a file; `done` is called when it was sent or could not be."""

    path: Path
    name: str
    media_type: str
    done: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One question: how it is called, who may ask it, what it takes and answers."""

    name: str
    method: Method
    path: str
    scope: Scope
    summary: str
    words: str
    group: str
    params: type[msgspec.Struct]
    answer: Any
    answers: Answer
    example: Mapping[str, Any]
    produces: tuple[str, ...]
    open: bool = False

    @property
    def in_path(self) -> tuple[str, ...]:
        """Arguments that stand in the path."""
        return tuple(_PLACE.findall(self.path))

    @property
    def several(self) -> frozenset[str]:
        """Arguments that may be given several times."""
        return frozenset(
            item.encode_name for item in self._fields if isinstance(_plain(item.type), msgspec.inspect.VarTupleType)
        )

    @property
    def _fields(self) -> tuple[msgspec.inspect.Field, ...]:
        held = msgspec.inspect.type_info(self.params)
        assert isinstance(held, msgspec.inspect.StructType)
        return held.fields

    def parsed(self, given: Mapping[str, Any]) -> msgspec.Struct:
        """The arguments as a struct. Query and path hold texts, so numbers are read from texts except in a body.

        Raises Refused (400) that names the argument and the mend.
        """
        fields = msgspec.structs.fields(self.params)
        known = {item.encode_name for item in fields}
        given = {name: value for name, value in given.items() if name in known} if self.open else given
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, 0.5)
                listed = ", ".join(sorted(known)) or "none"
                raise Refused(
                    "bad_request", f"'{name[:80]}' is no argument of {self.name}; known are {listed}.", asked=given,
                    try_=f"'{near[0]}'" if near else "",
                )  # fmt: skip
        if self.method != "POST":
            for item in self._fields:  # a text `null` would be read as none at all
                if str(given.get(item.encode_name, "")).lower() == "null" and not _takes_text(item.type):
                    raise Refused("bad_request", f"'{item.encode_name}' is null; leave it out instead.", asked=given)
        try:
            return msgspec.convert(dict(given), self.params, strict=self.method == "POST")
        except msgspec.ValidationError as error:
            raise Refused("bad_request", readable(str(error)), asked=given) from None


_HELD: dict[str, Operation] = {}


def operation(
    *, path: str, scope: Scope, summary: str, name: str = "", method: Method = "GET",
    example: Mapping[str, Any] | None = None, produces: tuple[str, ...] = (), open: bool = False,
) -> Callable[[Answer], Answer]:  # fmt: skip
    """Register a function `(state, params) -> answer` under `/api/v1` + path.

    Its annotations are the schema, its docstring the description, the fields of the params (with their
    `msgspec.Meta`) the arguments. `example` are arguments that a reader may try. `produces` are media types of answers
    that are `Raw`. An `open` operation ignores arguments that it does not know: its callers are programs of others.
    """

    def register(function: Answer) -> Answer:
        hints = get_type_hints(function, include_extras=True, localns=_types())
        called = name or function.__name__
        if called in _HELD and _HELD[called].answers.__module__ != function.__module__:
            raise ValueError(f"two operations are called {called}")
        _HELD[called] = Operation(
            name=called, method=method, path=PREFIX + path, scope=scope, summary=summary,
            words=inspect.getdoc(function) or "", group=function.__module__.rpartition(".")[2], params=hints["params"],
            answer=hints["return"], answers=function, example=dict(example or {}), produces=produces,
            open=open,
        )  # fmt: skip
        return function

    return register


def registered() -> tuple[Operation, ...]:
    """What is registered so far, by path and method."""
    return tuple(sorted(_HELD.values(), key=lambda item: (item.path, item.method)))


def readable(error: str) -> str:
    """`Expected int, got str - at $.limit` → `limit: expected int, got str.`"""
    what, _, where = error.partition(" - at `$")
    path = where.strip("`").lstrip(".")
    what = what.replace("Object ", "", 1) if what.startswith("Object ") else what
    return (f"{path}: {what[:1].lower()}{what[1:]}" if path else what) + "."


def _plain(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    return kind


def _takes_text(kind: msgspec.inspect.Type) -> bool:
    plain = _plain(kind)
    if isinstance(plain, msgspec.inspect.UnionType):
        return any(_takes_text(item) for item in plain.types)
    return isinstance(plain, msgspec.inspect.StrType)


def _types() -> dict[str, Any]:
    from aetia.serve.state import ServeState

    return {"ServeState": ServeState}
