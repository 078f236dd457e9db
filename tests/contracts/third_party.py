"""A package of somebody else, installed for one test: modules and an entry point in a folder of their own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aetia import plugins


@contextmanager
def installed(folder: Path, modules: dict[str, str], entry: str) -> Iterator[None]:
    """Modules by path (`acme/first.py`) with an entry point to `entry`, as an installed distribution has it."""
    packages = {Path(path).parts[0].removesuffix(".py") for path in modules}
    for path, text in modules.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.parent != folder:
            (file.parent / "__init__.py").touch()
        file.write_text(text, "utf-8")
    info = folder / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[aetia.plugins]\nacme = {entry}\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        plugins._modules.cache_clear()
        plugins._load.cache_clear()
        try:
            yield
        finally:
            for name in [name for name in sys.modules if name.split(".")[0] in packages]:
                del sys.modules[name]
    importlib.invalidate_caches()
    plugins._modules.cache_clear()
    plugins._load.cache_clear()
