"""Critical paths, against the plain rule with an explicit stack."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from span_tables import facts, forests, ids, naive_critical_path, span

from aetia.signals.critical_path import critical_path, critical_time


def times(f, root: int = 0) -> dict[str, int]:
    names = ids(f)
    return {names[row]: ns for row, ns in critical_path(f.spans, root).time_by_row().items()}


def test_a_span_alone_is_its_own_path():
    assert times(facts(span("a", None, 0, 10))) == {"a": 10}


def test_a_span_of_no_duration_has_an_empty_path():
    assert len(critical_path(facts(span("a", None, 0, 0)).spans, 0)) == 0


def test_sequential_children_are_all_waited_for():
    f = facts(span("p", None, 0, 100), span("a", "p", 10, 20), span("b", "p", 50, 40))
    path = critical_path(f.spans, 0)
    names = ids(f)
    assert [names[row] for row in path.row] == ["p", "a", "p", "b", "p"]
    assert (path.start_ns - f.spans.start_ns[0]).tolist() == [0, 10, 30, 50, 90]
    assert (path.end_ns - f.spans.start_ns[0]).tolist() == [10, 30, 50, 90, 100]


def test_of_parallel_children_the_last_to_finish_was_waited_for():
    assert times(facts(span("p", None, 0, 100), span("fast", "p", 10, 20), span("slow", "p", 12, 60))) == {
        "p": 40,
        "slow": 60,
    }


def test_an_asynchronous_child_counts_up_to_the_end_of_its_parent():
    f = facts(span("p", None, 0, 100), span("async", "p", 80, 500), span("deep", "async", 90, 400))
    assert times(f) == {"p": 80, "async": 10, "deep": 10}


def test_a_child_before_or_after_its_parent_is_off_the_path():
    f = facts(span("early", "p", -50, 10), span("p", None, 0, 10), span("late", "p", 50, 10))
    assert times(f, 1) == {"p": 10}


def test_of_two_children_with_the_same_end_the_longer_is_chosen():
    f = facts(span("p", None, 0, 10), span("long", "p", 2, 8), span("short", "p", 8, 2))
    assert times(f) == {"p": 2, "long": 8}


def test_the_path_of_an_inner_span_is_that_of_its_own_tree():
    f = facts(span("p", None, 0, 100), span("a", "p", 10, 50), span("b", "a", 20, 10), span("c", "p", 70, 20))
    assert times(f, 1) == {"a": 40, "b": 10}


def test_a_mask_solves_only_the_masked_spans():
    f = facts(span("p", None, 0, 100), span("a", "p", 10, 50), span("q", None, 0, 7, trace_id="u"))
    mask = np.array([name != "p" for name in ids(f)])
    assert dict(zip(ids(f), critical_time(f.spans, mask).tolist(), strict=True)) == {"p": 0, "a": 50, "q": 7}


def test_no_spans_have_no_critical_time():
    assert critical_time(facts().spans).tolist() == []


@settings(max_examples=100, deadline=None)
@given(forests())
def test_paths_are_disjoint_inside_the_root_and_those_of_the_plain_rule(rows):
    spans = facts(*rows).spans
    whole = critical_time(spans)
    for root in np.flatnonzero(spans.parent < 0).tolist():
        path = critical_path(spans, root)
        assert (path.end_ns > path.start_ns).all()
        assert (path.start_ns[1:] >= path.end_ns[:-1]).all()
        low, high = spans.start_ns[root], spans.start_ns[root] + spans.duration_ns[root]
        assert len(path) == 0 or (path.start_ns[0] == low and path.end_ns[-1] == high)
        assert (path.end_ns - path.start_ns).sum() == spans.duration_ns[root]
        expected = naive_critical_path(spans.start_ns, spans.duration_ns, spans.parent, root)
        assert path.time_by_row() == expected
        tree = np.flatnonzero(spans.root == root)
        assert {int(r): int(whole[r]) for r in tree if whole[r]} == expected
