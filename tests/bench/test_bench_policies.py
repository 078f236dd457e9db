"""Policies in the bench: real workers and cases, toy policies behind the real plugin door."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aetia import plugins
from aetia.bench import report, run
from aetia.bench.additions import added, consistency, pass_at, pass_hat
from aetia.bench.budgets import abstention
from aetia.bench.facts import decisive_facts
from aetia.bench.journals import journal_name
from aetia.bench.messages import Task
from aetia.bench.methods import Method, methods, parse_method
from aetia.bench.result import BenchResult, PolicyResult, Row, read_result
from aetia.bench.scoring import Answer, Score
from aetia.cli.bench import app
from aetia.cli.replay import replay as again
from aetia.ingest.case import write_case
from aetia.model.case import Case
from aetia.model.errors import BenchError, UnknownPlugin, UsageError
from aetia.model.tables import Telemetry
from aetia.reason.checks.registry import TITLES
from aetia.reason.journals import closed, opened, read_journal

_HEAD = """
import msgspec
from aetia.model.diagnosis import Claim, Query, make_evidence
from aetia.model.entity import service
from aetia.model.journal import ToolCall
from aetia.plugins import plugin

@plugin("policy")
class Toy:
    def steps(self, desk):
"""
_ASK = """
        answers = yield tuple(ToolCall(tool="topology", args={"service": name}) for name in ("web", "cart", "store"))
        ids = {name: answer.evidence.id for name, answer in zip(("web", "cart", "store"), answers)}
"""
_POLICIES = {
    "toy_nothing": "        return\n        yield",
    "toy_store": _ASK + '        desk.ledger.weigh("store", 3.0, (ids["store"],), "nobody is below it")',
    "toy_coin": _ASK + '        desk.ledger.weigh("store" if desk.seed % 2 else "web", 3.0, (ids["store"],), "heads")',
    "toy_raises": _ASK + '        raise KeyError("no such thought")',
    "toy_sleeps": "        import time\n        time.sleep(60)\n        yield ()",
    "toy_loops": "        while True:\n            yield (ToolCall(tool='topology', args={'service': 'web'}),)",
    "toy_liar": """
        claim = Claim(what="errors", direction="up", magnitude=1.0, unit="share", text="all calls of store fail")
        query = Query(channel="topology", args={"service": "store"})
        lie = make_evidence(about=service("store"), claim=claim, polarity="for", strength=0.9, query=query, result={"x": 1})
        desk.evidence[lie.id] = lie
        yield (ToolCall(tool="topology", args={"service": "web"}),)
        desk.ledger.weigh("store", 3.0, (lie.id,), "all calls of store fail")
""",
}


@pytest.fixture(scope="module")
def policies(toys: Path) -> Path:
    """The toy policies, in the installed package of the toy localizers."""
    for name, body in _POLICIES.items():
        (toys / f"{name}.py").write_text(_HEAD + body, encoding="utf-8")
    importlib.invalidate_caches()
    plugins._modules.cache_clear()
    return toys


@pytest.fixture(scope="module")
def result(policies: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    path = tmp_path_factory.mktemp("policies") / "run.json"
    names = ["toy_nothing", "toy_store", "toy_coin", "toy_raises", "toy_loops", "toy_liar"]
    found = run(suite, "toy_tie", policies=names, seeds=2, detector="toy_sli", jobs=2, json_path=path)
    assert read_result(path) == found
    return found


def investigations(result: BenchResult, policy: str) -> PolicyResult:
    found = result.find("toy_tie", policy=policy).investigations
    assert found is not None
    return found


def test_a_policy_goes_on_from_its_localizer_and_what_it_adds_is_paired_with_it(result: BenchResult) -> None:
    assert result.find("toy_tie").ac1.value == 0.0
    assert result.find("toy_tie", policy="toy_store").ac1.value == 0.5
    gained = investigations(result, "toy_store").added
    assert gained is not None
    assert (gained.n, gained.wins, gained.losses, gained.ac1_difference.value) == (2, 1, 0, 0.5)
    assert gained.ac1_difference.low is not None and gained.mcnemar_p == 1.0
    assert investigations(result, "toy_store").by_class["C"].n == 2


def test_a_policy_that_does_nothing_changes_nothing(result: BenchResult) -> None:
    plain, idle = result.find("toy_tie"), result.find("toy_tie", policy="toy_nothing")
    assert (plain.ac1, plain.ac5, plain.mrr, plain.n, plain.cases) == (idle.ac1, idle.ac5, idle.mrr, idle.n, idle.cases)
    assert plain.investigations is None and plain.policy is None
    found = investigations(result, "toy_nothing")
    assert found.added is not None and found.added.ac1_difference.value == 0.0
    assert (found.runs, found.calls_mean, found.tokens_mean, found.outcomes) == (8, 0.0, 0.0, {"answered": 8})


def test_a_policy_that_fails_is_a_miss_with_its_reason(result: BenchResult) -> None:
    failed = result.find("toy_tie", policy="toy_raises")
    assert (failed.failed, failed.ac5.value, failed.n) == (4, 0.0, 2)
    rows = [row for row in result.cases if row.policy == "toy_raises"]
    assert all(row.failure is not None and row.failure.type == "KeyError" for row in rows)
    assert {row.failure.where.split(":")[0] for row in rows if row.failure} == {"toy_raises.py"}
    assert investigations(result, "toy_raises").runs == 0


def test_failures_of_reasoning_are_reported_with_their_rates(result: BenchResult) -> None:
    found = investigations(result, "toy_loops")
    assert found.warned["RF-12"].value == 1.0 and found.stopped == {"RF-12": 8}
    assert found.outcomes == {"stopped": 8}
    assert set(found.warned) == set(TITLES)
    assert investigations(result, "toy_nothing").warned["RF-12"].value == 0.0


def test_repeats_differ_by_their_seed_alone_and_are_told_apart(result: BenchResult) -> None:
    rows = [row for row in result.cases if row.policy == "toy_coin" and row.case == "a-store"]
    assert [(row.repeat, row.seed, row.correct) for row in rows] == [(0, 0, False), (1, 1, True)]
    found = investigations(result, "toy_coin").consistency
    assert found is not None and found.repeats == 2
    assert [item.value for item in found.any_of] == [0.25, 0.5]
    assert [item.value for item in found.all_of] == [0.25, 0.0]


def test_claims_that_a_recheck_does_not_confirm_are_counted(result: BenchResult) -> None:
    true, lying = investigations(result, "toy_store"), investigations(result, "toy_liar")
    assert (true.faithfulness.value, true.unconfirmed, true.claims) == (1.0, 0, 8)
    assert (lying.faithfulness.value, lying.unconfirmed) == (0.0, 8)


def test_coverage_is_the_share_of_decisive_facts_that_are_named(result: BenchResult) -> None:
    found = investigations(result, "toy_store")
    assert found.coverage.value == 0.25  # of two cases one has its root, and a tie names no class
    assert found.facts["root"].value == 0.5 and found.facts["class"].value == 0.0


def test_costs_are_measured_per_investigation(result: BenchResult) -> None:
    found = investigations(result, "toy_store")
    assert (found.calls_mean, found.tokens_mean) == (3.0, 0.0)
    assert found.added_s_p50 is not None and 0 < found.added_s_p50 < 5
    assert found.budgets["calls"].area.value == pytest.approx(0.5 * (1 - 3 / 200))
    assert found.budgets["calls"].curve[:2] == ((0.0, 0.0), (5.0, 0.5)) and "tokens" not in found.budgets
    row = next(row for row in result.cases if row.policy == "toy_store")
    assert row.investigated is not None and row.seconds is not None and row.seconds >= row.investigated.added_s


def test_a_policy_that_hangs_is_ended_alone(policies: Path, suite: Path) -> None:
    found = run(
        suite, "toy_oracle", policies="toy_sleeps,toy_nothing", limit=1, jobs=1, timeout_s=0.5, detector="toy_sli"
    )
    row = next(row for row in found.cases if row.policy == "toy_sleeps")
    assert row.failure is not None and row.failure.kind == "timeout"
    assert found.find("toy_oracle", policy="toy_nothing").ac1.value == 1.0


def test_a_policy_fails_with_its_localizer(policies: Path, suite: Path) -> None:
    found = run(suite, "toy_crash", policies="toy_nothing", limit=1, jobs=1, detector="toy_sli")
    assert [(row.policy, row.failure.type) for row in found.cases if row.failure] == [
        (None, "KeyError"), ("toy_nothing", "KeyError"),
    ]  # fmt: skip


def test_finished_investigations_are_not_run_again(policies: Path, suite: Path, tmp_path: Path) -> None:
    ran: list[tuple[str | None, int]] = []
    settings = {"detector": "toy_sli", "jobs": 1, "limit": 1, "json_path": tmp_path / "out.json"}
    run(suite, "toy_tie", policies="toy_store", **settings)  # type: ignore[arg-type]
    run(
        suite, "toy_tie", policies="toy_store", seeds=2,
        progress=lambda state: ran.append((state.row.policy, state.row.repeat)) if state.row else None,
        **settings,  # type: ignore[arg-type]
    )  # fmt: skip
    assert ran == [("toy_store", 1)]


def test_the_leaderboard_shows_what_policies_added_cost_and_showed(result: BenchResult) -> None:
    text, page = report(result), report(result, format="html")
    for heading in ("What a policy added to its localizer", "Explanations", "What investigations cost",
                    "Consistency over repeats", "Failures of reasoning"):  # fmt: skip
        assert heading in text and heading in page
    assert "| toy_tie + toy_store | given | all | 2 | .50 [" in text
    assert "| toy_tie | .00" in text
    assert "RF-12 repetition" in text and "ended 8" in text


def test_without_a_policy_nothing_about_policies_is_shown(policies: Path, suite: Path) -> None:
    plain = run(suite, "toy_tie", detector="toy_sli", jobs=1, limit=1)
    assert "policy" not in report(plain) and "policies" not in plain.settings
    assert [row.policy for row in plain.cases] == [None]


def test_the_command_line_takes_policies(suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    tokens = ["run", str(suite), "--localizer", "nsigma", "--policy", "rules", "--seeds", "2", "--limit", "1",
              "--jobs", "1", "--json", str(out), "--quiet"]  # fmt: skip
    assert app(tokens, result_action="return_value", exit_on_error=False) == 0
    written = json.loads(out.read_bytes())
    assert [(row["localizer"], row["policy"]) for row in written["results"]] == [("nsigma", None), ("nsigma", "rules")]
    assert written["results"][1]["investigations"]["consistency"]["repeats"] == 2
    assert written["settings"]["policies"] == ["rules"] and written["settings"]["max_calls"] == 200
    with pytest.raises(UsageError, match="a URL and a name"):
        app(["run", str(suite), "--policy", "rules", "--model", "m"], result_action="return_value", exit_on_error=False)


def test_what_cannot_run_is_said_before_anything_runs(policies: Path, suite: Path) -> None:
    with pytest.raises(UnknownPlugin, match="toy_nobody"):
        run(suite, "toy_tie", policies="toy_nobody", detector="toy_sli")
    with pytest.raises(BenchError, match="seeds"):
        run(suite, "toy_tie", policies="toy_nothing", seeds=0, detector="toy_sli")


def test_methods_are_named_and_read_back() -> None:
    every = methods(("a", "b"), ("p",), 2)
    assert [item.text for item in every] == ["a", "a+p#0", "a+p#1", "b", "b+p#0", "b+p#1"]
    assert tuple(parse_method(item.text) for item in every) == every
    assert methods(("a",), (), 3) == (Method("a"),)


def test_any_and_all_of_k_runs_by_hand() -> None:
    assert [pass_at(4, 1, k) for k in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert [pass_hat(4, 3, k) for k in (1, 2, 4)] == [0.75, 0.5, 0.0]
    assert pass_at(3, 0, 2) == 0.0 and pass_hat(3, 3, 3) == 1.0


def test_a_kept_journal_is_replayed_to_the_same_diagnosis(policies: Path, suite: Path, tmp_path: Path) -> None:
    kept, out = tmp_path / "journals", tmp_path / "run.json"
    found = run(
        suite, "toy_tie", policies=["toy_store", "toy_raises"], seeds=2, detector="toy_sli", jobs=2, journals=kept,
        perturb=["none", "late=60"], json_path=out,
    )  # fmt: skip
    rows = [row for row in found.cases if row.investigated is not None]
    assert len({row.investigated.journal for row in rows if row.investigated}) == len(rows) == 4 * 2 * 2
    for row in rows:
        assert row.investigated is not None and row.investigated.journal is not None
        events = read_journal(kept / row.investigated.journal)
        assert opened(events).seed == row.repeat and closed(events) is not None
        assert again(kept / row.investigated.journal, quiet=True, output=tmp_path / "out.json") == 0
        assert row.investigated.course[-1].right == row.correct
    broken = [path for path in kept.rglob("*.jsonl") if "toy_raises" in path.name]
    assert len(broken) == 16 and all(closed(read_journal(path)) is None for path in broken)
    assert rows[0].investigated is not None
    lost = kept / str(rows[0].investigated.journal)
    lost.unlink()
    ran: list[str] = []
    run(
        suite, "toy_tie", policies=["toy_store", "toy_raises"], seeds=2, detector="toy_sli", jobs=1, journals=kept,
        perturb=["none", "late=60"], json_path=out,
        progress=lambda state: ran.append(state.row.case) if state.row else None,
    )  # fmt: skip
    assert ran == [rows[0].case] and lost.is_file()


@pytest.mark.parametrize("onset", ["given", "detected"])
def test_a_kept_journal_begins_with_what_the_detector_proves(
    policies: Path, case_of: Callable[..., Case], telemetry_of: Callable[..., Telemetry], tmp_path: Path, onset: str
) -> None:
    write_case(tmp_path / "cases" / "a-web", case_of("a-web", "web"), telemetry_of("web"))
    found = run(tmp_path / "cases", "explain", policies=["toy_nothing"], onset=onset, jobs=1, journals=tmp_path / "j")
    (row,) = [row for row in found.cases if row.investigated is not None]
    assert row.investigated is not None and row.investigated.journal is not None
    prior = opened(read_journal(tmp_path / "j" / row.investigated.journal)).prior
    assert prior.incident is not None and prior.incident.breaches and prior.impact.affected > 0
    held = {item.id for item in prior.evidence}
    assert {prior.impact.evidence, *(breach.evidence for breach in prior.incident.breaches)} <= held
    assert prior.severity is not None and prior.severity.level == "critical"


def test_names_that_no_file_can_have_stay_apart() -> None:
    task = Task(
        reader="case", path=".", case="a/b", localizers=(), onset="detected", perturbation="late=60", detector="sli",
        seed=0, timeout_s=1.0, suite="x:y",
    )  # fmt: skip
    names = {
        journal_name(msgspec.structs.replace(task, case=case), Method("explain", "rules", 2))
        for case in ("a/b", "a_b", "a:b", "a" * 300, "a" * 301)
    }
    assert len(names) == 5 and all(name.count("/") == 1 and len(name) < 300 for name in names)


def test_parts_of_a_suite_are_shown_apart(
    policies: Path, case_of: Callable[..., Case], tmp_path: Path, telemetry_of: Callable[..., Telemetry]
) -> None:
    for name, root, group in (("a", "store", "late"), ("b", "cart", "silent")):
        write_case(tmp_path / "parts" / name, case_of(name, root, group=group), telemetry_of(root))
    found = run(tmp_path / "parts", "toy_tie", policies="toy_store", detector="toy_sli", jobs=1)
    whole = found.find("toy_tie", policy="toy_store")
    assert {name: part.ac1.value for name, part in whole.by_group.items()} == {"late": 1.0, "silent": 0.0}
    gained = investigations(found, "toy_store").by_group
    assert gained["late"].ac1_difference.value == 1.0 and gained["silent"].ac1_difference.value == 0.0
    assert "group late" in report(found) and "By group of the suite" in report(found)


def test_who_withholds_wrong_answers_alone_lowers_the_risk() -> None:
    prior = [stated("a", 0.9, True), stated("b", 0.8, False), stated("c", 0.4, False), stated("d", 0.3, True)]
    wise = [stated("a", 0.9, True), stated("b", None, False), stated("c", None, False), stated("d", 0.3, True)]
    found = abstention(wise, prior, 200)
    assert found is not None
    assert (found.coverage.value, found.risk.value) == (-0.5, -0.5)
    assert found.aurc.value == pytest.approx(-(0 + 1 / 2 + 2 / 3 + 2 / 4) / 4)
    assert (found.silenced_wrong, found.silenced_right) == (2, 0)
    assert abstention(prior, prior, 50) is not None and abstention(wise, [], 50) is None


def stated(case: str, confidence: float | None, correct: bool) -> Row:
    return Row(
        kind="fault", outcome="abstained" if confidence is None else "answered", cluster=case, suite="s", system="x",
        case=case, localizer="l", ranks=(1 if correct else 3,), correct=correct, confidence=confidence,
    )  # fmt: skip


def repeat(case: str, number: int, correct: bool) -> Row:
    rank = 1 if correct else 3
    return Row(
        kind="fault", outcome="answered", cluster=case, suite="s", system="x", case=case, localizer="l", policy="p",
        ranks=(rank,), correct=correct, repeat=number, fault_class="B",
    )  # fmt: skip


def test_differences_are_means_over_repeats() -> None:
    ours = [repeat("a", 0, True), repeat("a", 1, False), repeat("b", 0, True), repeat("b", 1, True)]
    prior = [repeat("a", 0, False), repeat("b", 0, True)]
    found = added(ours, prior, 200)
    assert found is not None and found.ac1_difference.value == pytest.approx(0.25)
    assert (found.wins, found.losses) == (1, 0)
    assert consistency(prior, 50) is None and added(ours, [], 50) is None


def test_a_path_has_to_lead_from_the_root_to_users() -> None:
    score = Score(kind="fault", outcome="answered", cluster="c", truth=("db",), ranks=(1,), top=("db", "web"))
    through = Answer(path=(("db", "cart"), ("cart", "web")), entries=("web",))
    assert decisive_facts(through, score) == {"root": True, "path": True}
    assert decisive_facts(Answer(path=(("db", "cart"),), entries=("web",)), score) == {"root": True, "path": False}
    assert decisive_facts(Answer(path=(("db", "db"),), entries=("db",)), score)["path"]
    assert decisive_facts(Answer(), score) == {"root": True}
