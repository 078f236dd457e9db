"""Signatures of what a request did, and where its errors began."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from span_tables import facts, forests, ids, span

from aetia.signals.frames import KIND_CLIENT
from aetia.signals.paths import (
    child_operations,
    child_signatures,
    deepest_error,
    examples,
    path_label,
    path_rows,
    path_signatures,
    unanswered_error,
)


def test_one_operation_reached_by_two_ways_has_two_paths():
    f = facts(
        span("1", name="get"), span("2", "1", 1, name="query"), span("3", None, 2, name="put"), span("4", "3", 3, name="query"), span("5", "1", 4, name="query"),
    )  # fmt: skip
    codes = dict(zip(ids(f), path_signatures(f.spans).tolist(), strict=True))
    assert codes["2"] == codes["5"] != codes["4"]
    assert len({codes["1"], codes["2"], codes["3"], codes["4"]}) == 4
    assert path_label(f.spans, f.names, ids(f).index("4")) == "put → query"


def test_a_path_stops_at_the_border_of_the_service_and_after_three_spans():
    f = facts(
        span("0", service="b", name="x"), span("1", "0", 1), span("2", "1", 2, name="p"), span("3", "2", 3, name="q"), span("4", "3", 4, name="r"),
        span("9", None, 9, service="c"), span("10", "9", 10), span("11", "10", 11, name="p"), span("12", "11", 12, name="q"), span("13", "12", 13, name="r"),
    )  # fmt: skip
    codes = dict(zip(ids(f), path_signatures(f.spans).tolist(), strict=True))
    assert codes["1"] == codes["10"]
    assert codes["4"] == codes["13"]
    assert path_rows(f.spans, 4) == (2, 3, 4)


def test_child_signatures_are_sets_without_order_or_number():
    f = facts(
        span("1"), span("2", "1", 1, name="x"), span("3", "1", 2, name="y"),
        span("4", None, 10), span("5", "4", 11, name="y"), span("6", "4", 12, name="x"), span("7", "4", 13, name="x"),
        span("8", None, 20), span("9", "8", 21, name="x"),
    )  # fmt: skip
    codes = dict(zip(ids(f), child_signatures(f.spans).tolist(), strict=True))
    assert codes["1"] == codes["4"] != codes["8"]
    assert codes["2"] == codes["9"] != codes["1"]
    assert [f.names.operations[c][1] for c in child_operations(f.spans, ids(f).index("4"))] == ["x", "y"]


def test_examples_are_the_first_rows_of_each_code():
    assert examples(np.array([0, 1, 0, 2, 1], np.int32)).tolist() == [0, 1, 3]
    assert examples(np.zeros(0, np.int32)).tolist() == []


def test_an_error_began_where_no_span_below_has_one():
    f = facts(
        span("1", status="error"),
        span("2", "1", 1),
        span("3", "2", 2, status="error"),
        span("4", "1", 3, status="error"),
        span("5", None, 4),
    )
    assert {i for i, deep in zip(ids(f), deepest_error(f.spans).tolist(), strict=True) if deep} == {"3", "4"}


def test_an_error_at_the_calling_end_is_unanswered_when_no_other_service_shows_below():
    f = facts(
        span("1", kind="client", status="error"),
        span("2", None, 1, kind="client", status="error"), span("3", "2", 2, service="b", kind="server", status="error"),
        span("4", None, 3, kind="server", status="error"), span("5", None, 4, kind="client"),
    )  # fmt: skip
    assert unanswered_error(f.spans).tolist() == [True, False, False, False, False]


@settings(max_examples=50, deadline=None)
@given(forests())
def test_signatures_are_those_of_the_plain_forms(rows):
    spans = facts(*rows).spans
    paths = [tuple(spans.operation[r] for r in path_rows(spans, row)) for row in range(len(spans))]
    sets = [child_operations(spans, row) for row in range(len(spans))]
    for codes, plain in ((path_signatures(spans), paths), (child_signatures(spans), sets)):
        assert [plain.index(p) for p in plain] == [codes.tolist().index(c) for c in codes]


@settings(max_examples=50, deadline=None)
@given(forests())
def test_error_flags_are_those_of_the_plain_forms(rows):
    spans = facts(*rows).spans
    failing, remote = set(), set()
    for row in range(len(spans)):
        above = int(spans.parent[row])
        crossed = False
        inner = row
        while above >= 0:
            crossed |= bool(spans.service[inner] != spans.service[above])
            if spans.error[row]:
                failing.add(above)
            if crossed:
                remote.add(above)
            inner, above = above, int(spans.parent[above])
    errors = np.flatnonzero(spans.error).tolist()
    assert np.flatnonzero(deepest_error(spans)).tolist() == [r for r in errors if r not in failing]
    assert np.flatnonzero(unanswered_error(spans)).tolist() == [
        r for r in errors if spans.kind[r] == KIND_CLIENT and r not in remote
    ]
