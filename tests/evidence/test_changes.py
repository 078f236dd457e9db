"""Changes shortly before the onset, the nearer the more."""

from __future__ import annotations

import pytest
from small_shop import blamed, changes, look, measured, read


@pytest.mark.parametrize(
    ("kind", "fault"), [("deploy", "bad_release"), ("config", "bad_config"), ("flag", "bad_config")]
)
def test_a_change_shortly_before_the_onset_names_what_was_changed(kind: str, fault: str) -> None:
    view = look(changes=changes((kind, "order", -30.0)))
    (finding,) = read("changes", view).findings
    assert (finding.entity.service, finding.fault_class, finding.fault) == ("order", "C", fault)
    assert measured("changes", view, finding)["description"] == f"{kind} of order"


def test_the_nearer_a_change_the_more_it_weighs() -> None:
    view = look(changes=changes(("deploy", "cart", -1500.0), ("deploy", "order", -30.0), ("deploy", "web", -600.0)))
    reading = read("changes", view)
    assert blamed(reading) == ["order", "web", "cart"]
    assert reading.findings[1].score == pytest.approx(0.25) and reading.findings[0].score < 0.5


def test_changes_long_before_or_well_after_the_onset_are_none() -> None:
    view = look(changes=changes(("deploy", "cart", -4000.0), ("deploy", "order", 90.0)))
    assert read("changes", view).silent == "no change was recorded shortly before the onset"


def test_an_alert_is_no_change() -> None:
    assert read("changes", look(changes=changes(("alert", "cart", -10.0)))).findings == ()
