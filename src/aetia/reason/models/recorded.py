"""Turns of a model on disk: recorded once with the model, played again without it.

One JSON object a line, `{"key", "answer"}`. The key is a digest of what the model was shown, so that turns that ran
side by side are found in any order; the same question asked twice is answered in the order of the recording.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

import msgspec

from aetia.model.diagnosis import digest
from aetia.model.errors import ReportError
from aetia.model.journal import ModelAnswer, ModelCall, ToolError
from aetia.reason.run import Model


class _Turn(msgspec.Struct, frozen=True):
    key: str
    answer: ModelAnswer


def key_of(call: ModelCall) -> str:
    """What the model is shown, without who asks and why."""
    return digest([list(call.messages), list(call.tools), call.response_format, call.max_tokens])


class Recording:
    """Asks a model and appends each of its turns to a new file."""

    def __init__(self, model: Model, path: Path) -> None:
        self._model, self._path, self._lock = model, path, threading.Lock()
        if path.exists():
            raise ReportError(f"{path} exists; a recording is never overwritten, choose another file.")
        if not path.parent.is_dir():
            raise ReportError(f"{path} cannot be written: its folder does not exist; create the folder first.")

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        answer = self._model.answer(call, timeout_s)
        line = msgspec.json.encode(_Turn(key_of(call), answer)) + b"\n"
        with self._lock, os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(line)
        return answer


class Recorded:
    """A model that says what was recorded, and an error to whatever else it is asked."""

    def __init__(self, path: Path) -> None:
        self._turns: dict[str, deque[ModelAnswer]] = {}
        self._lock = threading.Lock()
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise ReportError(f"{path} cannot be read: {error.strerror}.") from error
        for number, line in enumerate(lines, start=1):
            try:
                turn = msgspec.json.decode(line, type=_Turn)
            except msgspec.MsgspecError as error:
                raise ReportError(f"{path} line {number} is no recorded turn: {error}.") from error
            self._turns.setdefault(turn.key, deque()).append(turn.answer)

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        with self._lock:
            turns = self._turns.get(key_of(call))
            if turns:
                return turns.popleft() if len(turns) > 1 else turns[0]
        error = ToolError(
            category="dependency", code="not_recorded", message="the recording holds no answer to this question.",
            instruction="record again with the model",
        )  # fmt: skip
        return ModelAnswer(error=error)
