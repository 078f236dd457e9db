"""The Python API: sources and windows in, diagnosis out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

import aetia
from aetia.api import extent_of, investigate, load_diagnosis, pursue, recheck_sources
from aetia.ingest.case import write_case
from aetia.ingest.reader import Loaded
from aetia.localize.localizer import Localization
from aetia.model.case import Case
from aetia.model.diagnosis import Diagnosis, Incident
from aetia.model.errors import UnknownPlugin, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.report.interchange import to_json
from aetia.signals.view import View


@pytest.fixture(scope="module")
def labelled(small_incident: Loaded) -> Loaded:
    return small_incident


@pytest.fixture(scope="module")
def unlabelled(labelled: Loaded) -> Loaded:
    return Loaded(case=Case(id="plain"), telemetry=labelled.telemetry)


def same_answer(a: Diagnosis, b: Diagnosis) -> bool:
    return (a.hypotheses, a.evidence, a.incident) == (b.hypotheses, b.evidence, b.incident)


def test_the_faulty_service_is_named_without_being_told_when(labelled: Loaded, unlabelled: Loaded) -> None:
    stages: list[str] = []
    diagnosis = aetia.diagnose(unlabelled, progress=stages.append)
    assert labelled.case.truth is not None
    assert diagnosis.abstained is None
    assert diagnosis.hypotheses[0].entity.service == labelled.case.truth[0].service
    assert diagnosis.incident is not None and not diagnosis.incident.given
    assert diagnosis.impact.affected > 0 and diagnosis.impact.entries
    assert diagnosis.cost.rows["spans"] == labelled.telemetry.spans.num_rows and diagnosis.cost.seconds > 0
    assert stages[0] == "reading telemetry" and stages[-1] == "investigating" and len(stages) == 4


def test_an_answer_is_investigated_by_rules_unless_another_localizer_or_nobody_is_asked_for(unlabelled: Loaded) -> None:
    found = investigate(unlabelled)
    assert same_answer(aetia.diagnose(unlabelled, policy="none"), found.diagnosis)
    assert same_answer(aetia.diagnose(unlabelled), pursue(found, "rules").diagnosis)
    assert aetia.diagnose(unlabelled).hypotheses[0].verdict == "verified" != found.diagnosis.hypotheses[0].verdict
    rival = aetia.diagnose(unlabelled, localizer="error_logs")
    assert same_answer(rival, investigate(unlabelled, localizer="error_logs").diagnosis)


def test_a_folder_and_memory_give_the_same_answer_twice(unlabelled: Loaded, tmp_path: Path) -> None:
    write_case(tmp_path / "case", unlabelled.case, unlabelled.telemetry)
    from_folder = aetia.diagnose(tmp_path / "case")
    assert same_answer(from_folder, aetia.diagnose([str(tmp_path / "case")]))
    assert same_answer(from_folder, aetia.diagnose(unlabelled))


def test_evidence_of_a_written_diagnosis_holds_on_its_source(unlabelled: Loaded, tmp_path: Path) -> None:
    diagnosis = aetia.diagnose(unlabelled)
    path = tmp_path / "report.json"
    path.write_text(to_json(diagnosis), "utf-8")
    assert load_diagnosis(path).evidence == diagnosis.evidence
    results = recheck_sources(path, unlabelled)
    assert len(results) == len(diagnosis.evidence) > 0
    assert [item.why for item in results if not item.holds] == []


class Silent:
    """A localizer that names nobody."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        return Localization(abstained="nobody is named")


def test_an_abstention_still_proves_who_was_hurt_and_how_badly(unlabelled: Loaded) -> None:
    found = aetia.diagnose(unlabelled, localizer=Silent())
    assert found.abstained == "nobody is named" and found.incident is not None and found.incident.breaches
    held = {item.id for item in found.evidence}
    assert {breach.evidence for breach in found.incident.breaches} | {found.impact.evidence} == held
    assert [item.holds for item in recheck_sources(found, unlabelled)] == [True] * len(held)
    assert found.severity is not None and found.severity.level != "unknown" and found.severity.lasts is not None


def test_windows_of_the_case_hold_and_those_of_the_caller_come_first(labelled: Loaded) -> None:
    case = labelled.case
    assert case.incident is not None and case.baseline is not None
    own = aetia.diagnose(labelled, localizer="error_logs").incident
    assert own is not None and own.given
    assert (own.baseline, own.window) == (case.baseline, case.incident)
    window = Window(case.incident.start_ns + 30 * NS_PER_SECOND, case.incident.end_ns)
    for given in (window, (window.start_ns, window.end_ns), f"{window.start_ns}..{window.end_ns}"):
        incident = aetia.diagnose(labelled, incident=given, localizer="error_logs").incident
        assert incident is not None and incident.window == window


def test_since_opens_the_window_to_the_end_of_the_data(unlabelled: Loaded) -> None:
    extent = extent_of(unlabelled.telemetry)
    assert extent is not None
    incident = aetia.diagnose(unlabelled, since="60s", localizer="error_logs").incident
    assert incident is not None
    assert incident.window == Window(extent.end_ns - 60 * NS_PER_SECOND, extent.end_ns)


def test_at_chooses_the_incident_that_holds_the_time(labelled: Loaded, unlabelled: Loaded) -> None:
    assert labelled.case.incident is not None
    middle = (labelled.case.incident.start_ns + labelled.case.incident.end_ns) // 2
    incident = aetia.diagnose(unlabelled, at=middle, localizer="error_logs").incident
    assert incident is not None and incident.window.contains(middle) and not incident.given


def test_at_a_calm_time_measures_from_there(unlabelled: Loaded) -> None:
    extent = extent_of(unlabelled.telemetry)
    assert extent is not None
    calm = extent.start_ns + 90 * NS_PER_SECOND
    incident = aetia.diagnose(unlabelled, at=calm, localizer="error_logs").incident
    assert incident is not None and incident.window.start_ns == calm


def test_calm_telemetry_abstains_and_says_how_to_go_on(labelled: Loaded) -> None:
    assert labelled.case.baseline is not None
    calm = Loaded(case=Case(id="calm"), telemetry=cut(labelled.telemetry, labelled.case.baseline))
    diagnosis = aetia.diagnose(calm)
    assert diagnosis.abstained == "no incident was found in the data"
    assert diagnosis.incident is None and not diagnosis.hypotheses
    assert "--since" in diagnosis.missing[0]


def test_no_telemetry_at_all_abstains() -> None:
    diagnosis = aetia.diagnose(Loaded(case=Case(id="empty"), telemetry=Telemetry()))
    assert diagnosis.abstained == "the source holds no telemetry"


def test_a_baseline_without_telemetry_abstains(labelled: Loaded) -> None:
    assert labelled.case.incident is not None
    empty = {table: (Window(1, 2),) for table in ("spans", "logs", "metrics")}
    case = Case(id="late", baseline=labelled.case.baseline, incident=labelled.case.incident, baselines=empty)
    found = investigate(Loaded(case=case, telemetry=labelled.telemetry), localizer="error_logs").diagnosis
    assert found.abstained is not None and found.missing


@pytest.mark.parametrize("length_ns", [10**6, 10**9, 4 * 10**9])
def test_a_baseline_that_is_too_small_names_no_cause(labelled: Loaded, length_ns: int) -> None:
    incident = labelled.case.incident
    assert incident is not None
    start = incident.start_ns - 60 * NS_PER_SECOND
    tiny = Window(start, start + length_ns)
    found = aetia.diagnose(labelled, baseline=tiny, incident=incident)
    assert found.hypotheses == () and found.abstained is not None
    assert "baseline" in found.abstained
    assert any("--baseline A..B" in line for line in found.missing)
    enough = Window(start, start + 20 * NS_PER_SECOND)
    assert aetia.diagnose(labelled, baseline=enough, incident=incident).abstained is None


def test_a_long_baseline_with_a_handful_of_rows_names_no_cause(labelled: Loaded) -> None:
    case, whole = labelled.case, labelled.telemetry
    assert case.baseline is not None and case.incident is not None
    before, during = cut(whole, case.baseline), cut(whole, case.incident)
    few = Telemetry(logs=pa.concat_tables([before.logs.slice(0, 29), during.logs]))
    found = aetia.diagnose(Loaded(case=case, telemetry=few), incident=case.incident, baseline=case.baseline)
    assert found.abstained is not None and "29 log lines" in found.abstained
    more = Telemetry(logs=pa.concat_tables([before.logs.slice(0, 30), during.logs]))
    found = aetia.diagnose(Loaded(case=case, telemetry=more), incident=case.incident, baseline=case.baseline)
    assert "too small" not in (found.abstained or "")


def test_a_baseline_after_the_incident_is_used_and_mentioned(labelled: Loaded) -> None:
    case = labelled.case
    said = "the baseline lies after the incident"
    windows = {"baseline": case.incident, "incident": case.baseline, "localizer": "error_logs"}
    assert not any(said in line for line in aetia.diagnose(labelled, localizer="error_logs").missing)
    assert any(said in line for line in aetia.diagnose(labelled, **windows).missing)


def test_an_incident_that_holds_all_of_the_data_is_refused(labelled: Loaded) -> None:
    assert labelled.case.incident is not None
    only = Loaded(case=Case(id="late"), telemetry=cut(labelled.telemetry, labelled.case.incident))
    with pytest.raises(UsageError, match=r"holds all of the data.*choose a shorter window"):
        investigate(only, since="2h", localizer="error_logs")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"incident": "2001-01-01T00:00:00Z..2001-01-02T00:00:00Z"}, "lies outside the data, which covers"),
        ({"baseline": "2001-01-01T00:00:00Z..2001-01-02T00:00:00Z"}, "give --baseline inside it"),
        ({"at": "2001-01-01T00:00:00Z"}, "lies outside the data"),
        ({"incident": "-60s..now", "baseline": "-90s..-30s"}, "overlaps the incident"),
        ({"incident": "-60s..now", "since": "60s"}, "exclude one another"),
        ({"incident": (5, 5)}, "does not end after it starts"),
        ({"since": "yesterday"}, "not a point in time"),
    ],
)
def test_wrong_windows_are_refused_in_one_sentence(unlabelled: Loaded, arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        aetia.diagnose(unlabelled, **arguments)


def test_a_wrong_localizer_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UnknownPlugin, match=r"there is no localizer called 'astrology'; known: .*nsigma"):
        aetia.diagnose("/does/not/exist", localizer="astrology")


def test_no_source_is_refused() -> None:
    with pytest.raises(UsageError, match="no source was given"):
        aetia.diagnose([])
    with pytest.raises(aetia.AetiaError):
        aetia.diagnose([])


def cut(telemetry: Telemetry, window: Window) -> Telemetry:
    """Only the rows of a window."""
    from dataclasses import replace

    import pyarrow as pa
    import pyarrow.compute as pc

    def keep(table: pa.Table) -> pa.Table:
        time = pc.cast(table.column("time"), pa.int64())
        return table.filter(pc.and_(pc.greater_equal(time, window.start_ns), pc.less(time, window.end_ns)))

    return replace(telemetry, spans=keep(telemetry.spans), logs=keep(telemetry.logs), metrics=keep(telemetry.metrics))


def test_a_case_s_own_baselines_per_table_outlive_the_cut_of_the_common_one(labelled: Loaded) -> None:
    case = labelled.case
    assert case.baseline is not None and case.incident is not None
    own = {"metrics": (Window(case.baseline.start_ns, case.baseline.end_ns - 60 * NS_PER_SECOND),)}
    longer = Window(case.baseline.start_ns - 3600 * NS_PER_SECOND, case.baseline.end_ns)
    cut_short = Loaded(case=msgspec.structs.replace(case, baseline=longer, baselines=own), telemetry=labelled.telemetry)
    found = investigate(cut_short, localizer="error_logs")
    assert found.view is not None and found.view.baseline_of("metrics") == own["metrics"]
    assert any("was cut to" in line for line in found.diagnosis.missing)
    given = investigate(cut_short, localizer="error_logs", baseline=case.baseline)
    assert given.view is not None and given.view.baseline_of("metrics") == (case.baseline,)
