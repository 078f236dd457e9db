"""One agent: the conversation of a model about one component, kept small, and the reading of what the model wants.

It asks nothing by itself. `call` gives the next turn, `hear` takes the model's answer and returns the questions to
tools, `told` takes their answers. What a model invents is refused with a word that lets it mend, and reported; who goes
on is closed. Source: self-state verification of RCLAgent v2 (arXiv 2605.14866), section 1.2 of the agents survey.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from aetia.model.journal import ModelAnswer, ModelCall, ToolCall, ToolError
from aetia.reason import _llm_words as words
from aetia.reason._llm_board import Board, Result
from aetia.reason._llm_reading import read_arguments, read_object, strings, word
from aetia.reason.models.wire import estimated

MOST_PROMPT, REPLY = 6_800, 1_000
"""Tokens of what a model is shown, tools included, and of what it may answer: 8 k at the most together."""
MOST_AT_ONCE, MOST_ARGUMENTS, STRIKES, MENDED = 4, 1_000, 3, 1
"""Questions of one turn, characters of the arguments of one, slips of one agent that close it, and turns of which
nothing could be read that it may mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one agent found out about its component."""

    node: str
    verdict: words.NodeVerdict = "unclear"
    evidence: tuple[str, ...] = ()
    blames: str | None = None
    reason: str = ""


@dataclass(slots=True)
class _Turn:
    """What the model said, and the answers to it: (message, its short form)."""

    said: dict[str, Any]
    replies: list[tuple[dict[str, Any], dict[str, Any]]] = field(
        default_factory=list[tuple[dict[str, Any], dict[str, Any]]]
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question of an agent to a tool, under the id that its answer has to carry."""

    agent: NodeAgent
    key: str
    call: ToolCall


class NodeAgent:
    """The examination of one component. `verdict` is there when it has ended well; `failed` says why it has not."""

    def __init__(self, node: str, brief: dict[str, Any], board: Board, tools: tuple[dict[str, Any], ...], rounds: int):
        self.node, self.name = node, f"node:{node}"
        self.verdict: Verdict | None = None
        self.failed: ToolError | str | None = None
        self._board, self._tools = board, tools
        self._known = frozenset(item["function"]["name"] for item in tools)
        self._head = opening(words.NODE.format(rounds=rounds), brief, board)
        self._turns: list[_Turn] = []
        self._strikes = self._number = self._mended = 0
        self._unread = False

    @property
    def open(self) -> bool:
        return self.verdict is None and self.failed is None

    def call(self, *, closing: bool, most_s: float) -> ModelCall:
        """The next turn; when it is `closing`, only finish and abstain are offered."""
        tools = words.CLOSING_TOOLS if closing else (*self._tools, *words.CLOSING_TOOLS)
        why = "end the examination" if closing else f"did the fault begin in {self.node}?"

        def with_history(short: int) -> ModelCall:
            messages = self._messages(short)
            return ModelCall(messages=messages, tools=tools, max_tokens=REPLY, agent=self.name, why=why, most_s=most_s)

        return fitted(with_history, len(self._turns))

    def hear(self, answer: ModelAnswer, *, closing: bool = False) -> list[Wanted]:
        """Take the model's turn; returns what it wants to know. After the closing turn nothing more is asked."""
        if answer.error is not None:
            self._fail(answer.error)
            return []
        turn = _Turn({"role": "assistant", "content": self._board.redactor.text(answer.text, 300)})
        self._turns.append(turn)
        self._unread = False
        wanted = self._calls(turn, answer) if answer.calls else self._text(turn, answer.text)
        self._mended += self._unread and not wanted
        if self.open and self._mended > MENDED:
            self._fail("it was told the form once and did not keep to it")
        if self.open and (closing or self._strikes >= STRIKES):
            self._fail("it gave no verdict" if closing else f"it slipped {self._strikes} times")
        return wanted if self.open else []

    def told(self, wanted: Wanted, result: Result, seen_by: str | None = None) -> None:
        """The answer to one question; `seen_by` is the agent that asked the same before."""
        if seen_by == self.name:
            self._slip("RF-12", f"asks {wanted.call.tool} the same again")
            body = {"error": "repeated", "message": "you asked exactly this before", "evidence": result.evidence}
            self._reply(self._turns[-1], wanted.key, msgspec.json.encode(body).decode())
        else:
            self._reply(self._turns[-1], wanted.key, result.full, result.short)
        if self.open and self._strikes >= STRIKES:
            self._fail(f"it slipped {self._strikes} times")

    def close(self, why: str) -> None:
        """End the examination from outside."""
        if self.open:
            self.failed = why

    def _calls(self, turn: _Turn, answer: ModelAnswer) -> list[Wanted]:
        wanted: list[Wanted] = []
        echoed: list[dict[str, Any]] = []
        turn.said["tool_calls"] = echoed
        for _, name, text in answer.calls[:MOST_AT_ONCE]:
            self._number += 1
            key, args = f"c{self._number}", read_arguments(text) if len(text) <= MOST_ARGUMENTS else None
            shown = self._board.redactor.text(name, 60)
            arguments = msgspec.json.encode(self._board.redactor.data(args or {}, 120)).decode()
            function = {"name": shown, "arguments": arguments}
            echoed.append({"id": key, "type": "function", "function": function})
            if args is None:
                self._unread = True
                self._slip("malformed-answer", f"the arguments of {shown} are no JSON object")
                self._error(turn, key, "arguments", "the arguments are one short JSON object")
            elif name in words.CLOSING:
                self._end(turn, name, args, key)
            elif name not in self._known:
                self._slip("RF-10", f"calls {shown}, which is no tool of this investigation")
                known = ", ".join(sorted(self._known | set(words.CLOSING)))
                self._error(turn, key, "unknown_tool", f"there is no such tool; use one of {known}")
            else:
                restored = cast("dict[str, Any]", self._board.redactor.restore(args))
                asked = ToolCall(tool=name, args=restored, agent=self.name, why=f"examines {self.node}")
                wanted.append(Wanted(self, key, asked))
        return wanted

    def _text(self, turn: _Turn, text: str) -> list[Wanted]:
        """A turn without calls: a verdict written out, or something that has to be said again."""
        found = read_object(text)
        if found is not None and isinstance(found.get("arguments", found.get("parameters")), dict):
            found = found.get("arguments", found.get("parameters"))  # a call that was written out
        if isinstance(found, dict) and "verdict" in found:
            self._end(turn, words.FINISH, found, None)
        else:
            shown = self._board.redactor.text(text, 120) or "nothing"
            self._slip("malformed-answer" if "{" in text else "no-verdict", f"neither calls a tool nor ends: {shown}")
            self._unread = True
            self._error(turn, None, "form", "call a tool, or finish, or abstain; words alone are not read")
        return []

    def _end(self, turn: _Turn, name: str, args: dict[str, Any], key: str | None) -> None:
        reason = self._board.redactor.text(word(args.get("reason")), 200)
        if name == words.ABSTAIN:
            self.verdict = Verdict(node=self.node, reason=reason)
            return
        verdict = words.verdict_of(args.get("verdict"))
        if verdict is None:
            self._unread = True
            self._slip("malformed-answer", "finishes without a verdict")
            self._error(turn, key, "verdict", f"verdict is one of {', '.join(words.VERDICTS)}")
            return
        known, invented = self._board.cited(strings(args.get("evidence")))
        if invented:
            self._slip("RF-01", f"cites evidence that does not exist: {', '.join(invented[:4])}")
            if self._strikes == 1:
                self._error(turn, key, "evidence", f"there is no evidence {', '.join(invented[:4])[:200]}; copy ids")
                return
        blames = self._board.redactor.restore(word(args.get("blames"))) or None
        if blames is not None and not self._board.knows(blames):
            self._slip("RF-01", f"blames {blames}, which the telemetry does not know")
            blames = None
        if verdict == "cause" and not known:
            verdict = "unclear"  # without evidence nobody is blamed
        self.verdict = Verdict(node=self.node, verdict=verdict, evidence=known, blames=blames, reason=reason)

    def _messages(self, short: int) -> tuple[dict[str, Any], ...]:
        """The conversation; the oldest `short` turns without the rows of their answers, and whole turns left out when
        that number exceeds the turns."""
        kept = self._turns[max(short - len(self._turns), 0) :]
        messages = list(self._head)
        for at, turn in enumerate(kept):
            messages.append(turn.said if turn.said.get("tool_calls") else _without_calls(turn.said))
            messages += [reply[at < short] for reply in turn.replies]
        return tuple(messages)

    def _error(self, turn: _Turn, key: str | None, code: str, message: str) -> None:
        self._reply(turn, key, msgspec.json.encode({"error": code, "message": message}).decode())

    def _reply(self, turn: _Turn, key: str | None, full: str, short: str | None = None) -> None:
        head = {"role": "user"} if key is None else {"role": "tool", "tool_call_id": key}
        turn.replies.append(({**head, "content": full}, {**head, "content": short or full}))

    def _slip(self, check: str, text: str) -> None:
        self._strikes += 1
        self._board.warn(check, text, self.name)

    def _fail(self, why: ToolError | str) -> None:
        self.failed = why
        if isinstance(why, ToolError):
            self._board.warn(f"model-{why.category}", why.message, self.name)
        else:
            self._board.warn("no-verdict", f"the examination of {self.node} was closed: {why}", self.name)


def opening(system: str, document: dict[str, Any], board: Board) -> tuple[dict[str, Any], ...]:
    """The first two messages: what to do, in our words alone, and the document, quoted."""
    return (
        {"role": "system", "content": system},
        {"role": "user", "content": board.redactor.quote(document, 400)},
    )


def fitted(make: Callable[[int], ModelCall], turns: int) -> ModelCall:
    """The call with as much of its history as MOST_PROMPT allows; `make(n)` shortens the n oldest turns and, beyond
    their number, leaves turns out."""
    call = make(0)
    for short in range(1, 2 * turns + 1):
        if estimated(call) <= MOST_PROMPT:
            break
        call = make(short)
    return call


def _without_calls(said: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if key != "tool_calls"}
