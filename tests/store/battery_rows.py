"""Checks of logs, metrics, changes, cohorts and whole windows."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from typing import Any

import pytest
from checking import on_empty, on_sample, oracle, windows
from oracle import COHORT_COLUMNS, Row, bins_of, counts, key, meets, rate
from stored_samples import NASTY, SECOND, Sample

from aetia.model.errors import UsageError
from aetia.model.stored import SIGNALS
from aetia.model.tables import ANALYSIS_COLUMNS
from aetia.model.window import Window
from aetia.store.backend import (
    SAMPLED,
    SEVERE,
    VALUES,
    Aggregate,
    Backend,
    Filter,
    Selection,
    Shapes,
    is_text_column,
)

LOG_FILTERS: tuple[tuple[Filter, ...], ...] = (
    (),
    (Filter(field="service", value=NASTY),),
    (Filter(field="body", op="contains", value="\\ % _"),),
    (Filter(field="severity", op="!=", value="info"),),
    (Filter(field="code", op=">", value="8"),),
    (Filter(field="код", value="да"),),
    (Filter(field="trace_id", value="b1".rjust(32, "0")),),
    (Filter(field="body", op="exists"), Filter(field="service", op="contains", value="s")),
)


def _log_key(row: Row) -> Any:
    return (-row["time"], key(row["service"], row["severity"], row["body"], row["trace_id"], row["span_id"]))


@on_sample
def logs_come_newest_first(backend: Backend, sample: Sample) -> None:
    for filters in LOG_FILTERS:
        for window in windows(sample)[:3]:
            rows = [row for row in oracle(sample).of("logs", window) if all(meets(row, f, "logs") for f in filters)]
            expected = sorted(rows, key=_log_key)
            got = backend.logs(window, filters=filters, limit=10_000)
            assert got.cursor == ""
            assert len(got.rows) == len(expected), filters
            for line, row in zip(got.rows, expected, strict=True):
                same = ("service", "severity", "body", "trace_id", "span_id", "instance")
                assert {name: getattr(line, name) for name in same} == {name: row[name] for name in same}
                assert (line.time_ns, line.attributes) == (row["time"], row["attributes"])


@on_sample
def pages_of_logs_follow_one_another(backend: Backend, sample: Sample) -> None:
    # The second window holds lines of equal time, through which a page of four cuts.
    tied = Window(sample.window.start_ns + 40 * SECOND, sample.window.start_ns + 40 * SECOND + 500_000_000)
    for window, size in ((sample.window, 400), (tied, 4), (tied, 1)):
        whole = backend.logs(window, limit=10_000).rows
        pages, cursor = list[Any](), ""
        while len(pages) <= len(whole):
            page = backend.logs(window, limit=size, cursor=cursor)
            pages += page.rows
            cursor = page.cursor
            if not cursor:
                break
        assert tuple(pages) == whole


@on_sample
def shapes_of_lines_are_counted(backend: Backend, sample: Sample) -> None:
    for window, service in ((sample.window, None), (windows(sample)[1], None), (sample.window, NASTY)):
        rows = [row for row in oracle(sample).of("logs", window) if row["body"] and service in (None, row["service"])]
        whole = backend.shapes(window, 10 * SECOND, service=service)
        assert whole.one_in == (1, 1) and _shapes(whole) == _expected(rows, window, (1, 1))
        assert backend.shapes(window, 10 * SECOND, service=service, limit=3).rows == whole.rows[:3]
        most = 7  # fewer lines than there are: a part of them is read, and counts for all
        severe = sum(row["severity"] in SEVERE for row in rows)
        one_in = (max(1, -(-(len(rows) - severe) // most)), max(1, -(-severe // most)))
        kept = [row for row in rows if row["time"] % SAMPLED % one_in[row["severity"] in SEVERE] == 0]
        part = backend.shapes(window, 10 * SECOND, service=service, most_lines=most)
        assert part.one_in == one_in and _shapes(part) == _expected(kept, window, one_in)


def _shapes(found: Shapes) -> list[tuple[Any, ...]]:
    return [(row.service, row.severity, row.body, row.counts, row.first_ns, row.last_ns) for row in found.rows]


def _expected(rows: list[Row], window: Window, one_in: tuple[int, int]) -> list[tuple[Any, ...]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["service"], row["severity"], re.sub(VALUES, "*", row["body"][:400])].append(row)
    start = window.start_ns // (10 * SECOND)
    bins = -(-window.end_ns // (10 * SECOND)) - start
    found: list[tuple[Any, ...]] = []
    for (service, severity, _), lines in groups.items():
        counts = [0] * bins
        for line in lines:
            counts[line["time"] // (10 * SECOND) - start] += one_in[severity in SEVERE]
        times = [line["time"] for line in lines]
        body = min((line["body"] for line in lines), key=key)
        found.append((service, severity, body, tuple(counts), min(times), max(times)))
    lines_of = {id(item): len(lines) for item, lines in zip(found, groups.values(), strict=True)}
    return sorted(found, key=lambda item: (-lines_of[id(item)], key(*item[:3])))


@on_sample
def metrics_are_listed(backend: Backend, sample: Sample) -> None:
    for window in windows(sample):
        for service in (None, "edge", NASTY):
            groups: dict[str, list[Row]] = defaultdict(list)
            for row in oracle(sample).of("metrics", window):
                if service in (None, row["service"]):
                    groups[row["name"]].append(row)
            got = backend.metric_names(window, service=service)
            assert [row.name for row in got] == sorted(groups, key=key)
            for row in got:
                rows = groups[row.name]
                assert row.points == len(rows)
                assert row.series == len({_series_of(point) for point in rows}), row
                assert row.services == tuple(sorted({r["service"] for r in rows if r["service"]}, key=key))
                assert row.unit == min((r["unit"] for r in rows if r["unit"]), key=key, default=None)
                assert row.type == min((r["type"] for r in rows if r["type"]), key=key, default=None)


def _series_of(row: Row) -> tuple[str | None, ...]:
    return row["service"], row["instance"], row["node"], row.get("labels")


@on_sample
def metrics_are_aggregated_on_a_grid(backend: Backend, sample: Sample) -> None:
    aggregates: tuple[Aggregate, ...] = ("avg", "min", "max", "sum", "last", "count", "rate")
    for name in (
        "requests_total",
        "same_time_total",
        "odd",
        "nameless",
        NASTY,
        "container.memory.working_set",
        "nothing",
    ):
        for aggregate in aggregates if name != "nothing" else aggregates[-2:]:
            for step_ns, service in ((10 * SECOND, None), (60 * SECOND, "edge")):
                expected = _metric(sample, name, aggregate, step_ns, service)
                got = backend.metric(
                    sample.window, name, step_ns=step_ns, service=service, aggregate=aggregate, limit=1000
                )
                found = {(s.service, s.instance, s.node, s.labels): list(s.values) for s in got}
                assert list(found) == sorted(expected, key=lambda series: key(*series)), (name, aggregate)
                for series, values in expected.items():
                    assert found[series] == pytest.approx(values), (name, aggregate, series)
                start, _ = bins_of(sample.window, step_ns)
                assert all((s.name, s.start_ns, s.step_ns) == (name, start, step_ns) for s in got)
    two = backend.metric(sample.window, "requests_total", step_ns=SECOND, limit=2)
    assert two == backend.metric(sample.window, "requests_total", step_ns=SECOND)[:2]


def _metric(
    sample: Sample, name: str, aggregate: str, step_ns: int, service: str | None
) -> dict[Any, list[float | None]]:
    start, bins = bins_of(sample.window, step_ns)
    series: dict[Any, list[tuple[int, float]]] = defaultdict(list)
    for row in oracle(sample).of("metrics", sample.window):
        if row["name"] == name and service in (None, row["service"]) and math.isfinite(row["value"]):
            series[_series_of(row)].append((row["time"], row["value"]))
    out: dict[Any, list[float | None]] = {}
    for which, points in series.items():
        points.sort()
        if aggregate == "rate":
            out[which] = rate(points, lambda time: (time - start) // step_ns, bins)
            continue
        binned: dict[int, list[float]] = defaultdict(list)
        for time, value in points:
            binned[(time - start) // step_ns].append(value)
        fold: Any = {
            "avg": lambda v: math.fsum(v) / len(v),
            "min": min,
            "max": max,
            "sum": math.fsum,
            "last": lambda v: v[-1],
            "count": len,
        }[aggregate]
        out[which] = [fold(binned[number]) if number in binned else None for number in range(bins)]
    return out


@on_sample
def changes_come_in_order(backend: Backend, sample: Sample) -> None:
    for window in windows(sample):
        rows = oracle(sample).of("changes", window)
        rows.sort(key=lambda row: (row["time"], key(row["kind"], row["service"], row["description"])))
        expected = [(r["time"], r["kind"], r["service"], r["description"], r.get("labels")) for r in rows]
        got = [(c.time_ns, c.kind, c.service, c.description, c.attributes) for c in backend.changes(window)]
        assert got == expected
    assert backend.changes(sample.window, limit=2) == backend.changes(sample.window)[-2:]


@on_sample
def attribute_keys_are_those_in_the_window(backend: Backend, sample: Sample) -> None:
    for signal in ("spans", "logs"):
        for window in windows(sample):
            keys = {name for row in oracle(sample).of(signal, window) for name in row["attributes"]}
            assert backend.attribute_keys(window, signal) == tuple(sorted(keys, key=key))
    assert backend.attribute_keys(sample.window, limit=1) == backend.attribute_keys(sample.window)[:1]


@on_sample
def values_of_an_attribute_are_those_that_occur(backend: Backend, sample: Sample) -> None:
    asked = (("spans", "http.route"), ("spans", NASTY), ("spans", "service"), ("spans", "n"), ("spans", "nothing"))
    for signal, name in (*asked, ("logs", "code"), ("logs", "severity"), ("logs", "код")):
        for window in windows(sample)[:3]:
            rows = oracle(sample).of(signal, window)
            found = Counter(row[name] if is_text_column(signal, name) else row["attributes"].get(name) for row in rows)
            expected = sorted((value for value in found if value), key=lambda value: (-found[value], key(value)))
            got = backend.attribute_values(window, name, signal, limit=10_000)
            assert got == tuple(expected), (signal, name)
            if got:
                assert backend.attribute_values(window, name, signal, limit=1) == got[:1]
    for name in ("", "time", "duration_ms", "attributes"):
        with pytest.raises(UsageError):
            backend.attribute_values(sample.window, name)


@on_sample
def cohorts_count_values(backend: Backend, sample: Sample) -> None:
    busy = oracle(sample).requests(sample.window)[0]
    for chosen in (
        Selection(window=sample.window, service="edge"), Selection(window=sample.window, service=busy["service"], low_ms=3.0),
        Selection(window=sample.window, service=busy["service"], name=busy["name"], low_ms=1.0, high_ms=20.0, failed=False),
        Selection(window=sample.window, failed=True), Selection(window=sample.window, service="nobody"),
        Selection(window=windows(sample)[2], service="kindless", high_ms=4.0), Selection(window=sample.window, service=NASTY),
    ):  # fmt: skip
        inside, outside = oracle(sample).cohorts(chosen)
        got = backend.cohorts(chosen, most_keys=1000, most_values=100_000)
        assert (got.inside, got.outside, got.truncated) == (len(inside), len(outside), False)
        _values_are(got.values, inside, outside)
    chosen = Selection(window=sample.window, low_ms=3.0)
    few = backend.cohorts(chosen, most_keys=3, most_values=2)
    whole = backend.cohorts(chosen, most_keys=1000, most_values=100_000)
    kept = list(dict.fromkeys(value.key for value in whole.values))[:3]
    expected: list[Any] = []
    for name in kept:
        of_key = [value for value in whole.values if value.key == name]
        expected += [v for v in of_key if v.value is not None][:2] + [v for v in of_key if v.value is None]
    assert few.values == tuple(expected) and few.truncated


def _values_are(got: Any, inside: list[Row], outside: list[Row]) -> None:
    both = inside + outside
    keys = [
        *COHORT_COLUMNS,
        *{name for row in both for name, text in row["attributes"].items() if text} - set(COHORT_COLUMNS),
    ]
    have = {name: {value: n for value, n in counts(both, name).items() if value is not None} for name in keys}
    expected: list[tuple[str, str | None, int, int]] = []
    for name in sorted((name for name in keys if have[name]), key=lambda name: (-sum(have[name].values()), key(name))):
        ins, outs = counts(inside, name), counts(outside, name)
        values: list[str | None] = sorted(have[name], key=lambda value: (-have[name][value], key(value)))
        absent: list[str | None] = [None] if ins[None] + outs[None] else []
        expected += [(name, value, ins[value], outs[value]) for value in values + absent]
    assert [(v.key, v.value, v.inside, v.outside) for v in got] == expected


@on_sample
def telemetry_is_the_window_in_analysis_columns(backend: Backend, sample: Sample) -> None:
    for window in windows(sample):
        telemetry = backend.telemetry(window)
        assert telemetry.sampled == 1.0
        for signal in SIGNALS:
            table = telemetry.table(signal)
            assert set(ANALYSIS_COLUMNS[signal]) <= set(table.column_names)
            expected = oracle(sample).of(signal, window)
            times = table["time"].cast("int64").to_pylist()
            for column in set(ANALYSIS_COLUMNS[signal]) - {"time", "attributes", "value"}:
                got = [(text or None) if isinstance(text, str) else text for text in table[column].to_pylist()]
                wanted = [row[column] for row in expected]
                if column in ("duration_ns", "service", "name"):
                    zero: Any = 0 if column == "duration_ns" else None
                    got, wanted = [value or zero for value in got], [value or zero for value in wanted]
                assert sorted(zip(times, map(str, got), strict=True)) == sorted(
                    zip((row["time"] for row in expected), map(str, wanted), strict=True)
                ), (signal, column)


@on_sample
def telemetry_samples_whole_traces(backend: Backend, sample: Sample) -> None:
    rows = oracle(sample).of("spans", sample.window)
    most = len(rows) // 4
    telemetry = backend.telemetry(sample.window, most_spans=most)
    assert 0 < telemetry.sampled < 0.5
    assert most / 2 < telemetry.spans.num_rows < 1.5 * most
    of_trace: dict[str, int] = defaultdict(int)
    for row in rows:
        of_trace[row["trace_id"]] += 1
    kept: dict[str, int] = defaultdict(int)
    for trace_id in telemetry.spans["trace_id"].to_pylist():
        kept[trace_id or None] += 1
    assert all(number == of_trace[trace_id] for trace_id, number in kept.items() if trace_id)
    lines = [row["trace_id"] or None for row in telemetry.logs.select(["trace_id"]).to_pylist()]
    expected = [row["trace_id"] for row in oracle(sample).of("logs", sample.window)]
    assert lines.count(None) == expected.count(None)
    assert {trace for trace in lines if trace} <= set(expected)
    assert all((trace in kept) or (trace not in of_trace) for trace in lines if trace)
    assert telemetry.metrics.num_rows == len(oracle(sample).of("metrics", sample.window))


@on_empty
def nothing_stored_gives_empty_answers(backend: Backend, sample: Sample) -> None:
    window = sample.window
    assert [(extent.signal, extent.rows, extent.window) for extent in backend.extents()] == [
        (s, 0, None) for s in SIGNALS
    ]
    for rows in (
        backend.services(window), backend.operations(window), backend.topology(window), backend.traces(window).rows,
        backend.trace("1").rows, backend.logs(window).rows, backend.shapes(window, SECOND).rows, backend.metric_names(window),
        backend.metric(window, "a", step_ns=SECOND), backend.changes(window), backend.attribute_keys(window),
        backend.attribute_keys(window, "logs"), backend.heat_map(window, SECOND).edges_ms,
    ):  # fmt: skip
        assert rows == ()
    series = backend.red(window, 10 * SECOND)
    assert series.requests == (0,) * 14 and series.p50_ms == (None,) * 14
    compared = backend.cohorts(Selection(window=window))
    assert (compared.inside, compared.outside, compared.values) == (0, 0, ())
    telemetry = backend.telemetry(window)
    assert telemetry.sampled == 1.0 and not any(telemetry.rows.values())
    assert backend.trace_table("1").spans.num_rows == 0
