"""Diagnoses of incidents in a worker process, on a copy of the telemetry."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.model.case import Case
from aetia.model.errors import ServeError, UsageError
from aetia.model.journal import Steer, ToolCall
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.serve.diagnosing import Diagnoses, DiagnosisSettings, Progress
from aetia.serve.incidents.records import DiagnosisSummary
from aetia.serve.itself import INSTANCE, SERVICE
from aetia.serve.worker import Job
from aetia.serve.workers import DiagnosisProcess
from aetia.store.backend import Backend


@dataclass(frozen=True)
class Hurt:
    id: str
    window: Window
    baseline: Window | None


@dataclass
class Ledger:
    """The incidents of these tests, and what was attached to them."""

    held: dict[str, Hurt]
    attached: list[tuple[str, DiagnosisSummary]] = field(default_factory=list)

    def get(self, incident: str) -> Hurt:
        if incident not in self.held:
            raise UsageError(f"there is no incident {incident!r}.")
        return self.held[incident]

    def attach_diagnosis(self, incident: str, summary: DiagnosisSummary) -> None:
        self.attached.append((incident, summary))

    def wait(self, count: int = 1, seconds: float = 40.0) -> DiagnosisSummary:
        until = time.monotonic() + seconds
        while len(self.attached) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.attached) >= count
        return self.attached[count - 1][1]


@dataclass
class Kept:
    """Stored telemetry that is one simulated run."""

    telemetry_of_all: Telemetry
    asked: list[Window] = field(default_factory=list)

    def telemetry(self, window: Window, *, most_spans: int) -> Telemetry:
        assert most_spans > 0
        self.asked.append(window)
        tables = {
            name: self.telemetry_of_all.table(name).filter(
                (pc.field("time").cast("int64") >= window.start_ns) & (pc.field("time").cast("int64") < window.end_ns)
            )
            for name in ("spans", "logs", "metrics", "changes")
        }
        return dataclasses.replace(self.telemetry_of_all, **tables)


@pytest.fixture(scope="module")
def run() -> tuple[Case, Telemetry]:
    return next(generate(1, [make_system(8, 5)], 5, faults=["exception"], windows_given=True, two_roots=0.0))


def beside_our_own(telemetry: Telemetry) -> Telemetry:
    """With spans that the server wrote about itself into the same store."""
    own = telemetry.spans.slice(0, 50)
    for name, value in (("service", SERVICE), ("instance", INSTANCE)):
        own = own.set_column(own.schema.get_field_index(name), name, pa.array([value] * own.num_rows, pa.string()))
    return dataclasses.replace(telemetry, spans=pa.concat_tables([telemetry.spans, own.cast(telemetry.spans.schema)]))


@dataclass
class Served:
    diagnoses: Diagnoses
    book: Ledger
    kept: Kept
    folder: Path
    case: Case


@pytest.fixture(scope="module")
def served(run: tuple[Case, Telemetry], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    case, telemetry = run
    assert case.truth and case.incident and case.baseline
    folder = tmp_path_factory.mktemp("data") / "incidents"
    book = Ledger({"i-1": Hurt("i-1", case.incident, case.baseline), "i-2": Hurt("i-2", Window(5, 6), None)})
    kept = Kept(beside_our_own(telemetry))
    diagnoses = Diagnoses(folder, book, cast(Backend, kept), DiagnosisSettings(timeout_s=50.0))
    diagnoses.start()
    yield Served(diagnoses, book, kept, folder, case)
    diagnoses.close()


@pytest.fixture(scope="module")
def first(served: Served) -> tuple[DiagnosisSummary, list[Progress]]:
    heard: list[Progress] = []
    end = served.diagnoses.subscribe(heard.append)
    served.diagnoses.request("i-1", "opened")
    summary = served.book.wait()
    end()
    return summary, heard


def test_names_the_root_cause_of_an_incident(served: Served, first: tuple[DiagnosisSummary, list[Progress]]) -> None:
    summary, _ = first
    assert served.case.truth is not None
    kept = served.diagnoses.revisions("i-1")[0]
    assert (kept.failed, kept.revision, kept.why, kept.brief) == ("", 1, "opened", summary)
    assert kept.roots[0].startswith(cast(str, served.case.truth[0].service))
    found = served.diagnoses.diagnosis("i-1")
    assert found is not None and found.hypotheses[0].probability == summary.probability
    assert msgspec.json.decode(served.diagnoses.exhibits("i-1"))["graph"]["nodes"]


def test_tells_every_event_of_the_journal_while_it_is_written(
    served: Served, first: tuple[DiagnosisSummary, list[Progress]]
) -> None:
    _, heard = first
    revision, kept = served.diagnoses.journal("i-1")
    assert revision == 1 and kept == [step.event for step in heard]
    kinds = [msgspec.json.decode(event)["type"] for event in kept]
    assert (kinds[0], kinds[-1]) == ("opened", "closed")


def test_leaves_a_case_that_the_command_line_reads(
    served: Served, first: tuple[DiagnosisSummary, list[Progress]]
) -> None:
    from aetia.ingest.source import open_sources

    del first
    loaded = open_sources([str(served.folder / "i-1" / "case")])
    assert loaded.case.incident is not None and loaded.telemetry.spans.num_rows > 1000
    services = set(loaded.telemetry.spans["service"].to_pylist())
    assert SERVICE in set(served.kept.telemetry_of_all.spans["service"].to_pylist()) and SERVICE not in services


def test_runs_evidence_again(served: Served, first: tuple[DiagnosisSummary, list[Progress]]) -> None:
    del first
    every = served.diagnoses.recheck("i-1")
    assert every and all(item["holds"] for item in every)
    one = served.diagnoses.recheck("i-1", every[0]["id"])
    assert [item["id"] for item in one] == [every[0]["id"]]
    with pytest.raises(ServeError, match="no evidence nothing"):
        served.diagnoses.recheck("i-1", "nothing")


def test_answers_the_tools_of_the_investigation(served: Served, first: tuple[DiagnosisSummary, list[Progress]]) -> None:
    del first
    answer: dict[str, Any] = served.diagnoses.tool("i-1", ToolCall(tool="overview", args={}))
    assert answer["rows"]


def test_a_wish_starts_a_new_investigation_and_is_kept(
    served: Served, first: tuple[DiagnosisSummary, list[Progress]]
) -> None:
    summary, _ = first
    said = served.diagnoses.steer("i-1", Steer(wish="exclude", entity=cast(str, summary.root)))
    assert said == "a new investigation begins"
    again = served.book.wait(2)
    assert again.revision == 2 and again.root != summary.root
    assert [item.why.partition(":")[0] for item in served.diagnoses.revisions("i-1")] == ["opened", "steered"]


def test_a_wish_that_is_taken_back_is_heeded_no_more(
    served: Served, first: tuple[DiagnosisSummary, list[Progress]]
) -> None:
    summary, _ = first
    (wish,) = served.diagnoses.wishes("i-1")
    assert served.diagnoses.withdraw("i-1", wish.number) == wish
    assert served.diagnoses.withdraw("i-1", wish.number) is None and served.diagnoses.wishes("i-1") == ()
    assert served.book.wait(3).root == summary.root


def test_no_text_of_a_request_becomes_a_path(served: Served) -> None:
    for name in ("../i-1", "/etc", "", "i-9"):
        with pytest.raises(UsageError):
            served.diagnoses.journal(name)


def test_refines_an_open_incident_and_forgets_a_closed_one(tmp_path: Path, run: tuple[Case, Telemetry]) -> None:
    book = Ledger({"a": Hurt("a", Window(0, 1), None)})
    diagnoses = Diagnoses(tmp_path, book, cast(Backend, Kept(run[1])))
    asked: list[str] = []
    diagnoses.request = lambda incident, why="", steers=(): asked.append(incident)  # type: ignore[method-assign]
    for now in (0.0, 19.0, 21.0, 22.0, 70.0, 71.0):
        diagnoses.refine(now, {"a": 0.0})
    assert asked == ["a", "a"]
    diagnoses.refine(80.0, {})
    diagnoses.refine(81.0, {"a": 81.0})
    assert asked == ["a", "a"]


def test_a_job_beyond_its_time_ends_with_its_process_and_the_next_one_works() -> None:
    worker = DiagnosisProcess()
    try:
        with pytest.raises(ServeError, match=r"took longer than 0\.05 s"):
            worker.run(Job(do="warm"), timeout_s=0.05)
        assert worker.run(Job(do="warm"), timeout_s=30.0) == {"ready": True}
        pid = worker.pid
        assert pid is not None
        with pytest.raises(ServeError):
            worker.run(Job(do="recheck", case="/nowhere", out="/nowhere"), timeout_s=30.0)
        assert worker.pid == pid
    finally:
        worker.close()
    assert worker.pid is None
