"""One call of a tool answered: understood, allowed, within its time, and no larger than promised."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from aetia.model.errors import AetiaError
from aetia.model.window import Window
from aetia.reason.toolbox import cut, nearest
from aetia.serve.answers import JSON, encoded
from aetia.serve.incidents.records import UnknownIncident
from aetia.serve.mcp import known, paging
from aetia.serve.mcp.budgets import Budgets
from aetia.serve.mcp.catalog import tools
from aetia.serve.mcp.tools import Asked, Shaped, Told, understood
from aetia.serve.mcp.values import MOST_BYTES, MOST_FACTS, Json, shrunk, size, tidy, window_said, within
from aetia.serve.operations._asking import WindowParams, window_of
from aetia.serve.operations.registry import Raw, readable
from aetia.serve.problems import Refused, internal, refusal
from aetia.serve.security.identity import caller, require

if TYPE_CHECKING:
    from aetia.serve.mcp.paging import Place
    from aetia.serve.state import ServeState

log = logging.getLogger(__name__)
SESSION, DEADLINE = "aetia/session", "aetia/deadline_s"
"""Keys of `_meta` that stand for the arguments `session` and `deadline_s`, for hosts whose model need not know."""
MOST_SUMMARY, MOST_ASKED = 1500, 2000
EVERYTHING, REPEATS = 5000, 2
"""Rows that an operation is asked for at once at most, and how often it is asked again for fewer."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a call; a `failed` one is `{"error": …}`."""

    content: Json
    failed: bool = False


class Answers:
    """Answers calls of one server; all of them share the latencies that were seen."""

    def __init__(self, state: ServeState, budgets: Budgets | None = None) -> None:
        self._state, self.budgets = state, budgets or Budgets()

    async def answer(self, name: str, given: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> Answered:
        """The answer of a tool. Never raises for what was asked: an error is an answer that says what to mend."""
        arguments = dict(given)
        for key, argument in ((SESSION, "session"), (DEADLINE, "deadline_s")):
            if meta is not None and meta.get(key) is not None:
                arguments.setdefault(argument, meta[key])
        try:
            return Answered(await self._answer(name, arguments))
        except Refused as refused:
            found = refused
        except AetiaError as error:
            found = refusal(error)
        except Exception:
            log.exception("a tool failed: %s", name)
            found = internal()
        problem = msgspec.to_builtins(found.problem) | {"asked": _told(name, arguments)}
        return Answered({"error": {"kind": problem["kind"], "retryable": False, **problem}}, failed=True)

    async def _answer(self, name: str, given: Mapping[str, Any]) -> Json:
        held = tools().get(name)
        if held is None:
            near = nearest(name, list(tools()))
            raise Refused("not_found", f"there is no tool '{name[:80]}'.", searched=", ".join(tools()),
                          try_=near[0] if near else "incidents")  # fmt: skip
        asked = understood(held, given)
        require(caller.get(), asked.view.asks.scope)
        kind = f"{name}.{asked.view.name}" if len(held.views) > 1 else name
        left = self.budgets.begin(caller.get().name, asked.common.session, asked.common.deadline_s)
        seconds = self.budgets.allot(kind, left, self._state.config.limits.query_seconds)
        began = time.monotonic()
        try:
            found = await self._state.pool.run(self._asked, asked, given, seconds=seconds)
        except Refused as refused:
            if refused.problem.kind == "deadline":
                self.budgets.took(kind, seconds, timed_out=True)
            raise
        self.budgets.took(kind, time.monotonic() - began)
        return found

    def _asked(self, asked: Asked, given: Mapping[str, Any]) -> Json:
        """The answer, in a thread of the pool."""
        question = paging.digest(asked.tool.name, _question(given))
        place, limit = self._place(asked, question)
        content = self._page(asked, place, limit)
        for _ in range(REPEATS):
            told = len(content["rows"])
            if asked.view.whole or place.skip or told == place.page or not content["truncated"]:
                break
            # Its bytes ended the page before its limit. Asked for just so many rows, the operation says where it goes
            # on behind them, however many rows come in before them meanwhile.
            place = msgspec.structs.replace(place, page=told)
            content = self._page(asked, place, limit)
        return content

    def _page(self, asked: Asked, place: Place, limit: int) -> Json:
        """One page of the operation, within the bytes of an answer."""
        view, args = asked.view, dict(asked.args)
        if place.window is not None:
            args |= {"start": str(place.start_ns), "end": str(place.end_ns)}
        if view.whole:
            args |= {view.most: place.page} if view.most else {}
        else:
            args |= {"limit": place.page} | ({view.after: place.inner} if place.inner else {})
        answer = self._operation(asked, args)
        shaped = view.shape(answer, asked.own)
        if (not shaped.rows or shaped.nothing) and place.window is not None and view.known:
            named = {**asked.args, **msgspec.to_builtins(asked.own)}
            known.check(self._state, place.window, named, view.known)
        more = "" if view.whole else str(answer.cursor) if answer.truncated else ""
        told = Told(answer, shaped.rows, asked.own, asked.args, shaped.total, bool(more))
        return bounded(asked, shaped, view.says(told), place, limit, more)

    def _place(self, asked: Asked, question: str) -> tuple[Place, int]:
        """Where the page begins, and how many rows it may have."""
        view, common = asked.view, asked.common
        limit = common.limit or view.page
        if common.cursor:
            place = paging.from_text(common.cursor, question, view.whole or EVERYTHING)
            return (place if view.whole or place.skip else msgspec.structs.replace(place, page=limit)), limit
        window = Window(0, 0)
        if view.windowed and (view.operation != "incidents" or {"start", "end"} & asked.args.keys()):
            window = window_of(self._state, _windows(asked.args))
        return paging.Place(
            question=question, start_ns=window.start_ns, end_ns=window.end_ns, page=view.whole or limit
        ), limit  # fmt: skip

    def _operation(self, asked: Asked, args: Mapping[str, Any]) -> Any:
        """The operation's answer; of one that is no struct, its JSON or its text."""
        operation = asked.view.asks
        params = operation.parsed(args)
        try:
            answer = operation.answers(self._state, params)
        except UnknownIncident:
            raise known.incident(self._state, str(args.get("incident_id", ""))) from None
        if isinstance(answer, Raw):
            return msgspec.json.decode(answer.content) if answer.media_type == JSON else answer.content
        return answer


def bounded(asked: Asked, shaped: Shaped, summary: str, place: Place, limit: int, more: str) -> Json:
    """The answer within its bytes. What does not fit is behind the cursor, and so is what the operation has more."""
    out: Json = {"summary": cut(summary, MOST_SUMMARY)}
    if place.window is not None:
        out["window"] = window_said(place.window)
    facts = tidy(shaped.facts)
    out |= facts if size(facts) <= MOST_FACTS else shrunk(facts, MOST_FACTS)
    if shaped.total is not None:
        out["total"] = shaped.total
    held = shaped.rows[place.skip : place.skip + limit]
    rows = within([tidy(row, asked.view.text) for row in held], MOST_BYTES - size(out) - paging.MOST_CURSOR)
    following = _following(place, place.skip + len(rows), len(shaped.rows), more)
    cursor = paging.to_text(following) if following is not None else ""
    return out | {"rows": rows, "limit": limit, "truncated": bool(cursor), "cursor": cursor}


def _windows(args: Mapping[str, Any]) -> WindowParams:
    try:
        return msgspec.convert({key: args.get(key) for key in ("start", "end")}, WindowParams)
    except msgspec.ValidationError as error:
        raise Refused("bad_request", readable(str(error)), try_="start=-30m&end=now") from None


def _following(place: Place, done: int, there: int, more: str) -> Place | None:
    """The place after so many rows of the operation's page; None at the end."""
    if done < there:
        return msgspec.structs.replace(place, skip=done)
    return msgspec.structs.replace(place, inner=more, skip=0) if more else None


def _question(given: Mapping[str, Any]) -> Json:
    """What makes a question another one: not which part of it is asked for, nor how long that may take."""
    apart = ("cursor", "limit", "session", "deadline_s")
    return {name: value for name, value in given.items() if name not in apart and value is not None}


def _told(name: str, given: Mapping[str, Any]) -> Json:
    """The call as an error repeats it."""
    asked = {"tool": name[:80], "arguments": {str(key)[:80]: value for key, value in given.items()}}
    return tidy(asked, 200, 20) if len(encoded(asked)) <= MOST_ASKED else shrunk(asked, MOST_ASKED)


__all__: Sequence[str] = ["DEADLINE", "SESSION", "Answered", "Answers", "bounded"]
