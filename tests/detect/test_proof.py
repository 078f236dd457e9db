"""Evidence that users are hurt: it says what its query returns, and a re-check of other telemetry knows the difference."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from test_sli import at, facts, metrics, steady, table, traffic

from aetia.contracts.shop import rows_permuted
from aetia.detect._proof import Proof
from aetia.detect.severity import severity_of
from aetia.detect.sli import SliDetector
from aetia.model.diagnosis import Diagnosis, Evidence, SliBreach, canonical
from aetia.model.quantities import number, percent, quantity
from aetia.model.tables import CHANGES, LOGS, Telemetry
from aetia.model.window import Window
from aetia.report.recheck import Recheck, recheck
from aetia.signals.view import Facts, View

SECOND = 1_000_000_000


class Story(NamedTuple):
    """Telemetry with harm, the same in health, and how the detector is asked."""

    hurt: Callable[[], Facts]
    well: Callable[[], Facts]
    how: dict[str, Any] | None = None


def requests(change: Callable[..., pa.Table] | None = None, *, rate: float = 20) -> Facts:
    times, ms, failed = steady(600, rate)
    other = traffic(*steady(600, rate, 9), operation="GET /other", tag="b")
    return facts(change(times, ms, failed) if change is not None else traffic(times, ms, failed), other)


def within(times: np.ndarray, low: float, high: float, share: float = 1.0) -> np.ndarray:
    return (times > low) & (times < high) & (np.random.default_rng(1).random(len(times)) < share)


def failing(low: float = 400, high: float = 520, share: float = 0.3) -> Callable[..., pa.Table]:
    return lambda t, ms, bad: traffic(t, ms, bad | within(t, low, high, share))


def slow(low: float = 400, high: float = 520, share: float = 1.0) -> Callable[..., pa.Table]:
    return lambda t, ms, bad: traffic(t, np.where(within(t, low, high, share), ms + 700, ms), bad)


def fewer(low: float = 400, high: float = 520) -> Callable[..., pa.Table]:
    def change(t: np.ndarray, ms: np.ndarray, bad: np.ndarray) -> pa.Table:
        kept = ~within(t, low, high, 0.9)
        return traffic(t[kept], ms[kept], bad[kept])

    return change


def both(t: np.ndarray, ms: np.ndarray, bad: np.ndarray) -> pa.Table:
    struck = within(t, 400, 520, 0.4)
    return traffic(t, np.where(struck, ms + 700, ms), bad | struck)


def metric(name: str, usual: float, broken: float, unit: str | None = None) -> Facts:
    values = usual * (1 + np.random.default_rng(0).normal(0, 0.02, 60))
    values[40:52] = broken
    return facts(metrics=metrics(name, values, unit=unit))


def lines(loud: int) -> Facts:
    rng = np.random.default_rng(0)
    times = np.concatenate([np.sort(rng.uniform(0, 1200, 1200)), np.sort(rng.uniform(900, 1000, loud))])
    texts = ["served"] * 1200 + ["cannot reach the database"] * loud
    return facts(
        logs=table(
            LOGS, time=at(0) + (times * SECOND).astype(np.int64), service=["web"] * len(times),
            severity=["INFO"] * 1200 + ["ERROR"] * loud, body=texts,
        )
    )  # fmt: skip


def alerted(kind: str) -> Facts:
    return facts(changes=table(CHANGES, time=[at(900), at(1000)], kind=[kind, kind], service=["web", "db"],
                               description=["5xx", "slow"]))  # fmt: skip


BASE, GIVEN = Window(at(0), at(390)), Window(at(395), at(525))
STORIES: dict[str, Story] = {
    "failures": Story(lambda: requests(failing()), requests),
    "failures in a given window": Story(lambda: requests(failing()), requests, {"baseline": BASE, "incident": GIVEN}),
    "slowness": Story(lambda: requests(slow()), requests),
    "a slow tail": Story(lambda: requests(slow(share=0.08)), requests),
    "fewer requests": Story(lambda: requests(fewer()), requests),
    "slow failures": Story(lambda: requests(both), requests),
    "a short harm": Story(lambda: requests(failing(300, 318), rate=4), lambda: requests(rate=4)),
    "a declared operation": Story(lambda: requests(failing()), requests, {"sli": {"operations": ["GET /"]}}),
    "a latency metric": Story(lambda: metric("latency_p95_ms", 80, 900), lambda: metric("latency_p95_ms", 80, 80)),
    "a latency metric in a given window": Story(
        lambda: metric("latency_p95_ms", 80, 900), lambda: metric("latency_p95_ms", 80, 80),
        {"baseline": Window(at(0), at(590)), "incident": Window(at(600), at(780))},
    ),
    "a success metric": Story(lambda: metric("success_rate", 0.995, 0.7), lambda: metric("success_rate", 0.995, 0.995)),
    "a traffic metric": Story(
        lambda: metric("requests_per_second", 40, 6), lambda: metric("requests_per_second", 40, 40)
    ),
    "a declared metric": Story(
        lambda: metric("queue_pain", 10, 60), lambda: metric("queue_pain", 10, 10), {"sli": {"metric": "queue_pain"}}
    ),
    "error lines": Story(lambda: lines(400), lambda: lines(0)),
    "alerts": Story(lambda: alerted("alert"), lambda: alerted("deploy")),
}  # fmt: skip


@functools.cache
def proven(name: str) -> tuple[Facts, Proof]:
    story = STORIES[name]
    read = story.hurt()
    how = story.how or {}
    (incident,) = SliDetector().detect(read, **how)
    asked = {key: value for key, value in how.items() if key != "incident"}
    return read, SliDetector().prove(read, incident, **asked)


def held(found: Proof) -> dict[str, Evidence]:
    return {item.id: item for item in found.evidence}


def of_breaches(found: Proof) -> list[tuple[SliBreach, Evidence]]:
    return [(breach, held(found)[breach.evidence or ""]) for breach in found.incident.breaches]


def again(found: Proof, read: Facts) -> list[Recheck]:
    """Every query, after a way through JSON, on some telemetry."""
    diagnosis = Diagnosis(localizer="none", incident=found.incident, evidence=found.evidence)
    back = msgspec.json.decode(msgspec.json.encode(diagnosis), type=Diagnosis)
    return recheck(back, View(read, (found.incident.baseline,), found.incident.window))


@pytest.mark.parametrize("name", STORIES)
def test_every_breach_and_the_harm_as_a_whole_are_evidence_that_holds(name: str) -> None:
    read, found = proven(name)
    assert found.incident.breaches and all(breach.evidence in held(found) for breach in found.incident.breaches)
    assert found.impact is not None and found.impact.evidence in held(found)
    mixed = Facts(rows_permuted(read.telemetry))
    assert [item.why for item in again(found, mixed) if not item.holds] == []


@pytest.mark.parametrize("name", STORIES)
def test_where_users_are_well_none_of_it_holds(name: str) -> None:
    _, found = proven(name)
    results = again(found, STORIES[name].well())
    of_one_alert = {item.evidence.id for item in results if item.evidence.query.args["what"] == "harm"}
    assert not any(item.holds for item in results if name != "alerts" or item.evidence.id not in of_one_alert)


@pytest.mark.parametrize("name", STORIES)
def test_the_evidence_measured_what_the_breach_says(name: str) -> None:
    for breach, item in of_breaches(proven(name)[1]):
        if name != "alerts":
            assert (item.result["baseline"], item.result["incident"]) == (
                canonical(breach.baseline),
                canonical(breach.incident),
            )
            assert name == "a short harm" or item.result["p_value"] == canonical(breach.p_value)
        if breach.requests:
            assert (item.result["requests"], item.result["affected"]) == (breach.requests, breach.affected)


def sayings(result: dict[str, Any]) -> set[str]:
    """Each number of a result in every way in which a sentence may put it."""
    unit = str(result.get("unit", ""))
    values = [value for value in result.values() if isinstance(value, int | float) and not isinstance(value, bool)]
    said = {words for v in values for words in (quantity(v, unit), quantity(v, "ms"), percent(v), number(v))}
    if result.get("until_ns") is not None:
        from aetia.model.quantities import duration_ns

        said.add(duration_ns(result["data_end_ns"] - result["until_ns"]))
    return said


def left_over(text: str, names: list[str], result: dict[str, Any]) -> str:
    """What remains of a sentence without names and without what its query returns."""
    for words in sorted((*names, *sayings(result)), key=len, reverse=True):
        text = text.replace(words, "")
    return text


@pytest.mark.parametrize("name", STORIES)
def test_each_number_of_a_sentence_is_one_that_a_recheck_returns(name: str) -> None:
    read, found = proven(name)
    results = {item.evidence.id: item.new or {} for item in again(found, Facts(read.telemetry))}
    names = [words for b in found.incident.breaches for words in (b.entry.name, f"({b.statistic})")]
    said = [(item.claim.text, item.id) for item in found.evidence]
    said += [(fact.text, key) for fact in found.severity.facts for key in fact.evidence]
    assert len(said) > len(found.evidence)
    for text, key in said:
        assert not any(sign.isdigit() for sign in left_over(text, names, results[key])), text


def test_a_request_that_is_hurt_twice_is_counted_once() -> None:
    found = proven("slow failures")[1]
    assert found.impact is not None and {b.sli for b in found.incident.breaches} == {"success", "latency"}
    told = held(found)[found.impact.evidence or ""].result
    assert told["failed"] + told["slow"] == found.impact.affected <= found.impact.requests
    assert found.impact.affected < sum(breach.affected for breach in found.incident.breaches)


def test_requests_that_did_not_come_are_part_of_those_that_should_have() -> None:
    impact = proven("fewer requests")[1].impact
    assert impact is not None and 0.85 < impact.affected / impact.requests < 0.95


def test_what_is_proven_says_nothing_about_who_is_to_blame() -> None:
    assert all(item.strength == 0 and item.own is False for name in STORIES for item in proven(name)[1].evidence)


@pytest.mark.parametrize(
    "args",
    [
        {"what": "sli", "source": "requests", "service": "nobody", "sli": "success", "statistic": "share"},
        {"what": "sli", "source": "requests", "service": "web", "operation": "GET /", "sli": "success", "statistic": 3,
         "planet": "x"},
        {"what": "sli", "source": "metric", "service": "web", "sli": "latency", "statistic": "p95"},
        {"what": "harm", "source": "requests"},
        {"what": "harm", "source": "nonsense", "slis": [["web", None, "success", "share"]]},
        {},
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_does_not_hold(args: dict[str, Any]) -> None:
    read, found = proven("failures")
    odd = msgspec.structs.replace(found.evidence[0], query=msgspec.structs.replace(found.evidence[0].query, args=args))
    (result, *_) = again(found._replace(evidence=(odd,)), read)
    assert args.get("planet") or (not result.holds and result.why)


# ---- severity ------------------------------------------------------------------------------------------------


def severity(change: Callable[..., pa.Table], **how: Any) -> tuple[str, bool | None, str | None]:
    read = requests(change)
    (incident,) = SliDetector().detect(read, **how)
    found = SliDetector().prove(read, incident).severity
    return found.level, found.lasts, found.trend


@pytest.mark.parametrize(
    ("change", "level"),
    [
        (failing(share=0.9), "critical"),  # 45 % of all requests
        (failing(share=0.3), "major"),  # 15 %
        (failing(share=0.06), "minor"),  # 3 %
        (slow(share=0.9), "major"),  # half as bad as failing
        (fewer(), "major"),
    ],
)
def test_the_level_follows_the_share_of_all_requests_that_is_hurt_and_how(
    change: Callable[..., pa.Table], level: str
) -> None:
    assert severity(change)[0] == level


def test_failing_is_worse_than_slow_and_slow_worse_than_fewer() -> None:
    shares: list[float] = []
    for change in (failing(share=0.9), slow(share=0.9), fewer()):
        read = requests(change)
        (incident,) = SliDetector().detect(read)
        shares.append(SliDetector().prove(read, incident).severity.share or 0.0)
    assert shares == sorted(shares, reverse=True) and len(set(shares)) == 3


def test_a_total_loss_of_requests_is_critical_though_nobody_is_there_to_fail() -> None:
    times, ms, failed = steady(600, 20)
    logs = table(
        LOGS, time=[at(s) for s in range(600)], service=["db"] * 600, severity=["INFO"] * 600, body=["tick"] * 600
    )
    read = facts(traffic(times[times < 400], ms[times < 400], failed[times < 400]), logs=logs)
    (incident,) = SliDetector().detect(read)
    found = SliDetector().prove(read, incident)
    assert (found.severity.level, found.severity.lasts) == ("critical", True)


@pytest.mark.parametrize("change", [failing, slow, fewer])
def test_it_is_said_whether_it_goes_on_at_the_end_of_the_data(change: Callable[..., Callable[..., pa.Table]]) -> None:
    assert severity(change(400, 601))[1] is True
    assert severity(change(400, 500))[1] is False
    # A window that ends in the middle of the harm does not end the harm.
    inside = {"baseline": BASE, "incident": Window(at(400), at(500))}
    assert severity(change(400, 601), **inside)[1] is True and severity(change(400, 500), **inside)[1] is False


def test_when_it_was_over_is_when_the_last_request_was_hurt() -> None:
    found = proven("failures")[1]
    until = found.severity.until_ns
    assert until is not None and abs(until - at(520)) <= 10 * SECOND
    lasting = requests(failing(400, 601))
    (incident,) = SliDetector().detect(lasting)
    end = SliDetector().prove(lasting, incident).severity.until_ns
    assert end is not None and end >= at(600)


def test_a_growing_harm_is_as_bad_as_it_has_become() -> None:
    def growing(t: np.ndarray, ms: np.ndarray, bad: np.ndarray) -> pa.Table:
        share = np.clip((t - 300) / 300, 0, 1)
        return traffic(t, ms, bad | (np.random.default_rng(1).random(len(t)) < share))

    level, lasts, trend = severity(growing)
    assert (level, lasts, trend) == ("critical", True, "growing")

    def easing(t: np.ndarray, ms: np.ndarray, bad: np.ndarray) -> pa.Table:
        share = np.where(t > 300, np.clip((620 - t) / 300, 0, 1), 0)
        return traffic(t, ms, bad | (np.random.default_rng(1).random(len(t)) < share))

    assert severity(easing)[2] == "easing"


def test_without_a_broken_sli_the_severity_is_unknown_and_says_why() -> None:
    read = requests()
    (calm,) = SliDetector().detect(read, baseline=BASE, incident=GIVEN)
    found = SliDetector().prove(read, calm)
    assert found.severity == severity_of(None, None) and found.severity.level == "unknown"
    assert found.evidence == () and "no harm to users was measured" in found.severity.facts[0].text


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("a success metric", "critical"),  # 30 % of the only entry point's requests fail
        ("a latency metric", "minor"),  # of a p95 at least 5 % are slow
        ("a traffic metric", "critical"),  # 85 % do not come, counted .3
        ("a declared metric", "unknown"),
        ("error lines", "unknown"),
        ("alerts", "unknown"),
    ],
)
def test_without_requests_the_level_is_what_metrics_tell_at_least(name: str, level: str) -> None:
    found = proven(name)[1].severity
    assert found.level == level and found.lasts is (None if name == "alerts" else False)


def test_telemetry_is_read_once_for_detection_and_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    from aetia.detect import _entries, _measure

    calls: list[str] = []
    for module, name in ((_entries, "_read"), (_measure, "_figures")):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, _whole=whole, _name=name: calls.append(_name) or _whole(*a))
    read = requests(failing())
    (incident,) = SliDetector().detect(read)
    SliDetector().prove(read, incident)
    assert calls == ["_read", "_figures"]


def test_empty_telemetry_proves_nothing() -> None:
    empty = Facts(Telemetry())
    (given,) = SliDetector().detect(empty, incident=GIVEN)
    assert SliDetector().prove(empty, given).evidence == ()
