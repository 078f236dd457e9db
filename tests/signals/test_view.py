"""Facts are built once; a view adds the windows."""

from __future__ import annotations

import numpy as np
from span_tables import T0, facts, span

from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.signals.view import BASELINE, INCIDENT, Facts, View


def test_frames_are_built_once_and_shared_by_views():
    f = facts(span("1"))
    window = Window(T0, T0 + 100)
    first, second = View(f, (window,), window), View(f, (), window)
    assert first.spans is second.spans
    assert first.names is f.names
    assert first.topology is second.topology


def test_spans_belong_to_the_window_in_which_their_trace_starts():
    f = facts(span("1", None, 5, 100), span("2", "1", 60), span("3", None, 70, trace_id="u"))
    view = View(f, (Window(T0, T0 + 50),), Window(T0 + 50, T0 + 100))
    assert view.span_masks[BASELINE].tolist() == [True, True, False]
    assert view.span_masks[INCIDENT].tolist() == [False, False, True]


def test_a_table_may_have_baselines_of_its_own():
    f = facts(span("1", None, 5), span("2", None, 15))
    own = {"spans": (Window(T0 + 10, T0 + 20),)}
    view = View(f, (Window(T0, T0 + 10),), Window(T0 + 50, T0 + 100), own)
    assert view.span_masks[BASELINE].tolist() == [False, True]
    assert view.baseline_of("logs") == (Window(T0, T0 + 10),)


def test_counts_follow_once_the_spans_are_built():
    f = facts(span("1"), span("1", None, 1), span("2", "gone", 2))
    assert f.counts == {}
    assert len(f.spans) == 2
    assert f.counts == {"duplicates": 1, "orphans": 1}


def test_empty_telemetry_has_frames_and_masks():
    view = View(Facts(Telemetry()), (Window(0, 1),), Window(1, 2))
    for masks in (view.span_masks, view.log_masks, view.bin_masks):
        assert [mask.shape for mask in masks] == [(0,), (0,)]
    assert view.names.services == ()
    assert np.array_equal(view.topology.caller, [])
