"""Every registered algorithm keeps the contract of its kind; the registry is walked, so a new one is tested unasked."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from layouts import SAMPLES

from aetia import contracts, plugins
from aetia.contracts.shop import replaced
from aetia.model.tables import Telemetry
from aetia.plugins import Plugin

REGISTERED = [item for item in plugins.all_plugins() if item.module.startswith("aetia.")]
AT_LEAST = {"reader": 8, "detector": 1, "channel": 14, "localizer": 12, "tool": 10, "policy": 3}
KNOWN: dict[tuple[str, str, str], str] = {}
"""(kind, name, check): the defect behind a check that does not hold yet."""
SITUATION = re.compile("(?<=^it answers soundly on): .*|(?<=^it investigates soundly): .*")


def groups() -> list[object]:
    """One test for each check; those that differ in the situation alone ("… on: clock skew") are one test together."""
    found: list[object] = []
    for plugin in REGISTERED:
        together: dict[str, list[contracts.Check]] = {}
        for check in contracts.checks(plugin.kind) if plugin.kind is not None else ():
            reason = KNOWN.get((str(plugin.kind), plugin.name, check.name))
            if reason:
                marks = [pytest.mark.xfail(strict=True, reason=reason)]
                found.append(pytest.param(plugin, [check], id=f"{plugin.kind}-{plugin.name}-{check}", marks=marks))
            else:
                together.setdefault(SITUATION.sub("", check.name), []).append(check)
        found += [pytest.param(plugin, some, id=f"{plugin.kind}-{plugin.name}-{name}")
                  for name, some in together.items()]  # fmt: skip
    return found


@pytest.mark.parametrize(("plugin", "group"), groups())
def test_it_keeps_the_contract(plugin: Plugin, group: list[contracts.Check]) -> None:
    broken: list[Exception] = []
    for check in group:
        try:
            check.run(contracts.factory_of(plugin))
        except Exception as error:  # noqa: BLE001 - every check of the group is run
            error.add_note(f"{plugin.kind} {plugin.name}: {check}")
            broken.append(error)
    if broken:
        raise ExceptionGroup("the contract is broken", broken)


def test_no_algorithm_has_gone_missing() -> None:
    counted = Counter(str(plugin.kind) for plugin in REGISTERED)
    assert [kind for kind, least in AT_LEAST.items() if counted[kind] < least] == [], counted
    assert [plugin.unavailable for plugin in REGISTERED if plugin.unavailable] == []


def test_every_registered_kind_has_a_battery() -> None:
    without = {plugin.name for plugin in REGISTERED if plugin.kind is None or not contracts.checks(plugin.kind)}
    assert without == set()


def test_no_check_has_gone_missing() -> None:
    assert {kind: len(contracts.checks(kind)) >= least for kind, least in
            {"reader": 4, "detector": 48, "channel": 48, "localizer": 48, "tool": 48, "policy": 40}.items()} == dict.fromkeys(AT_LEAST, True)  # fmt: skip
    for kind in AT_LEAST:
        names = [check.name for check in contracts.checks(kind)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", plugins.names("channel"))
def test_the_battery_has_something_for_every_channel_to_find(name: str) -> None:
    channel = plugins.create("channel", name)
    incidents = contracts.ordinary(), contracts.host_trouble(), contracts.mesh_trouble()
    said = [channel.observe(situation.shared_view).findings for situation in incidents]
    assert any(said), "add trouble of this kind to aetia.contracts.shop"


def test_every_algorithm_says_what_it_does_and_carries_the_name_of_its_file() -> None:
    for plugin in REGISTERED:
        assert plugin.summary and plugin.name == plugin.module.rsplit(".", 1)[-1]
        assert plugin.factory is not None and plugin.factory.__doc__, f"{plugin.module} has no docstring"


@pytest.mark.parametrize("name", plugins.names("reader"))
def test_every_reader_reads_a_sample_of_its_layout_and_leaves_it_alone(name: str, tmp_path: Path) -> None:
    factory = plugins.find("reader", name).factory
    assert factory is not None and name in SAMPLES, "add a sample to layouts.py"
    contracts.reads_its_own_layout(factory, SAMPLES[name](tmp_path / "sample"))


def test_metrics_at_the_limits_of_floats_are_values_like_others() -> None:
    whole = contracts.ordinary().telemetry.metrics
    value = [1.7e308 if row % 5 == 0 else -1.7e308 if row % 7 == 0 else float(row) for row in range(len(whole))]
    situation = contracts.Situation("limits", Telemetry(metrics=replaced(whole, value=value)))
    assert len(situation.facts.metrics) > 0
    for name in plugins.names("channel"):
        plugins.create("channel", name).observe(situation.shared_view)
