"""New and bursting log lines, judged by their severity, their rate and who prints them."""

from __future__ import annotations

import pytest
from small_shop import CONTAMINATED_S, Call, blamed, from_onset, look, measured, read, told

BROKEN = ("ERROR", "cannot open the drawer")


def prints(service: str, *lines: tuple[str, str]):
    def change(call: Call) -> Call:
        return call.to(service, lines=lines)

    return change


def test_a_severe_line_that_is_new_names_who_prints_it() -> None:
    view = look(**told(from_onset(prints("price", BROKEN), every=2)))
    (finding,) = read("log_novelty", view).findings
    assert finding.entity.service == "price" and finding.claim.direction == "new" and finding.score > 0.8
    numbers = measured("log_novelty", view, finding)
    assert numbers["baseline_lines"] == 0 and numbers["incident_lines"] > 40
    assert numbers["incident"] == pytest.approx(finding.claim.magnitude, abs=1e-3)


def test_a_line_that_bursts_names_who_prints_it() -> None:
    def story(call: Call, second: float, number: int) -> Call:
        return prints("price", BROKEN)(call) if (second >= 0 or number % 20 == 0) else call

    (finding,) = read("log_novelty", look(**told(story))).findings
    assert finding.entity.service == "price" and finding.claim.direction == "up"


def test_lines_without_spans_are_enough() -> None:
    tables = told(from_onset(prints("price", BROKEN), every=2))
    assert blamed(read("log_novelty", look(logs=tables["logs"]))) == ["price"]


def test_severity_decides_how_much_a_new_line_weighs() -> None:
    scores = []
    for severity in ("ERROR", "WARN", "INFO"):
        view = look(**told(from_onset(prints("price", (severity, "drawer is unusually heavy today")), every=2)))
        scores.append(max(finding.score for finding in read("log_novelty", view).findings))
    assert scores[0] > scores[1] > scores[2] > 0


def test_a_caller_that_complains_of_its_callee_is_a_victim() -> None:
    def story(call: Call) -> Call:
        return prints("web", ("ERROR", "request failed badly"))(prints("price", BROKEN)(call))

    assert blamed(read("log_novelty", look(**told(from_onset(story, every=2))))) == ["price"]


def test_a_line_that_names_another_service_accuses_its_printer_less() -> None:
    own = read("log_novelty", look(**told(from_onset(prints("order", BROKEN), every=2)))).findings[0]
    other = read(
        "log_novelty", look(**told(from_onset(prints("order", ("ERROR", "stock does not answer")), every=2)))
    ).findings[0]
    assert other.score < 0.5 * own.score


def test_lines_that_were_always_there_are_no_news() -> None:
    view = look(**told(from_onset(prints("price", BROKEN), every=5, since=-1e9), per_second=2.0))
    reading = read("log_novelty", view)
    assert reading.findings == () and reading.silent == "no log template is new or bursts"


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    reading = read("log_novelty", look(**told(from_onset(prints("price", BROKEN), every=2, since=-CONTAMINATED_S))))
    assert blamed(reading) == ["price"] and reading.findings[0].claim.direction == "up"


def test_without_lines_in_a_window_it_says_so() -> None:
    def story(call: Call, second: float, number: int) -> Call | None:
        return call if second < 0 else None

    assert "none in the incident" in (read("log_novelty", look(**told(story))).silent or "")
