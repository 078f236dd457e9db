"""Reports are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from aetia.model.errors import ReportError
from aetia.report.writing import write_atomic


def test_a_report_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    target.write_text("old")
    write_atomic(target, "new ⚑")
    assert target.read_text("utf-8") == "new ⚑"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_report_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.txt"
    target.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match=r"report\.txt cannot be written: No space left on device; free some space"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("place", ["none/report.txt", "file/report.txt", "."])
def test_a_place_that_cannot_hold_a_file_is_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReportError, match="cannot be written"):
        write_atomic(tmp_path / place, "text")


def test_a_new_report_has_the_permissions_of_a_common_file(tmp_path: Path) -> None:
    common = tmp_path / "common"
    common.touch()
    report = write_atomic(tmp_path / "report", "x")
    assert report.stat().st_mode == common.stat().st_mode
