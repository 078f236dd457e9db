"""What the connectors share: the limits of one fetch, requests within them, and the order in which time is fetched.

The options of a source stand in the query of its URL (`prometheus=http://host:9090?step=15s`). What is no option of the
connector or of the limits goes with every request, as some gateways take a tenant or a key there.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Dropped
from aetia.model.window import Window
from aetia.net import Answer, Client, NetError, shown

T = TypeVar("T")
Params = Sequence[tuple[str, str]]
TRIES = 3
LONGEST_PAUSE_S = 10.0
JSON = "application/json"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one fetch takes from one source: rows of each table, requests, seconds, bytes of answers."""

    rows: int = 3_000_000
    requests: int = 4_000
    seconds: float = 180.0
    bytes: int = 2 << 30


class Enough(Exception):
    """A limit of the fetch is reached; the text says which, and how to raise it."""


def shown_source(kind: str, url: str) -> str:
    """A source as it is shown: without credentials and options."""
    return f"{kind}={shown(url)}"


class Exchange:
    """The requests of one fetch from one source, within its limits; may be used by several threads.

    `options` are the connector's own; those of the limits (`rows`, `requests`, `seconds`) are known to all.
    `prefer` says which metrics come first. Raises UsageError for a limit that is no number.
    """

    def __init__(
        self, kind: str, url: str, *, client: Client, limits: Limits, options: Sequence[str],
        prefer: Callable[[str], bool] | None = None,
    ) -> None:  # fmt: skip
        self.kind, self.client, self.prefer = kind, client, prefer
        try:
            parts = urlsplit(url)
        except ValueError:
            raise UsageError(f"{kind}= is followed by no URL; write {kind}=http://host:port.") from None
        self._base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self.source = shown_source(kind, self._base)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        known = {*options, *Limits.__struct_fields__}
        self._options = [(name, value) for name, value in pairs if name in known]
        self._always = [(name, value) for name, value in pairs if name not in known]
        self.limits = self._limits(limits)
        self.dropped: list[Dropped] = []
        self._until = time.monotonic() + self.limits.seconds
        self._lock = threading.Lock()
        self._requests = self._bytes = 0

    def _limits(self, limits: Limits) -> Limits:
        given = {name: self.options(name) for name in Limits.__struct_fields__}
        chosen = {name: values[-1] for name, values in given.items() if values}
        try:
            limits = msgspec.convert({**msgspec.to_builtins(limits), **chosen}, Limits, strict=False)
        except msgspec.ValidationError:
            raise UsageError(
                f"{self.source}: {urlencode(chosen)} is no limit; write for example rows=100000."
            ) from None
        if min(msgspec.structs.astuple(limits)) <= 0:
            raise UsageError(f"{self.source}: a limit is above 0; write for example rows=100000.")
        return limits

    def options(self, name: str) -> list[str]:
        """All values of an option, in the order of the URL."""
        return [value for key, value in self._options if key == name and value]

    def option(self, name: str) -> str | None:
        """The last value of an option."""
        return next(reversed(self.options(name)), None)

    def drop(self, table: str, reason: str, rows: int = 1) -> None:
        """Record what was left out, once for each reason."""
        record = Dropped(table=table, rows=rows, reason=reason, source=self.source)
        with self._lock:
            if record not in self.dropped:
                self.dropped.append(record)

    # ---- requests -------------------------------------------------------------------------------------------

    def get(
        self, path: str, params: Params = (), *, accept: str = JSON, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a GET. Raises NetError, and Enough beyond a limit."""
        return self._ask("GET", path, params, None, {"Accept": accept, **(headers or {})})

    def post(self, path: str, params: Params, body: bytes, kind: str, *, accept: str = JSON) -> Answer:
        """The answer to a POST. Raises NetError, and Enough beyond a limit."""
        return self._ask("POST", path, params, body, {"Accept": accept, "Content-Type": kind})

    def form(self, path: str, params: Params) -> Answer:
        """The answer to parameters that may be too long for a URL; as a GET where the server takes no POST. Raises
        NetError and Enough."""
        try:
            return self.post(path, (), urlencode(params).encode(), "application/x-www-form-urlencoded")
        except NetError as error:
            if error.status != 405:
                raise
            return self.get(path, params)

    def decode(self, answer: Answer, kind: type[T]) -> T:
        """The JSON of an answer. Raises IngestError where it is none, or another one."""
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())[:120]
            raise IngestError(
                f"{self.source} does not answer as {self.kind} does ({why}); check the address and its path."
            ) from None

    def _ask(self, method: str, path: str, params: Params, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        for attempt in range(1, TRIES + 1):
            left = self._admit()
            try:
                answer = self.client.request(
                    method, self._base + path, params=[*self._always, *params], body=body, headers=headers,
                    timeout_s=min(left, self.client.timeout_s),
                )  # fmt: skip
            except NetError as error:
                pause = min(error.retry_after_s or 0.2 * 4 ** (attempt - 1), LONGEST_PAUSE_S)
                # What came too late once will again: the caller asks for less.
                if attempt == TRIES or not error.retryable or error.category == "timeout" or pause >= self.left_s:
                    raise
                time.sleep(pause)
                continue
            with self._lock:
                self._bytes += len(answer.body)
            return answer
        raise AssertionError("the loop ends by itself")

    @property
    def left_s(self) -> float:
        return self._until - time.monotonic()

    def _admit(self) -> float:
        """Seconds that are left for a request. Raises Enough."""
        with self._lock:
            if self._requests >= self.limits.requests:
                raise Enough(f"{self.limits.requests} requests were enough; add requests=N to the URL")
            if self._bytes >= self.limits.bytes:
                raise Enough(f"{self.limits.bytes} bytes were enough; add bytes=N to the URL")
            if self.left_s <= 0.05:
                raise Enough(f"{self.limits.seconds:g} s were enough; add seconds=N to the URL")
            self._requests += 1
            return self.left_s


# ---- time -------------------------------------------------------------------------------------------------


def parts_of(window: Window, onset_ns: int | None) -> list[tuple[Window, int]]:
    """The order in which a window is fetched: (part, direction), from the onset on and then from the onset back.

    What a limit cuts off is then at the ends, and what is left has no gap that would look like silence. Without an
    onset everything is fetched back from the end, since what is latest matters most.
    """
    if onset_ns is None or not window.start_ns < onset_ns < window.end_ns:
        return [(window, -1)]
    return [(Window(onset_ns, window.end_ns), 1), (Window(window.start_ns, onset_ns), -1)]


class Walk:
    """One part of the time in slices whose width follows the density of what is found.

    `slices` yields (start, end) in ns, each at the border of the last one that was `done`. A slice that was `full`
    (the server gave as much as it gives at once) is asked again, narrower; `least_ns` is the narrowest.
    """

    def __init__(self, part: Window, direction: int, *, least_ns: int, first: int = 8) -> None:
        self.part, self._direction, self._least_ns = part, direction, least_ns
        self._at = part.start_ns if direction > 0 else part.end_ns
        self._width = max((part.end_ns - part.start_ns) // first, least_ns)

    @property
    def over(self) -> bool:
        return self._at >= self.part.end_ns if self._direction > 0 else self._at <= self.part.start_ns

    @property
    def covered(self) -> Window:
        """What is done."""
        part = self.part
        return Window(part.start_ns, self._at) if self._direction > 0 else Window(self._at, part.end_ns)

    def slice(self) -> Window:
        """The next stretch to ask for."""
        if self._direction > 0:
            return Window(self._at, min(self._at + self._width, self.part.end_ns))
        return Window(max(self._at - self._width, self.part.start_ns), self._at)

    def full(self) -> bool:
        """The slice holds more than was given: it is made narrower; False when it cannot be."""
        asked = self.slice()
        width = asked.end_ns - asked.start_ns
        self._width = max(width // 4 // self._least_ns * self._least_ns, self._least_ns)
        return self._width < width

    def done(self, *, sparse: bool) -> None:
        """The slice was fetched; `sparse` makes the next one wider."""
        asked = self.slice()
        self._at = asked.end_ns if self._direction > 0 else asked.start_ns
        if sparse:
            self._width *= 2

    def missing(self, say: Callable[[int], str]) -> str:
        """What was left out, in words: `after 10:05:12` or `before …`."""
        return f"{'after' if self._direction > 0 else 'before'} {say(self._at)}"


_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str, what: str) -> float:
    """Seconds of `15s`, `1m` or `15`. Raises UsageError."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"{what} is a length of time above 0; write for example 15s, not {text[:20]!r}.")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def clock(time_ns: int) -> str:
    """`2025-04-21T09:51:40Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 1_000_000_000))
