"""`bench/shapes.py`: incidents in the columns of other data sets, read and scored like real ones."""

# The scripts lie outside of the package; conftest.py makes them importable.
# pyright: reportMissingImports=false

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import _shapes_draw as draw
import _shapes_sample as sample
import _shapes_write as write
import shapes
from aetia import plugins
from aetia.ingest.source import list_cases
from aetia.model.window import NS_PER_SECOND
from aetia.signals.view import Facts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small case of every shape."""
    folder = tmp_path_factory.mktemp("shapes")
    for family in draw.FAMILIES.values():
        # Faults that every shape of the family can name, on few services and requests.
        small = replace(
            family, faults=("exception",) if "exception" in family.faults else ("cpu",), sizes=(6,), spans=8_000
        )
        for incident in draw.made(small, 1, 3):
            for shape, (owner, writer) in write.SHAPES.items():
                if owner is family:
                    writer(folder / shape, incident)
    return folder


@pytest.mark.parametrize("shape", write.SHAPES)
def test_every_shape_is_read_with_its_windows_and_names_the_cause(folder: Path, shape: str) -> None:
    reader, path, (case,) = list_cases(str(folder / shape))
    telemetry = plugins.create("reader", reader).load(path, case.id).telemetry
    assert reader == {"re1": "rcaeval", "re2": "rcaeval", "re2_hidden": "rcaeval", "rcabench": "rcabench"}.get(
        shape, "case"
    )
    assert not telemetry.dropped
    assert case.baseline is not None and case.incident is not None and case.truth
    assert case.baseline.end_ns == case.incident.start_ns
    assert case.truth[0].service in Facts(telemetry).names.services


def test_tables_are_those_of_the_data_set(folder: Path) -> None:
    filled = {
        shape: {name for name, rows in _load(folder, shape).rows.items() if rows and name != "dropped"}
        for shape in write.SHAPES
    }  # fmt: skip
    assert filled["re1"] == filled["pods"] == filled["petshop_nograph"] == {"metrics"}
    assert filled["re2"] == filled["rcabench"] == {"spans", "logs", "metrics"}
    assert filled["petshop"] == filled["petshop_nodes"] == {"metrics", "topology"}
    assert (filled["bare_spans"], filled["logs_only"]) == ({"spans"}, {"logs"})
    assert filled["alerts"] - {"changes"} == {"topology"}


def _load(folder: Path, shape: str):
    reader, path, (case,) = list_cases(str(folder / shape))
    return plugins.create("reader", reader).load(path, case.id).telemetry


def test_hidden_services_have_metrics_and_no_spans(folder: Path) -> None:
    shown = set(_load(folder, "re2").spans["service"].unique().to_pylist())
    kept = set(_load(folder, "re2_hidden").spans["service"].unique().to_pylist())
    assert kept < shown
    assert set(_load(folder, "re2_hidden").metrics["service"].unique().to_pylist()) >= shown


def test_five_minute_bins_hold_what_ended_in_them() -> None:
    end = np.array([10.0, 20.0, 299.0, 301.0])
    calls = sample.Calls(
        np.zeros(4, np.int64), end, np.array([1.0, 2.0, 9.0, 4.0]), np.array([True, False, False, False])
    )
    wide = sample.binned(calls, 2, 3, 300)
    assert wide.requests.tolist() == [[3, 1, 0], [0, 0, 0]]
    assert wide.errors[0].tolist() == [1, 0, 0]
    assert wide.average[0, :2].tolist() == [4.0, 4.0]
    assert (wide.quantiles["p50"][0, 0], wide.quantiles["p99"][0, 0]) == (2.0, 9.0)
    assert np.isnan(wide.average[1]).all() and np.isnan(wide.quantiles["p50"][0, 2])


def test_rates_and_quantiles_of_seconds_cover_the_last_quarter_minute() -> None:
    end = np.arange(30) + 0.5
    calls = sample.Calls(np.zeros(30, np.int64), end, np.full(30, 0.004), end > 15)
    nobody = sample.Calls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.bool_))
    seen = sample.rolling(calls, nobody, 1, 60)
    assert seen.load[0, [5, 20]].tolist() == [1.0, 1.0]
    assert seen.errors[0, [14, 29]].tolist() == [0.0, 1.0]
    assert 0.001 < seen.p50_s[0, 10] < seen.p90_s[0, 10] < 0.005
    assert seen.load[0, -1] == 0.0 and np.isnan(seen.p90_s[0, -1])


def test_a_slow_link_shows_at_the_service_that_is_called() -> None:
    end, fine = np.arange(30) + 0.5, np.zeros(30, np.bool_)
    inside = sample.Calls(np.zeros(30, np.int64), end, np.full(30, 0.004), fine)
    outside = sample.Calls(np.zeros(30, np.int64), end, np.full(30, 0.3), ~fine)
    seen = sample.rolling(inside, outside, 1, 30)
    assert seen.p90_s[0, -1] > 0.25
    assert (seen.load[0, -1], seen.errors[0, -1]) == (1.0, 1.0)


def test_a_run_prints_a_row_per_shape_and_its_cache_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[list[str]] = []
    for cache in (False, True, True):
        shapes.run(folder, ["re1", "alerts"], ["explain", "nsigma"], misses=True, cache=cache)
        printed.append([line.rsplit("|", 2)[0] for line in capsys.readouterr().out.splitlines()])
    assert printed[0] == printed[1] == printed[2]
    assert [line.split("|")[1].strip() for line in printed[0][2:6]] == ["re1", "", "alerts", ""]


def test_faults_begin_with_the_window_of_a_known_injection(folder: Path) -> None:
    ((case,), (petshop,)) = (list_cases(str(folder / shape))[2] for shape in ("re1", "petshop"))
    assert case.truth is not None and case.incident is not None
    assert case.truth[0].onset_ns == case.incident.start_ns
    assert petshop.truth is not None and petshop.incident is not None and petshop.truth[0].onset_ns is not None
    assert 0 <= petshop.truth[0].onset_ns - petshop.incident.start_ns < draw.BIN_S * NS_PER_SECOND
