"""What a policy did on top of its localizer: value added, consistency, faithfulness, coverage, reasoning failures."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aetia.bench.budgets import abstention, budgeted
from aetia.bench.intervals import ClusterBootstrap, Estimate, mcnemar
from aetia.bench.messages import Investigated
from aetia.bench.result import Addition, Consistency, PolicyResult, Row
from aetia.bench.scoring import case_values, counts_in_recall
from aetia.reason.checks.registry import TITLES

FACTS = ("root", "class", "path")
Place = tuple[str, str, str]


class _Run(NamedTuple):
    row: Row
    what: Investigated


def investigations(rows: Sequence[Row], prior: Sequence[Row], draws: int) -> PolicyResult | None:
    """The figures of one policy from its rows, all repeats, and the rows of the localizer under it."""
    if not rows or rows[0].policy is None:
        return None
    runs = [_Run(row, row.investigated) for row in rows if row.investigated is not None]
    seconds = [run.what.added_s for run in runs]
    costs = [run.what.cost for run in runs if run.what.cost is not None]
    return PolicyResult(
        runs=len(runs), calls_mean=_mean(run.what.calls for run in runs),
        tokens_mean=_mean(run.what.tokens for run in runs), cost_mean=_mean(costs) if costs else None,
        added_s_p50=_quantile(seconds, 0.5), added_s_p95=_quantile(seconds, 0.95),
        outcomes=dict(sorted(Counter(run.what.outcome for run in runs).items())),
        added=added(rows, prior, draws),
        by_class=_added_by(rows, prior, draws, lambda row: row.fault_class or "unknown"),
        by_group=_added_by(rows, prior, draws, lambda row: row.group),
        consistency=consistency(rows, draws), budgets=budgeted(_by_case(rows), _by_case(prior), draws),
        abstention=abstention(rows, prior, draws),
        faithfulness=_shares([run for run in runs if run.what.claims], _faithful, draws),
        claims=sum(run.what.claims for run in runs),
        unconfirmed=sum(run.what.claims - run.what.confirmed for run in runs),
        coverage=_coverage(rows, draws), facts=_facts(runs, draws),
        warned={code: _shares(runs, _warns(code), draws) for code in TITLES} if runs else {},
        stopped=dict(sorted(Counter(run.what.stopped_by for run in runs if run.what.stopped_by).items())),
    )  # fmt: skip


def added(rows: Sequence[Row], prior: Sequence[Row], draws: int) -> Addition | None:
    """A policy against its localizer on the cases that both were asked; None where there is none."""
    ours, theirs = _by_case(rows), _by_case(prior)
    shared = [key for key in sorted(ours) if key in theirs]
    if not shared:
        return None
    bootstrap = ClusterBootstrap([ours[key][0].cluster for key in shared], draws=draws)
    values = [(_case_means(ours[key]), _case_means(theirs[key])) for key in shared]
    differences = np.array([[us[m] - them[m] for m in ("ac1", "avg5")] for us, them in values])
    solved = [(ours[key][0].correct, theirs[key][0].correct) for key in shared]
    wins, losses = sum(us and not them for us, them in solved), sum(them and not us for us, them in solved)
    return Addition(
        n=len(shared), ac1_difference=bootstrap.mean(differences[:, 0], share=False),
        avg5_difference=bootstrap.mean(differences[:, 1], share=False),
        wins=wins, losses=losses, mcnemar_p=mcnemar(wins, losses),
    )  # fmt: skip


def _added_by(
    rows: Sequence[Row], prior: Sequence[Row], draws: int, part: Callable[[Row], str | None]
) -> dict[str, Addition]:
    """What was added per part of the cases with a fault; cases of no part are left out."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if counts_in_recall(row) and (name := part(row)) is not None:
            parts[name].append(row)
    found = {name: added(parts[name], prior, draws) for name in sorted(parts)}
    return {name: one for name, one in found.items() if one is not None}


def consistency(rows: Sequence[Row], draws: int) -> Consistency | None:
    """pass@k = 1 − C(n−c, k) / C(n, k) and pass^k = C(c, k) / C(n, k) of a case with c of n repeats solved, both
    unbiased (arXiv 2107.03374, arXiv 2406.12045), averaged over cases; None without repeats."""
    cases = list(_by_case(rows).values())
    repeats = min((len(case) for case in cases), default=0)
    if repeats < 2:
        return None
    bootstrap = ClusterBootstrap([case[0].cluster for case in cases], draws=draws)
    solved = [(len(case), sum(row.correct for row in case)) for case in cases]
    any_of, all_of = (
        tuple(bootstrap.mean(np.array([of(n, c, k) for n, c in solved])) for k in range(1, repeats + 1))
        for of in (pass_at, pass_hat)
    )
    return Consistency(repeats=repeats, any_of=any_of, all_of=all_of)


def pass_at(n: int, c: int, k: int) -> float:
    """Chance that at least one of k runs drawn from n, c of them right, is right."""
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_hat(n: int, c: int, k: int) -> float:
    """Chance that all of k runs drawn from n, c of them right, are right."""
    return math.comb(c, k) / math.comb(n, k)


def _by_case(rows: Iterable[Row]) -> dict[Place, list[Row]]:
    """The repeats of each case with a fault, in their order."""
    found: dict[Place, list[Row]] = defaultdict(list)
    for row in rows:
        if counts_in_recall(row):
            found[row.suite, row.system, row.case].append(row)
    return {key: sorted(case, key=lambda row: row.repeat) for key, case in found.items()}


def _case_means(case: list[Row]) -> dict[str, float]:
    return {name: float(array.mean()) for name, array in case_values(case).items()}


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else 0.0


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None


def _faithful(run: _Run) -> float:
    return run.what.confirmed / run.what.claims


def _warns(code: str) -> Callable[[_Run], float]:
    return lambda run: float(code in run.what.warnings)


def _names(fact: str) -> Callable[[_Run], float]:
    return lambda run: float(run.what.facts[fact])


def _shares(runs: Sequence[_Run], of: Callable[[_Run], float], draws: int) -> Estimate:
    values: NDArray[np.float64] = np.array([of(run) for run in runs], dtype=np.float64)
    return ClusterBootstrap([run.row.cluster for run in runs], draws=draws).mean(values) if len(runs) else Estimate()


def _coverage(rows: Sequence[Row], draws: int) -> Estimate:
    """Mean share of decisive facts named, over the cases with a fault; who failed or was silent names none."""
    cases = [row for row in rows if counts_in_recall(row)]
    values = [_mean(map(float, row.investigated.facts.values())) if row.investigated else 0.0 for row in cases]
    if not cases:
        return Estimate()
    return ClusterBootstrap([row.cluster for row in cases], draws=draws).mean(np.array(values))


def _facts(runs: Sequence[_Run], draws: int) -> dict[str, Estimate]:
    """Per decisive fact the share of the investigations that name it, where the case knows it."""
    found: dict[str, Estimate] = {}
    for fact in FACTS:
        known = [run for run in runs if fact in run.what.facts]
        if known:
            found[fact] = _shares(known, _names(fact), draws)
    return found
