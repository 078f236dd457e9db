"""Progress is silent for fast work and never on stdout."""

from __future__ import annotations

import time

import pytest

from aetia.cli import progress
from aetia.cli.progress import StageProgress


def test_fast_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress() as stage:
        stage("reading")
    assert capsys.readouterr() == ("", "")


def test_slow_work_names_its_stages_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.01)
    with StageProgress() as stage:
        stage("reading")
        time.sleep(0.1)
        stage("thinking")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(" …")[0] for line in captured.err.splitlines()] == ["aetia: reading", "aetia: thinking"]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.01)
    with StageProgress(quiet=True) as stage:
        stage("reading")
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")
