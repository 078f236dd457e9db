"""Where the real data sets are: unpacked beside the archives, unpacked for this run, or absent."""

from __future__ import annotations

import functools
import random
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aetia.ingest.reader import Reader
from aetia.model.errors import AetiaError

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


@pytest.fixture
def survive_damage() -> Callable[[Reader, Path, int], int]:
    """`survive_damage(reader, root, times)`: damages one file at a time and reads everything below `root`.

    Anything but a deliberate error fails the test; the number of reads that succeeded is returned.
    """

    def damaged(content: bytes, rng: random.Random) -> bytes:
        place = rng.randrange(len(content) + 1)
        junk = rng.choice([b'"', b"\n", b",", b"\x00", b"\xff\xfe", b"NaN", b"-1e400", b"9" * 20])
        pieces = content.split(b",")
        rng.shuffle(pieces)
        return rng.choice([content[:place], content[:place] + junk + content[place:], b",".join(pieces), b""])

    def read_all(reader: Reader, root: Path, times: int) -> int:
        rng = random.Random(7)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        read = 0
        for _ in range(times):
            victim = rng.choice(files)
            content = victim.read_bytes()
            victim.write_bytes(damaged(content, rng))
            try:
                reader.recognise(root)
                for case in reader.cases(root):
                    reader.load(root, case.id)
                    read += 1
            except AetiaError as error:
                assert str(root) in str(error), error
            victim.write_bytes(content)
        return read

    return read_all
