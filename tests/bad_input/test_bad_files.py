"""Files that are damaged, missing, closed or no files: the rest is used, or one sentence says what to mend."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Ask = Callable[..., Any]
TABLES = ("spans", "logs", "metrics", "changes", "topology")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3 : len(raw) // 3 + 50] = bytes(50)
    path.write_bytes(raw)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone.parquet")


DAMAGES = {
    cut: "truncated", flip: "could not be read", empty: "empty", folder_instead: "is a folder",
    pipe_instead: "is a pipe", link_to_itself: "leads back to itself", link_to_nothing: "does not exist",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_table_costs_itself_and_is_named(
    folder: Path, damage: Callable[[Path], None], diagnose: Ask, culprit: str
) -> None:
    damage(folder / "logs.parquet")
    answer = diagnose(folder)
    assert answer.code == 0 and answer.blamed == culprit
    (reason,) = answer.dropped("files")
    assert "logs.parquet" in reason and DAMAGES[damage] in reason


@pytest.mark.parametrize("table", TABLES)
def test_any_table_may_be_the_damaged_one(folder: Path, table: str, diagnose: Ask, culprit: str) -> None:
    cut(folder / f"{table}.parquet")
    answer = diagnose(folder)
    assert answer.blamed == culprit
    assert [f"{table}.parquet" in reason for reason in answer.dropped("files")] == [True]


def test_when_every_table_is_damaged_the_first_is_named(folder: Path, diagnose: Ask) -> None:
    for table in TABLES:
        cut(folder / f"{table}.parquet")
    answer = diagnose(folder)
    assert answer.code == 2 and ".parquet is truncated or damaged" in answer.err and "again" in answer.err


def test_only_the_damaged_row_group_of_a_file_is_lost(folder: Path, diagnose: Ask, culprit: str) -> None:
    path = folder / "spans.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(None), path, row_group_size=2000, write_page_checksum=True)
    group: Any = pq.ParquetFile(path).metadata.row_group(3)
    start = group.column(1).data_page_offset
    raw = bytearray(path.read_bytes())
    raw[start + 60 : start + 90] = bytes(30)
    path.write_bytes(raw)
    answer = diagnose(folder)
    assert answer.blamed == culprit
    assert answer.dropped("spans")["in damaged parts of the file; copy it again"] == 2000


def test_a_case_file_that_is_a_folder_is_refused(labelled: Path, diagnose: Ask) -> None:
    folder_instead(labelled / "case.json")
    answer = diagnose(labelled)
    assert answer.code == 2 and "case.json is a folder where a file was expected" in answer.err


def sources(root: Path) -> dict[str, tuple[str, str]]:
    """Source and what the sentence must say, by what is wrong with it."""
    loop, pipe, nothing = root / "loop", root / "pipe", root / "nothing"
    loop.symlink_to("loop")
    os.mkfifo(pipe)
    nothing.mkdir()
    (root / "pipes").mkdir()
    os.mkfifo(root / "pipes" / "x")
    (root / "word.csv").write_text("1,cpu,0.5\n2,cpu,0.6\n")
    (root / "old.zip").write_bytes(b"PK\x03\x04 and so on")
    (root / "page.json").write_text("<html>504</html>")
    (root / "zero.json").write_bytes(b"")
    for folder, label in (("eval", "inject_time.txt"), ("bench", "injection.json")):
        (root / folder).mkdir()
        (root / folder / label).write_text("1760000600")
    (root / "zeros").mkdir()
    (root / "zeros" / "traces.json").write_bytes(b"")
    return {
        "no such path": (f"{root}/gone/deep", f"the path holds as far as {root}."),
        "empty text": (" ", "perhaps an unset variable"),
        "a NUL": ("a\0b", "does not exist"),
        "endless": ("x" * 5000, "does not exist"),
        "a link to itself": (str(loop), "a link that leads nowhere"),
        "a pipe": (str(pipe), "write it to a file first"),
        "a folder with a pipe": (f"{root}/pipes", "write it to a file first"),
        "a device": (os.devnull, "write it to a file first"),
        "an empty folder": (str(nothing), "it holds nothing"),
        "an empty file": (f"{root}/zero.json", "is empty"),
        "a folder with an empty file": (f"{root}/zeros", "it holds traces.json (empty)."),
        "a label of RCAEval alone": (f"{root}/eval", "it holds inject_time.txt. Nearest: rcaeval still needs simple_"),
        "a label of RCABench alone": (f"{root}/bench", "rcabench still needs normal_*.parquet, abnormal_*.parquet"),
        "no header": (f"{root}/word.csv", "a first line that names the columns"),
        "an archive": (f"{root}/old.zip", "is a zip archive; unpack it first"),
        "an error page": (f"{root}/page.json", "it begins with '<html>504</html>'"),
        "a name that is not UTF-8": (f"{root}/n\udcff", "has a name that is not UTF-8; rename it"),
        "an unknown home": ("~nobody-here-x/telemetry", "does not exist"),
    }


NAMES = (
    "no such path", "empty text", "a NUL", "endless", "a link to itself", "a pipe", "a folder with a pipe", "a device",
    "an empty folder", "an empty file", "a folder with an empty file", "a label of RCAEval alone",
    "a label of RCABench alone", "no header", "an archive", "an error page", "a name that is not UTF-8",
    "an unknown home",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_source_is_refused_in_one_sentence(tmp_path: Path, name: str, ask: Ask) -> None:
    source, words = sources(tmp_path)[name]
    answer = ask("diagnose", source)
    assert answer.code == 2 and words in answer.err


def test_a_file_whose_name_is_not_utf8_is_named(folder: Path, ask: Ask) -> None:
    (folder / os.fsdecode(b"x\xff.csv")).write_text("a,b\n1,2\n")
    answer = ask("diagnose", folder)
    assert answer.code == 2 and "has a name that is not UTF-8; rename it or move it away" in answer.err


def test_one_broken_case_does_not_hide_the_others_of_a_suite(labelled: Path, tmp_path: Path, ask: Ask) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    labelled.rename(suite / "good")
    (suite / "bad").mkdir()
    (suite / "bad" / "case.json").write_text("{")
    assert ask("diagnose", f"{suite}:case-0000", "--quiet").code == 0
    answer = ask("diagnose", f"{suite}:other")
    assert answer.code == 2 and "bad/case.json is not the JSON it should be" in answer.err


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Permissions do not bind root, so such a test runs as nobody; the folders above are opened to everybody."""
    if os.geteuid() != 0:
        yield
        return
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o011)
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_what_may_not_be_read_is_named_and_the_rest_is_used(
    folder: Path, diagnose: Ask, culprit: str, request: pytest.FixtureRequest
) -> None:
    diagnose(folder)  # what is imported late is imported before the rights are given up
    (folder / "logs.parquet").chmod(0)
    request.getfixturevalue("unprivileged")
    answer = diagnose(folder)
    assert answer.blamed == culprit
    assert ["logs.parquet: permission denied" in reason for reason in answer.dropped("files")] == [True]


def test_a_closed_folder_is_named(folder: Path, ask: Ask, request: pytest.FixtureRequest) -> None:
    ask("diagnose", folder, "--quiet")
    folder.chmod(0)
    request.getfixturevalue("unprivileged")
    answer = ask("diagnose", folder)
    assert answer.code == 2 and f"{folder}: permission denied; make it" in answer.err


@pytest.mark.parametrize(
    "dtype", [pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]
)
def test_text_may_have_any_type_of_text(folder: Path, dtype: pa.DataType, diagnose: Ask, culprit: str) -> None:
    for name in ("spans", "logs"):
        table = pq.read_table(folder / f"{name}.parquet")
        narrow = pa.types.is_dictionary(dtype)
        few = {"service", "kind", "severity"} if narrow else set(table.column_names)
        fields = [(f.name, dtype if f.type == pa.string() and f.name in few else f.type) for f in table.schema]
        pq.write_table(table.cast(pa.schema(fields)), folder / f"{name}.parquet")
    answer = diagnose(folder)
    assert answer.blamed == culprit and not answer.dropped("spans") and not answer.dropped("logs")
    assert np.isfinite(answer.report["hypotheses"][0]["score"])
