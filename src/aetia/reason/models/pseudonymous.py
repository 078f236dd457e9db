"""A model that never learns a name: pseudonyms go out, names come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from aetia.model.journal import ModelAnswer, ModelCall
from aetia.reason.redact import Pseudonyms
from aetia.reason.run import Model


class Pseudonymous:
    """Stands before a model. Names are replaced in the values of everything that came from telemetry, and in the
    model's answers the other way round; the journal of the investigation, which stays here, keeps the names."""

    def __init__(self, model: Model, pseudonyms: Pseudonyms) -> None:
        self._model, self._pseudonyms = model, pseudonyms

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        hidden = tuple(self._hidden(message) for message in call.messages)
        answer = self._model.answer(msgspec.structs.replace(call, messages=hidden), timeout_s)
        show = self._pseudonyms.show
        calls = tuple((key, name, in_values(arguments, show)) for key, name, arguments in answer.calls)
        return msgspec.structs.replace(answer, text=in_values(answer.text, show), calls=calls)

    def _hidden(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("role") == "system":
            return message  # holds words of ours alone
        hide = self._pseudonyms.hide
        changed = message | {"content": in_values(message.get("content") or "", hide)}
        if message.get("tool_calls"):
            calls = [
                item | {"function": item["function"] | {"arguments": in_values(item["function"]["arguments"], hide)}}
                for item in message["tool_calls"]
            ]
            changed["tool_calls"] = calls
        return changed


def in_values(text: str, change: Callable[[str], str]) -> str:
    """Change the strings of a JSON document but not its keys; text that is no JSON as a whole."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return change(text)
    return msgspec.json.encode(_walk(document, change)).decode()


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_walk(item, change) for item in cast("list[Any]", value)]
    return value
