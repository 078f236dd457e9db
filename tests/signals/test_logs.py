"""Log lines become columns, joined to their spans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aetia.model.tables import LOGS, SPANS, Telemetry
from aetia.signals.frames import LogFrame
from aetia.signals.logs import build_logs, severity_codes, template_changes, template_counts
from aetia.signals.names import build_names
from aetia.signals.spans import build_spans

T0 = 1_700_000_000_000_000_000


def line(at: int | None, body: str | None, **more: Any) -> dict[str, Any]:
    row = {"time": None if at is None else T0 + at, "body": body, "service": "a", "severity": "info"}
    return row | more


def build(logs: list[dict[str, Any]], spans: list[dict[str, Any]] | None = None) -> LogFrame:
    telemetry = Telemetry(
        logs=pa.Table.from_pylist(logs, schema=LOGS), spans=pa.Table.from_pylist(spans or [], schema=SPANS)
    )  # fmt: skip
    frame, names, _ = build_spans(telemetry, build_names(telemetry))
    return build_logs(telemetry, names, frame)


def test_no_lines_give_an_empty_frame():
    frame = build([])
    assert len(frame) == 0
    assert frame.templates == ()


def test_lines_are_sorted_by_time_and_those_without_a_time_are_left_out():
    frame = build([line(3, "c"), line(None, "x"), line(1, "a"), line(2, "b")])
    assert [frame.templates[code].text for code in frame.template] == ["a", "b", "c"]
    assert frame.source_row.tolist() == [2, 3, 0]


def test_a_line_belongs_to_the_span_with_its_trace_and_span_id():
    spans = [
        {
            "time": T0 + k,
            "trace_id": trace,
            "span_id": span,
            "service": "a",
            "instance": f"a-{k}",
            "name": "op",
            "duration_ns": 5,
        }
        for k, (trace, span) in enumerate([("t2", "s1"), ("t1", "s1"), ("t1", "s2")])
    ]
    logs = [
        line(0, "x", trace_id="t1", span_id="s1"), line(1, "x", trace_id="t2", span_id="s1"), line(2, "x", trace_id="t1", span_id="s9"),
        line(3, "x", trace_id="t1"), line(4, "x"), line(5, "x", trace_id="t1", span_id="s2"),
    ]  # fmt: skip
    assert build(logs, spans).span.tolist() == [1, 0, -1, -1, -1, 2]


def test_a_line_without_a_service_takes_that_of_its_span():
    spans = [
        {"time": T0, "trace_id": "t", "span_id": "s", "service": "b", "instance": "b-1", "name": "op", "duration_ns": 5}
    ]
    frame = build([line(0, "x", trace_id="t", span_id="s", service=None), line(1, "x", service=None)], spans)
    assert frame.service.tolist() == [0, -1]
    assert frame.instance.tolist() == [0, -1]


def test_given_templates_are_kept_and_only_other_lines_are_mined():
    frame = build([
        line(0, "user 17 left", template="user <id> left"), line(1, "user 18 left", template="user <id> left", severity="error"),
        line(2, "user 19 left"), line(3, "Foo.java:8 x", template="Foo.java:8 java.lang.FooException: x"),
    ])  # fmt: skip
    texts = [frame.templates[code].text for code in frame.template]
    assert texts == ["user <id> left", "user <id> left", "user <*> left", "Foo.java:8 java.lang.FooException: x"]
    assert [frame.templates[code].severity for code in frame.template] == [5, 5, 3, 3]
    given = frame.templates[frame.template[3]]
    assert (given.call_site, given.exception) == ("Foo.java:8", "java.lang.FooException")


def test_severities_are_understood_in_common_spellings():
    column = pa.chunked_array([["INFO", "warning", None, "Critical", "err", "whatever", "TRACE", "debug"]])
    assert severity_codes(column).tolist() == [3, 4, 0, 6, 5, 0, 1, 2]


def test_lines_are_counted_per_service_and_template_in_both_windows():
    logs = [line(k, "steady line here") for k in range(10)] + [
        line(k, "crash of worker", service="b") for k in range(5, 9)
    ]
    frame = build([*logs, line(2, "other thing", service="b"), line(3, "nobody said this", service=None)])
    before = frame.time_ns < T0 + 5
    counts = template_counts(frame, before, ~before)
    rows = {
        (int(s), frame.templates[t].text): (int(b), int(i))
        for s, t, b, i in zip(counts.entity, counts.template, counts.baseline, counts.incident, strict=True)
    }
    assert rows == {(0, "steady line here"): (5, 5), (1, "crash of worker"): (0, 4), (1, "other thing"): (1, 0)}
    changes = template_changes(counts, 5.0, 5.0)
    assert changes.novel.tolist() == [text == "crash of worker" for _, text in rows]
    assert changes.vanished.sum() == 1
    steady = list(rows).index((0, "steady line here"))
    assert changes.log_ratio[steady] == pytest.approx(0.0)
    assert changes.baseline_rate[steady] == 1.0
    new = list(rows).index((1, "crash of worker"))
    assert changes.p_up[new] == pytest.approx(0.5**4)
    assert changes.p_down[new] == pytest.approx(1.0)


def test_lines_can_be_counted_per_instance():
    frame = build([line(0, "x", instance="a-1"), line(1, "x", instance="a-2"), line(2, "x", instance="a-2")])
    everything = np.ones(3, np.bool_)
    counts = template_counts(frame, everything, ~everything, by="instance")
    assert counts.baseline.tolist() == [1, 2]
    assert counts.incident.tolist() == [0, 0]
