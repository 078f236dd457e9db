"""Named suites and paths: found, unpacked once, never downloaded."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from aetia.bench import suites
from aetia.bench.suites import SUITES, case_of, data_folders, listing, resolve, source_of
from aetia.cli.main import main
from aetia.model.errors import BenchError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder and cache that nothing else can be seen from."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("AETIA_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(suites, "data_folders", lambda: [folder])
    return folder


def pack(data: Path, name: str) -> Path:
    source = data.parent / "source" / name
    source.mkdir(parents=True)
    (source / "SOURCE.md").write_text("where it is from", encoding="utf-8")
    archive = data / f"{name}.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(source, arcname=name)
    return archive


def test_the_data_folder_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AETIA_DATA", str(tmp_path))
    assert data_folders()[0] == tmp_path


def test_an_absent_suite_says_where_to_put_it(data: Path) -> None:
    with pytest.raises(BenchError, match=r"put nezha_tt\.tar\.xz .* AETIA_DATA"):
        resolve("nezha-tt")
    assert {line.name: line.state for line in listing()} == {
        "nezha-tt": "absent",
        "nezha-ob": "absent",
        "sim": "generated",
    }


def test_an_archive_is_unpacked_once(data: Path) -> None:
    archive = pack(data, "nezha_ob")
    assert {line.name: line.state for line in listing()}["nezha-ob"] == "archive"
    first = resolve("nezha-ob")
    assert (Path(first.source) / "SOURCE.md").is_file()
    cache = data.parent / "cache" / "aetia" / "suites"
    (unpacked,) = cache.iterdir()
    assert unpacked.stat().st_mode == cache.stat().st_mode  # open to whom the umask lets in
    assert Path(first.source).is_relative_to(data.parent / "cache" / "aetia" / "suites")
    stamp = Path(first.source).stat().st_mtime_ns
    assert resolve("nezha-ob") == first
    assert Path(first.source).stat().st_mtime_ns == stamp
    assert {line.name: line.state for line in listing()}["nezha-ob"] == "ready"
    assert archive.is_file()


def test_an_unpacked_folder_is_used_as_it_is(data: Path) -> None:
    (data / "nezha_tt").mkdir()
    assert resolve("nezha-tt").source == str(data / "nezha_tt")


def test_a_torn_archive_is_named_and_leaves_nothing_behind(data: Path) -> None:
    archive = pack(data, "nezha_tt")
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(BenchError, match=r"nezha_tt\.tar\.xz: cannot be unpacked"):
        resolve("nezha-tt")
    assert list((data.parent / "cache" / "aetia" / "suites").iterdir()) == []


def test_an_archive_cannot_write_outside_the_cache(data: Path) -> None:
    archive = data / "nezha_tt.tar.xz"
    evil = data.parent / "evil"
    evil.write_text("x", encoding="utf-8")
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(evil, arcname="../../../../escaped")
    with pytest.raises(BenchError, match="cannot be unpacked"):
        resolve("nezha-tt")
    assert not list(data.parent.rglob("escaped"))


def test_a_path_is_a_suite_of_its_folder_name(suite: Path) -> None:
    assert resolve(str(suite)) == ("tiny", str(suite.resolve()))
    assert resolve(f"{suite}:a-store").source == f"{suite.resolve()}:a-store"


def test_the_simulated_suite_is_made_once_into_the_cache(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "SIM_CASES", 1)
    first = resolve("sim")
    assert len(list(Path(first.source).glob("*/case.json"))) == 1
    monkeypatch.setattr(suites, "_simulate", lambda folder: pytest.fail("made twice"))
    assert SUITES["sim"].make(suites.cache_folder()) == Path(first.source)


def test_a_case_of_a_named_suite_is_a_source_and_a_bare_name_asks_for_one(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nezha_ob").symlink_to(suite)
    monkeypatch.setenv("AETIA_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert source_of("nezha-ob:a-store") == f"{tmp_path / 'nezha_ob'}:a-store" == case_of("nezha-ob:a-store")
    assert source_of("elsewhere:a") == "elsewhere:a" and source_of(str(suite)) == str(suite)
    assert main(["cases", "list", "nezha-ob"]) == 0 and len(capsys.readouterr().out.splitlines()) == 4
    assert main(["diagnose", "nezha-ob:a-store", "--format", "json", "--quiet"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["case"] == "a-store"
    assert main(["diagnose", "nezha-ob"]) == 2
    said = capsys.readouterr().err
    assert "a suite of 4 cases" in said and "nezha-ob:a-store" in said and len(said.splitlines()) == 1
    assert main(["diagnose", "nezha-ob:nobody"]) == 2 and "no case 'nobody'" in capsys.readouterr().err
    (tmp_path / "nezha-ob").symlink_to(suite / "a-store")  # a path that exists comes first
    assert case_of("nezha-ob") == "nezha-ob"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["diagnose", "sim:case-0000"]) == 2 and "`aetia bench run sim` makes it" in capsys.readouterr().err


def test_a_folder_that_is_called_like_a_suite_is_meant_where_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aetia.lab.sim import suite

    suite(tmp_path / "sim", 1, 1, 5)
    monkeypatch.chdir(tmp_path)
    assert resolve("sim").source == str((tmp_path / "sim").resolve())
