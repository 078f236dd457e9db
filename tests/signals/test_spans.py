"""Span frames: identity, parents, exclusive time, errors, peers and entries."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from span_tables import T0, facts, forests, ids, naive_exclusive, parents, span, table

from aetia.model.tables import Telemetry
from aetia.signals.frames import KIND_CLIENT, KIND_SERVER
from aetia.signals.spans import peer_name
from aetia.signals.view import Facts


def test_rows_come_in_order_of_time_and_point_back_at_the_table():
    f = facts(span("b", "a", 5), span("a", None, 0), span("c", "a", 2))
    assert ids(f) == ["a", "c", "b"]
    assert f.spans.source_row.tolist() == [1, 2, 0]
    assert f.spans.parent.tolist() == [-1, 0, 0]
    assert f.spans.depth.tolist() == [0, 1, 1]
    assert f.spans.root.tolist() == [0, 0, 0]


def test_the_first_of_two_spans_with_one_id_stays():
    f = facts(span("a", None, 7, service="late"), span("a", None, 3, service="early"), span("b", "a", 4))
    assert f.spans.source_row.tolist() == [1, 2]
    assert f.counts["duplicates"] == 1
    assert parents(f) == {"a": None, "b": "a"}


def test_the_same_span_id_in_two_traces_names_two_spans():
    f = facts(
        span("1", None, 0, trace_id="x"), span("2", "1", 1, trace_id="x"),
        span("1", None, 2, trace_id="y"), span("2", "1", 3, trace_id="y"),
    )  # fmt: skip
    assert f.spans.parent.tolist() == [-1, 0, -1, 2]
    assert f.spans.trace.tolist() == [0, 0, 1, 1]
    assert "duplicates" not in f.counts


def test_a_parent_is_never_found_in_another_trace():
    f = facts(span("1", None, 0, trace_id="x"), span("2", "1", 1, trace_id="y"))
    assert f.spans.parent.tolist() == [-1, -1]
    assert f.counts["orphans"] == 1


def test_client_and_server_that_share_one_id_both_stay_and_the_server_is_the_child():
    f = facts(
        span("top", None, 0, 100), span("x", "top", 10, 50, service="a", kind="client"),
        span("x", "top", 20, 30, service="b", kind="server"), span("y", "x", 25, 5, service="b"),
    )  # fmt: skip
    assert f.spans.parent.tolist() == [-1, 0, 1, 2]
    assert f.counts["shared_ids"] == 1
    assert f.counts.get("duplicates", 0) == 0


@pytest.mark.parametrize("absent", [None, "", "0000000000000000", "root"])
def test_texts_that_mean_no_parent_make_no_orphans(absent: str | None):
    f = facts(span("00000000000000aa", absent), span("00000000000000ab", "00000000000000aa", 1))
    assert f.spans.parent.tolist() == [-1, 0]
    assert "orphans" not in f.counts


def test_a_span_that_is_its_own_parent_becomes_a_top():
    f = facts(span("a", "a"))
    assert f.spans.parent.tolist() == [-1]
    assert f.counts["cycles"] == 1


def test_a_cycle_is_cut_at_its_earliest_span_and_what_hangs_below_stays():
    f = facts(span("a", "c", 5), span("b", "a", 1), span("c", "b", 9), span("d", "c", 10))
    assert parents(f) == {"b": None, "c": "b", "a": "c", "d": "c"}
    assert f.counts["cycles"] == 1


def test_spans_without_id_stay_and_are_nobodys_parent():
    f = facts(span(None), span(None, None, 1), span("x", None, 2))
    assert len(f.spans) == 3
    assert f.spans.parent.tolist() == [-1, -1, -1]


def test_spans_without_time_are_left_out_and_counted():
    f = facts(span("a", None, None), span("b", None, 3))
    assert ids(f) == ["b"]
    assert f.counts["missing_times"] == 1


def test_negative_missing_and_endless_durations_are_mended_and_counted():
    f = facts(span("a", None, 0, -5), span("b", None, 1, None), span("c", None, 2, 2**62))
    assert f.spans.duration_ns.tolist() == [0, 0, 30 * 86_400 * 10**9]
    assert {"negative_durations": 1, "missing_durations": 1, "endless_durations": 1}.items() <= f.counts.items()


def test_durations_that_would_overflow_together_keep_exclusive_time_in_bounds():
    rows = [span(f"{i}", f"{i - 1}" if i % 2 else None, i, 2**62) for i in range(2000)]
    f = facts(*rows)
    assert (f.spans.exclusive_ns >= 0).all()
    assert (f.spans.exclusive_ns <= f.spans.duration_ns).all()


def test_exclusive_time_leaves_out_the_union_of_children_clipped_to_the_parent():
    f = facts(
        span("p", None, 0, 100), span("a", "p", 10, 30), span("b", "p", 20, 30), span("late", "p", 90, 50), span("early", "p", -20, 25),
    )  # fmt: skip
    own = dict(zip(ids(f), f.spans.exclusive_ns.tolist(), strict=True))
    assert own["p"] == 100 - 40 - 10 - 5
    assert f.counts["clipped_children"] == 2


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("wide", [False, True])
def test_encoding_and_chunks_of_columns_do_not_matter(dictionary: bool, chunks: int, wide: bool):
    rng = np.random.default_rng(1)
    rows = [
        span(
            f"{i:0{16 if wide else 3}x}",
            f"{rng.integers(0, i):0{16 if wide else 3}x}" if i % 4 else None,
            i,
            50,
            service=f"s{i % 3}",
            status="error" if i % 7 == 0 else None,
        )
        for i in range(1, 60)
    ]
    plain = table(rows)
    pieces = [plain.slice(i * 20, 20) for i in range(3)] if chunks == 3 else [plain]
    if dictionary:
        pieces = [
            pa.table(
                {
                    c: p[c].combine_chunks().dictionary_encode() if pa.types.is_string(p[c].type) else p[c]
                    for c in p.column_names
                }
            )
            for p in pieces
        ]
    f, expected = Facts(Telemetry(spans=pa.concat_tables(pieces))), Facts(Telemetry(spans=plain))
    for name in ("parent", "service", "operation", "error", "exclusive_ns", "depth", "trace"):
        assert np.array_equal(getattr(f.spans, name), getattr(expected.spans, name)), name
    assert f.names == expected.names


def test_ids_in_any_alphabet_and_of_any_length_resolve():
    long = "ω" * 300
    f = facts(span(long, None, 0), span("δ", long, 1), span("x" * 9, "δ", 2), span("y", "x" * 9, 3))
    assert f.spans.parent.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "status", "code", "failed"),
    [
        ("server", "error", None, True), ("server", "unset", "503", True), ("server", "ok", "500", True), ("server", "unset", "404", False),
        ("client", "unset", "404", True), ("client", "ok", "404", False), ("server", "unset", "14", True), ("server", "unset", "5", False),
        ("client", "unset", "5", True), ("client", "unset", "1", False), ("server", None, "UNAVAILABLE", True), ("server", "unset", "200", False),
        (None, None, None, False), ("server", "unset", "abc", False),
    ],
)  # fmt: skip
def test_status_and_codes_say_what_failed(kind: str | None, status: str | None, code: str | None, failed: bool):
    f = facts(span("a", kind=kind, status=status, status_code=code))
    assert f.spans.error.tolist() == [failed]


def test_status_codes_are_numbers_or_grpc_names():
    f = facts(
        *(span(str(i), None, i, status_code=code) for i, code in enumerate(["404", "not_found", "200.0", None, "oops"]))
    )
    assert f.spans.status_code.tolist() == [404, 5, 200, -1, -1]


def test_a_peer_that_no_span_shows_becomes_an_external_or_points_at_the_service():
    f = facts(
        span("r", None, 0, 100, kind="server"),
        span("db", "r", 1, kind="client", peer="mysql:3306"),
        span("lost", "r", 2, kind="client", peer="http://b.shop.svc:80/x"),
        span("seen", "r", 3, kind="client", peer="10.0.0.1:80"), span("srv", "seen", 4, service="b", kind="server", peer="10.0.0.9"),
    )  # fmt: skip
    assert f.names.services == ("a", "b", "mysql")
    assert f.spans.peer.tolist() == [-1, 2, 1, -1, -1]
    assert [f.spans.kind[1], f.spans.kind[4]] == [KIND_CLIENT, KIND_SERVER]


def test_a_client_span_answered_two_levels_below_is_no_blind_call():
    f = facts(
        span("out", None, 0, kind="client", peer="proxy"), span("in", "out", 1, kind="client"), span("s", "in", 2, service="b"),
    )  # fmt: skip
    assert (f.spans.peer == -1).all()


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("cart", "cart"), ("cart:8080", "cart"), ("http://cart.ns.svc.cluster.local:8080/a/b", "cart"), ("redis:6379", "redis"),
        ("localhost:5432", "localhost:5432"), ("127.0.0.1:80", "127.0.0.1:80"), ("10.1.2.3:80", "10.1.2.3"), ("缓存", "缓存"), ("[::1]:80", "[::1]:80"),
    ],
)  # fmt: skip
def test_peer_names_lose_scheme_and_port(peer: str, name: str):
    assert peer_name(peer, {"cart", "front"}) == name


def test_requests_enter_at_tops_below_probes_and_at_the_earliest_orphan_of_a_headless_trace():
    f = facts(
        span("1", None, 0, trace_id="x"), span("2", "1", 1, trace_id="x", service="b"), span("gone-child", "gone", 2, trace_id="x"),
        span("3", None, 10, trace_id="y", kind="client", service="probe"), span("4", "3", 11, trace_id="y", kind="server"),
        span("5", "missing", 20, trace_id="z"), span("6", "missing too", 21, trace_id="z"),
        span("7", None, 30, trace_id="w", kind="consumer"), span("8", None, 31, trace_id="v", kind="client"),
    )  # fmt: skip
    entries = {name for name, entry in zip(ids(f), f.spans.entry.tolist(), strict=True) if entry}
    assert entries == {"1", "4", "5"}


def test_empty_and_single_span_tables_have_frames():
    assert len(facts().spans) == 0
    f = facts(span("a"))
    assert f.spans.entry.tolist() == [True]
    assert f.spans.exclusive_ns.tolist() == [10]


def test_a_chain_of_a_hundred_thousand_spans_is_resolved_in_a_moment():
    n = 100_000
    names = [f"{i:016x}" for i in range(1, n + 1)]
    rows = pa.table(
        {
            "time": pa.array(np.arange(n)).cast(pa.timestamp("ns", tz="UTC")), "trace_id": pa.array(["t" * 32] * n), "span_id": names,
            "parent_span_id": pa.array([None, *names[:-1]]), "service": ["a"] * n, "duration_ns": pa.array(2 * n - 2 * np.arange(n)),
        }
    )  # fmt: skip
    begin = time.perf_counter()
    spans = Facts(Telemetry(spans=rows)).spans
    assert spans.depth[-1] == n - 1
    assert (spans.exclusive_ns[:-1] == 2).all()
    assert time.perf_counter() - begin < 5  # a walk per level takes minutes


@settings(max_examples=80, deadline=None)
@given(forests())
def test_any_rows_give_a_forest_whose_exclusive_times_are_those_of_the_interval_union(rows):
    f = facts(*rows)
    spans = f.spans
    n = len(spans)
    assert n + f.counts.get("duplicates", 0) == len(rows)
    below = np.flatnonzero(spans.parent >= 0)
    assert np.array_equal(spans.depth[below], spans.depth[spans.parent[below]] + 1)
    assert (spans.parent[spans.root] == -1).all()
    assert np.array_equal(spans.trace, spans.trace[spans.root])
    assert spans.exclusive_ns.tolist() == naive_exclusive(spans.start_ns, spans.duration_ns, spans.parent)
    assert (spans.exclusive_ns >= 0).all()
    assert (spans.exclusive_ns <= spans.duration_ns).all()


@settings(max_examples=40, deadline=None)
@given(forests(most=15))
def test_the_order_of_rows_changes_nothing(rows):
    for number, row in enumerate(rows):  # distinct starts: among equal ones the table's order decides
        row["time"] = (row["time"] - T0) * 100 + number + T0
    first, second = facts(*rows), facts(*reversed(rows))
    assert first.counts == second.counts
    assert first.names == second.names
    for name in ("parent", "root", "depth", "trace", "service", "operation", "exclusive_ns", "error", "entry", "peer"):
        assert np.array_equal(getattr(first.spans, name), getattr(second.spans, name)), name
    assert (len(rows) - 1 - first.spans.source_row).tolist() == second.spans.source_row.tolist()
