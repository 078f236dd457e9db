"""The registry: what is there, what is not, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aetia import plugins
from aetia.model.errors import PluginUnavailable, UnknownPlugin, UsageError

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
from third_party import installed

LOCALIZER = '''"""A ranking of ours."""
from aetia.localize.localizer import Localization, ranked
from aetia.plugins import plugin

@plugin("localizer", summary="{summary}", needs=("logs",))
class Ours:
    """Everybody alike, or as heavy as asked for."""
    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
    def localize(self, view, incident, *, seed=0) -> Localization:
        return ranked({{name: self.weight for name in view.names.services}})
'''
MODULES = {
    "acme/equal.py": LOCALIZER.format(summary="everybody alike"),
    "acme/torchy.py": "import a_package_that_is_not_there\n" + LOCALIZER.format(summary="needs what is not there"),
    "acme/_helper.py": LOCALIZER.format(summary="a helper is never looked at"),
    "acme/plain.py": '"""A module without an algorithm."""\n',
    "acme/borrowed.py": '"""Imports somebody else\'s algorithm."""\nfrom acme.equal import Ours\n',
    "acme/deeper/inner.py": LOCALIZER.format(summary="a package inside a package has its own entry point"),
}


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path, MODULES, "acme"):
        yield


def test_an_unknown_name_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(UnknownPlugin, match="there is no localizer called 'oracle'") as failure:
        plugins.create("localizer", "oracle")
    assert isinstance(failure.value, UsageError)
    assert all(name in str(failure.value) for name in plugins.names("localizer"))


def test_a_name_of_another_kind_is_unknown() -> None:
    with pytest.raises(UnknownPlugin, match="there is no channel called 'explain'"):
        plugins.find("channel", "explain")


def test_names_are_sorted_and_each_can_be_made() -> None:
    for kind in ("reader", "detector", "channel", "localizer"):
        names = plugins.names(kind)
        assert names and list(names) == sorted(set(names))
        for name in names:
            assert type(plugins.create(kind, name)).__module__ == plugins.find(kind, name).module


def test_the_same_name_may_be_used_by_two_kinds() -> None:
    assert plugins.find("channel", "log_novelty").module != plugins.find("localizer", "log_novelty").module


def test_built_ins_come_through_the_entry_points() -> None:
    from importlib.metadata import entry_points

    places = {entry.value for entry in entry_points(group=plugins.GROUP)}
    for plugin in plugins.all_plugins():
        assert any(plugin.module == place or plugin.module.startswith(f"{place}.") for place in places)


def test_an_algorithm_of_others_is_found_by_the_name_of_its_file(acme: None) -> None:
    found = plugins.find("localizer", "equal")
    assert (found.module, found.summary, found.needs) == ("acme.equal", "everybody alike", ("logs",))
    assert plugins.create("localizer", "equal", weight=2.5).weight == 2.5


def test_an_algorithm_that_cannot_be_loaded_is_listed_with_the_reason(acme: None) -> None:
    (broken,) = [plugin for plugin in plugins.all_plugins() if plugin.name == "torchy"]
    assert broken.kind is None and broken.factory is None
    assert broken.unavailable == "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"
    assert "torchy" not in plugins.names("localizer")
    with pytest.raises(PluginUnavailable, match="a_package_that_is_not_there"):
        plugins.create("localizer", "torchy")


def test_an_algorithm_that_cannot_be_loaded_does_not_hide_the_others(acme: None) -> None:
    assert {"equal", "explain", "baro"} <= set(plugins.names("localizer"))


def test_helpers_plain_modules_and_borrowed_algorithms_are_no_plugins(acme: None) -> None:
    ours = [plugin.module for plugin in plugins.all_plugins() if plugin.module.startswith("acme")]
    assert ours == ["acme.equal", "acme.torchy"]


def test_an_entry_point_may_name_a_single_module(tmp_path: Path) -> None:
    with installed(tmp_path, {"lonely.py": MODULES["acme/equal.py"]}, "lonely"):
        assert plugins.find("localizer", "lonely").summary == "everybody alike"


def test_an_entry_point_to_nowhere_is_listed_with_the_reason(tmp_path: Path) -> None:
    with installed(tmp_path, {"here.py": "\n"}, "nowhere.at.all"):
        (broken,) = [plugin for plugin in plugins.all_plugins() if plugin.unavailable]
    assert broken.module == "nowhere.at.all" and "ModuleNotFoundError" in (broken.unavailable or "")


def test_looking_one_up_does_not_import_the_others(tmp_path: Path) -> None:
    with installed(tmp_path, MODULES, "acme"):
        plugins.find("localizer", "equal")
        assert "acme.equal" in sys.modules and "acme.plain" not in sys.modules
