"""Where reports and suites are written to: whole or not at all, in any place, with any encoding."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aetia import plugins
from aetia.api import investigate, recheck_sources
from aetia.ingest.reader import Loaded
from aetia.model.case import Case
from aetia.model.errors import AetiaError
from aetia.model.tables import Telemetry
from aetia.report.html import to_html
from aetia.report.interchange import to_json
from aetia.report.markdown import to_markdown
from aetia.report.text import to_text
from aetia.report.writing import write_atomic

Ask = Callable[..., Any]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("gone/report.html", "its folder does not exist; create the folder first"), (".", "it is a folder"),
        ("file/report.html", "its folder does not exist"), ("n" * 300 + ".json", "choose a shorter name"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_hold_the_report_is_named(
    written: Path, tmp_path: Path, place: str, words: str, ask: Ask
) -> None:
    (tmp_path / "file").touch()
    answer = ask("diagnose", written, "-o", tmp_path / place, "--quiet")
    assert answer.code == 2 and words in answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no device that is always full")
def test_a_full_device_is_named_and_stays_a_device(written: Path, ask: Ask) -> None:
    answer = ask("diagnose", written, "-o", "/dev/full", "--quiet")
    assert answer.code == 2 and "/dev/full cannot be written: No space left on device; free some space" in answer.err
    assert Path("/dev/full").is_char_device()
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "aetia.cli.main", "diagnose", str(written), "--quiet"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (
        done.returncode == 2 and done.stderr == "aetia: No space left on device; free some space or write elsewhere.\n"
    )


def test_a_report_written_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    link.symlink_to(real.name)
    write_atomic(link, "text")
    assert link.is_symlink() and real.read_text() == "text"


def test_a_locale_of_ascii_alone_gets_a_report(written: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "aetia.cli.main", "diagnose", str(written), "--quiet"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0 and done.stdout.startswith(b"Root cause: ") and not done.stderr


def test_an_import_says_what_it_left_out_and_writes_nothing_when_it_fails(
    folder: Path, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "logs.parquet").write_bytes(b"PAR1")
    answer = ask("cases", "import", "auto", folder, tmp_path / "suite", "--quiet")
    assert answer.code == 0 and answer.out.startswith("1 case in ")
    assert answer.err.startswith("aetia: left out: files: ") and "logs.parquet is truncated" in answer.err
    assert ask("cases", "import", "auto", folder, tmp_path / "suite").code == 2  # it exists
    assert "names no" not in ask("cases", "import", "jaeger", folder, tmp_path / "other").err

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    answer = ask("cases", "import", "auto", folder, tmp_path / "third")
    assert answer.code == 2 and f"{tmp_path / 'third'} cannot be written: no space left on device; free" in answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"case", "suite"}


# ---- anything at all --------------------------------------------------------------------------------------


def scrambled(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """A part of a table with some values removed, mixed up or repeated."""
    rows = table.num_rows
    if rows == 0 or rng.random() < 0.15:
        return table.slice(0, 0)
    size = int(min(rows, rng.choice([1, 30, 300, rows])))
    table = table.take(pa.array(np.sort(rng.choice(rows, size, replace=False))))
    for _ in range(rng.integers(0, 4)):
        name = str(rng.choice(table.column_names))
        source = pa.array(rng.integers(0, size, size), mask=rng.random(size) < rng.choice([0.0, 0.3, 1.0]))
        table = table.set_column(table.column_names.index(name), name, table[name].take(source))
    return table


@pytest.mark.parametrize("seed", range(24))
def test_scrambled_telemetry_gets_an_answer_or_an_abstention_in_every_format(loaded: Loaded, seed: int) -> None:
    rng = np.random.default_rng(zlib.crc32(bytes([seed])))
    names = ("spans", "logs", "metrics", "changes", "topology")
    telemetry = Telemetry(**{name: scrambled(loaded.telemetry.table(name), rng) for name in names})
    source = Loaded(case=loaded.case if rng.random() < 0.5 else Case(id="x"), telemetry=telemetry)
    try:
        found = investigate(source)
    except AetiaError as error:
        assert str(error).endswith(".")
        return
    for name in plugins.names("localizer"):
        assert investigate(source, localizer=name).diagnosis.localizer == name
    for text in (to_json(found.diagnosis), to_text(found.diagnosis), to_markdown(found.diagnosis)):
        assert text
    assert to_html(found.diagnosis, found.view)
    assert [item.why for item in recheck_sources(found.diagnosis, source) if not item.holds] == []
