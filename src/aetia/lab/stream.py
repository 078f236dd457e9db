"""Recorded or simulated telemetry sent to an OTLP receiver as if it happened now: a rehearsal of a live system.

Times are shifted so that the recording begins at a given moment; each row is sent when its exporter would have: a span
when it has ended, all of it in batches of one service every few seconds. `speed` 1 keeps real time.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from aetia.ingest.otlp_encode import to_requests
from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import NS_PER_SECOND

EXPORT_S = 5.0
"""How often an exporter sends (the default of OpenTelemetry's batch processors)."""
MOST_ROWS = 2000
"""Of one request."""
ROWS_AHEAD = 5000
PATHS = {"spans": "/v1/traces", "logs": "/v1/logs", "metrics": "/v1/metrics"}
TRIES, LONGEST_WAIT_S = 8, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One request: when it is sent (ns after the recording begins), of which signal, and the rows of the table."""

    at_ns: int
    signal: str
    service: str
    rows: np.ndarray[Any, np.dtype[np.int64]]


def batches(telemetry: Telemetry, export_s: float = EXPORT_S) -> list[Batch]:
    """What the exporters of all services would have sent, in order of time. Each service has a phase of its own."""
    first = _begin(telemetry)
    every = round(export_s * NS_PER_SECOND)
    found: list[Batch] = []
    for signal in PATHS:
        table = telemetry.table(signal)
        if not table.num_rows:
            continue
        done = table["time"].cast(pa.int64()).to_numpy() - first
        if signal == "spans":
            done = done + table["duration_ns"].to_numpy()
        services: Any = table["service"].cast(pa.string()).fill_null(cast(Any, "")).dictionary_encode().combine_chunks()
        code = np.asarray(services.indices, np.int64)
        phase = (np.arange(len(services.dictionary)) * 0x9E3779B1 % 1000) * every // 1000
        due = (done - phase[code]) // every + 1
        order = np.lexsort((done, code, due))
        edges = np.flatnonzero((np.diff(due[order]) != 0) | (np.diff(code[order]) != 0)) + 1
        for rows in np.split(order, edges):
            at = int(due[rows[0]] * every + phase[code[rows[0]]])
            name = services.dictionary[int(code[rows[0]])].as_py()
            found += [
                Batch(at_ns=at, signal=signal, service=name, rows=rows[k : k + MOST_ROWS])
                for k in range(0, len(rows), MOST_ROWS)
            ]
    return sorted(found, key=lambda item: (item.at_ns, item.signal, item.service))


def _begin(telemetry: Telemetry) -> int:
    times = [telemetry.table(name)["time"] for name in PATHS if telemetry.table(name).num_rows]
    if not times:
        raise UsageError("there is nothing to stream: the source holds no spans, logs or metrics.")
    return min(int(column.cast(pa.int64()).to_numpy().min()) for column in times)


# ---- sending ----------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Sent:
    """What was sent, refused for good, and how late the last request was."""

    requests: int = 0
    rows: int = 0
    refused: int = 0
    late_s: float = 0.0


def stream(
    telemetry: Telemetry,
    url: str,
    *,
    speed: float = 1.0,
    export_s: float = EXPORT_S,
    start_ns: int | None = None,
    token: str = "",
    tell: Callable[[Batch, Sent], None] = lambda batch, sent: None,
) -> Sent:
    """Send a recording to the OTLP receiver at `url`, times shifted so that it begins at `start_ns` (default: now).

    Beyond `speed` 1 the times stay as they are while the sending hurries, so a receiver that watches the clock sees
    them from the future: good for filling a store, not for detection. Raises IngestError when the receiver cannot be
    reached or refuses everything.
    """
    if speed <= 0:
        raise UsageError(f"--speed {speed:g} is not positive; 1 is real time.")
    plan = batches(telemetry, export_s)
    began = time.time_ns()
    shift = (start_ns if start_ns is not None else began) - _begin(telemetry)
    sender, sent = _Sender(url, token), Sent()
    requests = {signal: _requests(telemetry, [one for one in plan if one.signal == signal], shift) for signal in PATHS}
    for batch in plan:
        due = began + batch.at_ns / speed
        wait = (due - time.time_ns()) / NS_PER_SECOND
        if wait > 0:
            time.sleep(wait)
        taken = sender.send(PATHS[batch.signal], next(requests[batch.signal]))
        sent.requests += 1
        sent.rows += len(batch.rows) if taken else 0
        sent.refused += 0 if taken else 1
        sent.late_s = max(0.0, (time.time_ns() - due) / NS_PER_SECOND)
        tell(batch, sent)
    sender.close()
    if sent.refused == sent.requests:
        raise IngestError(f"{url} refused every request; check that it is an OTLP/HTTP receiver and the token.")
    return sent


def _requests(telemetry: Telemetry, plan: Sequence[Batch], shift_ns: int) -> Iterator[bytes]:
    """The bodies of batches of one signal. Most are small, so the rows of many are fetched at once."""
    ends = np.cumsum([len(batch.rows) for batch in plan])
    begin = 0
    while begin < len(plan):
        before = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, before + ROWS_AHEAD, side="right")), begin + 1)
        some = plan[begin:end]
        rows: Any = pa.array(np.concatenate([batch.rows for batch in some]))
        table = telemetry.table(some[0].signal).take(rows)
        yield from to_requests(some[0].signal, table, [len(batch.rows) for batch in some], shift_ns)
        begin = end


class _Sender:
    """One connection that is opened again when it breaks; 429 and 503 are waited for as they ask."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url} is no address of a receiver; write one such as http://localhost:4318.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._url, self._base = url, parts.path.rstrip("/")
        self._line = kind(parts.hostname, parts.port, timeout=30.0)
        self._headers = {"Content-Type": "application/x-protobuf"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def send(self, path: str, body: bytes) -> bool:
        for attempt in range(TRIES):
            try:
                self._line.request("POST", self._base + path, body, self._headers)
                answer = self._line.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._line.close()
                if attempt == TRIES - 1:
                    raise IngestError(f"{self._url} cannot be reached: {error}; start it with aetia serve.") from error
                time.sleep(min(0.1 * 2**attempt, LONGEST_WAIT_S))
                continue
            if answer.status not in (429, 502, 503, 504):
                return answer.status == http.client.OK
            time.sleep(min(float(answer.headers.get("Retry-After") or 2**attempt), LONGEST_WAIT_S))
        return False

    def close(self) -> None:
        self._line.close()
