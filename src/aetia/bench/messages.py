"""What the runner and its workers say to each other: length-prefixed msgpack over pipes."""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec

from aetia.bench.scoring import Answer, Failure

_LENGTH = struct.Struct(">I")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One case under one perturbation, and who is asked about it: localizers, and policies on top of them, by
    `Method.text`. `model` is the URL and the name of the language model that policies may ask; `journals` is the folder
    in which journals of their investigations are kept, and `suite` the suite's place in it."""

    reader: str
    path: str
    case: str
    localizers: tuple[str, ...]
    onset: str
    perturbation: str
    detector: str
    seed: int
    timeout_s: float
    model: tuple[str, str] | None = None
    suite: str = ""
    journals: str | None = None


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """What an investigation would have answered, and what it had spent when that answer came up: seconds since it was
    opened, calls, tokens. Of the ranking only the first name is kept, with those that tie with it."""

    at_s: float
    calls: int
    tokens: int
    answer: Answer


class Stood(msgspec.Struct, frozen=True, array_like=True):
    """An answer at hand, judged: from when it stood, by what had been spent, and whether it was right."""

    at_s: float
    calls: int
    tokens: int
    right: bool


class Investigated(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy did on one case.

    `added_s` is its wall time on top of the localizer's. `warnings` counts what the checks saw, by code, `stopped_by`
    is the check that ended it. `claims` are the pieces of evidence that the final answer cites, `confirmed` those that
    hold when they are run again. `facts` says which decisive facts (`root`, `class`, `path`) the explanation names.
    `course` has the answers at hand one after the other, `journal` is the file in the folder of journals, if any.
    `cost` is what the tokens cost by the prices that were given; None without any.
    """

    outcome: str
    calls: int = 0
    tokens: int = 0
    added_s: float = 0.0
    warnings: dict[str, int] = {}
    stopped_by: str | None = None
    claims: int = 0
    confirmed: int = 0
    facts: dict[str, bool] = {}
    course: tuple[Stood, ...] = ()
    journal: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """A stage (`load`, `localize`) has begun; the runner's clock for it starts."""

    stage: str
    name: str = ""


class Ready(msgspec.Struct, frozen=True, tag="ready", kw_only=True):
    """The case is loaded, perturbed and has its incident (or none); costs paid once per case."""

    load_seconds: float
    facts_seconds: float
    detect_seconds: float
    opened: bool
    incident: tuple[int, int] | None = None
    onset_ns: int | None = None
    spurious: int = 0


class Answered(msgspec.Struct, frozen=True, tag="answered", kw_only=True):
    """What one localizer, or a policy on top of it, said, how long it took and the memory it peaked at."""

    localizer: str
    answer: Answer
    seconds: float
    peak_rss_mb: float | None
    investigated: Investigated | None = None
    leads: tuple[Lead, ...] = ()


class Unable(msgspec.Struct, frozen=True, tag="unable", kw_only=True):
    """Nobody can be asked about this case: it could not be loaded or perturbed, or detection failed."""

    failure: Failure | None = None
    unapplied: str | None = None


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The task is done; the worker waits for the next."""


Message = Begin | Ready | Answered | Unable | Finished
_ENCODER = msgspec.msgpack.Encoder()
_MESSAGES: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_TASKS: msgspec.msgpack.Decoder[Task] = msgspec.msgpack.Decoder(Task)


def frame(message: Message | Task) -> bytes:
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Cuts a byte stream into messages; feed it whatever arrived."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are now complete."""
        self._held += data
        found: list[Message] = []
        while len(self._held) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._held)[0]
            if len(self._held) < end:
                break
            found.append(_MESSAGES.decode(bytes(self._held[_LENGTH.size : end])))
            del self._held[:end]
        return found


def read_task(stream: BinaryIO) -> Task | None:
    """The next task; None when the runner closed the pipe."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return _TASKS.decode(stream.read(_LENGTH.unpack(head)[0]))
