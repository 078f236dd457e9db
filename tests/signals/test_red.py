"""Rate, errors and duration per group and bin; calls per edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from span_tables import T0, facts, forests, span

from aetia.model.window import Window
from aetia.signals.red import Bins, edge_calls, edge_codes, grouped_quantiles, red, service_entry_mask, window_stats

MS = 1_000_000


def test_bins_cover_a_window_and_place_times():
    bins = Bins.covering(Window(100, 125), 10)
    assert (bins.n, bins.starts_ns.tolist()) == (3, [100, 110, 120])
    assert bins.bin_of(np.array([99, 100, 109, 110, 129, 130])).tolist() == [-1, 0, 0, 1, 2, -1]


def shop():
    return facts(
        span("1", None, 0, 30 * MS, service="front", instance="front-1"),
        span("2", "1", 5 * MS, 20 * MS, service="front", instance="front-1", kind="client", name="call"),
        span("3", "2", 6 * MS, 12 * MS, service="cart", instance="cart-1", status="error"),
        span("4", "3", 7 * MS, 2 * MS, service="cart", instance="cart-1", name="inner"),
        span("5", None, 100 * MS, 10 * MS, service="front", instance="front-2"),
    )


def test_services_are_measured_where_their_part_of_a_call_begins():
    f = shop()
    assert service_entry_mask(f.spans).tolist() == [True, False, True, False, True]
    result = red(f.spans, Bins(start_ns=T0, step_ns=100 * MS, n=2))
    cart, front = f.names.service_code("cart"), f.names.service_code("front")
    assert result.count[front].tolist() == [1, 1]
    assert result.count[cart].tolist() == [1, 0]
    assert result.errors[cart].tolist() == [1, 0]
    assert result.p50_ms[front].tolist() == [30, 10]
    assert np.isnan(result.p99_ms[cart, 1])
    assert result.exclusive_ms[cart, 0] == 10
    assert result.error_share[cart, 0] == 1
    assert np.isnan(result.error_share[cart, 1])


def test_instances_operations_and_edges_are_groups_too():
    f = shop()
    bins = Bins(start_ns=T0, step_ns=200 * MS, n=1)
    assert red(f.spans, bins, of="instance").count[:, 0].tolist() == [1, 1, 1]
    assert red(f.spans, bins, of="operation").count.sum() == 5
    edge = red(f.spans, bins, of="edge")
    assert edge.count.tolist() == [[1]]
    assert edge.mean_ms.tolist() == [[20.0]]
    assert edge.errors.tolist() == [[1]]


def test_a_mask_and_a_given_number_of_groups_are_kept():
    f = shop()
    result = red(f.spans, Bins(start_ns=T0, step_ns=200 * MS, n=1), mask=f.spans.start_ns < T0 + 50 * MS, n_groups=5)
    assert result.count.shape == (5, 1)
    assert result.count.sum() == 2


def test_window_stats_hold_one_column_per_window():
    f = shop()
    early = f.spans.start_ns < T0 + 50 * MS
    stats = window_stats(f.spans, (early, ~early))
    front = f.names.service_code("front")
    assert stats.count[front].tolist() == [1, 1]
    assert stats.mean_ms[front].tolist() == [30, 10]


def test_no_spans_make_no_groups():
    assert red(facts().spans, Bins(start_ns=0, step_ns=1, n=3)).count.shape == (0, 3)
    assert len(edge_calls(facts().spans)) == 0


def test_edge_calls_tell_the_gap_between_the_two_ends():
    f = shop()
    calls = edge_calls(f.spans)
    codes, pairs = edge_codes(calls)
    assert codes.tolist() == [0]
    assert [tuple(f.names.services[c] for c in pair) for pair in pairs] == [("front", "cart")]
    assert (calls.parent.tolist(), calls.child.tolist()) == ([1], [2])
    assert calls.gap_ns.tolist() == [8 * MS]
    assert calls.paired.tolist() == [True]


def test_a_gap_is_paired_only_below_one_call_of_a_calling_span():
    f = facts(
        span("s", None, 0, 100, kind="server"), span("x", "s", 1, 10, service="b"),
        span("u", None, 0, 100, trace_id="u"), span("y", "u", 1, 10, service="b", trace_id="u"), span("z", "u", 20, 10, service="b", trace_id="u"),
        span("c", None, 0, 10, trace_id="v", kind="client"), span("w", "c", 1, 15, service="b", trace_id="v"),
    )  # fmt: skip
    calls = edge_calls(f.spans)
    by_child = {
        int(f.spans.source_row[c]): (bool(p), int(g), int(r))
        for c, p, g, r in zip(calls.child, calls.paired, calls.gap_ns, calls.raw_gap_ns, strict=True)
    }
    assert by_child == {1: (False, 90, 90), 3: (False, 90, 90), 4: (False, 90, 90), 6: (True, 0, -5)}


@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 1000)), max_size=60),
    st.sampled_from([(0.5,), (0.0, 0.95, 1.0)]),
)
def test_grouped_quantiles_are_those_of_numpy(pairs, quantiles):
    group = np.array([g for g, _ in pairs], np.int32)
    values = np.array([v for _, v in pairs], np.int64)
    result = grouped_quantiles(values, group, 5, quantiles)
    for g in range(5):
        inside = values[group == g]
        if len(inside) == 0:
            assert np.isnan(result[g]).all()
        else:
            assert result[g] == pytest.approx(np.quantile(inside, quantiles))


@settings(max_examples=30, deadline=None)
@given(forests())
def test_every_service_span_is_counted_once(rows):
    f = facts(*rows)
    bins = Bins(start_ns=T0 - 100, step_ns=7, n=40)
    result = red(f.spans, bins)
    assert result.count.sum() == service_entry_mask(f.spans).sum()
    assert (result.errors <= result.count).all()
    seen = result.count > 0
    assert (result.p50_ms[seen] <= result.p95_ms[seen]).all()
    assert (result.p95_ms[seen] <= result.p99_ms[seen]).all()
