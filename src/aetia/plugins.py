"""The one registry: `@plugin` marks an algorithm, the entry-point group `aetia.plugins` says where to look.

An entry point names a module or a package. Each module in it that holds one object marked by `@plugin` is one
algorithm; the module's file name is its registry name. Built-ins are found through the same group. An entry point
called `<kind>` or `<kind>.<anything>` holds only that kind, so that looking for one kind does not import the others.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from aetia.model.errors import PluginUnavailable, UnknownPlugin

Kind = Literal["reader", "detector", "channel", "localizer", "tool", "policy", "sampler", "action", "environment"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GROUP = "aetia.plugins"
_MARK = "__aetia_plugin__"
T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One registered algorithm. `unavailable` holds the reason when its module cannot be imported."""

    kind: Kind | None
    name: str
    module: str
    factory: Callable[..., Any] | None
    summary: str = ""
    needs: tuple[str, ...] = ()
    source: str = ""
    cost: str = ""
    unavailable: str | None = None


def plugin(
    kind: Kind, *, summary: str = "", needs: tuple[str, ...] = (), source: str = "", cost: str = ""
) -> Callable[[T], T]:
    """Mark a class or factory as an algorithm. `needs` names what it cannot work without: tables,
    a `model`, or a trained `scorer`."""

    def mark(target: T) -> T:
        name = target.__module__.rsplit(".", 1)[-1]
        info = Plugin(
            kind=kind, name=name, module=target.__module__, factory=target, summary=summary, needs=needs,
            source=source, cost=cost,
        )  # fmt: skip
        setattr(target, _MARK, info)
        return target

    return mark


@functools.cache
def _modules(kind: Kind | None = None) -> tuple[str, ...]:
    """Dotted names of the modules behind the entry points that may hold a kind, without importing the algorithms."""
    found: dict[str, None] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: (e.value, e.name)):
        holds = entry.name.split(".", 1)[0]
        if kind is not None and holds in KINDS and holds != kind:
            continue
        try:
            spec = importlib.util.find_spec(entry.value)
        except ImportError:
            spec = None
        if spec is None or spec.submodule_search_locations is None:
            found[entry.value] = None
            continue
        for item in pkgutil.iter_modules(spec.submodule_search_locations):
            if not item.ispkg and not item.name.startswith("_"):
                found[f"{entry.value}.{item.name}"] = None
    return tuple(found)


@functools.cache
def _load(module: str) -> Plugin | None:
    """The algorithm of a module; None when the module holds none."""
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        name = module.rsplit(".", 1)[-1]
        return Plugin(kind=None, name=name, module=module, factory=None, unavailable=f"{type(error).__name__}: {error}")
    for value in vars(loaded).values():
        info = getattr(value, _MARK, None)
        if isinstance(info, Plugin) and info.module == module:
            return info
    return None


def all_plugins(kind: Kind | None = None) -> Iterator[Plugin]:
    """Every algorithm, unavailable ones included, in order of module name."""
    for module in _modules(kind):
        info = _load(module)
        if info is not None and (kind is None or info.kind == kind or info.kind is None):
            yield info


def names(kind: Kind) -> tuple[str, ...]:
    """Names of the available algorithms of a kind, sorted."""
    return tuple(sorted(info.name for info in all_plugins(kind) if info.kind == kind))


def find(kind: Kind, name: str) -> Plugin:
    """The algorithm of that kind and name; imports only modules of that file name.

    Raises UnknownPlugin, or PluginUnavailable when its module cannot be imported.
    """
    for module in _modules(kind):
        if module.rsplit(".", 1)[-1] != name:
            continue
        info = _load(module)
        if info is None:
            continue
        if info.unavailable is not None:
            raise PluginUnavailable(f"{kind} '{name}' cannot be loaded: {info.unavailable}; install what it needs.")
        if info.kind == kind:
            return info
    known = ", ".join(names(kind))
    raise UnknownPlugin(f"there is no {kind} called '{name}'; known: {known}.")


def create(kind: Kind, name: str, **params: object) -> Any:
    """A new instance of an algorithm."""
    factory = cast(Callable[..., Any], find(kind, name).factory)
    return factory(**params)
