"""What the server can be asked: one function per question. REST, its description, the docs and the MCP tools all come
from the registry that these modules fill."""

from __future__ import annotations

import importlib
import pkgutil

from aetia.serve.operations.registry import Operation, Raw, operation, registered


def all_operations() -> tuple[Operation, ...]:
    """Every operation of this package, by path and method."""
    for module in sorted(item.name for item in pkgutil.iter_modules(__path__)):
        if module != "registry" and not module.startswith("_"):
            importlib.import_module(f"{__name__}.{module}")
    return registered()


__all__ = ["Operation", "Raw", "all_operations", "operation"]
