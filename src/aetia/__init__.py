"""Aetia says why a system broke, and proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aetia import bench
    from aetia.api import diagnose
    from aetia.model.errors import AetiaError
    from aetia.store.opening import open_store

__version__ = "0.1.0"
__all__ = ["AetiaError", "__version__", "bench", "diagnose", "open_store"]


def __getattr__(name: str) -> Any:
    """Load the public API on first use: `import aetia` alone stays below 10 ms."""
    if name == "diagnose":
        from aetia.api import diagnose

        return diagnose
    if name == "open_store":
        from aetia.store.opening import open_store

        return open_store
    if name == "AetiaError":
        from aetia.model.errors import AetiaError

        return AetiaError
    if name == "bench":
        import importlib

        return importlib.import_module("aetia.bench")
    raise AttributeError(f"module 'aetia' has no attribute {name!r}")
