"""Traces of Grafana Tempo: a search gives the ids of a stretch of time, each trace is then a request of its own.

When there are more traces than requests, those are fetched whose ids have the smallest hashes: an even share of every
stretch of time, which `Telemetry.sampled` tells.

Options: `q={…}` (TraceQL, `{}` otherwise), `limit=N` (ids at once), `traces=N` (traces in all).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from aetia.ingest.case import trace_hash
from aetia.ingest.otlp import OtlpRows
from aetia.ingest.pull.exchange import JSON, Enough, Exchange, Walk, clock, parts_of
from aetia.model.errors import UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Answer, NetError

OPTIONS = ("q", "limit", "traces")
LIMIT = 1000
TRACES = 3000
LEAST_NS = 10**9
"""Tempo searches by whole seconds."""
AT_ONCE = 4
PROTOBUF = "application/protobuf"


class _Found(msgspec.Struct, rename={"trace_id": "traceID", "start": "startTimeUnixNano"}):
    trace_id: str = ""
    start: int | str = 0


class _Search(msgspec.Struct):
    traces: list[_Found] | None = None


def pull(exchange: Exchange, window: Window, *, onset_ns: int | None, full: bool) -> Telemetry:
    """The traces of a window. Raises NetError and IngestError where nothing could be fetched."""
    ids = _search(exchange, window, onset_ns)
    most = _number(exchange, "traces", TRACES)
    chosen = ids[: min(most, exchange.limits.requests)]
    rows = OtlpRows(full=full)
    fetched = _fetch(exchange, chosen, rows)
    if len(chosen) < len(ids):
        left = len(ids) - len(chosen)
        exchange.drop(
            "traces", f"{left} of {len(ids)} were left out evenly, because each is a request; add traces=N", left
        )
    if fetched < len(chosen):
        lost = len(chosen) - fetched
        exchange.drop("traces", f"{lost} of {len(chosen)} could be found and not be fetched; try again", lost)
    for table, lost in rows.lost.items():
        exchange.drop(table, "values of the wrong type; export again or mend the exporter", lost)
    return replace(rows.telemetry(exchange.source), sampled=fetched / len(ids) if ids else 1.0)


def _number(exchange: Exchange, name: str, usual: int) -> int:
    try:
        return max(int(exchange.option(name) or usual), 1)
    except ValueError:
        raise UsageError(f"{exchange.source}: {name}= is a number, such as {usual}.") from None


# ---- search -------------------------------------------------------------------------------------------------


def _search(exchange: Exchange, window: Window, onset_ns: int | None) -> list[str]:
    """Ids of the traces that begin in the window, in order of their hashes."""
    limit = _number(exchange, "limit", LIMIT)
    query = exchange.option("q") or "{}"
    ids: dict[str, None] = {}
    for part, direction in parts_of(window, onset_ns):
        walk = Walk(part, direction, least_ns=LEAST_NS)
        try:
            while not walk.over:
                time = walk.slice()
                found = _ids(exchange, query, time, limit)
                if len(found) >= limit:
                    if walk.full():
                        continue
                    exchange.drop(
                        "traces", f"traces beyond {limit} in the second of {clock(time.start_ns)}; raise limit=N"
                    )
                ids |= dict.fromkeys(found)
                walk.done(sparse=len(found) < limit // 4)
        except (Enough, NetError) as stopped:
            if isinstance(stopped, NetError) and not ids:
                raise
            exchange.drop("traces", f"traces {walk.missing(clock)} were not searched for: {stopped}")
    hashes = trace_hash(pa.chunked_array([pa.array(list(ids), pa.string())]))
    names = list(ids)
    return [names[index] for index in np.argsort(hashes, kind="stable")]


def _ids(exchange: Exchange, query: str, time: Window, limit: int) -> list[str]:
    # Times are whole seconds; what begins outside of the stretch is found again where it belongs.
    params = [
        ("q", query), ("start", str(time.start_ns // 10**9)), ("end", str(-(-time.end_ns // 10**9))),
        ("limit", str(limit)), ("spss", "1"),
    ]  # fmt: skip
    found = exchange.decode(exchange.get("/api/search", params), _Search).traces or []
    return [one.trace_id for one in found if one.trace_id]


# ---- traces -------------------------------------------------------------------------------------------------


def _fetch(exchange: Exchange, ids: Sequence[str], rows: OtlpRows) -> int:
    """Add the traces to the rows, several requests at once; how many there were."""
    fetched = 0
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tempo") as pool:
        for start in range(0, len(ids), 16 * AT_ONCE):
            answers = [pool.submit(_trace, exchange, one) for one in ids[start : start + 16 * AT_ONCE]]
            stopped: Enough | NetError | None = None
            for answer in answers:
                try:
                    fetched += _added(exchange, answer.result(), rows)
                except (Enough, NetError) as problem:
                    stopped = stopped or problem
            if stopped is None and len(rows.spans["time"]) >= exchange.limits.rows:
                stopped = Enough(f"{exchange.limits.rows} spans were enough; add rows=N to the URL")
            if stopped is not None:
                if isinstance(stopped, NetError) and not fetched:
                    raise stopped
                exchange.drop("traces", str(stopped))
                break
    return fetched


def _trace(exchange: Exchange, trace_id: str) -> Answer | None:
    """One trace; None when it is gone."""
    try:
        return exchange.get(f"/api/traces/{trace_id}", accept=PROTOBUF)
    except NetError as error:
        if error.status == 404:
            return None
        if error.category != "too_large":
            raise
        exchange.drop("traces", f"a trace that is too large: {error}")
        return None


def _added(exchange: Exchange, answer: Answer | None, rows: OtlpRows) -> int:
    """Add the spans of an answer: OTLP in protobuf, or in JSON where something on the way prefers that."""
    if answer is None or not answer.body:
        return 0
    try:
        rows.add_message(_document(answer))
    except (msgspec.MsgspecError, DecodeError, ValueError, TypeError, RecursionError) as error:
        exchange.drop("traces", f"a trace that cannot be decoded ({' '.join(str(error).split())[:80]})")
        return 0
    return 1


def _document(answer: Answer) -> bytes:
    if not answer.headers.get("content-type", "").startswith(JSON) and answer.body.lstrip()[:1] != b"{":
        return answer.body
    content: Any = msgspec.json.decode(answer.body)
    content = content.get("trace", content)
    groups = content.get("resourceSpans", content.get("batches", []))
    return msgspec.json.encode({"resourceSpans": groups})
