"""Where the real data sets are: unpacked beside the archives, unpacked for this run, or absent."""

from __future__ import annotations

import functools
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data"
UNPACKED = (SHARED, Path(tempfile.gettempdir()) / "data")


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`real_data(name)`: the folder of a data set; skips where neither folder nor archive is there."""

    @functools.cache
    def unpack(archive: Path) -> Path:
        folder = tmp_path_factory.mktemp("data")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        return folder

    def find(name: str) -> Path:
        for parent in UNPACKED:
            if (parent / name / "rca_data").is_dir():
                return parent / name
        archive = SHARED / f"{name}.tar.xz"
        if not archive.is_file():
            pytest.skip(f"{archive} is absent; put the archive there to run on the real data")
        return unpack(archive) / name

    return find
