"""Damaged and random input: every registered reader gives telemetry or an IngestError, and nothing else."""

from __future__ import annotations

import random
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_samples import case_folder, write_all

from aetia import plugins
from aetia.ingest.reader import Loaded
from aetia.ingest.source import open_sources
from aetia.model.errors import IngestError
from aetia.model.tables import SCHEMAS

READERS = plugins.names("reader")
SAMPLES = (
    "otlp_json", "otlp_proto", "jaeger", "clickhouse", "clickhouse_parquet", "metrics_long", "metrics_wide", "spans",
    "case_json",
)  # fmt: skip
quick = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@cache
def sample(name: str) -> tuple[str, bytes]:
    """File name and content of a valid sample."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        files = write_all(Path(folder) / "all")
        case = case_folder(Path(folder) / "case")
        files |= {"spans": case / "spans.parquet", "case_json": case / "case.json"}
        return files[name].name, files[name].read_bytes()


def usable(answer: Any) -> bool:
    """Whether a Loaded can be worked with: all tables in order and their text decodable."""
    assert isinstance(answer, Loaded)
    for name in SCHEMAS:
        table = answer.telemetry.table(name)
        assert set(table.column_names) <= set(SCHEMAS[name].names)
        table.validate(full=True)
    return True


def check(reader: str, path: Path) -> bool:
    """True when the reader read the path, False when it declined or raised an IngestError."""
    instance = plugins.create("reader", reader)
    try:
        if instance.recognise(path) is None:
            return False
        cases = instance.cases(path)
        return usable(instance.load(path, cases[0].id if cases else None, full=True))
    except IngestError as error:
        assert str(error)
        return False


def put(folder: Path, name: str, content: bytes) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / name
    path.write_bytes(content)
    return path


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A truncation, some flipped bytes, a removed or a repeated stretch."""
    raw = bytearray(content)
    place = rng.randrange(len(raw))
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(raw[:place])
    if kind == 1:
        for _ in range(rng.randint(1, 8)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        return bytes(raw)
    length = rng.randint(1, 40)
    return bytes(raw[:place] + (b"" if kind == 2 else raw[place : place + length] * 3) + raw[place + length :])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_valid_sample_is_read_by_some_reader(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "x", *sample(name))
    assert any(check(reader, path) for reader in READERS)


@pytest.mark.parametrize("name", SAMPLES)
@quick
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused_by_every_reader(tmp_path: Path, name: str, seed: int) -> None:
    file, content = sample(name)
    path = put(tmp_path / "x", file, damaged(content, random.Random(seed)))
    for reader in READERS:
        check(reader, path)
        check(reader, path.parent)
    for source in (path, path.parent):
        try:
            usable(open_sources([str(source)]))
        except IngestError as error:
            assert str(source) in str(error)


@pytest.mark.parametrize("name", ["x.json", "x.csv", "spans.parquet", "case.json", "x.bin"])
@quick
@given(
    content=st.binary(max_size=300), magic=st.sampled_from([b"", b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"{", b"["])
)
def test_random_bytes_are_refused_by_every_reader(tmp_path: Path, name: str, content: bytes, magic: bytes) -> None:
    path = put(tmp_path / "x", name, magic + content)
    for reader in READERS:
        check(reader, path)
        check(reader, path.parent)


@quick
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "baseline", "incident", "truth", "baselines", "edge", "onset_ns", "service"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_in_a_case_file_is_a_case_or_an_error(tmp_path: Path, value: Any) -> None:
    import json

    path = put(tmp_path / "x", "case.json", json.dumps(value).encode())
    check("case", path.parent)
