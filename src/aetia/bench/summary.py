"""From rows to results: one pass per suite, system, onset, perturbation and localizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from aetia.bench import calibration
from aetia.bench.additions import investigations
from aetia.bench.budgets import effectiveness
from aetia.bench.intervals import DRAWS, ClusterBootstrap, Estimate, mcnemar
from aetia.bench.result import (
    Absorbed,
    BenchResult,
    FailureCount,
    FaultFree,
    Paired,
    Part,
    PolicyResult,
    Result,
    Row,
)
from aetia.bench.scoring import case_values, class_counts, counts_in_recall
from aetia.model.faults import FAULT_CLASSES

POOLED = "all"
Groups = dict[tuple[str, str, str, str], dict[str, list[Row]]]


def summarise(rows: Sequence[Row], *, settings: dict[str, object] | None = None, draws: int = DRAWS) -> BenchResult:
    """All results of some rows; the order of rows does not matter."""
    ordered = sorted(rows, key=lambda row: row.key)
    results = _summarise_groups(ordered, lambda row: (row.suite, row.system, row.onset, row.perturbation), draws)
    pooled: list[Result] = []
    if len({(row.suite, row.system) for row in ordered}) > 1:
        pooled = _summarise_groups(ordered, lambda row: (POOLED, POOLED, row.onset, row.perturbation), draws)
    return BenchResult(results=tuple(results), pooled=tuple(pooled), cases=tuple(ordered), settings=settings or {})


def _summarise_groups(rows: Sequence[Row], key: Callable[[Row], tuple[str, str, str, str]], draws: int) -> list[Result]:
    groups: Groups = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[key(row)][row.method].append(row)
    results: list[Result] = []
    for place in sorted(groups):
        every = groups[place]
        members = {method: [row for row in rows if row.repeat == 0] for method, rows in every.items()}
        for method in sorted(members):
            if not members[method]:
                continue
            prior = members.get(members[method][0].localizer, [])
            results.append(
                _result(
                    place, members[method], _paired(method, members, draws),
                    investigations(every[method], prior, draws), draws,
                )
            )  # fmt: skip
    return results


def _result(
    place: tuple[str, str, str, str], rows: list[Row], paired: Paired | None, found: PolicyResult | None, draws: int
) -> Result:
    suite, system, onset, perturbation = place
    cases = [row for row in rows if counts_in_recall(row)]
    bootstrap = ClusterBootstrap([row.cluster for row in cases], draws=draws)
    values = case_values(cases)
    counts = np.array([class_counts(row) for row in cases]).reshape(len(cases), 3, len(FAULT_CLASSES))
    outcomes = [row.outcome for row in rows if row.kind != "unlabelled"]
    seconds = [row.seconds for row in rows if row.seconds is not None]
    errors = [row.onset_error_s for row in cases if row.onset_error_s is not None]
    return Result(
        suite=suite, system=system, localizer=rows[0].localizer, policy=rows[0].policy, onset=onset,
        perturbation=perturbation, investigations=found,
        n=len(cases), cases=len(rows), **{name: bootstrap.mean(array) for name, array in values.items()},
        fault_class_f1=bootstrap.class_f1(counts),
        seconds_p50=_quantile(seconds, 0.5), seconds_p95=_quantile(seconds, 0.95),
        peak_rss_mb=max((row.peak_rss_mb for row in rows if row.peak_rss_mb is not None), default=None),
        failed=outcomes.count("failed"), empty=outcomes.count("empty"), abstained=outcomes.count("abstained"),
        undetected=sum(row.outcome == "no_incident" for row in cases), unapplied=outcomes.count("unapplied"),
        unlabelled=sum(row.kind == "unlabelled" for row in rows),
        load_seconds_p50=_quantile([row.load_seconds for row in rows], 0.5),
        facts_seconds_p50=_quantile([row.facts_seconds for row in rows], 0.5),
        fault_free=_fault_free(rows, draws), absorbed=_absorbed(rows),
        by_class=_parts(cases, "fault_class", draws), by_fault=_parts(cases, "fault", draws),
        by_group=_parts([row for row in cases if row.group is not None], "group", draws), levels=_levels(cases),
        calibration=calibration.reliability(rows), risk_coverage=calibration.risk_coverage(rows),
        utility_triage=calibration.utility(rows, 1.0), utility_repair=calibration.utility(rows, 4.0),
        effectiveness_60s=effectiveness(rows),
        onset_error_s_p50=_quantile(errors, 0.5), spurious_incidents=sum(row.spurious for row in rows),
        paired=paired, failures=_failures(rows),
    )  # fmt: skip


def _quantile(values: Sequence[float | None], share: float) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.quantile(known, share)) if known else None


def _fault_free(rows: list[Row], draws: int) -> FaultFree:
    free = [row for row in rows if row.kind == "no_fault" and row.outcome != "unapplied"]
    answered = np.array([row.outcome == "answered" for row in free], dtype=np.float64)
    rate = ClusterBootstrap([row.cluster for row in free], draws=draws).mean(answered) if free else Estimate()
    return FaultFree(
        n=len(free), answered=int(answered.sum()), opened=sum(bool(row.opened) for row in free),
        failed=sum(row.outcome == "failed" for row in free), false_incident_rate=rate,
    )  # fmt: skip


def _absorbed(rows: list[Row]) -> Absorbed:
    cases = [row for row in rows if row.kind == "absorbed" and row.outcome != "unapplied"]
    silent = sum(row.outcome in ("abstained", "no_incident") for row in cases)
    named = sum(row.correct for row in cases)
    return Absorbed(n=len(cases), silent=silent, named=named, wrong=len(cases) - silent - named)


def _parts(cases: list[Row], field: Literal["fault", "fault_class", "group"], draws: int) -> dict[str, Part]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in cases:
        groups[getattr(row, field) or "unknown"].append(row)
    parts: dict[str, Part] = {}
    for name in sorted(groups):
        values = case_values(groups[name])
        bootstrap = ClusterBootstrap([row.cluster for row in groups[name]], draws=draws)
        parts[name] = Part(
            n=len(groups[name]), ac1=bootstrap.mean(values["ac1"]), ac5=bootstrap.mean(values["ac5"]),
            avg5=bootstrap.mean(values["avg5"]),
        )  # fmt: skip
    return parts


def _levels(cases: list[Row]) -> dict[str, dict[str, float]]:
    """Per finer level that the truth names: number of cases, and share in which it was named at rank 1."""
    names = sorted({level for row in cases for level in row.levels})
    hits = {name: [row.levels[name] for row in cases if name in row.levels] for name in names}
    return {name: {"n": float(len(hits[name])), "ac1": float(np.mean(hits[name]))} for name in names}


def _failures(rows: list[Row]) -> tuple[FailureCount, ...]:
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.failure is not None:
            groups[str(row.failure)].append(row.case)
    return tuple(
        FailureCount(failure=name, cases=tuple(groups[name]))
        for name in sorted(groups, key=lambda k: (-len(groups[k]), k))
    )


def _paired(localizer: str, members: dict[str, list[Row]], draws: int) -> Paired | None:
    """Against the best other localizer (AC@1, then Avg@5, then name), on the cases that both were asked."""
    own = {(row.suite, row.system, row.case): row for row in members[localizer] if counts_in_recall(row)}
    best: tuple[float, float, str] | None = None
    for rival, rows in members.items():
        cases = [row for row in rows if counts_in_recall(row)]
        if rival == localizer or not cases:
            continue
        values = case_values(cases)
        mark = (-float(values["ac1"].mean()), -float(values["avg5"].mean()), rival)
        best = mark if best is None or mark < best else best
    if best is None:
        return None
    other = {(row.suite, row.system, row.case): row for row in members[best[2]]}
    shared = [key for key in own if key in other and other[key].outcome != "unapplied"]
    if not shared:
        return None
    ours, theirs = [own[key] for key in shared], [other[key] for key in shared]
    left, right = case_values(ours), case_values(theirs)
    bootstrap = ClusterBootstrap([row.cluster for row in ours], draws=draws)
    solved = np.array([[row.correct for row in ours], [row.correct for row in theirs]])
    wins, losses = int((solved[0] & ~solved[1]).sum()), int((solved[1] & ~solved[0]).sum())
    return Paired(
        rival=best[2], n=len(shared), ac1_difference=bootstrap.mean(left["ac1"] - right["ac1"], share=False),
        avg5_difference=bootstrap.mean(left["avg5"] - right["avg5"], share=False),
        wins=wins, losses=losses, mcnemar_p=mcnemar(wins, losses),
    )  # fmt: skip
