"""Metrics and alerts of Prometheus and what speaks its HTTP API: Mimir, Thanos, VictoriaMetrics, Cortex.

Samples are fetched as they were recorded (`{__name__=~"…"}[1h]` as an instant query): `query_range` would draw every
series on its own grid and repeat the last value of a process that has died for five minutes. With the option `step`,
and where a server has no such queries, it is `query_range` in pieces of less than 11,000 points. Names come from the
label values of the window, those that `prefer` likes first, in batches that are halved when an answer is too large.

Options: `match={…}` (a selector, repeatable), `step=15s`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from aetia.ingest.normalise import concat, to_changes, to_metrics
from aetia.ingest.pull.exchange import Enough, Exchange, clock, parts_of, seconds_of
from aetia.ingest.pull.labels import Place, place_of
from aetia.model.errors import UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import NetError

OPTIONS = ("match", "step")
MOST_POINTS = 10_000
"""Prometheus answers no range query of more than 11,000 points per series."""
BATCH = 40
ALERTS = "ALERTS"
_OWN = frozenset({ALERTS, "ALERTS_FOR_STATE", "target_info"})
_UNANSWERED = (400, 404, 405, 422, 501)
_GAP_NS = 5 * 60 * 10**9
"""An alert that was silent for longer fires anew (Prometheus' look-back)."""
_encode = msgspec.json.Encoder(order="sorted").encode
_SUFFIXES = (("_bucket", "histogram"), ("_count", "counter"), ("_sum", "counter"))


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []


class _Matrix(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: list[_Series] = []


class _Range(msgspec.Struct):
    data: _Matrix = msgspec.field(default_factory=_Matrix)
    warnings: list[str] = []


class _Names(msgspec.Struct):
    data: list[str] | None = None


class _About(msgspec.Struct):
    type: str = ""
    unit: str = ""


class _Metadata(msgspec.Struct):
    data: dict[str, list[_About]] | None = None


class _Alert(msgspec.Struct, rename="camel"):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    state: str = ""


class _AlertList(msgspec.Struct):
    alerts: list[_Alert] = []


class _Alerts(msgspec.Struct):
    data: _AlertList = msgspec.field(default_factory=_AlertList)


def pull(exchange: Exchange, window: Window, *, onset_ns: int | None, full: bool) -> Telemetry:
    """The metrics and alerts of a window. Raises NetError and IngestError where nothing could be fetched."""
    del full  # labels identify a series, so they are always fetched
    fetch = _Fetch(exchange, window, onset_ns)
    names = fetch.names()
    wanted = sorted(name for name in names if name not in _OWN)
    if (prefer := exchange.prefer) is not None:
        wanted.sort(key=lambda name: not prefer(name))
    try:
        fetch.types = _types(exchange)
        if ALERTS in names:
            fetch.alerts()
        fetch.metrics(wanted)
    except Enough as enough:
        exchange.drop("metrics", f"{fetch.left_over(wanted)}: {enough}, a selector as match={{…}}, or a larger step=")
    except NetError as error:
        if not fetch.rows:
            raise
        exchange.drop("metrics", f"{fetch.left_over(wanted)}: {error}")
    return fetch.telemetry()


class _Fetch:
    """The state of one fetch: what was asked and what came."""

    def __init__(self, exchange: Exchange, window: Window, onset_ns: int | None) -> None:
        self._exchange, self._window = exchange, window
        self._parts = [part for part, _ in parts_of(window, onset_ns)]
        self._matches = exchange.options("match")
        for match in self._matches:
            if not (match.startswith("{") and match.endswith("}")):
                raise UsageError(
                    f'{exchange.source}: match={match[:40]} is no selector; write match={{label="value"}}.'
                )
        step = exchange.option("step")
        self._step_s = seconds_of(step, "step") if step is not None else None
        self.types: dict[str, _About] = {}
        self._metrics: list[pa.Table] = []
        self._changes: list[pa.Table] = []
        self.rows = 0
        self._done: set[str] = set()

    def names(self) -> list[str]:
        """The names of metrics in the window."""
        start, end = _seconds(self._window.start_ns), _seconds(self._window.end_ns)
        # A selector of labels alone that only excludes is refused: it needs one that demands something.
        found = self._selectors(None) if self._matches else []
        params = [("start", start), ("end", end), *(("match[]", selector) for selector in found)]
        answer = self._exchange.get("/api/v1/label/__name__/values", params)
        return self._exchange.decode(answer, _Names).data or []

    def left_over(self, wanted: Sequence[str]) -> str:
        """How many of the wanted metrics were not fetched, in words."""
        left = [name for name in wanted if name not in self._done]
        some = ", ".join(left[:3]) + (", …" if len(left) > 3 else "")
        return f"{len(left)} of {len(wanted)} metrics were left out ({some})"

    def metrics(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            batch = list(names[start : start + BATCH])
            for part in self._parts:
                for series in self._matrix(batch, part):
                    self._add(series)
            self._done.update(batch)
            if self.rows >= self._exchange.limits.rows:
                raise Enough(f"{self._exchange.limits.rows} points were enough; add rows=N to the URL")

    # ---- asking ---------------------------------------------------------------------------------------------

    def _matrix(self, names: Sequence[str], part: Window) -> Iterator[list[_Series]]:
        """The series of some metrics in a part of the window, asked for in smaller pieces where they are too many."""
        waiting = [(list(names), part)]
        while waiting:
            some, time = waiting.pop()
            try:
                yield self._ask(some, time)
            except NetError as error:
                if not (_is_too_much(error) or error.status in (400, 422)):
                    raise
                halves = _halves(some, time) if _is_too_much(error) or len(some) > 1 else []
                if not halves:
                    self._exchange.drop("metrics", f"{', '.join(some)[:60]} from {clock(time.start_ns)}: {error}")
                waiting += halves

    def _ask(self, names: Sequence[str], part: Window) -> list[_Series]:
        found: list[_Series] = []
        for selector in self._selectors(names):
            found += self._raw(selector, part) if self._step_s is None else self._drawn(selector, part, self._step_s)
        return found

    def _selectors(self, names: Sequence[str] | None) -> list[str]:
        """Selectors of some metrics, or of any, among the series that were asked for."""
        quoted = ".+" if names is None else "|".join(_quoted(name) for name in names)
        own = f'__name__=~"{quoted}"'
        return [f"{{{own},{match[1:-1]}}}" if match.strip("{} ") else f"{{{own}}}" for match in self._matches or ["{}"]]

    def _raw(self, selector: str, part: Window) -> list[_Series]:
        """The recorded samples in a part of the window."""
        # Prometheus 3 leaves out the sample at the far end, earlier ones have it: a little more is asked for, then cut.
        length_ms = -(-(part.end_ns - part.start_ns) // 10**6) + 1
        params = [("query", f"{selector}[{length_ms}ms]"), ("time", _seconds(part.end_ns))]
        try:
            matrix = self._read("/api/v1/query", params)
        except NetError as error:
            if error.status not in _UNANSWERED or _is_too_much(error) or self._done:
                raise
            self._step_s = max(self._window.seconds / 240, 5.0)
            self._exchange.drop(
                "metrics",
                f"samples between the steps of {self._step_s:g} s, because the server gives no recorded samples",
            )
            return self._drawn(selector, part, self._step_s)
        return matrix

    def _drawn(self, selector: str, part: Window, step_s: float) -> list[_Series]:
        """The series on a grid whose points are multiples of the step, so that pieces fit together."""
        step = max(round(step_s * 1000), 1) * 10**6
        found: list[_Series] = []
        at = -(-part.start_ns // step) * step
        while at < part.end_ns:
            until = min(at + (MOST_POINTS - 1) * step, (part.end_ns - 1) // step * step)
            params = [
                ("query", selector),
                ("start", _seconds(at)),
                ("end", _seconds(until)),
                ("step", f"{step // 10**6}ms"),
            ]
            found += self._read("/api/v1/query_range", params)
            at = until + step
        return found

    def _read(self, path: str, params: Sequence[tuple[str, str]]) -> list[_Series]:
        answer = self._exchange.decode(self._exchange.form(path, params), _Range)
        for warning in answer.warnings[:3]:
            self._exchange.drop("metrics", f"the server warns: {warning[:200]}")
        return answer.data.result

    # ---- taking ---------------------------------------------------------------------------------------------

    def _add(self, series: Sequence[_Series]) -> None:
        """Series as rows; values that are no numbers (of a summary without observations) are none."""
        kept = [one for one in series if one.values]
        if not kept:
            return
        sizes = np.array([len(one.values) for one in kept])
        times, values = _points(kept)
        good = np.isfinite(values) & (times >= self._window.start_ns) & (times < self._window.end_ns)
        owner = np.repeat(np.arange(len(kept)), sizes)[good]
        columns = {name: _taken(texts, owner) for name, texts in self._identity(kept).items()}
        table, dropped = to_metrics(
            {"time": pa.array(times[good]), "value": pa.array(values[good]), **columns},
            source=self._exchange.source, time_unit="ns",
        )  # fmt: skip
        for record in dropped:
            self._exchange.drop(record.table, record.reason, record.rows)
        self._metrics.append(table)
        self.rows += table.num_rows

    def _identity(self, series: Sequence[_Series]) -> dict[str, list[str | None]]:
        out: dict[str, list[str | None]] = {
            name: [] for name in ("name", "unit", "type", "service", "instance", "node", "attributes")
        }
        for one in series:
            name = one.metric.get("__name__", "")
            place = place_of(one.metric, name)
            about = self._about(name, one.metric)
            row = (
                name,
                about.unit or None,
                about.type or None,
                place.service,
                place.instance,
                place.node,
                _text(place),
            )
            for column, value in zip(out.values(), row, strict=True):
                column.append(value)
        return out

    def _about(self, name: str, labels: Mapping[str, str]) -> _About:
        """Type and unit by the server's metadata, the parts of histograms and summaries by the name of the whole."""
        if name in self.types:
            about = self.types[name]
            return _About("gauge", about.unit) if about.type == "summary" else about
        if name.endswith("_bucket") and "le" in labels:
            return _About("histogram", self.types.get(name.removesuffix("_bucket"), _About()).unit)
        for suffix, kind in _SUFFIXES:
            whole = self.types.get(name.removesuffix(suffix))
            if name.endswith(suffix) and whole is not None and whole.type in ("histogram", "summary"):
                return _About(kind, "" if suffix == "_count" else whole.unit)
        if name.endswith("_total"):
            return _About("counter", self.types.get(name.removesuffix("_total"), _About()).unit)
        return _About()

    def alerts(self) -> None:
        """When alerts began to fire in the window, as changes. Those that fired before it began are none."""
        found = [
            one for part in self._parts for some in self._matrix([ALERTS], part)
            for one in some if one.metric.get("alertstate", "firing") == "firing" and one.values
        ]  # fmt: skip
        said = _annotations(self._exchange) if found else {}
        rows: list[tuple[int, Place, str]] = []
        for labels, times in _joined(found):
            place = place_of({key: value for key, value in labels.items() if key not in ("alertstate", "alertname")})
            about = said.get(_key(labels), "")
            words = " ".join(word for word in (labels.get("severity", ""), labels.get("alertname", "alert")) if word)
            text = f"{words}: {about}" if about else words
            rows += [(at, place, text) for at in _onsets(times, self._window.start_ns)]
        if rows:
            table, _ = to_changes(
                {
                    "time": pa.array([at for at, _, _ in rows], pa.int64()), "kind": "alert",
                    "service": pa.array([place.service for _, place, _ in rows], pa.string()),
                    "description": pa.array([text for _, _, text in rows], pa.string()),
                    "attributes": pa.array([_text(place) for _, place, _ in rows], pa.string()),
                },
                source=self._exchange.source, time_unit="ns",
            )  # fmt: skip
            self._changes.append(table)

    def telemetry(self) -> Telemetry:
        """What came."""
        return Telemetry(metrics=concat("metrics", self._metrics), changes=concat("changes", self._changes))


def _halves(names: list[str], part: Window) -> list[tuple[list[str], Window]]:
    """Half of the metrics twice, or of one metric half of the time; nothing when there is nothing to halve."""
    if len(names) > 1:
        middle = len(names) // 2
        return [(names[middle:], part), (names[:middle], part)]
    if part.seconds < 2:
        return []
    border = (part.start_ns + part.end_ns) // 2
    return [(names, Window(part.start_ns, border)), (names, Window(border, part.end_ns))]


def _is_too_much(error: NetError) -> bool:
    """Whether a query was too large, and not of a wrong form or asked of a server that is broken."""
    words = error.said.lower()
    return (
        error.category in ("too_large", "timeout")
        or error.status in (413, 504)
        or any(
            word in words for word in ("too many", "exceed", "limit", "maximum", "timeout", "timed out", "too large")
        )
    )


def _types(exchange: Exchange) -> dict[str, _About]:
    """Type and unit by metric name, as far as the server knows them."""
    try:
        found = exchange.decode(exchange.get("/api/v1/metadata"), _Metadata).data or {}
    except NetError:
        return {}  # not every server has metadata; names and movements tell the types then
    return {name: _About(known[0].type, known[0].unit) for name, known in found.items() if known}


def _annotations(exchange: Exchange) -> dict[frozenset[tuple[str, str]], str]:
    """What the alerts that fire now say, by their labels."""
    try:
        alerts = exchange.decode(exchange.get("/api/v1/alerts"), _Alerts).data.alerts
    except NetError:
        return {}
    return {
        _key(one.labels): one.annotations.get("summary") or one.annotations.get("description") or "" for one in alerts
    }


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((key, value) for key, value in labels.items() if key not in ("__name__", "alertstate"))


def _joined(series: Sequence[_Series]) -> list[tuple[dict[str, str], list[int]]]:
    """Labels and sample times (ns, sorted) of each alert: its series came in parts."""
    times: dict[frozenset[tuple[str, str]], list[int]] = {}
    labels: dict[frozenset[tuple[str, str]], dict[str, str]] = {}
    for one in series:
        key = _key(one.metric)
        labels[key] = {name: value for name, value in one.metric.items() if name != "__name__"}
        times.setdefault(key, []).extend(round(at * 1000) * 10**6 for at, _ in one.values)
    return [(labels[key], sorted(found)) for key, found in times.items()]


def _onsets(times: Sequence[int], start_ns: int) -> list[int]:
    """When an alert began to fire: after the window's start, and after a silence."""
    usual = sorted(late - early for early, late in itertools.pairwise(times))
    first = start_ns + 2 * (usual[len(usual) // 2] if usual else 60 * 10**9)
    before = [None, *times]
    return [
        at for at, last in zip(times, before, strict=False)
        if (at > first if last is None else at - last > _GAP_NS)
    ]  # fmt: skip


def _points(series: Sequence[_Series]) -> tuple[Any, Any]:
    """Times (ns) and values of all samples, shape (n,)."""
    flat = [point for one in series for point in one.values]
    # Prometheus' times are milliseconds, written as seconds.
    times = np.rint(np.array([at for at, _ in flat], np.float64) * 1000).astype(np.int64) * 10**6
    return times, np.array([value for _, value in flat]).astype(np.float64)


def _taken(texts: list[str | None], owner: Any) -> Any:
    """One text per row as a dictionary column: the text of the series that owns it."""
    encoded: Any = pa.array(texts, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.take(pa.array(owner)), encoded.dictionary)


def _text(place: Place) -> str | None:
    return _encode(place.rest).decode() if place.rest else None


def _quoted(name: str) -> str:
    """A metric name inside a quoted regular expression."""
    return "".join(
        sign if sign.isalnum() or sign in "_:" else f"\\\\{sign}" if sign.isascii() else sign for sign in name
    )


def _seconds(time_ns: int) -> str:
    """Epoch seconds with milliseconds."""
    return f"{time_ns // 10**9}.{time_ns // 10**6 % 1000:03d}"
