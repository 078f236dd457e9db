"""One small incident to damage in every way, and the command line in process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aetia.cli.main import main
from aetia.ingest.case import write_case
from aetia.ingest.reader import Loaded

TABLES = ("spans", "logs", "metrics", "changes", "topology")


class Answer(NamedTuple):
    """What a command said. `report` is its JSON, None when it wrote none."""

    code: int
    out: str
    err: str
    report: dict[str, Any] | None

    @property
    def blamed(self) -> str | None:
        """The service of the first hypothesis."""
        found = (self.report or {}).get("hypotheses")
        return found[0]["entity"].get("service") if found else None

    def dropped(self, table: str) -> dict[str, int]:
        """Rows by reason."""
        records = (self.report or {}).get("dropped", [])
        return {record["reason"]: record["rows"] for record in records if record["table"] == table}

    @property
    def missing(self) -> str:
        return "\n".join((self.report or {}).get("missing", []))


@pytest.fixture(scope="session")
def loaded(small_incident: Loaded) -> Loaded:
    return small_incident


@pytest.fixture(scope="session")
def culprit(loaded: Loaded) -> str:
    assert loaded.case.truth is not None
    return str(loaded.case.truth[0].service)


@pytest.fixture(scope="session")
def written(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_case(tmp_path_factory.mktemp("bad") / "case", loaded.case, loaded.telemetry)


@pytest.fixture
def labelled(written: Path, tmp_path: Path) -> Path:
    """A copy of the case that a test may damage."""
    return Path(shutil.copytree(written, tmp_path / "case"))


@pytest.fixture
def folder(labelled: Path) -> Path:
    """The same without case.json: the incident has to be found."""
    (labelled / "case.json").unlink()
    return labelled


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Answer]]:
    """Run a command. Exit code 2 must come with one sentence on stderr and nothing on stdout."""

    def run(*tokens: object) -> Answer:
        code = main([str(token) for token in tokens])
        out, err = capsys.readouterr()
        if code == 2:
            assert out == ""
            assert err.startswith("aetia: ") and err.count("\n") == 1 and err.rstrip().endswith(".")
        return Answer(code, out, err, json.loads(out) if out.startswith("{") else None)

    yield run


@pytest.fixture
def diagnose(ask: Callable[..., Answer]) -> Callable[..., Answer]:
    """`aetia diagnose` with the report as JSON."""

    def run(*tokens: object) -> Answer:
        return ask("diagnose", *tokens, "--format", "json", "--quiet")

    return run
