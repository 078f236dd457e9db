"""The JSON of OpenAI's chat completions: what is sent, and what is read from what comes back.

Servers differ in small things (arguments as an object, content as parts, no usage), all of which is read.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aetia.model.journal import ModelAnswer, ModelCall

CHARACTERS_PER_TOKEN = 4
MOST_CALLS, MOST_ARGUMENTS, MOST_TEXT = 16, 20_000, 60_000
"""Tool calls of one turn that are kept, and characters of their arguments and of the text."""


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | list[Any] | None = None
    tool_calls: list[_Call] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


def body_of(call: ModelCall, name: str, without: frozenset[str] = frozenset()) -> bytes:
    """The request. `without` names fields that this server does not take; newer models of OpenAI want the length of
    the answer as `max_completion_tokens`."""
    length = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
    body: dict[str, Any] = {"model": name, "messages": call.messages, "temperature": 0, length: call.max_tokens}
    if call.tools:
        body["tools"] = call.tools
    if call.response_format is not None:
        body["response_format"] = call.response_format
    return msgspec.json.encode({key: value for key, value in body.items() if key not in without})


def read_completion(body: bytes) -> ModelAnswer | None:
    """A turn of a model; None when the bytes are no chat completion."""
    try:
        read = msgspec.json.decode(body, type=_Completion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not read.choices:
        return None
    message = read.choices[0].message
    calls = tuple(
        ((item.id or f"call_{at}")[:100], item.function.name[:200], _arguments(item.function.arguments))
        for at, item in enumerate((message.tool_calls or [])[:MOST_CALLS])
    )
    usage = read.usage or _Usage()
    text = _text(message.content) or message.refusal or ""
    return ModelAnswer(
        text=text[:MOST_TEXT], calls=calls, tokens_in=max(usage.prompt_tokens, 0),
        tokens_out=max(usage.completion_tokens, 0),
    )  # fmt: skip


def estimated(call: ModelCall) -> int:
    """Tokens of a request, at four bytes a token, its tools and its answer's schema included."""
    parts = (call.messages, call.tools or None, call.response_format)
    size = sum(len(msgspec.json.encode(part)) for part in parts if part is not None)
    return -(-size // CHARACTERS_PER_TOKEN)


def _arguments(value: str | dict[str, Any] | None) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value or {}).decode()
    return text[:MOST_ARGUMENTS]


def _text(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "".join(parts)
    return content or ""
