"""The command line end to end: exit codes, one-sentence errors, clean stdout, whole files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aetia import __version__
from aetia.cli.main import main
from aetia.ingest.case import write_case
from aetia.ingest.reader import Loaded
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.model.case import Case
from aetia.report.interchange import load_diagnosis


@pytest.fixture(scope="module")
def incident(small_incident: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with telemetry of a small system in which one service throws exceptions; no labels."""
    folder = tmp_path_factory.mktemp("telemetry") / "incident"
    write_case(folder, Case(id="incident"), small_incident.telemetry)
    return folder


@pytest.fixture(scope="module")
def report(incident: Path) -> Path:
    target = incident.parent / "report.json"
    assert main(["diagnose", str(incident), "-o", str(target), "--quiet"]) == 0
    return target


def test_text_goes_to_stdout_without_terminal_codes(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(incident)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Root cause: ") and "\x1b" not in out


def test_json_on_stdout_is_pure_even_with_progress(incident: Path) -> None:
    command = [sys.executable, "-m", "aetia.cli.main", "diagnose", str(incident), "--format", "json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hypotheses"]


@pytest.mark.parametrize(
    ("name", "start"), [("a.md", "# Root cause"), ("a.html", "<!doctype html>"), ("a.txt", "Root cause")]
)
def test_the_suffix_of_the_output_file_chooses_the_format(
    incident: Path, tmp_path: Path, name: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / name
    assert main(["diagnose", str(incident), "-o", str(target)]) == 0
    assert target.read_text("utf-8").startswith(start)
    captured = capsys.readouterr()
    assert captured.out == "" and f"wrote {target}" in captured.err
    assert list(tmp_path.iterdir()) == [target]


def test_a_time_may_begin_with_a_minus_sign(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(incident), "--incident", "-60s..now", "--localizer", "error_logs", "--quiet"]) in (
        0,
        1,
    )
    assert "(1 min) (given)" in capsys.readouterr().out


def test_an_abstention_exits_with_one_and_is_a_full_report(
    incident: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "empty"
    from aetia.model.tables import Telemetry

    write_case(folder, Case(id="empty"), Telemetry())
    code = main(["diagnose", str(folder)])
    captured = capsys.readouterr()
    assert (code, captured.err.count("Traceback")) in {(1, 0), (2, 0)}
    assert "What is missing" in captured.out if code == 1 else captured.err.startswith("aetia: ")


BAD = {
    "an unknown command": (["diagnosee"], "diagnosee"),
    "no source": (["diagnose"], "SOURCE"),
    "an unknown flag": (["diagnose", "x", "--colour", "red"], "--colour"),
    "an unknown format": (["diagnose", "x", "--format", "pdf"], "format"),
    "a source that does not exist": (["diagnose", "/does/not/exist"], "/does/not/exist"),
    "an unknown localizer": (["diagnose", "{incident}", "--localizer", "astrology"], "astrology"),
    "a window outside the data": (
        ["diagnose", "{incident}", "--incident", "2001-01-01T00:00:00Z..+5m"], "lies outside the data"
    ),
    "a window without a zone": (["diagnose", "{incident}", "--incident", "2001-01-01T00:00:00..+5m"], "no time zone"),
    "two ways to say when": (["diagnose", "{incident}", "--since", "5m", "--at", "now"], "exclude one another"),
    "a folder that cannot be written to": (
        ["diagnose", "{incident}", "-o", "/does/not/exist/report.html"], "cannot be written"
    ),
    "no diagnosis to re-check": (["recheck", "/does/not/exist.json", "{incident}"], "/does/not/exist.json"),
    "telemetry in place of a diagnosis": (["recheck", "{incident}/case.json", "{incident}"], "case.json"),
    "an unknown dataset": (["cases", "import", "astrology", "{incident}", "{incident}-out"], "astrology"),
    "an unknown kind of plugin": (["plugins", "--kind", "horoscope"], "horoscope"),
    "an unknown fault": (["lab", "sim", "{incident}-suite", "--cases", "1", "--fault", "gremlins"], "gremlins"),
    "a size that is no size": (["lab", "sim", "{incident}-suite", "--services", "many"], "many"),
    "no cases": (["lab", "sim", "{incident}-suite", "--cases", "0"], "--cases 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_and_bad_input_is_one_sentence_and_exit_code_two(
    name: str, incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens, words = BAD[name]
    before = sorted(incident.parent.iterdir())
    assert main([token.format(incident=incident) for token in tokens]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.endswith(" s)")]
    assert captured.out == "" and len(lines) == 1
    assert lines[0].startswith("aetia: ") and words in lines[0] and lines[0].endswith((".", ")"))
    assert sorted(incident.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("spans.parquet", b"PAR1 not really"), ("spans.parquet", b""), ("traces.json", b'{"resourceSpans": ['),
        ("metrics.csv", b"\xff\xfe\x00"), ("case.json", b"{"), ("readme.txt", b"hello"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, file: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / file).write_bytes(content)
    code = main(["diagnose", str(tmp_path), "--quiet"])
    err = capsys.readouterr().err
    assert code in (1, 2) and "Traceback" not in err
    if code == 2:
        assert len(err.splitlines()) == 1 and str(tmp_path) in err


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_without_permission_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    assert main(["diagnose", str(folder)]) == 2
    assert "closed" in capsys.readouterr().err


def test_recheck_passes_on_the_source_and_fails_on_other_telemetry(
    report: Path, incident: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recheck", str(report), str(incident)]) == 0, capsys.readouterr().out
    count = len(load_diagnosis(report).evidence)
    assert f"{count} of {count} pieces of evidence hold" in capsys.readouterr().out
    _, telemetry = next(generate(1, [make_system(6, 4)], 12, faults=["exception"], two_roots=0.0))
    write_case(tmp_path / "other", Case(id="other"), telemetry)
    assert main(["recheck", str(report), str(tmp_path / "other"), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == count and not any(row["holds"] for row in rows)
    assert all(row["why"] for row in rows)


def test_plugins_are_listed_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    table = capsys.readouterr().out
    assert "explain" in table and "localizer" in table
    assert main(["plugins", "--json", "--kind", "channel"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in rows if not row["unavailable"]} == {"channel"}
    assert "errors" in {row["name"] for row in rows}


def test_a_simulated_suite_is_listed_and_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "suite"
    options = ["--cases", "2", "--systems", "1", "--services", "5", "--fault", "exception", "--quiet"]
    assert main(["lab", "sim", str(suite), *options]) == 0
    assert capsys.readouterr().out == f"2 cases in {suite}\n"
    assert main(["cases", "list", str(suite), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 2 and all(case["truth"] for case in listed)
    assert main(["cases", "list", str(suite)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["cases", "import", "auto", str(suite), str(tmp_path / "copy"), "--quiet"]) == 0
    assert main(["cases", "list", str(tmp_path / "copy"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out.split("\n", 1)[1])) == 2


def test_the_demo_names_the_injected_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    assert main(["demo", "--keep", str(kept)]) == 0
    out = capsys.readouterr().out
    injected = out.split("Injected: exception at ")[1].split(".")[0]
    assert f"Root cause: {injected}" in out
    case = json.loads((kept / "case.json").read_text())
    assert case.get("truth") is None and case.get("incident") is None


def test_version_and_help_are_quick_to_reach(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert main(["--help"]) == 0
    assert "diagnose" in capsys.readouterr().out


def test_help_imports_neither_arrow_nor_numpy() -> None:
    code = (
        "import sys; from aetia.cli.main import main; main(['--help']);"
        "print([m for m in ('numpy', 'pyarrow', 'scipy', 'rich.markdown') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


PROGRAM = (sys.executable, "-m", "aetia.cli.main")


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [("diagnose {incident} --format json --quiet", ""), ("plugins", ""), ("plugins", "1"), ("bench list", "1"), ("--help", "")],
)  # fmt: skip
def test_a_reader_that_leaves_early_is_no_error(incident: Path, command: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    tokens = [token.format(incident=incident) for token in command.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [*PROGRAM, *tokens], stdout=writer, stderr=subprocess.PIPE, env=environment, timeout=60, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_device_behind_stdout_is_one_sentence(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "bench", "list"], stdout=full, stderr=subprocess.PIPE, env=environment, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr == b"aetia: No space left on device; free some space or write elsewhere.\n"


BROKEN = """
from aetia.plugins import plugin

@plugin("localizer", summary="raises", source="none", cost="none")
class Broken:
    def localize(self, view, incident, *, seed=0):
        return {}["nothing"]
"""


def test_an_internal_error_is_told_from_an_abstention(incident: Path, tmp_path: Path) -> None:
    (tmp_path / "broken_toy.py").write_text(BROKEN, "utf-8")
    info = tmp_path / "broken_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken_toy\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[aetia.plugins]\nbroken = broken_toy\n", "utf-8")
    command = [*PROGRAM, "diagnose", str(incident), "--localizer", "broken_toy", "--quiet"]
    said: dict[str, str] = {}
    for wanted in ("", "0", "1"):
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "AETIA_TRACEBACK": wanted}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (70, "")
        said[wanted] = done.stderr
    assert said[""] == said["0"] and said[""].count("\n") == 1
    assert said[""].startswith("aetia: internal error (KeyError: 'nothing'); ") and "AETIA_TRACEBACK=1" in said[""]
    assert said["1"].startswith("Traceback") and "broken_toy.py" in said["1"] and said["1"].endswith(said[""])


def test_an_interruption_is_said_in_one_word_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    command = [*PROGRAM, "lab", "sim", str(tmp_path / "suite"), "--cases", "200"]

    def listen() -> None:
        """What a shell starts in the background inherits that Ctrl-C is ignored."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as running:  # noqa: PLW1509
        assert running.stderr is not None
        assert running.stderr.readline().startswith("aetia: simulating")  # the first second is over
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
    assert running.returncode == 130 and rest.endswith("aetia: interrupted.\n") and "Traceback" not in rest
    assert all((case / "case.json").is_file() for case in tmp_path.glob("suite/*"))
    assert not list(tmp_path.glob("suite/.*"))
