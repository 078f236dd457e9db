"""Suites: every fault appears, non-faults have no truth, absorbed means that no user was hurt."""

from __future__ import annotations

import collections
import subprocess
import sys

import pytest

from aetia.ingest.case import CaseReader
from aetia.lab.sim import (
    FAULTS,
    NON_FAULTS,
    FaultSpec,
    Load,
    Scenario,
    generate,
    make_system,
    random_systems,
    simulate,
    simulate_suite,
    suite,
)
from aetia.lab.sim.draw import Draw, draw_scenario, service_rates
from aetia.lab.sim.suites import planned_kinds
from aetia.model.errors import UsageError


def test_a_suite_can_be_read_back_and_reports_progress(tmp_path):
    told = []
    cases = suite(
        tmp_path,
        3,
        2,
        seed=3,
        services=(5, 7),
        faults=("exception", "crash"),
        progress=lambda done, of: told.append((done, of)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert CaseReader().cases(tmp_path) == cases
    loaded = CaseReader().load(tmp_path, cases[0].id)
    assert loaded.telemetry.rows["spans"] > 1000 and loaded.telemetry.dropped == ()
    assert all(case.truth and case.truth[0].onset_ns is not None and case.incident for case in cases)
    assert all(case.incident.contains(case.truth[0].onset_ns) for case in cases)


def test_the_same_seed_draws_the_same_cases_and_another_seed_others():
    def ids(seed):
        return [(case.truth, case.system) for case, _ in generate(1, 1, seed, services=(5, 6), faults=("cpu",))]

    assert ids(5) == ids(5) != ids(6)


def test_kinds_are_spread_evenly_with_a_fixed_share_of_non_faults():
    for n in (30, 100):
        counts = collections.Counter(planned_kinds(n, seed=1))
        assert sum(counts[kind] for kind in NON_FAULTS) == round(0.12 * n)
        assert all(counts[fault] >= (n - 12) // len(FAULTS) for fault in FAULTS)


def test_systems_of_a_suite_differ_in_size_and_names():
    systems = random_systems(5, seed=9)
    sizes = [len(system.services) for system in systems]
    assert sizes == sorted(sizes) and 5 <= sizes[0] < 10 and 30 < sizes[-1] <= 60
    assert len({system.services[0].name for system in systems}) > 1


def test_a_fault_that_is_caught_by_fallbacks_is_absorbed_and_still_listed():
    system = make_system(9, 2)
    rates = service_rates(system, 1.0)
    quiet = min((i for i, s in enumerate(system.services) if s.layer > 0), key=lambda i: rates[i])
    spec = FaultSpec(fault="latency", service=system.services[quiet].name, onset_s=70, magnitude=0.0, duration_s=3.0)
    case, _ = simulate(
        Scenario(id="a", system=system, seed=1, faults=(spec,), load=Load(rate=10), baseline_s=60, incident_s=60)
    )
    assert case.label == "absorbed" and case.sli["affected"] == []
    assert case.truth is not None and case.truth[0].service == system.services[quiet].name


def test_a_label_never_contradicts_the_slis():
    for case, _ in generate(5, 2, seed=12, services=(5, 6), faults=("latency", "cpu")):
        entries = case.sli["entries"]
        broken = sorted(name for name, sli in entries.items() if sli["broke"])
        assert case.sli["affected"] == broken
        if case.truth:
            assert (case.label == "absorbed") == (not broken)
        else:
            assert case.label in ("no_fault", "load_surge", "deploy")


def test_given_scenarios_become_case_folders(tmp_path):
    system = make_system(6, 3)
    drawn = [draw_scenario(Draw(id=f"x{i}", system=system, kind="gc", seed=i)) for i in range(2)]
    assert [case.id for case in simulate_suite(tmp_path, drawn)] == ["x0", "x1"]
    assert (tmp_path / "x1" / "case.json").is_file()


FULL = """
import resource, signal, sys
from pathlib import Path
from aetia.lab.sim import large_incident, suite
from aetia.model.errors import IngestError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
out = Path(sys.argv[1])
for write in (lambda: suite(out / "suite", 1, 1, services=(5, 5)), lambda: large_incident(out / "large", spans=1000, logs=10, metrics=10)):
    try:
        write()
    except IngestError as error:
        print(error)
"""


def test_nothing_is_left_where_nothing_could_be_written(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "deep" / "er")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("cannot be written: file too large") == 2, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_unknown_faults_are_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match="gremlin"):
        suite(tmp_path, 2, faults=("gremlin",))
