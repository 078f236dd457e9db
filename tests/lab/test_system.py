"""Generated topologies: size, reachability, no cycles, seeds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.lab.sim import make_system
from aetia.lab.sim.system import SHAPES


@settings(max_examples=40, deadline=None)
@given(n=st.integers(5, 120), seed=st.integers(0, 2**31 - 1), shape=st.sampled_from((None, *SHAPES)))
def test_every_system_has_n_services_no_cycle_and_no_unreachable_operation(n, seed, shape):
    system = make_system(n, seed, shape)
    assert len(system.services) == n == len({service.name for service in system.services})
    assert len(set(system.instances)) == len(system.instances) == len(system.instance_node)
    for operation in system.operations:
        for call in operation.calls:
            if call.kind != "external":
                callee = system.services[system.operations[call.callee].service]
                assert callee.layer > system.services[operation.service].layer
    assert (system.visits().sum(0) > 0).all()
    assert sum(system.weights) == pytest.approx(1.0)
    assert {system.operations[entry].service for entry in system.entries} == {
        i for i, s in enumerate(system.services) if s.layer == 0
    }


def test_the_same_seed_gives_the_same_system_and_another_seed_another_one():
    assert make_system(20, 7) == make_system(20, 7)
    first, second = make_system(20, 7), make_system(20, 8)
    assert {s.name for s in first.services} != {s.name for s in second.services}
    assert first.edges() != second.edges()


def test_five_hundred_services_are_possible_and_traces_stay_small():
    system = make_system(500, 1)
    assert len(system.services) == 500
    assert system.visits().sum(1).max() < 200


@pytest.mark.parametrize("n", [4, 501])
def test_sizes_outside_the_range_are_refused(n):
    with pytest.raises(ValueError, match="between 5 and 500"):
        make_system(n, 1)
